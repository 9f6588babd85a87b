package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// open takes every port before anything is built, so that a busy one is told at once. Until serve they answer that the platform starts.
func (m *machine) open() (err error) {
	cert, err := certificate(m.c)
	if err != nil {
		return err
	}
	take := func(host, name string, port int, cert *tls.Certificate) *door {
		if err != nil {
			return nil
		}
		d, failed := m.doors.openAt(host, name, port+m.c.PortBase)
		if err = failed; err == nil && d.name != smtpDoor {
			m.doors.greet(d, cert)
		}
		return d
	}
	// What has no password listens on loopback, whatever HOST says.
	m.gateway, m.admin = take(m.c.Host, "the gateway", gatewayPort, nil), take(loopback, "the gateway's admin page", adminPort, nil)
	if cert != nil {
		m.secure, m.secureAdmin = take(m.c.Host, "the gateway (TLS)", secureGatewayPort, cert), take(loopback, "the gateway's admin page (TLS)", secureAdminPort, cert)
	}
	m.rooms = map[string]*door{}
	for _, e := range services {
		port, wrong := m.c.port(e.name, e.port, false)
		if wrong != nil {
			return wrong
		}
		m.rooms[e.name] = take(m.c.Host, e.name, port-m.c.PortBase, nil)
	}
	if m.ownInbox {
		m.smtp, m.page = take(loopback, smtpDoor, smtpPort, nil), take(loopback, "the inbox's page", inboxPort, nil)
	}
	if m.simulated {
		m.rail = take(loopback, "the Stripe simulator", stripePort, nil)
	}
	return err
}

// serveStores has the embedded rail and inbox answer: the services need them from the first moment to the last.
func (m *machine) serveStores(ctx context.Context) {
	if m.stripe != nil {
		m.doors.serve(m.rail, m.stripe.Handler())
		m.stores.Go(func() {
			if err := m.stripe.Run(ctx); err != nil && ctx.Err() == nil {
				m.log.Error("the Stripe simulator sends no webhooks any more", "error", err)
			}
		})
	}
	if m.inbox != nil {
		m.doors.serve(m.page, m.inbox.Handler())
		l := m.smtp.lend()
		m.stores.Go(func() {
			if err := m.inbox.ServeSMTP(ctx, l); err != nil && ctx.Err() == nil {
				m.log.Error("the inbox takes no mail any more", "error", err)
			}
		})
	}
}

// serve opens the services and, last, the gateway.
func (m *machine) serve() {
	for _, r := range m.node.rooms {
		m.doors.serve(m.rooms[r.name], r.router)
	}
	for _, d := range []*door{m.admin, m.secureAdmin} {
		if d != nil {
			m.doors.serve(d, m.node.marked(m.node.gateway.Admin()))
		}
	}
	for _, d := range []*door{m.gateway, m.secure} {
		if d != nil {
			m.doors.serve(d, m.node.marked(m.node.gateway.Handler()))
		}
	}
}

// drain ends what comes from outside, from the outermost door inwards. The stores stay: what has begun needs them.
func (m *machine) drain() {
	m.node.gateway.Drain()
	m.node.ready(false)
	m.doors.shut(drainTime, m.gateway, m.secure)
	m.doors.shut(drainTime/4, slices.Collect(maps.Values(m.rooms))...)
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
	if c := m.node.rehearsal; c != nil {
		fmt.Fprintf(w, "  THIS IS A REHEARSAL\tit is %s here; tulifo clock advance 72h moves on\n", c.Now().Format(time.RFC3339))
	}
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
		if err := m.stripe.Close(); err != nil {
			m.log.Error("the Stripe simulator did not close", "error", err)
		}
	}
	if m.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.postgres.Stop(ctx); err != nil {
			m.log.Error("Postgres did not stop", "error", err)
		}
	}
	if m.unlock != nil {
		m.unlock()
	}
}
