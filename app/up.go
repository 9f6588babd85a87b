package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/crash"
	"tulifo/platform/mail"
	"tulifo/platform/postgres"
	"tulifo/platform/stripesim"
	"tulifo/platform/token"
)

const (
	gatewayPort, adminPort             = 8000, 8001
	secureGatewayPort, secureAdminPort = 8443, 8444
	smtpPort, inboxPort                = 1025, 8025
	stripePort                         = 12111
	embeddedDatabase                   = "tulifo"

	smtpDoor = "the inbox (SMTP)"
	// drainTime is how long requests that have begun may take after a signal; with all that follows it stays below patience.
	drainTime = 8 * time.Second
)

// upOptions are the flags of up.
type upOptions struct {
	dir        string
	portBase   int
	demo       bool
	seed       uint64
	singleNode bool
	begins     bool           // a rehearsal is to begin; one that has begun is refused
	clock      clock.Clock    // business time; the system's when nil
	started    func(*machine) // is told when everything runs; may be nil
}

// machine is everything of one installation in one process.
type machine struct {
	c         Config
	data      data
	unlock    func()
	log       *slog.Logger
	out       io.Writer
	doors     *doors
	postgres  *postgres.Server
	simulated bool // the rail is the simulator
	stripe    *stripesim.Simulator
	ownInbox  bool
	inbox     *mail.Inbox
	stores    sync.WaitGroup // what stripe and inbox have running
	node      *node
	rooms     map[string]*door

	gateway, admin, secure, secureAdmin, smtp, page, rail *door
}

// up runs every service, the gateway and the embedded stores in this process until ctx ends. A start that is interrupted is no error.
func up(ctx context.Context, o upOptions, environment map[string]string, out io.Writer, log *slog.Logger) error {
	err := upUntil(ctx, o, environment, out, log)
	if err != nil && ctx.Err() != nil {
		log.Debug("the start was interrupted", "error", err)
		fmt.Fprintln(out, "Stopped before everything ran.")
		return nil
	}
	return err
}

