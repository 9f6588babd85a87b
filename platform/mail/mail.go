// Package mail sends what the services have to say by e-mail, and holds the inbox in which a machine without a mail provider shows what was sent.
//
// A Sender hands one message for one person to an SMTP server and says, when that fails, whether trying again makes sense; queues and retries are the caller's.
// Nothing that a person wrote can add a header or a recipient.
package mail

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
)

// Message is one message for one person.
type Message struct {
	ID          string // makes the Message-ID, so that a copy is known as one: letters, digits, '.', '_' and '-', at most 120
	To          string // the bare address
	Subject     string // line breaks and control characters become spaces
	Text        string // the plain form; required
	HTML        string // the rich form, if any
	Unsubscribe string // http or https URL that a POST to unsubscribes at once; empty: not a message one can unsubscribe from
}

// TLS says when the connection to the SMTP server is encrypted.
type TLS string

// The ways of encryption.
const (
	TLSOff      TLS = "off"
	TLSIfCan    TLS = "opportunistic" // STARTTLS when the server offers it
	TLSStart    TLS = "starttls"      // STARTTLS, or nothing is sent
	TLSImplicit TLS = "implicit"      // from the first byte, as on port 465
)

// Config says which SMTP server to use. User and Password travel encrypted, or to the machine itself, only.
type Config struct {
	Host     string        `env:"SMTP_HOST"`
	Port     int           `env:"SMTP_PORT" envDefault:"1025"`
	User     string        `env:"SMTP_USER"`
	Password string        `env:"SMTP_PASS"`
	From     string        `env:"SMTP_FROM" envDefault:"Tulifo <no-reply@tulifo.localhost>"`
	TLS      TLS           `env:"SMTP_TLS" envDefault:"opportunistic"`
	Timeout  time.Duration `env:"SMTP_TIMEOUT" envDefault:"15s"` // of connecting, and of one message
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var wrong []error
	if c.Host == "" || strings.ContainsFunc(c.Host, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		wrong = append(wrong, errors.New("SMTP_HOST is not a host name"))
	}
	if c.Port < 1 || c.Port > 65535 {
		wrong = append(wrong, errors.New("SMTP_PORT is not between 1 and 65535"))
	}
	if _, err := c.from(); err != nil {
		wrong = append(wrong, fmt.Errorf("SMTP_FROM is not an address: %w", err))
	}
	switch c.TLS {
	case TLSOff, TLSIfCan, TLSStart, TLSImplicit:
	default:
		wrong = append(wrong, errors.New("SMTP_TLS is none of off, opportunistic, starttls, implicit"))
	}
	if c.Timeout <= 0 {
		wrong = append(wrong, errors.New("SMTP_TIMEOUT is not positive"))
	}
	if c.User == "" && c.Password != "" {
		wrong = append(wrong, errors.New("SMTP_PASS is set and SMTP_USER is not"))
	}
	return errors.Join(wrong...)
}

func (c Config) from() (*netmail.Address, error) { return netmail.ParseAddress(c.From) }

// Permanent says whether err is about this message and will be the same next time: its recipient or its content was refused.
// Everything else, a server that is away, busy or set up wrongly, may pass.
func Permanent(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.permanent
}

type failure struct {
	permanent bool
	cause     error
}

func (f *failure) Error() string {
	if f.permanent {
		return "mail: refused for good: " + f.cause.Error()
	}
	return "mail: not sent: " + f.cause.Error()
}

func (f *failure) Unwrap() error { return f.cause }

var idRule = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

const (
	maxSubject = 250 // characters
	maxBody    = 1 << 20
	maxAddress = 254
)

// compose writes m as an e-mail from from; all its errors are permanent.
func compose(m Message, from *netmail.Address) (*gomail.Msg, error) {
	to, err := Address(m.To)
	if err != nil {
		return nil, err
	}
	if len(m.ID) > 120 || !idRule.MatchString(m.ID) {
		return nil, errors.New("the message has no proper id")
	}
	if m.Text == "" || len(m.Text) > maxBody || len(m.HTML) > maxBody || !utf8.ValidString(m.Text) || !utf8.ValidString(m.HTML) {
		return nil, errors.New("the message has no text, too much of it, or text that is not UTF-8")
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(from)
	msg.ToMailAddress(&netmail.Address{Address: to})
	msg.Subject(subject(m.Subject))
	msg.SetDate()
	_, domain, _ := strings.Cut(from.Address, "@")
	msg.SetMessageIDWithValue(m.ID + "@" + domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Unsubscribe != "" {
		u, err := url.Parse(m.Unsubscribe)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(u.String(), "<> \r\n") {
			return nil, errors.New("the unsubscribe link is not a web address")
		}
		msg.SetGenHeader("List-Unsubscribe", "<"+u.String()+">")
		msg.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// Address is s when it is one bare e-mail address that can be sent to, without a display name, comments or quoting.
func Address(s string) (string, error) {
	a, err := netmail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > maxAddress || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`<>()[]\,;:"`, r)
	}) {
		return "", errors.New("the recipient is not an e-mail address")
	}
	return s, nil
}

func subject(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, ""), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	for n := range s {
		if utf8.RuneCountInString(s[:n]) == maxSubject {
			return s[:n] + "…"
		}
	}
	return s
}
