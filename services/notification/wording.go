package notification

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	htmltemplate "html/template"
	"strings"
	"text/template"
	"time"

	"github.com/bojanz/currency"
	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/mail"
	"tulifo/platform/money"
)

// The words of an event stand in templates/<event>.<language>.tmpl, a part for each audience: the first line is the subject and the title in
// the app, then come paragraphs, of which the app shows the first; one in brackets is the button. Both forms of a mail are made of the same
// words, so that they cannot differ, and what a template inserts is text in both.
//
//go:embed templates/*.tmpl templates/layout.html
var templateFiles embed.FS

// fallback is the language that everything is worded in.
const fallback = "en"

var (
	wordings = mustParse()
	layout   = htmltemplate.Must(htmltemplate.ParseFS(templateFiles, "templates/layout.html"))
)

// mustParse reads the templates, by event and language. Its panic is a template that does not parse, which no built program has.
func mustParse() map[string]*template.Template {
	out := map[string]*template.Template{}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".tmpl"); ok {
			out[name] = template.Must(template.ParseFS(templateFiles, "templates/"+e.Name()))
		}
	}
	return out
}

// wording is an event in words, for one reader.
type wording struct {
	language   string
	subject    string
	paragraphs []string // at least one
	button     string   // what the link says
	before     int      // how many paragraphs stand before the button
}

// word words the event for the part of its audience that t names, in the person's language where there is one, and in the person's zone.
func word(r rule, raw json.RawMessage, as string, who person) (wording, error) {
	e, err := r.decode(raw)
	if err != nil {
		return wording{}, err
	}
	w := wording{language: fallback}
	if language, _, _ := strings.Cut(strings.ToLower(who.Locale), "-"); wordings[r.event+"."+language] != nil {
		w.language = language
	}
	t := wordings[r.event+"."+w.language]
	if t == nil || t.Lookup(as) == nil {
		return w, fmt.Errorf("no words for %s to %q", r.event, as)
	}
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, as, view{E: e, zone: who.zone(), locale: currency.NewLocale(w.language)}); err != nil {
		return w, fmt.Errorf("word %s: %w", r.event, err)
	}
	for i, p := range strings.Split(strings.TrimSpace(out.String()), "\n\n") {
		p = strings.Join(strings.Fields(p), " ")
		switch label, bracketed := strings.CutPrefix(p, "["); {
		case i == 0:
			w.subject = p
		case bracketed && strings.HasSuffix(label, "]"):
			w.button, w.before = strings.TrimSuffix(label, "]"), len(w.paragraphs)
		case p != "":
			w.paragraphs = append(w.paragraphs, p)
		}
	}
	if w.subject == "" || len(w.paragraphs) == 0 {
		return w, fmt.Errorf("the words for %s to %q have no subject or no text", r.event, as)
	}
	return w, nil
}

// view is what a template sees: the event, and how the reader wants times and money.
type view struct {
	E      any
	zone   *time.Location
	locale currency.Locale
}

const day, hour = "Monday, 2 January 2006", "15:04"

// When is a moment in the reader's zone: "Monday, 2 March 2026, 10:00 (Europe/Berlin)".
func (v view) When(t time.Time) string {
	return t.In(v.zone).Format(day+", "+hour) + v.in()
}

// Span is the time between two moments in the reader's zone: "Monday, 2 March 2026, 10:00–11:00 (Europe/Berlin)".
func (v view) Span(from, to time.Time) string {
	from, to = from.In(v.zone), to.In(v.zone)
	if from.Format(day) == to.Format(day) {
		return from.Format(day+", "+hour) + "–" + to.Format(hour) + v.in()
	}
	return from.Format(day+", "+hour) + " – " + to.Format(day+", "+hour) + v.in()
}

func (v view) in() string { return " (" + v.zone.String() + ")" }

