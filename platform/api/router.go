// Package api is the door of every service: routing, validation, envelope, errors, authorisation, paging and idempotency, done once.
//
// A handler is func(ctx, *In) (Out, error). Its input is checked against the struct tags before it runs, its output goes under "data", and
// its error becomes the one error envelope. An operation that does not say who may call it makes the router panic at start.
// Underneath is huma (github.com/danielgtaylor/huma) on net/http.
package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/obs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Options are what a router needs to serve one service.
type Options struct {
	Service     string // such as booking
	Keys        *token.Keys
	Revocations *token.Revocations
	DB          *postgres.DB                           // keeps the answers of api.Once; nil when no operation uses it
	Stores      map[string]func(context.Context) error // what /health asks, by name
	Spared      map[string]func(context.Context) error // the same for stores without which requests are answered all the same: /readyz does not count them
	Metrics     *obs.Metrics
	Log         *slog.Logger
	AccessLog   bool                                  // write a line a request; false where a gateway in the same process does
	Trusted     []netip.Prefix                        // peers whose X-Forwarded-For counts; loopback always does
	Context     func(context.Context) context.Context // what every request's context carries besides; nil: nothing
	Bound       bool                                  // people come over TLS: of the access cookies only __Host- counts
	Rehearsal   func() time.Time                      // business time, for /health; nil where business is real
}

// Router serves one service's operations, and /health, /readyz, /metrics and /openapi.json beside them.
type Router struct {
	o      Options
	mux    *http.ServeMux
	api    huma.API
	paths  map[string]*regexp.Regexp // what Paths says of an operation, by its pattern
	csrf   *http.CrossOriginProtection
	ready  atomic.Bool
	awayAt atomic.Int64 // Unix nanoseconds of the last line about a dependency that is away
	away   atomic.Int64 // refusals since
	health healthCache
	heavy  share
}

// NewRouter is a router without operations; it is not ready until SetReady.
func NewRouter(o Options) *Router {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	r := &Router{o: o, mux: http.NewServeMux(), paths: map[string]*regexp.Regexp{}, csrf: http.NewCrossOriginProtection()}
	connections := int32(6) // as many as a service has to its documents at least
	if o.DB != nil {
		connections = o.DB.Stats().MaxConns()
	}
	r.heavy = newShare(connections)
	c := huma.DefaultConfig("Tulifo "+o.Service, "1.0.0")
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.Formats = map[string]huma.Format{"application/json": strictJSON, "json": strictJSON}
	c.Components.Schemas = newRegistry()
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"}}
	r.api = humago.New(r.mux, c)
	r.mux.HandleFunc("GET /health", r.getHealth)
	r.mux.HandleFunc("GET /readyz", r.getReady)
	r.mux.HandleFunc("GET /openapi.json", r.getSpec)
	if o.Metrics != nil {
		r.mux.Handle("GET /metrics", o.Metrics.Handler())
	}
	r.mux.HandleFunc("/", r.noRoute)
	return r
}

// SetReady says whether /readyz answers 200; false while starting and draining.
func (r *Router) SetReady(ready bool) { r.ready.Store(ready) }

// Ready is what SetReady said last.
func (r *Router) Ready() bool { return r.ready.Load() }

// Spec is the OpenAPI 3.1 document of the operations registered so far.
func (r *Router) Spec() *huma.OpenAPI { return r.api.OpenAPI() }

// ServeHTTP answers a request: it ties it to its ids, survives the handler's panic, and counts and logs the outcome.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	id := req.Header.Get("X-Request-Id")
	if !saneID(id) {
		id = uuid.Must(uuid.NewV7()).String()
	}
	// Watched, so that a question to a neighbour inside a transaction is noticed.
	ctx := obs.WithRequest(postgres.Watch(req.Context()), id, obs.Span(req.Header.Get("Traceparent")))
	if r.o.Context != nil {
		ctx = r.o.Context(ctx)
	}
	req = req.WithContext(context.WithValue(ctx, clientKey{}, client{r.clientAddr(req), req.UserAgent()}))
	out := &writer{ResponseWriter: w}
	out.Header().Set("X-Request-Id", id)
	defer func() {
		if p := recover(); p != nil {
			r.survive(out, req, p)
		}
		r.account(out, req, began)
	}()
	if _, bearer := bearerToken(req); !bearer && signedInByCookie(req) {
		if err := r.csrf.Check(req); err != nil {
			WriteError(out, req, errs.Coded(errs.Forbidden, "cross_origin", "This request came from another site, so it was refused."))
			return
		}
	}
	if path.Clean(req.URL.Path) != req.URL.Path {
		// net/http would redirect, outside of the envelope and whatever the method.
		WriteError(out, req, errs.New(errs.NotFound, "There is nothing at this path."))
		return
	}
	r.mux.ServeHTTP(out, req)
}

func (r *Router) survive(out *writer, req *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	r.o.Log.ErrorContext(req.Context(), "handler panicked", "panic", p, "route", req.Pattern, "stack", stack())
	if out.status == 0 {
		WriteError(out, req, errs.New(errs.Internal, internalMessage))
	}
}

func (r *Router) account(out *writer, req *http.Request, began time.Time) {
	took, route := time.Since(began), req.Pattern
	if route == "" || route == "/" {
		route = "unmatched"
	}
	if r.o.Metrics != nil {
		r.o.Metrics.Observe(req.Method, route, out.code(), took)
	}
	if r.o.AccessLog {
		r.o.Log.InfoContext(req.Context(), "request", "http.request.method", req.Method, "http.route", route,
			"http.response.status_code", out.code(), "event.duration", took.Nanoseconds())
	}
}

// noRoute is where everything lands that no operation answers.
func (r *Router) noRoute(w http.ResponseWriter, req *http.Request) {
	probe := req.Clone(req.Context())
	var allowed []string
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe.Method = m
		if _, pattern := r.mux.Handler(probe); pattern != "/" && pattern != "" && r.has(pattern, req.URL.Path) {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		WriteError(w, req, errs.New(errs.NotFound, "There is nothing at this path."))
		return
	}
	for _, m := range allowed {
		w.Header().Add("Allow", m)
	}
	WriteError(w, req, errs.New(errs.NotAllowed, "This path does not answer the method "+shown(req.Method)+"."))
}

// has says whether the operation of a pattern that fits an address exists there.
func (r *Router) has(pattern, path string) bool {
	only := r.paths[pattern]
	return only == nil || only.MatchString(path)
}

func shown(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "you used"
}

func (r *Router) getSpec(w http.ResponseWriter, _ *http.Request) {
	raw, err := json.Marshal(r.api.OpenAPI())
	if err != nil {
		r.o.Log.Error("the OpenAPI document cannot be written", "error", err)
	}
	w.Header().Set("Content-Type", "application/openapi+json")
	w.Write(raw)
}

func saneID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
