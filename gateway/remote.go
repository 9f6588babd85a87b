package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pool is a service that is reached through sockets, at one or more targets in turn.
type pool struct {
	g         *Gateway
	service   *service
	targets   []*address
	next      atomic.Uint32
	transport *http.Transport
	probes    *http.Transport // a connection for each: what comes late on it is nobody's answer
	proxy     *httputil.ReverseProxy
	open      bool // no target wants TLS
}

// address is one address of a service. It is out after too many failures in a row, until a probe finds it well.
type address struct {
	name     string // host:port
	dial     string // the same, with the port that goes without saying
	rack     rack
	scheme   string
	out      atomic.Bool
	broken   atomic.Int32 // connection failures in a row
	timeouts atomic.Int32 // in a row
}

// dialError is a failure before anything was sent, so that another target may be tried.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

func newPool(g *Gateway, s *service, targets []string) (*pool, error) {
	p := &pool{g: g, service: s, open: true}
	for _, t := range targets {
		t = strings.TrimSpace(t)
		if !strings.Contains(t, "://") {
			t = "http://" + t
		}
		u, err := url.Parse(t)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("gateway: the address %q of service %q must be like http://host:port", t, s.name)
		}
		a := &address{name: u.Host, dial: u.Host, scheme: u.Scheme}
		if u.Port() == "" {
			a.dial = net.JoinHostPort(u.Hostname(), "80")
		}
		p.open = p.open && u.Scheme == "http"
		p.targets = append(p.targets, a)
	}
	dialer := &net.Dialer{Timeout: s.connectTimeout, KeepAlive: 30 * time.Second}
	p.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		MaxIdleConnsPerHost:    mostIdle,
		IdleConnTimeout:        idleTime,
		TLSHandshakeTimeout:    s.connectTimeout,
		MaxResponseHeaderBytes: answerHeader,
		DisableCompression:     true,
	}
	p.probes = p.transport.Clone()
	p.probes.DisableKeepAlives = true
	p.proxy = &httputil.ReverseProxy{
		Transport:      p,
		Rewrite:        rewrite,
		ModifyResponse: modify,
		ErrorHandler:   p.failed,
		BufferPool:     copies{},
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	return p, nil
}

type exchangeKey struct{}

// forward hands the exchange to a service through a socket.
func (x *exchange) forward(p *pool, deadline time.Duration) {
	websocket, streams := isWebsocket(x.r), mayStream(x.r)
	header := x.outgoing(websocket)
	if !websocket && !streams && p.plain(x) && x.carry(p, header, deadline) {
		return
	}
	ctx := context.WithValue(x.r.Context(), exchangeKey{}, x)
	if websocket || streams {
		c, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		x.timer = time.AfterFunc(deadline, func() { cancel(context.DeadlineExceeded) })
		defer x.timer.Stop()
		ctx = c
	} else {
		c, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		ctx = c
	}
	r := x.r.WithContext(ctx)
	r.URL, r.Header, r.Body = &x.target, header, http.NoBody
	if x.body != nil {
		r.Body = x.body
	} else {
		r.ContentLength = 0
	}
	if x.strip != nil {
		x.strip(r)
	}
	if x.body != nil {
		defer x.body.gone.Store(true)
	}
	p.proxy.ServeHTTP(x, r)
}

// rewrite undoes what the proxy does to a header that is finished already, and keeps the transport from repeating writes.
func rewrite(r *httputil.ProxyRequest) {
	for _, k := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		r.Out.Header[k] = r.In.Header[k]
	}
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	if reads(r.Out.Method) {
		return
	}
	for canonical, hidden := range keys {
		if v := r.Out.Header[canonical]; v != nil {
			delete(r.Out.Header, canonical)
			r.Out.Header[hidden] = v
		}
	}
}

// keys have a write without a body sent again by the transport, though it may have been done. It looks for their canonical names alone;
// services know them in any case.
var keys = map[string]string{"Idempotency-Key": "idempotency-key", "X-Idempotency-Key": "x-idempotency-key"}

// modify keeps out of a service's answer what only the gateway says.
func modify(res *http.Response) error {
	x, ok := res.Request.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return errors.New("gateway: an answer without its request")
	}
	for k := range res.Header {
		if ownAnswer(k) {
			delete(res.Header, k)
		}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.lift()
		return nil
	}
	secure(res.Header)
	if isEventStream(res.Header) && x.lift() {
		x.endless()
	}
	return nil
}

