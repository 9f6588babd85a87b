// Package gateway is the platform's public door: it takes every request from outside, keeps out what must not come in, and hands the rest to the service that answers it.
//
// The route table is a kong.yml and nothing else; what cannot be understood in it fails at the start, with its line. A service in the same process is called as a
// function, any other through a socket, and a client cannot tell which. What always holds:
//   - a request counts against its client's limit exactly once, however many come at once and whatever X-Forwarded-For it claims;
//   - a request is sent to a second target only when no connection to the first could be made, so nothing is done twice;
//   - every failure is answered in the platform's envelope, with the request's id, before the route's deadline and a moment;
//   - a service sees a client's address, request id and trace only as the gateway states them.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/errs"
	"tulifo/platform/kv"
)

// Options is what a gateway is made of. Only Config is required.
type Options struct {
	Config  []byte // the text of kong.yml
	Overlay []byte // plugins in the same format, which replace those of the same name and scope; for tests and benchmarks

	Local map[string]Local // services in this process by their name in kong.yml
	// Targets are the addresses (http://host:port or host:port) that stand in the environment for a service; they replace those of kong.yml.
	Targets func(service string) []string
	// Remote has services that are neither local nor named by Targets reached at the targets of kong.yml. Without it they are not installed.
	Remote bool
	Web    *url.URL // where the web app answers; nil: a small landing page stands in for it

	Limits         kv.Store                      // counts requests; nil: this process's memory
	TrustedProxies []netip.Prefix                // peers whose X-Forwarded-For is believed
	CORSOrigins    []string                      // replace the origins of kong.yml when there are any
	RejectToken    func(header http.Header) bool // true for a token that must not come from outside, as a service's own; nil: none
	// Watch is told of a connection that stays open, a websocket or an event stream, and has end called when the sign-in that opened it ends; leave is
	// called when it has closed by itself. nil: such connections last as long as their two sides want.
	Watch       func(r *http.Request, end func()) (leave func())
	LogEndpoint string // where http-log sends to; it switches the plugin on

	Log     *slog.Logger         // nil: the default
	Metrics *prometheus.Registry // nil: one of its own
}

// Gateway is safe for use by many goroutines.
type Gateway struct {
	log      *slog.Logger
	config   *config
	table    *table
	proxies  proxies
	limiter  *limiter
	reject   func(http.Header) bool
	watch    func(*http.Request, func()) func()
	metrics  *metrics
	sinks    []*sink
	docs     *docs
	draining atomic.Bool
	started  time.Time
}

// Memory of a client address costs about 200 bytes.
const mostClients = 200_000

// New reads the route table and connects the services to it. Its error names what is wrong in the file, with the line.
func New(o Options) (*Gateway, error) {
	c, err := parse(o.Config, o.Overlay)
	if err != nil {
		return nil, err
	}
	g := &Gateway{log: o.Log, config: c, proxies: o.TrustedProxies, reject: o.RejectToken, started: time.Now()}
	if g.log == nil {
		g.log = slog.Default()
	}
	if g.watch = o.Watch; g.watch == nil {
		g.watch = func(*http.Request, func()) func() { return func() {} }
	}
	if g.reject == nil {
		g.reject = func(http.Header) bool { return false }
	}
	if o.Limits == nil {
		o.Limits = kv.NewMemory(mostClients)
	}
	g.limiter = &limiter{store: kv.NewBounded(o.Limits, mostClients)}
	registry := o.Metrics
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	g.metrics = newMetrics(registry, g)
	if err := g.connect(o); err != nil {
		return nil, err
	}
	if err := g.adjust(o); err != nil {
		return nil, err
	}
	g.table = newTable(c)
	g.docs = newDocs(g)
	return g, nil
}

