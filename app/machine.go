package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"tulifo/platform/mail"
)

// open takes every port before anything is built, so that a busy one is told at once.
func (m *machine) open() (err error) {
	m.rooms = map[string]*door{}
	take := func(name string, standard int) *door {
		if err != nil {
			return nil
		}
		var d *door
		d, err = m.doors.open(name, standard+m.c.PortBase)
		return d
	}
	m.gateway, m.admin = take("the gateway", gatewayPort), take("the gateway's admin page", adminPort)
	for _, e := range services {
		port, wrong := m.c.port(e.name, e.port, false)
		if wrong != nil {
			return wrong
		}
		m.rooms[e.name] = take(e.name, port-m.c.PortBase)
	}
	if m.ownInbox {
		m.smtp, m.page = take("the inbox (SMTP)", smtpPort), take("the inbox's page", inboxPort)
	}
	if m.stripe != nil {
		m.rail = take("the Stripe simulator", stripePort)
	}
	return err
}

// serveStores has the embedded rail and inbox answer: the services need them from the first moment.
func (m *machine) serveStores(ctx context.Context) {
	if m.stripe != nil {
		m.doors.serve(m.rail, m.stripe.Handler(), nil)
		go m.stripe.Run(ctx)
	}
	if m.inbox != nil {
		m.doors.serve(m.page, m.inbox.Handler(), nil)
		l := m.smtp.lend()
		go func() {
			if err := m.inbox.ServeSMTP(ctx, l); err != nil && ctx.Err() == nil {
				m.log.Error("the inbox takes no mail any more", "error", err)
			}
		}()
	}
}

// serve opens the services and, last, the gateway.
func (m *machine) serve() error {
	for _, r := range m.node.rooms {
		m.doors.serve(m.rooms[r.name], r.router, nil)
	}
	m.doors.serve(m.admin, m.node.gateway.Admin(), nil)
	cert, err := certificate(m.c)
	if err != nil {
		return err
	}
	m.doors.serve(m.gateway, m.node.gateway.Handler(), nil)
	if cert == nil {
		return nil
	}
	for name, port := range map[string]int{"the gateway (TLS)": 8443, "the gateway's admin page (TLS)": 8444} {
		d, err := m.doors.open(name, port+m.c.PortBase)
		if err != nil {
			return err
		}
		h := m.node.gateway.Handler()
		if port == 8444 {
			h = m.node.gateway.Admin()
		}
		m.doors.serve(d, h, cert)
	}
	return nil
}

// certificate is the gateway's, when there is one.
func certificate(c Config) (*tls.Certificate, error) {
	if c.TLSCertFile == "" && c.TLSKeyFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT_FILE and TLS_KEY_FILE: %w", err)
	}
	return &cert, nil
}

func (m *machine) openInbox() (err error) {
	m.inbox, err = mail.NewInbox(m.data.path("inbox"), m.log)
	return err
}

func (m *machine) where() running {
	r := running{PID: os.Getpid(), DatabaseURL: m.c.DatabaseDirectURL, Gateway: m.gateway.url()}
	if m.page != nil {
		r.Inbox = m.page.url()
	}
	if m.rail != nil {
		r.Stripe = m.rail.url()
	}
	return r
}

// welcome says where everything is.
func (m *machine) welcome(took time.Duration) {
	w := tabwriter.NewWriter(m.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "\nTulifo runs (ready after %s).\n\n", took.Round(10*time.Millisecond))
	fmt.Fprintf(w, "  Platform\t%s\n  API pages\t%s/docs\n", m.c.PublicURL, m.c.PublicURL)
	if m.page != nil {
		fmt.Fprintf(w, "  Inbox (mail that was sent)\t%s\n", m.page.url())
	}
	if m.rail != nil {
		fmt.Fprintf(w, "  Stripe simulator\t%s\n", m.rail.url())
	}
	fmt.Fprintf(w, "  Gateway's state, metrics\t%s/status, /metrics\n", m.admin.url())
	fmt.Fprintf(w, "  Data\t%s\n\n  A first look: tulifo tour    Stop: Ctrl-C\n\n", m.data.dir)
	w.Flush()
}

// close ends what newMachine and open began, stores last.
func (m *machine) close() {
	if m.doors != nil {
		m.doors.shut(time.Second)
	}
	if m.node != nil {
		m.node.close()
	}
	if m.stripe != nil {
		m.stripe.Close()
	}
	if m.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.postgres.Stop(ctx); err != nil {
			m.log.Error("Postgres did not stop", "error", err)
		}
	}
}
