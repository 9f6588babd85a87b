package mail_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"tulifo/platform/mail"
)

// server is a real SMTP server whose answers a test decides.
type server struct {
	port          int
	sessions      atomic.Int64
	mu            sync.Mutex
	bodies        []string
	conns         []net.Conn
	onMail        error
	onRcpt        error
	onData        error
	user          string
	authenticated atomic.Bool
	encrypted     atomic.Bool
}

func serve(t *testing.T, s *server, how func(*smtp.Server), wrap func(net.Listener) net.Listener) *server {
	t.Helper()
	l := listen(t)
	s.port = l.Addr().(*net.TCPAddr).Port
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s.sessions.Add(1)
		s.mu.Lock()
		s.conns = append(s.conns, c.Conn())
		s.mu.Unlock()
		return &talk{s, c}, nil
	}))
	srv.Domain = "test"
	srv.ErrorLog = log.New(io.Discard, "", 0)
	srv.AllowInsecureAuth = true
	srv.EnableSMTPUTF8 = true
	if how != nil {
		how(srv)
	}
	if wrap != nil {
		l = wrap(l)
	}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return s
}

type talk struct {
	s *server
	c *smtp.Conn
}

func (k *talk) AuthMechanisms() []string { return []string{sasl.Plain} }
func (k *talk) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != k.s.user || password != "right" {
			return smtp.ErrAuthFailed
		}
		k.s.authenticated.Store(true)
		return nil
	}), nil
}
func (k *talk) Mail(string, *smtp.MailOptions) error {
	_, tls := k.c.TLSConnectionState()
	k.s.encrypted.Store(tls)
	return k.s.onMail
}
func (k *talk) Rcpt(string, *smtp.RcptOptions) error { return k.s.onRcpt }
func (k *talk) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil || k.s.onData != nil {
		return cmp.Or(err, k.s.onData)
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.bodies = append(k.s.bodies, string(b))
	return nil
}
func (k *talk) Reset()        {}
func (k *talk) Logout() error { return nil }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func config(port int) mail.Config {
	return mail.Config{Host: "127.0.0.1", Port: port, From: "Tulifo <no-reply@tulifo.test>", TLS: mail.TLSIfCan, Timeout: 5 * time.Second}
}