// connect decides for each service how it is reached.
func (g *Gateway) connect(o Options) error {
	for n, l := range o.Local {
		if l.Handler == nil {
			return fmt.Errorf("gateway: the service %q runs here without a handler", n)
		}
		if !slices.ContainsFunc(g.config.services, func(s *service) bool { return s.name == n }) {
			return fmt.Errorf("gateway: the service %q runs here but is not in kong.yml", n)
		}
	}
	for _, s := range g.config.services {
		if l, ok := o.Local[s.name]; ok {
			s.local = &l
			continue
		}
		var targets []string
		if o.Targets != nil {
			targets = o.Targets(s.name)
		}
		switch {
		case len(targets) > 0:
		case s.name == "web" && o.Web != nil:
			targets = []string{o.Web.String()}
		case o.Remote && s.name != "web":
			targets = s.upstream.targets
		default:
			continue
		}
		p, err := newPool(g, s, targets)
		if err != nil {
			return err
		}
		s.pool = p
	}
	return nil
}

// adjust applies what the environment says about plugins.
func (g *Gateway) adjust(o Options) error {
	var environment *logSink // stands in where the table has no http-log
	if o.LogEndpoint != "" {
		environment = &logSink{method: http.MethodPost, contentType: "application/json", timeout: 5 * time.Second}
	}
	for _, s := range g.config.services {
		for _, r := range s.routes {
			if len(o.CORSOrigins) > 0 && r.plugins.cors != nil {
				c := *r.plugins.cors
				if c.origins = o.CORSOrigins; c.check() != nil {
					return fmt.Errorf("gateway: CORS_ORIGIN: %w", c.check())
				}
				c.written()
				r.plugins.cors = &c
			}
			l := r.plugins.log
			if l == nil {
				l = environment
			}
			if l == nil {
				continue
			}
			r.plugins.log = l
			if l.sink != nil {
				continue // shared by many routes
			}
			if o.LogEndpoint != "" {
				l.endpoint = o.LogEndpoint
			}
			l.sink = newSink(g, l)
			g.sinks = append(g.sinks, l.sink)
		}
	}
	return nil
}

// Handler is the public door, for port 8000. Serve it with NewServer. It takes the requests over that it is given: the header of one is changed.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serve) }

// Run probes the targets of remote services and ships logs until ctx ends. The gateway serves without it too, but an ejected target then never returns.
func (g *Gateway) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range g.config.services {
		if s.pool != nil {
			for _, t := range s.pool.targets {
				wg.Go(func() { s.pool.probe(ctx, t) })
				wg.Go(func() { t.rack.run(ctx) })
			}
		}
	}
	for _, s := range g.sinks {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
	for _, s := range g.config.services {
		if s.pool != nil {
			s.pool.transport.CloseIdleConnections()
		}
	}
}

// Ready says whether the gateway wants requests: from New until Drain.
func (g *Gateway) Ready() bool { return !g.draining.Load() }

// Drain makes Ready and /readyz say no, so that a load balancer looks elsewhere; requests are served on.
func (g *Gateway) Drain() { g.draining.Store(true) }

// NewServer serves h with bounds on slow and oversized clients. It listens on nothing yet.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       75 * time.Second,
		WriteTimeout:      longestDeadline + 30*time.Second, // from the end of the header; streams lift it
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

var (
	errDeadline     = errs.New(errs.Timeout, "The service did not answer in time.")
	errNotInstalled = errs.Coded(errs.Unavailable, "not_installed", "This part of the platform is not installed here.").After(0)
	errUnreachable  = errs.New(errs.Unavailable, "The service cannot be reached at the moment. Please try again.")
	errBroken       = errs.New(errs.Unavailable, "The service broke off before it had answered. Please try again.")
)

func tooLarge(limit int64) error {
	most := fmt.Sprintf("%d bytes", limit)
	if limit%(1<<20) == 0 {
		most = fmt.Sprintf("%d MiB", limit>>20)
	}
	return errs.New(errs.TooLarge, "The body is larger than the "+most+" that are allowed here.")
}
