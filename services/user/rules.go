package user

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/text"
)

const (
	maxName       = 120
	maxText       = 4000
	maxSkills     = 50
	maxCategories = 10
	maxLanguages  = 20
	maxPortfolio  = 20
	maxLinks      = 12
	maxURL        = 2048
	maxRate       = 1_000_000 // an hour, in major units of any currency
)

// faults gathers what is wrong with the fields of one request, so that a person reads all of it at once.
type faults struct{ found *errs.Error }

func (f *faults) add(field, reason string) {
	if f.found == nil {
		f.found = errs.Field(field, reason)
		return
	}
	f.found = f.found.With(field, reason)
}

// err is Invalid with every fault, nil without any.
func (f *faults) err() error {
	if f.found == nil {
		return nil
	}
	return f.found
}

// line is a text of one line without the spaces around it; it may be empty.
func (f *faults) line(field, sent string, most int) string {
	s, shows := text.Line(sent)
	if !shows || utf8.RuneCountInString(s) > most {
		f.add(field, "must be one line of readable text, not too long")
	}
	return s
}

// text is one of many lines, which may be empty.
func (f *faults) text(field, sent string, most int) string {
	s, show := text.Lines(sent)
	if !show || utf8.RuneCountInString(s) > most {
		f.add(field, "must be readable text, not too long")
	}
	return s
}

// name is how somebody is to be addressed.
func (f *faults) name(field, sent string) string {
	name := f.line(field, sent, maxName)
	if !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		f.add(field, "must have a letter")
	}
	return name
}

// link is an address on the web that a browser may be sent to.
func (f *faults) link(field, raw string) string {
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	_, shows := text.Line(raw)
	good := err == nil && shows && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && u.Opaque == "" &&
		len(raw) <= maxURL && !strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\\\"'<>`", r) })
	if !good {
		f.add(field, "must be a link that starts with https:// or http://")
	}
	return raw
}

func (f *faults) timezone(field, name string) string {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" || len(name) > 64 {
		f.add(field, "must be a time zone, such as Europe/Berlin")
		return "UTC"
	}
	return name
}

func (f *faults) locale(field, tag string) string {
	t, err := language.Parse(tag)
	if err != nil || len(tag) > 35 || t == language.Und {
		f.add(field, "must be a language, such as en or pt-BR")
		return "en"
	}
	return t.String()
}

// country is the two letters of ISO 3166-1, or empty.
func (f *faults) country(field, code string) string {
	if code == "" {
		return ""
	}
	r, err := language.ParseRegion(strings.ToUpper(code))
	if err != nil || len(code) != 2 || !r.IsCountry() {
		f.add(field, "must be the two letters of a country, such as DE")
		return ""
	}
	return r.String()
}

func (f *faults) skills(field string, in []event.Skill) []event.Skill {
	out, seen := make([]event.Skill, 0, len(in)), map[string]bool{}
	if len(in) > maxSkills {
		f.add(field, "may be 50 at most")
		return out
	}
	for _, s := range in {
		s.Name = strings.Join(strings.Fields(f.line(field, s.Name, 60)), " ")
		switch key := skillKey(s.Name); {
		case s.Name == "" || strings.Contains(s.Name, ","):
			f.add(field, "must have names without commas")
		case seen[key]:
			f.add(field, "must not name a skill twice")
		case s.Proficiency < 1 || s.Proficiency > 5:
			f.add(field, "must have a proficiency from 1 to 5")
		default:
			seen[key] = true
			out = append(out, s)
		}
	}
	return out
}

// skillKey is what makes two names of skills the same.
func skillKey(name string) string {
	return strings.ToLower(strings.Join(strings.Fields(name), " "))
}

func (f *faults) categories(field string, in []string) []string {
	out := make([]string, 0, len(in))
	if len(in) > maxCategories {
		f.add(field, "may be 10 at most")
		return out
	}
	for _, c := range in {
		if c = skillKey(f.line(field, c, 60)); c == "" || strings.Contains(c, ",") {
			f.add(field, "must have names without commas")
		} else if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func (f *faults) languages(field string, in []string) []string {
	out := make([]string, 0, len(in))
	if len(in) > maxLanguages {
		f.add(field, "may be 20 at most")
		return out
	}
	for _, l := range in {
		if l = f.locale(field, l); !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

func (f *faults) portfolio(field string, in []PortfolioItem) []PortfolioItem {
	out := make([]PortfolioItem, 0, len(in))
	if len(in) > maxPortfolio {
		f.add(field, "may have 20 entries at most")
		return out
	}
	for _, i := range in {
		item := PortfolioItem{Title: f.line(field+".title", i.Title, maxName), Description: f.text(field+".description", i.Description, 1000)}
		if item.Title == "" {
			f.add(field+".title", "must not be empty")
		}
		if i.URL != "" {
			item.URL = f.link(field+".url", i.URL)
		}
		out = append(out, item)
	}
	return out
}

func (f *faults) links(field string, in map[string]string) map[string]string {
	out := make(map[string]string, len(in))
	if len(in) > maxLinks {
		f.add(field, "may be 12 at most")
		return out
	}
	for site, raw := range in {
		odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }
		if site == "" || len(site) > 32 || strings.ContainsFunc(site, odd) {
			f.add(field, "must be named by small letters and digits, such as github")
			continue
		}
		out[site] = f.link(field+"."+site, raw)
	}
	return out
}

// rate is an hourly rate in minor units of the currency.
func (f *faults) rate(field string, d money.Decimal, currency string) int64 {
	digits, err := money.Digits(currency)
	if err != nil || len(currency) != 3 {
		f.add("currency", "must be a currency, such as USD")
		return 0
	}
	most := int64(maxRate)
	for range digits {
		most *= 10
	}
	a, err := d.In(currency)
	switch {
	case err == money.ErrDigits:
		f.add(field, "has more digits than its currency")
	case err != nil || a.Minor <= 0 || a.Minor > most:
		f.add(field, "must be above zero and at most a million; null takes it away")
	}
	return a.Minor
}

// tokens are the words of a text, in lower case: what is neither letter, mark nor digit separates them.
func tokens(text string) []string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) })
	for i, w := range words {
		if r := []rune(w); len(r) > 40 {
			words[i] = string(r[:40])
		}
	}
	return words
}

// words are what a text search finds the worker by, each once.
func (p person) words() []string {
	all := append(tokens(p.Name), tokens(p.Title)...)
	for _, s := range p.Skills {
		all = append(all, tokens(s.Name)...)
	}
	for _, c := range p.Categories {
		all = append(all, tokens(c)...)
	}
	all = append(all, tokens(p.Bio)...)
	slices.Sort(all)
	return slices.Compact(append([]string{}, all...))
}

func (p person) skillKeys() []string {
	keys := make([]string, 0, len(p.Skills))
	for _, s := range p.Skills {
		keys = append(keys, skillKey(s.Name))
	}
	return keys
}

// lookup is the query for all words of a text, each at the beginning of a word; words of one letter must be whole. Empty when it has none.
func lookup(text string) string {
	words := tokens(text)
	if len(words) > 8 {
		words = words[:8]
	}
	for i, w := range words {
		words[i] = "'" + w + "'"
		if utf8.RuneCountInString(w) > 1 {
			words[i] += ":*"
		}
	}
	return strings.Join(words, " & ")
}