func sender(t *testing.T, c mail.Config, opts ...mail.SenderOption) *mail.Sender {
	t.Helper()
	s, err := mail.NewSender(c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func message(to string) mail.Message {
	return mail.Message{ID: "0190-1", To: to, Subject: "Hello", Text: "Good day.\n"}
}

func TestSendWritesAMultipartMessage(t *testing.T) {
	srv := serve(t, &server{}, nil, nil)
	m := message("ann@example.com")
	m.Subject, m.HTML, m.Unsubscribe = "Grüße aus Köln", "<p>Good day.</p>", "https://tulifo.test/api/notifications/unsubscribe/abc?x=1"
	if err := sender(t, config(srv.port)).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"From: \"Tulifo\" <no-reply@tulifo.test>", "To: <ann@example.com>", "Subject: =?UTF-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=", "Message-ID: <0190-1@tulifo.test>",
		"List-Unsubscribe: <https://tulifo.test/api/notifications/unsubscribe/abc?x=1>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
		"multipart/alternative", "text/plain", "Good day.", "<p>Good day.</p>", "Auto-Submitted: auto-generated",
	} {
		if !strings.Contains(strings.ReplaceAll(srv.bodies[0], "\r\n ", " "), want) {
			t.Errorf("without %q:\n%s", want, srv.bodies[0])
		}
	}
}

func TestNothingInAMessageAddsAHeaderOrARecipient(t *testing.T) {
	srv := serve(t, &server{}, nil, nil)
	s := sender(t, config(srv.port))
	evil := "x\r\nBcc: evil@example.com\r\n\r\nbody"
	for what, change := range map[string]func(*mail.Message){
		"id":                  func(m *mail.Message) { m.ID = evil },
		"no id":               func(m *mail.Message) { m.ID = "" },
		"recipient":           func(m *mail.Message) { m.To = "ann@example.com\r\nRCPT TO:<evil@example.com>" },
		"two recipients":      func(m *mail.Message) { m.To = "ann@example.com, evil@example.com" },
		"recipient with name": func(m *mail.Message) { m.To = "Ann <ann@example.com>" },
		"quoted recipient":    func(m *mail.Message) { m.To = `"a b"@example.com` },
		"no recipient":        func(m *mail.Message) { m.To = "" },
		"unsubscribe":         func(m *mail.Message) { m.Unsubscribe = "https://x.test/>\r\nBcc: evil@example.com" },
		"unsubscribe script":  func(m *mail.Message) { m.Unsubscribe = "javascript:alert(1)" },
		"no text":             func(m *mail.Message) { m.Text = "" },
		"text not UTF-8":      func(m *mail.Message) { m.Text = "\xff" },
		"huge text":           func(m *mail.Message) { m.Text = strings.Repeat("x", 2<<20) },
	} {
		m := message("ann@example.com")
		change(&m)
		if err := s.Send(t.Context(), m); !mail.Permanent(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := srv.sessions.Load(); n != 0 {
		t.Errorf("%d connections for messages that cannot be sent", n)
	}
	m := message("ann@example.com")
	m.Subject, m.Text = evil+"\x00"+strings.Repeat("y", 1000), "fine\r\n.\r\nRCPT TO:<evil@example.com>\r\n"
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(srv.bodies[0], "\r\n\r\n")
	if strings.Contains(head, "\nBcc") || len(srv.bodies) != 1 || !strings.Contains(srv.bodies[0], "\r\n.\r\nRCPT") {
		t.Errorf("%d messages:\n%s", len(srv.bodies), srv.bodies[0])
	}
}

func TestErrorsSayWhetherToTryAgain(t *testing.T) {
	code := func(n int) error {
		return &smtp.SMTPError{Code: n, EnhancedCode: smtp.NoEnhancedCode, Message: "because"}
	}
	for what, c := range map[string]struct {
		s         *server
		permanent bool
	}{
		"unknown recipient":   {&server{onRcpt: code(550)}, true},
		"mailbox full":        {&server{onRcpt: code(452)}, false},
		"greylisted":          {&server{onRcpt: code(451)}, false},
		"content refused":     {&server{onData: code(554)}, true},
		"disk full":           {&server{onData: code(452)}, false},
		"sender not allowed":  {&server{onMail: code(550)}, false},
		"login wanted":        {&server{onRcpt: code(530)}, false},
		"server out of order": {&server{onMail: code(421)}, false},
	} {
		t.Run(what, func(t *testing.T) {
			srv := serve(t, c.s, nil, nil)
			s := sender(t, config(srv.port))
			for range 2 {
				if err := s.Send(t.Context(), message("ann@example.com")); err == nil || mail.Permanent(err) != c.permanent {
					t.Errorf("%v", err)
				}
			}
		})
	}
	if mail.Permanent(nil) || mail.Permanent(errors.New("other")) {
		t.Error("what is not ours is permanent")
	}
}

func TestAServerThatIsAwayOrSilentCostsABoundedTime(t *testing.T) {
	l := listen(t)
	c := config(l.Addr().(*net.TCPAddr).Port)
	c.Timeout = 300 * time.Millisecond
	start := time.Now()
	if err := sender(t, c).Send(t.Context(), message("ann@example.com")); err == nil || mail.Permanent(err) {
		t.Errorf("a silent server: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	c.Timeout = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start = time.Now()
	if err := sender(t, c).Send(ctx, message("ann@example.com")); !errors.Is(err, context.DeadlineExceeded) || mail.Permanent(err) {
		t.Errorf("a request that gives up: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	_ = l.Close()
	if err := sender(t, c).Send(t.Context(), message("ann@example.com")); err == nil || mail.Permanent(err) {
		t.Errorf("no server: %v", err)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	srv := serve(t, &server{}, nil, nil)
	s := sender(t, config(srv.port))
	for range 10 {
		if err := s.Send(t.Context(), message("ann@example.com")); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.sessions.Load(); n != 1 {
		t.Errorf("%d connections for ten messages", n)
	}
	srv.mu.Lock()
	for _, c := range srv.conns {
		_ = c.Close()
	}
	srv.mu.Unlock()
	if err := s.Send(t.Context(), message("ann@example.com")); err != nil {
		t.Errorf("after the server hung up: %v", err)
	}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if err := s.Send(t.Context(), message("ann@example.com")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := srv.sessions.Load(); n > 6 {
		t.Errorf("%d connections", n)
	}
	if len(srv.bodies) != 51 {
		t.Errorf("%d messages", len(srv.bodies))
	}
}

func TestEncryption(t *testing.T) {
	cert, roots := certificate(t)
	starttls := func(s *smtp.Server) { s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} }
	implicit := func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	for what, c := range map[string]struct {
		how       func(*smtp.Server)
		wrap      func(net.Listener) net.Listener
		tls       mail.TLS
		trust     bool
		user      string
		password  string
		ok        bool
		encrypted bool
	}{
		"off":                                 {starttls, nil, mail.TLSOff, true, "", "", true, false},
		"starttls when offered":               {starttls, nil, mail.TLSIfCan, true, "", "", true, true},
		"plain when not offered":              {nil, nil, mail.TLSIfCan, true, "", "", true, false},
		"starttls required":                   {starttls, nil, mail.TLSStart, true, "ann", "right", true, true},
		"starttls required and not offered":   {nil, nil, mail.TLSStart, true, "", "", false, false},
		"a certificate that nobody signed":    {starttls, nil, mail.TLSStart, false, "", "", false, false},
		"implicit":                            {nil, implicit, mail.TLSImplicit, true, "ann", "right", true, true},
		"implicit with an unknown authority":  {nil, implicit, mail.TLSImplicit, false, "", "", false, false},
		"a wrong password, to be set right":   {starttls, nil, mail.TLSStart, true, "ann", "wrong", false, false},
		"a password to the machine itself":    {nil, nil, mail.TLSIfCan, true, "ann", "right", true, false},
		"no encryption where it is mandatory": {nil, nil, mail.TLSImplicit, true, "", "", false, false},
	} {
		t.Run(what, func(t *testing.T) {
			srv := serve(t, &server{user: "ann"}, c.how, c.wrap)
			conf := config(srv.port)
			conf.TLS, conf.User, conf.Password, conf.Timeout = c.tls, c.user, c.password, 10*time.Second
			trust := &tls.Config{}
			if c.trust {
				trust.RootCAs = roots
			}
			s := sender(t, conf, mail.WithTLSConfig(trust))
			err := s.Send(t.Context(), message("ann@example.com"))
			if (err == nil) != c.ok || mail.Permanent(err) {
				t.Fatalf("%v", err)
			}
			if srv.encrypted.Load() != c.encrypted || c.ok && srv.authenticated.Load() != (c.user != "") {
				t.Errorf("encrypted %v, logged in %v", srv.encrypted.Load(), srv.authenticated.Load())
			}
			if err != nil && strings.Contains(err.Error(), "right") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}

func TestThePasswordNeverTravelsInTheOpen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server{user: "ann"}
	serve(t, srv, nil, func(unused net.Listener) net.Listener { _ = unused.Close(); return l })
	conf := config(l.Addr().(*net.TCPAddr).Port)
	conf.Host, conf.User, conf.Password = "127.0.0.2", "ann", "right"
	if err := sender(t, conf).Send(t.Context(), message("ann@example.com")); err == nil || srv.authenticated.Load() {
		t.Errorf("it was sent: %v", err)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	err := mail.Config{From: "nobody", TLS: "maybe", Password: "x"}.Validate()
	for _, want := range []string{"SMTP_HOST", "SMTP_PORT", "SMTP_FROM", "SMTP_TLS", "SMTP_TIMEOUT", "SMTP_USER"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", want, err)
		}
	}
	if err := config(25).Validate(); err != nil {
		t.Error(err)
	}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
