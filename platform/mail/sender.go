package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"slices"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"tulifo/platform/crash"
)

// Sender hands messages to one SMTP server. It connects when there is something to send, keeps few connections, and uses them again while they are fresh.
// Its methods may be called from many goroutines.
type Sender struct {
	config Config
	from   *netmail.Address
	roots  *tls.Config
	slots  chan struct{}

	mu   sync.Mutex
	idle []*connection
	done bool
}

// connection is one conversation with the server.
type connection struct {
	client *gomail.Client
	smtp   *smtp.Client
	raw    net.Conn
	since  time.Time // idle since
}

const (
	maxConnections = 4
	idleFor        = 20 * time.Second
)

// SenderOption changes how a Sender works.
type SenderOption func(*Sender)

// WithTLSConfig has connections encrypted as c says, with certificates of a private authority for instance; the server's name is the configured host unless c has one.
func WithTLSConfig(c *tls.Config) SenderOption { return func(s *Sender) { s.roots = c.Clone() } }

// NewSender is a Sender that has not connected yet.
func NewSender(c Config, opts ...SenderOption) (*Sender, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	from, err := c.from()
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	s := &Sender{config: c, from: from, roots: &tls.Config{}, slots: make(chan struct{}, maxConnections)}
	for _, o := range opts {
		o(s)
	}
	if s.roots.ServerName == "" {
		s.roots.ServerName = c.Host
	}
	s.roots.MinVersion = tls.VersionTLS12
	return s, nil
}

// Send returns nil once the server has taken the message. Permanent says of its error whether to give up.
// A message may have been taken although Send failed, when the connection broke before the server's answer came.
func (s *Sender) Send(ctx context.Context, m Message) error {
	msg, err := compose(m, s.from)
	if err != nil {
		return &failure{true, err}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return &failure{false, ctx.Err()}
	}
	if c := s.reuse(); c != nil {
		// The server may have hung up meanwhile; then nothing of the message has gone out yet.
		if err := s.deliver(ctx, c, msg); err == nil || !stale(err) {
			return classify(ctx, err)
		}
	}
	c, err := s.connect(ctx)
	if err != nil {
		return classify(ctx, err)
	}
	return classify(ctx, s.deliver(ctx, c, msg))
}

// Close ends the idle connections; those in use end with their message.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for _, c := range s.idle {
		c.close()
	}
	s.idle = nil
	return nil
}

func (s *Sender) deliver(ctx context.Context, c *connection, msg *gomail.Msg) error {
	stop := context.AfterFunc(ctx, c.close)
	crash.Before(ctx, "mail", crash.Send, "")
	err := c.client.SendWithSMTPClient(c.smtp, msg)
	crash.After(ctx, "mail", crash.Send, "")
	interrupted := !stop()
	if err != nil && msg.IsDelivered() {
		// Only the farewell to this message failed.
		c.close()
		return nil
	}
	if err != nil || interrupted {
		c.close()
		return err
	}
	s.keep(c)
	return nil
}

// reuse is a connection that has not been idle for long, nil when there is none.
func (s *Sender) reuse() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.idle) > 0 {
		c := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		if time.Since(c.since) < idleFor && c.smtp.UpdateDeadline(s.config.Timeout) == nil {
			return c
		}
		c.close()
	}
	return nil
}

func (s *Sender) keep(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		c.close()
		return
	}
	c.since = time.Now()
	s.idle = append(s.idle, c)
}

// close does not wait for the server's goodbye, and also ends what is going on.
func (c *connection) close() { _ = c.raw.Close() }

func (s *Sender) connect(caller context.Context) (*connection, error) {
	var c connection
	stop := func() bool { return true }
	opts := []gomail.Option{
		gomail.WithPort(s.config.Port), gomail.WithTimeout(s.config.Timeout), gomail.WithTLSConfig(s.roots), gomail.WithHELO("localhost"),
		gomail.WithDialContextFunc(func(dial context.Context, network, address string) (net.Conn, error) {
			var err error
			if s.config.TLS == TLSImplicit {
				c.raw, err = (&tls.Dialer{Config: s.roots}).DialContext(dial, network, address)
			} else {
				c.raw, err = (&net.Dialer{}).DialContext(dial, network, address)
			}
			if err == nil {
				stop = context.AfterFunc(caller, c.close)
			}
			return c.raw, err
		}),
	}
	switch s.config.TLS {
	case TLSOff, TLSImplicit:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	case TLSIfCan:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case TLSStart:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if s.config.User != "" {
		opts = append(opts, gomail.WithSMTPAuthCustom(&login{user: s.config.User, password: s.config.Password, host: s.config.Host}))
	}
	var err error
	if c.client, err = gomail.NewClient(s.config.Host, opts...); err != nil {
		return nil, err
	}
	c.smtp, err = c.client.DialToSMTPClientWithContext(caller)
	if !stop() && err == nil {
		err = caller.Err()
	}
	if err != nil {
		if c.raw != nil {
			c.close()
		}
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &c, nil
}

// login takes the strongest mechanism that the server offers of CRAM-MD5 (unencrypted only), PLAIN and LOGIN; the latter two refuse an unencrypted connection to another machine.
type login struct {
	user, password, host string
	smtp.Auth
}

func (l *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	switch {
	case !server.TLS && slices.Contains(server.Auth, "CRAM-MD5"):
		l.Auth = smtp.CRAMMD5Auth(l.user, l.password)
	case slices.Contains(server.Auth, "PLAIN"):
		l.Auth = smtp.PlainAuth("", l.user, l.password, l.host, false)
	case slices.Contains(server.Auth, "LOGIN"):
		l.Auth = smtp.LoginAuth(l.user, l.password, l.host, false)
	default:
		return "", nil, errors.New("the server offers no way to log in that we know")
	}
	return l.Auth.Start(server)
}

func stale(err error) bool {
	e, ok := errors.AsType[*gomail.SendError](err)
	return ok && e.Reason == gomail.ErrConnCheck
}

// classify makes an error of the connection or the server one of ours. Only refusals of the recipient or of the content are permanent:
// a refused login or sender is about our setup, and 530 and 535 are refused logins whenever they come.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &failure{false, errors.Join(ctx.Err(), err)}
	}
	e, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		return &failure{false, err}
	}
	code := e.ErrorCode()
	about := e.Reason == gomail.ErrSMTPRcptTo || e.Reason == gomail.ErrSMTPData || e.Reason == gomail.ErrSMTPDataClose
	return &failure{about && code >= 500 && code < 600 && code != 530 && code != 535, err}
}
