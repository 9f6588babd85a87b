package mail

import (
	"io"
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// session is one conversation with somebody who sends to the inbox.
type session struct {
	in   *Inbox
	from string
	to   []string
}

// AuthMechanisms offers a login, because a configuration made for a provider has one.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth takes any name and password.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(string, string, string) error { return nil }), nil
}

// Mail begins a message.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.Reset()
	s.from = from
	return nil
}

// Rcpt adds a recipient; anybody is one.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if len(to) > maxAddress {
		return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "The address is too long"}
	}
	s.to = append(s.to, to)
	return nil
}

// Data takes the message.
func (s *session) Data(r io.Reader) error {
	if err := s.in.take(s.from, slices.Clone(s.to), r); err != nil {
		if _, theirs := err.(*smtp.SMTPError); theirs {
			return err
		}
		s.in.log.Warn("a message was not taken into the inbox", "error", err)
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "The message could not be kept"}
	}
	return nil
}

// Reset forgets the message begun.
func (s *session) Reset() { s.from, s.to = "", nil }

// Logout ends the conversation.
func (s *session) Logout() error { return nil }
