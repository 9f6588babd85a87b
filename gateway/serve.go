package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"tulifo/platform/crash"
	"tulifo/platform/errs"
)

// The largest body of a route that says nothing about it.
const defaultBody = 1 << 20

// The largest sum of header names and values that is passed on.
const mostHeader = 24 << 10

// serve is the walk of every request: identify, match, limit, hand over.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{g: g, w: w, r: r, start: time.Now()}
	x.identify()
	w.Header()["X-Request-Id"] = []string{x.id}
	x.transport()
	x.client, x.trusted = g.proxies.client(r)
	x.address = x.client.String()
	defer x.end()

	if err := x.sane(); err != nil {
		x.close()
		x.fail(err)
		return
	}
	if g.ownPage(x) {
		return
	}
	x.route = g.table.find(r.URL.Path)
	if x.route == nil || x.route.service.name == "web" && ours(r.URL.Path) {
		x.route = nil
		x.fail(errs.New(errs.NotFound, "There is nothing at this address."))
		return
	}
	if err := x.admit(); err != nil {
		x.fail(err)
		return
	}
	if x.status != 0 { // a preflight, which is answered
		return
	}
	s := x.route.service
	// The cause is the route's name, not the path, which may hold a secret.
	crash.Before(r.Context(), "gateway", crash.Proxy, s.name)
	defer crash.After(r.Context(), "gateway", crash.Proxy, s.name)
	switch {
	case s.local != nil:
		x.call(s.local, s.deadline)
	case s.pool != nil:
		x.forward(s.pool, s.deadline)
	case s.name == "web":
		g.landing(x)
	default:
		x.fail(errNotInstalled)
	}
}

// end writes the access line, also of a request in which the gateway itself went wrong.
func (x *exchange) end() {
	v := recover()
	if v != nil && v != http.ErrAbortHandler {
		x.g.log.LogAttrs(context.Background(), slog.LevelError, "the gateway panicked", slog.String("http.request.id", x.id),
			slog.Any("error.message", v), slog.String("error.stack_trace", string(debug.Stack())))
		if x.status == 0 {
			x.fail(errs.New(errs.Internal, "Something went wrong on our side."))
			v = nil
		}
	}
	x.done()
	if x.status == http.StatusRequestEntityTooLarge || x.status == http.StatusUnsupportedMediaType {
		x.linger()
	}
	if v != nil {
		panic(http.ErrAbortHandler) // the answer is out in part: the client must see that it breaks off
	}
}

// sane refuses what no service should have to think about.
func (x *exchange) sane() error {
	r := x.r
	if !known(r.Method) {
		x.w.Header()["Allow"] = []string{"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}
		return errs.New(errs.NotAllowed, "This method is not known here.")
	}
	escaped := r.URL.Path
	if r.URL.RawPath != "" { // only then does the path hold what must not be written as it is
		escaped = r.URL.EscapedPath()
	}
	if why := pathProblem(r.URL.Path, escaped); why != "" {
		return errs.New(errs.Malformed, why)
	}
	size := 0
	for k, v := range r.Header {
		for _, s := range v {
			size += len(k) + len(s)
		}
	}
	if size > mostHeader {
		return errs.Coded(errs.Malformed, "header_too_large", "The header of the request is too large.")
	}
	x.target.Path, x.target.RawPath, x.target.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	return nil
}

// admit applies the plugins of the route. A preflight is answered here.
func (x *exchange) admit() error {
	p, r := &x.route.plugins, x.r
	if p.cors != nil && p.cors.apply(x, r) {
		return nil
	}
	if p.limit != nil {
		if err := x.g.limiter.allow(r.Context(), x.w.Header(), p.limit, x.client); err != nil {
			x.g.metrics.limited.WithLabelValues(x.route.name).Inc()
			return err
		}
	}
	if p.key != nil {
		who, err := p.key.consumer(r, x.g.config.keys)
		if err != nil {
			return err
		}
		x.consumer = who
		x.strip = func(out *http.Request) { p.key.strip(out.Header, out.URL) }
	}
	if x.g.reject(r.Header) {
		return errs.New(errs.Unauthorized, "This token is not accepted here.")
	}
	return x.measure(p.size)
}

// measure bounds the body in size and time.
func (x *exchange) measure(size *sizeLimit) error {
	r := x.r
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	limit := int64(defaultBody)
	if size != nil {
		limit = size.bytes
	}
	if r.ContentLength > limit {
		x.close()
		return tooLarge(limit)
	}
	x.body = &body{ReadCloser: r.Body, limit: limit}
	// A body that trickles in must not keep its connection longer than its answer may take.
	_ = http.NewResponseController(x.w).SetReadDeadline(x.start.Add(x.route.service.deadline + time.Second))
	return nil
}