// Money is an amount as the reader's language writes it: "€75.50".
func (v view) Money(a money.Amount) string {
	n, err := currency.NewAmountFromInt64(a.Minor, a.Currency)
	if err != nil {
		return a.String()
	}
	return currency.NewFormatter(v.locale).Format(n)
}

// Code is a code such as card_declined as words.
func (v view) Code(code string) string { return strings.ReplaceAll(code, "_", " ") }

// Some says whether an amount is more than nothing.
func (v view) Some(a money.Amount) bool { return a.Minor > 0 }

// letter is what the layout shows.
type letter struct {
	Language, Subject, Greeting string
	Before, After               []string // paragraphs, around the button
	Button, URL                 string
	Category                    Category
	Essential                   bool
	Settings, Unsubscribe, Home string
}

// compose is the mail of a delivery, ready to be sent. NotFound, Conflict: the link in it is of no more use.
func (s *Service) compose(ctx context.Context, r rule, d delivery, who person) (mail.Message, error) {
	w, err := word(r, d.Data, d.Audience, who)
	if err != nil {
		return mail.Message{}, errs.New(errs.Internal, "The message cannot be worded.").Because(err)
	}
	l := letter{
		Language: w.language, Subject: w.subject, Greeting: greeting(who.Name), Before: w.paragraphs[:w.before], After: w.paragraphs[w.before:], Button: w.button,
		Category: r.category, Essential: r.category.essential(), Settings: s.cfg.PublicURL + "/settings/notifications", Home: s.cfg.PublicURL,
	}
	if d.LinkID != nil {
		if l.URL, err = s.askLink(ctx, *d.LinkID); err != nil {
			return mail.Message{}, err
		}
	} else if l.URL, err = r.page(d.Data); err != nil {
		return mail.Message{}, err
	} else {
		l.URL = s.cfg.PublicURL + l.URL
	}
	if !l.Essential {
		l.Unsubscribe = s.unsubscribeURL(who.ID, r.category)
	}
	var html bytes.Buffer
	if err := layout.Execute(&html, l); err != nil {
		return mail.Message{}, fmt.Errorf("lay %s out: %w", r.event, err)
	}
	return mail.Message{ID: d.ID.String(), To: who.Email, Subject: w.subject, Text: l.text(), HTML: html.String(), Unsubscribe: l.Unsubscribe}, nil
}

func (l letter) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", l.Greeting)
	for _, p := range l.Before {
		fmt.Fprintf(&out, "\n%s\n", p)
	}
	if l.Button != "" {
		fmt.Fprintf(&out, "\n%s:\n%s\n", l.Button, l.URL)
	}
	for _, p := range l.After {
		fmt.Fprintf(&out, "\n%s\n", p)
	}
	out.WriteString("\n-- \nTulifo, " + l.Home + "\n")
	if l.Essential {
		out.WriteString("This mail is about the safety of your account, so it cannot be switched off.\n")
	} else {
		fmt.Fprintf(&out, "Choose what you are told: %s\nNo more mail about %s: %s\n", l.Settings, l.Category, l.Unsubscribe)
	}
	return out.String()
}

const longestName = 60

// greeting leaves out a name that could be taken for a link or a message: anybody can register a stranger's address under any name.
func greeting(name string) string {
	name = line(name, longestName)
	if name == "" || strings.ContainsAny(name, "/:@<>…") || strings.Contains(strings.TrimRight(name, "."), ".") && !initials(name) {
		return "Hello,"
	}
	return "Hello " + name + ","
}

// initials says whether every full stop in a name ends a word, as in "J. R. Smith".
func initials(name string) bool {
	for _, w := range strings.Fields(name) {
		if at := strings.Index(w, "."); at >= 0 && at != len(w)-1 {
			return false
		}
	}
	return true
}

func (s *Service) unsubscribeURL(user uuid.UUID, c Category) string {
	return s.cfg.PublicURL + "/api/notifications/unsubscribe/" + s.unsubscribeToken(user, c)
}
