package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/mail"
	"tulifo/platform/stripesim"
)

// serve runs the named services and other parts in this process until ctx ends. Stores come from the environment; nothing is embedded but
// what is named.
func serve(ctx context.Context, names []string, dir string, portBase int, environment map[string]string, out io.Writer, log *slog.Logger) error {
	if err := known(names); err != nil {
		return usageError{err}
	}
	if environment["HOST"] == "" {
		environment["HOST"] = "0.0.0.0"
	}
	c, err := readConfig(environment)
	if err != nil {
		return err
	}
	c.PortBase = portBase
	d := &doors{host: c.Host, log: log}
	defer func() { d.shut(10 * time.Second) }()
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if slices.Contains(names, "inbox") {
		if err := serveInbox(loops, c, d, dir, log); err != nil {
			return err
		}
	}
	if slices.Contains(names, "stripe-simulator") {
		if err := serveSimulator(loops, c, d, dir, log); err != nil {
			return err
		}
	}
	end := func() {}
	if len(chosen(names)) > 0 || slices.Contains(names, "gateway") {
		if end, err = serveNode(ctx, loops, names, c, d, log); err != nil {
			return err
		}
	}
	for _, o := range d.all {
		fmt.Fprintf(out, "%s: %s\n", o.name, o.url())
	}
	<-ctx.Done()
	end()
	return nil
}

// serveNode serves services and gateway; the answer makes them stop.
func serveNode(ctx, loops context.Context, names []string, c Config, d *doors, log *slog.Logger) (end func(), err error) {
	if c.DatabaseURL == "" {
		return nil, errors.New("DATABASE_URL is not set; serve takes its stores from the environment (tulifo up brings its own)")
	}
	alone := len(names) == 1
	rooms := map[string]*door{}
	for _, e := range chosen(names) {
		port, err := c.port(e.name, e.port, alone)
		if err != nil {
			return nil, err
		}
		if rooms[e.name], err = d.open(e.name, port); err != nil {
			return nil, err
		}
	}
	withGateway := slices.Contains(names, "gateway")
	n, err := newNode(ctx, c, log, nodeOptions{names: names, clock: clock.System, poolMax: 10, accessLog: !withGateway, remote: true})
	if err != nil {
		return nil, err
	}
	if withGateway {
		if err := n.openGateway(c, d, alone); err != nil {
			n.close()
			return nil, err
		}
	}
	for _, r := range n.rooms {
		d.serve(rooms[r.name], r.router, nil)
	}
	n.ready(true)
	running, stop := context.WithCancel(loops)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		n.run(running)
	}()
	return func() {
		n.ready(false)
		if n.gateway != nil {
			n.gateway.Drain()
		}
		d.shut(10 * time.Second)
		stop()
		<-finished
		n.close()
	}, nil
}

// openGateway takes the gateway's ports and answers on them.
func (n *node) openGateway(c Config, d *doors, alone bool) error {
	port, err := c.port("gateway", gatewayPort, alone)
	if err != nil {
		return err
	}
	public, err := d.open("gateway", port)
	if err != nil {
		return err
	}
	if port, err = c.port("gateway-admin", adminPort, false); err != nil {
		return err
	}
	admin, err := d.open("gateway admin", port)
	if err != nil {
		return err
	}
	cert, err := certificate(c)
	if err != nil {
		return err
	}
	d.serve(public, n.gateway.Handler(), nil)
	d.serve(admin, n.gateway.Admin(), nil)
	if cert != nil {
		secure, err := d.open("gateway (TLS)", 8443+c.PortBase)
		if err != nil {
			return err
		}
		d.serve(secure, n.gateway.Handler(), cert)
	}
	return nil
}

func serveInbox(ctx context.Context, c Config, d *doors, dir string, log *slog.Logger) error {
	where, err := openData(orDefault(dir, c))
	if err != nil {
		return err
	}
	inbox, err := mail.NewInbox(where.path("inbox"), log)
	if err != nil {
		return err
	}
	smtp, err := d.open("inbox (SMTP)", smtpPort+c.PortBase)
	if err != nil {
		return err
	}
	page, err := d.open("inbox", inboxPort+c.PortBase)
	if err != nil {
		return err
	}
	d.serve(page, inbox.Handler(), nil)
	l := smtp.lend()
	go func() {
		if err := inbox.ServeSMTP(ctx, l); err != nil && ctx.Err() == nil {
			log.Error("the inbox takes no mail any more", "error", err)
		}
	}()
	return nil
}

func serveSimulator(ctx context.Context, c Config, d *doors, dir string, log *slog.Logger) error {
	if c.Env == production {
		return errors.New("the Stripe simulator moves no real money and is refused in production; set STRIPE_SECRET_KEY to Stripe's")
	}
	where, err := openData(orDefault(dir, c))
	if err != nil {
		return err
	}
	env := c.environment
	if env["STRIPE_SECRET_KEY"] == "" || env["STRIPE_WEBHOOK_SECRET"] == "" {
		return errors.New("the Stripe simulator needs STRIPE_SECRET_KEY, STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRET, the same as payment has")
	}
	webhook := env["STRIPE_WEBHOOK_URL"]
	if webhook == "" {
		webhook = c.PublicURL + "/api/payments/webhook"
	}
	sim, err := stripesim.New(stripesim.Options{Dir: where.path("stripe"), SecretKey: env["STRIPE_SECRET_KEY"], PublishableKey: env["STRIPE_PUBLISHABLE_KEY"],
		WebhookSecret: env["STRIPE_WEBHOOK_SECRET"], WebhookURL: webhook, Log: log})
	if err != nil {
		return err
	}
	door, err := d.open("stripe-simulator", stripePort+c.PortBase)
	if err != nil {
		return errors.Join(err, sim.Close())
	}
	d.serve(door, sim.Handler(), nil)
	go func() {
		sim.Run(ctx)
		sim.Close()
	}()
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
