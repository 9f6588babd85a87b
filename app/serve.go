package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tulifo/platform/crash"
	"tulifo/platform/mail"
	"tulifo/platform/stripesim"
)

// serving is what tulifo serve has running.
type serving struct {
	c     Config
	dir   string
	log   *slog.Logger
	doors *doors
	alone bool // one name: PORT is its port

	node   *node
	rooms  map[string]*door
	public []*door // the gateway's
	stores sync.WaitGroup
	closes []func() error
}

// serveOptions are the flags of tulifo serve.
type serveOptions struct {
	dir        string
	portBase   int
	singleNode bool
}

// serve runs the named services and other parts in this process until ctx ends. Stores come from the environment; nothing is embedded but
// what is named. A start that is interrupted is no error.
func serve(ctx context.Context, names []string, o serveOptions, environment map[string]string, out io.Writer, log *slog.Logger) error {
	err := serveUntil(ctx, names, o, environment, out, log)
	if err != nil && ctx.Err() != nil {
		log.Debug("the start was interrupted", "error", err)
		return nil
	}
	return err
}

func serveUntil(ctx context.Context, names []string, o serveOptions, environment map[string]string, out io.Writer, log *slog.Logger) error {
	if err := known(names); err != nil {
		return usageError{err}
	}
	if err := warnUnread(environment, log); err != nil {
		return err
	}
	if environment["HOST"] == "" {
		environment["HOST"] = "0.0.0.0"
	}
	if o.dir != "" {
		environment["TULIFO_DATA"] = o.dir
	}
	c, err := readConfig(environment)
	if err != nil {
		return err
	}
	if err := crash.Arm(environment["TULIFO_CRASH"], c.Env == production); err != nil {
		return err
	}
	c.PortBase, c.SingleNode = o.portBase, o.singleNode
	runs := len(chosen(names)) > 0 || slices.Contains(names, "gateway")
	if runs {
		if err := c.noneApart(names); err != nil {
			return err
		}
	}
	s := &serving{c: c, dir: o.dir, log: log, doors: &doors{host: c.Host, log: log}, alone: len(names) == 1, rooms: map[string]*door{}}
	outlive := context.WithoutCancel(ctx)
	stores, stopStores := context.WithCancel(outlive)
	defer func() { s.close(stopStores) }()
	if slices.Contains(names, "inbox") {
		if err := s.inbox(stores); err != nil {
			return err
		}
	}
	if slices.Contains(names, "stripe-simulator") {
		if err := s.simulator(stores); err != nil {
			return err
		}
	}
	if runs {
		if err := s.openNode(ctx, names); err != nil {
			return err
		}
		loops, stopLoops := context.WithCancel(outlive)
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			s.node.run(loops)
		}()
		defer func() {
			stopLoops()
			<-finished
		}()
		s.answer()
	}
	if s.node != nil && s.node.rehearsal != nil {
		fmt.Fprintf(out, "This is a rehearsal; it is %s here.\n", s.node.rehearsal.Now().Format(time.RFC3339))
	}
	for _, d := range s.doors.all {
		fmt.Fprintf(out, "%s: %s\n", d.name, d.url())
	}
	<-ctx.Done()
	s.drain()
	return nil
}

// close ends what was opened; the loops of the node have ended.
func (s *serving) close(stopStores func()) {
	s.doors.shut(time.Second)
	if s.node != nil {
		s.node.close()
	}
	stopStores()
	s.stores.Wait()
	for _, fn := range s.closes {
		if err := fn(); err != nil {
			s.log.Error("a store did not close", "error", err)
		}
	}
}

// openNode takes the ports of services and gateway, and builds them.
func (s *serving) openNode(ctx context.Context, names []string) (err error) {
	if s.c.DatabaseURL == "" {
		if s.c.needsPostgres(names) {
			return errors.New("DATABASE_URL is not set; serve takes its stores from the environment (tulifo up brings its own)")
		}
		if s.c.Rehearsal {
			return errors.New("DATABASE_URL is not set, and the clock of a rehearsal is in Postgres; name the database of the services that keep rows")
		}
	}
	for _, e := range chosen(names) {
		port, err := s.c.port(e.name, e.port, s.alone)
		if err != nil {
			return err
		}
		if s.rooms[e.name], err = s.open(e.name, port, nil); err != nil {
			return err
		}
	}
	withGateway := slices.Contains(names, "gateway")
	if withGateway {
		if err := s.openGateway(); err != nil {
			return err
		}
	}
	s.node, err = newNode(ctx, s.c, s.log, nodeOptions{names: names, poolMax: 10, accessLog: !withGateway, remote: true})
	return err
}

