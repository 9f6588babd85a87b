package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/mail"
	"tulifo/platform/postgres"
	"tulifo/platform/stripesim"
)

const (
	gatewayPort, adminPort = 8000, 8001
	smtpPort, inboxPort    = 1025, 8025
	stripePort             = 12111
	embeddedDatabase       = "tulifo"
)

// upOptions are the flags of up.
type upOptions struct {
	dir        string
	portBase   int
	demo       bool
	seed       uint64
	singleNode bool
	clock      clock.Clock    // business time; the system's when nil
	started    func(*machine) // is told when everything runs; may be nil
}

// machine is everything of one installation in one process.
type machine struct {
	c        Config
	data     data
	log      *slog.Logger
	out      io.Writer
	doors    *doors
	postgres *postgres.Server
	stripe   *stripesim.Simulator
	inbox    *mail.Inbox
	ownInbox bool
	node     *node
	gateway  *door
	admin    *door
	smtp     *door
	page     *door
	rail     *door
	rooms    map[string]*door
}

// up runs every service, the gateway and the embedded stores in this process until ctx ends.
func up(ctx context.Context, o upOptions, environment map[string]string, out io.Writer, log *slog.Logger) error {
	began := time.Now()
	m, err := newMachine(ctx, o, environment, out, log)
	if err != nil {
		return err
	}
	defer m.close()
	if err = m.open(); err != nil {
		return err
	}
	business := o.clock
	if business == nil {
		business = clock.System
	}
	var past *clock.Virtual
	if o.demo {
		past = clock.NewVirtual(time.Now().Add(-demoPast))
		business = past
	}
	if m.node, err = newNode(ctx, m.c, log, nodeOptions{names: append(serviceNames(), "gateway"), clock: business, poolMax: 6}); err != nil {
		return err
	}
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		m.node.run(loops)
	}()
	defer func() {
		stop()
		<-finished
	}()
	m.serveStores(loops)
	if err := m.serve(); err != nil {
		return err
	}
	m.node.ready(true)
	if past != nil {
		if err := m.seed(ctx, past, o.seed); err != nil {
			return err
		}
		past.Follow()
	}
	if err := m.data.announce(m.where()); err != nil {
		return err
	}
	defer m.data.retract()
	m.welcome(time.Since(began))
	if o.started != nil {
		o.started(m)
	}
	<-ctx.Done()
	fmt.Fprintln(out, "Stopping: requests and messages that have begun are finished.")
	m.node.ready(false)
	m.doors.shut(10 * time.Second)
	return nil
}

// newMachine reads the configuration, opens the data directory, and starts Postgres unless the environment names one.
func newMachine(ctx context.Context, o upOptions, environment map[string]string, out io.Writer, log *slog.Logger) (*machine, error) {
	c, err := readConfig(environment)
	if err != nil {
		return nil, err
	}
	c.SingleNode = o.singleNode
	if err := c.noEmbedded(); err != nil {
		return nil, err
	}
	if o.dir == "" {
		o.dir = c.Data
	}
	if o.dir == "" {
		o.dir = defaultData()
	}
	d, err := openData(o.dir)
	if err != nil {
		return nil, err
	}
	m := &machine{data: d, out: out, log: log}
	if environment["HOST"] == "" {
		environment["HOST"] = "127.0.0.1"
	}
	m.doors = &doors{host: environment["HOST"], log: log}
	if environment["PUBLIC_URL"] == "" {
		environment["PUBLIC_URL"] = "http://localhost:" + strconv.Itoa(gatewayPort+o.portBase)
	}
	if environment["DATABASE_URL"] == "" {
		if m.postgres, err = postgres.Start(ctx, postgres.Options{Dir: d.path("postgres"), Log: log, Progress: progress(out, "Fetching Postgres")}); err != nil {
			return nil, err
		}
		environment["DATABASE_URL"] = m.postgres.URL(embeddedDatabase)
	}
	simulated := environment["STRIPE_SECRET_KEY"] == ""
	if err := d.secrets(environment); err != nil {
		m.close()
		return nil, err
	}
	if simulated {
		environment["STRIPE_API_URL"] = "http://127.0.0.1:" + strconv.Itoa(stripePort+o.portBase)
	}
	if environment["SMTP_HOST"] == "" {
		environment["SMTP_HOST"], environment["SMTP_PORT"], environment["SMTP_TLS"] = "127.0.0.1", strconv.Itoa(smtpPort+o.portBase), "off"
		m.ownInbox = true
	}
	if m.c, err = readConfig(environment); err != nil {
		m.close()
		return nil, err
	}
	m.c.SingleNode, m.c.PortBase = o.singleNode, o.portBase
	if simulated {
		err = m.simulate()
	}
	if err == nil && m.ownInbox {
		err = m.openInbox()
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// simulate starts the Stripe simulator.
func (m *machine) simulate() (err error) {
	env := m.c.environment
	m.stripe, err = stripesim.New(stripesim.Options{
		Dir: m.data.path("stripe"), SecretKey: env["STRIPE_SECRET_KEY"], PublishableKey: env["STRIPE_PUBLISHABLE_KEY"], WebhookSecret: env["STRIPE_WEBHOOK_SECRET"],
		WebhookURL: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(gatewayPort+m.c.PortBase)) + "/api/payments/webhook", Log: m.log,
	})
	return err
}

// progress draws a bar on one line of out.
func progress(out io.Writer, what string) func(done, total int64) {
	last := -1
	return func(done, total int64) {
		if total <= 0 {
			return
		}
		percent := int(done * 100 / total)
		if percent == last {
			return
		}
		last = percent
		const width = 30
		bar := make([]byte, width)
		for i := range bar {
			bar[i] = ' '
			if i < percent*width/100 {
				bar[i] = '#'
			}
		}
		end := ""
		if percent == 100 {
			end = "\n"
		}
		fmt.Fprintf(out, "\r%s [%s] %3d %%%s", what, bar, percent, end)
	}
}