func upUntil(ctx context.Context, o upOptions, environment map[string]string, out io.Writer, log *slog.Logger) error {
	began := time.Now()
	m, err := newMachine(ctx, o, environment, out, log)
	if err != nil {
		return err
	}
	defer m.close()
	business := o.clock
	var past *clock.Virtual
	if o.demo {
		past = clock.NewVirtual(time.Now().Add(-demoFull.past))
		business = past
	}
	if m.node, err = newNode(ctx, m.c, log, nodeOptions{names: append(serviceNames(), "gateway"), clock: business, poolMax: 6}); err != nil {
		return err
	}
	if m.node.rehearsal != nil && !m.node.begun && o.begins {
		return fmt.Errorf("this rehearsal has begun, and it is %s there; leave --at out, or move its clock with tulifo clock set", m.node.rehearsal.Now().Format(time.RFC3339))
	}
	outlive := context.WithoutCancel(ctx)
	stores, stopStores := context.WithCancel(outlive)
	defer m.stores.Wait()
	defer stopStores()
	m.serveStores(stores)
	loops, stopLoops := context.WithCancel(outlive)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		m.node.run(loops)
	}()
	defer func() {
		stopLoops()
		<-finished
	}()
	m.serve()
	m.node.ready(true)
	if past != nil {
		if err := m.seed(ctx, past, o.seed, demoFull); err != nil {
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
	m.drain()
	return nil
}

// newMachine reads the configuration, opens the data directory and the ports, and starts Postgres unless the environment names one.
func newMachine(ctx context.Context, o upOptions, environment map[string]string, out io.Writer, log *slog.Logger) (_ *machine, err error) {
	if err := warnUnread(environment, log); err != nil {
		return nil, err
	}
	if environment["HOST"] == "" {
		environment["HOST"] = loopback
	}
	if environment["PUBLIC_URL"] == "" {
		environment["PUBLIC_URL"] = "http://localhost:" + strconv.Itoa(gatewayPort+o.portBase)
	}
	m := &machine{out: out, log: log, simulated: environment["STRIPE_SECRET_KEY"] == "", ownInbox: environment["SMTP_HOST"] == ""}
	if m.c, err = readConfig(environment); err != nil {
		return nil, err
	}
	m.c.SingleNode, m.c.PortBase = o.singleNode, o.portBase
	if err := m.c.noEmbedded(); err != nil {
		return nil, err
	}
	if err := crash.Arm(environment["TULIFO_CRASH"], m.c.Env == production); err != nil {
		return nil, err
	}
	if o.demo && m.c.Rehearsal {
		return nil, usageError{errors.New("--demo brings its own past and is no rehearsal; say --demo or --rehearsal")}
	}
	if m.c.Rehearsal {
		if err := m.c.rehearsable(); err != nil {
			return nil, err
		}
	}
	if m.data, err = openData(orDefault(o.dir, m.c)); err != nil {
		return nil, err
	}
	environment["TULIFO_DATA"] = m.data.dir
	environment["TULIFO_DATA"] = m.data.dir
	if m.unlock, err = m.data.lock(ctx); err != nil {
		return nil, err
	}
	if err = m.data.rehearse(m.c.Rehearsal); err != nil {
		m.close()
		return nil, err
	}
	m.doors = &doors{host: m.c.Host, log: log}
	if err = m.furnish(ctx, environment); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// furnish starts the stores that the environment does not name, and has the environment name them. What is quick to refuse comes first.
func (m *machine) furnish(ctx context.Context, environment map[string]string) (err error) {
	if err = m.data.secrets(environment); err != nil {
		return err
	}
	if m.simulated && environment["STRIPE_API_URL"] == "" {
		environment["STRIPE_API_URL"] = "http://" + net.JoinHostPort(loopback, strconv.Itoa(stripePort+m.c.PortBase))
	}
	if m.ownInbox {
		environment["SMTP_HOST"], environment["SMTP_PORT"], environment["SMTP_TLS"] = loopback, strconv.Itoa(smtpPort+m.c.PortBase), "off"
	}
	if err = m.read(environment); err != nil {
		return err
	}
	if _, err = token.NewKeys(m.c.Token); err != nil {
		return err
	}
	if err = m.open(); err != nil {
		return err
	}
	if environment["DATABASE_URL"] == "" {
		if m.postgres, err = postgres.Start(ctx, postgres.Options{Dir: m.data.path("postgres"), Log: m.log, Progress: progress(m.out, "Fetching Postgres")}); err != nil {
			return err
		}
		environment["DATABASE_URL"] = m.postgres.URL(embeddedDatabase)
		// A pooler's settings are another database's.
		environment["DATABASE_DIRECT_URL"], environment["DATABASE_POOLED"] = "", "false"
		if err = m.read(environment); err != nil {
			return err
		}
	}
	if m.simulated {
		if err = m.simulate(); err != nil {
			return err
		}
	}
	if m.ownInbox {
		m.inbox, err = mail.NewInbox(m.data.path("inbox"), m.log)
	}
	return err
}

// read takes the environment as it is now.
func (m *machine) read(environment map[string]string) error {
	c, err := readConfig(environment)
	c.SingleNode, c.PortBase = m.c.SingleNode, m.c.PortBase
	m.c = c
	return err
}

// simulate starts the Stripe simulator.
func (m *machine) simulate() (err error) {
	env := m.c.environment
	m.stripe, err = stripesim.New(stripesim.Options{
		Dir: m.data.path("stripe"), SecretKey: env["STRIPE_SECRET_KEY"], PublishableKey: env["STRIPE_PUBLISHABLE_KEY"], WebhookSecret: env["STRIPE_WEBHOOK_SECRET"],
		WebhookURL: "http://" + net.JoinHostPort(reached(m.c.Host), strconv.Itoa(gatewayPort+m.c.PortBase)) + "/api/payments/webhook", Log: m.log,
	})
	return err
}

// reached is the address at which this machine itself reaches what listens on host.
func reached(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return loopback
	}
	return host
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