// lift takes the deadline from an exchange whose stream is open; false: it had none, or it has passed.
func (x *exchange) lift() bool { return x.timer != nil && x.timer.Stop() }

// failed is broke for the proxy.
func (p *pool) failed(w http.ResponseWriter, r *http.Request, err error) {
	w.(*exchange).broke(err, late(r.Context())) // forward hands over nothing else
}

// broke answers a request that no service has answered.
func (x *exchange) broke(err error, late bool) {
	switch {
	case x.body != nil && x.body.over.Load():
		x.close()
		x.fail(tooLarge(x.body.limit))
	case late:
		x.close()
		x.fail(errDeadline.Because(err))
	case x.r.Context().Err() != nil:
		x.status = statusGone
		panic(http.ErrAbortHandler) // else the server would say 200 for it, which who has closed only his own half of the connection would read
	case errors.As(err, new(*dialError)):
		x.fail(errUnreachable.Because(err))
	default:
		x.fail(errBroken.Because(err))
	}
}

// statusGone stands in logs for a request whose client has left before the answer.
const statusGone = 499

func late(ctx context.Context) bool { return errors.Is(context.Cause(ctx), context.DeadlineExceeded) }

// RoundTrip sends r to a target in turn, and to the next ones only while no connection can be made.
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	first := p.next.Add(1)
	var tried uint64
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	for try := 0; ; try++ {
		i := p.pick(int(first), tried)
		t := p.targets[i]
		tried |= 1 << min(i, 63)
		res, err := p.send(t, x, r)
		if err == nil {
			t.well()
			return res, nil
		}
		p.blame(t, x, late(r.Context()), r.Context().Err() != nil, err)
		if !errors.As(err, new(*dialError)) || r.Context().Err() != nil || try >= p.service.retries || try+1 >= len(p.targets) {
			return nil, err
		}
	}
}

// send sends r to a target, over the first connection that is fit for it.
func (p *pool) send(t *address, x *exchange, r *http.Request) (*http.Response, error) {
	for {
		s := &sending{}
		out := r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: s.on}))
		u := *r.URL
		u.Scheme, u.Host = t.scheme, t.name
		out.URL = &u
		if x != nil && x.body != nil {
			s.ReadCloser = x.body // the proxy's own wrapper cannot be read any more once a failed dial has closed it
			out.Body = s
		}
		res, err := p.transport.RoundTrip(out)
		if !s.stale.Load() || r.Context().Err() != nil || errors.As(err, new(*dialError)) {
			return res, err
		}
		if err == nil {
			_ = res.Body.Close() // what came unasked is no answer to what was not sent
		}
	}
}

// well forgets the failures of a target that has answered.
func (t *address) well() {
	if t.broken.Load() != 0 {
		t.broken.Store(0)
	}
	if t.timeouts.Load() != 0 {
		t.timeouts.Store(0)
	}
}

// pick is the next target that is in and was not tried; when all are out, the next that was not tried: the last target is never ejected.
func (p *pool) pick(first int, tried uint64) int {
	n := len(p.targets)
	for _, desperate := range []bool{false, true} {
		for k := range n {
			i := (first + k) % n
			if tried&(1<<min(i, 63)) == 0 && (desperate || !p.targets[i].out.Load()) {
				return i
			}
		}
	}
	return first % n
}

// blame counts a failure against a target, unless it was the client's.
func (p *pool) blame(t *address, x *exchange, late, gone bool, err error) {
	limits := p.service.upstream.passive
	switch {
	case x != nil && x.body != nil && (x.body.over.Load() || !x.body.ended.Load() && !errors.As(err, new(*dialError))):
		// The client has not sent all of its body: the target may have waited for it, or refused it.
	case late:
		if n := t.timeouts.Add(1); limits.timeouts > 0 && int(n) >= limits.timeouts {
			p.set(t, false, "it answered too late")
		}
	case gone:
	default:
		if n := t.broken.Add(1); limits.tcp > 0 && int(n) >= limits.tcp {
			p.set(t, false, err.Error())
		}
	}
}

// set puts a target in or out.
func (p *pool) set(t *address, in bool, why string) {
	if t.out.CompareAndSwap(in, !in) {
		p.g.log.Warn("a target changed", "service", p.service.name, "target", t.name, "healthy", in, "reason", why)
	}
}

// copies lends the proxy its buffers.
type copies struct{}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (copies) Get() []byte  { return *copyBuffers.Get().(*[]byte) }
func (copies) Put(b []byte) { copyBuffers.Put(&b) }