// open takes a port and answers there that the platform starts.
func (s *serving) open(name string, port int, cert *tls.Certificate) (*door, error) {
	d, err := s.doors.open(name, port)
	if err == nil {
		s.doors.greet(d, cert)
	}
	return d, err
}

// openGateway takes the gateway's ports: the public ones and, last, the admin page's.
func (s *serving) openGateway() error {
	cert, err := certificate(s.c)
	if err != nil {
		return err
	}
	port, err := s.c.port("gateway", gatewayPort, s.alone)
	if err != nil {
		return err
	}
	admin, err := s.c.port("gateway-admin", adminPort, false)
	if err != nil {
		return err
	}
	for _, o := range []struct {
		name string
		port int
		cert *tls.Certificate
	}{{"gateway", port, nil}, {"gateway (TLS)", secureGatewayPort + s.c.PortBase, cert}, {adminDoor, admin, nil}, {adminDoor + " (TLS)", secureAdminPort + s.c.PortBase, cert}} {
		if strings.HasSuffix(o.name, "(TLS)") && cert == nil {
			continue
		}
		d, err := s.open(o.name, o.port, o.cert)
		if err != nil {
			return err
		}
		s.public = append(s.public, d)
	}
	return nil
}

// adminDoor is the gateway's page for operators.
const adminDoor = "gateway admin"

func (s *serving) answer() {
	for _, r := range s.node.rooms {
		s.doors.serve(s.rooms[r.name], r.router)
	}
	for _, d := range s.public {
		if strings.HasPrefix(d.name, adminDoor) {
			s.doors.serve(d, s.node.marked(s.node.gateway.Admin()))
		} else {
			s.doors.serve(d, s.node.marked(s.node.gateway.Handler()))
		}
	}
	s.node.ready(true)
}

// drain lets what came from outside end; what is named beside the services serves to the last.
func (s *serving) drain() {
	if s.node == nil {
		return
	}
	s.node.ready(false)
	if s.node.gateway != nil {
		s.node.gateway.Drain()
		s.doors.shut(drainTime, s.public...)
	}
	s.doors.shut(drainTime/4, slices.Collect(maps.Values(s.rooms))...)
}

func (s *serving) inbox(ctx context.Context) error {
	where, err := openData(orDefault(s.dir, s.c))
	if err != nil {
		return err
	}
	smtp, err := s.doors.open("inbox (SMTP)", smtpPort+s.c.PortBase)
	if err != nil {
		return err
	}
	page, err := s.doors.open("inbox", inboxPort+s.c.PortBase)
	if err != nil {
		return err
	}
	inbox, err := mail.NewInbox(where.path("inbox"), s.log)
	if err != nil {
		return err
	}
	s.doors.serve(page, inbox.Handler())
	l := smtp.lend()
	s.stores.Go(func() {
		if err := inbox.ServeSMTP(ctx, l); err != nil && ctx.Err() == nil {
			s.log.Error("the inbox takes no mail any more", "error", err)
		}
	})
	return nil
}

func (s *serving) simulator(ctx context.Context) error {
	if s.c.Env == production {
		return errors.New("the Stripe simulator moves no real money and is refused in production; set STRIPE_SECRET_KEY to Stripe's")
	}
	where, err := openData(orDefault(s.dir, s.c))
	if err != nil {
		return err
	}
	env := s.c.environment
	if env["STRIPE_SECRET_KEY"] == "" || env["STRIPE_PUBLISHABLE_KEY"] == "" || env["STRIPE_WEBHOOK_SECRET"] == "" {
		return errors.New("the Stripe simulator needs STRIPE_SECRET_KEY, STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRET, the same as payment has")
	}
	webhook := env["STRIPE_WEBHOOK_URL"]
	if webhook == "" {
		webhook = s.c.PublicURL + "/api/payments/webhook"
	}
	door, err := s.doors.open("stripe-simulator", stripePort+s.c.PortBase)
	if err != nil {
		return err
	}
	sim, err := stripesim.New(stripesim.Options{Dir: where.path("stripe"), SecretKey: env["STRIPE_SECRET_KEY"], PublishableKey: env["STRIPE_PUBLISHABLE_KEY"],
		WebhookSecret: env["STRIPE_WEBHOOK_SECRET"], WebhookURL: webhook, Log: s.log})
	if err != nil {
		return err
	}
	s.closes = append(s.closes, sim.Close)
	s.doors.serve(door, sim.Handler())
	s.stores.Go(func() {
		if err := sim.Run(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("the Stripe simulator sends no webhooks any more", "error", err)
		}
	})
	return nil
}

func orDefault(dir string, c Config) string {
	if dir == "" {
		dir = c.Data
	}
	if dir == "" {
		dir = defaultData()
	}
	return dir
}
