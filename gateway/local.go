package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"tulifo/platform/errs"
)

// Local is a service that runs in this process.
type Local struct {
	Handler http.Handler
	// Ready says whether the service can serve; it is asked at every request, so it must only read a flag. nil: always.
	Ready func() bool
}

// loopback is where a request comes from when it did not come over a socket.
const loopback = "127.0.0.1:0"

var blank http.Request

// call hands the exchange to a handler in this process as a new request: nothing crosses but method, URL, headers and body.
func (x *exchange) call(l *Local, deadline time.Duration) {
	if l.Ready != nil && !l.Ready() {
		x.fail(errs.New(errs.Unavailable, "The service is not ready. Please try again in a moment."))
		return
	}
	websocket, streams := isWebsocket(x.r), mayStream(x.r)
	a := &answer{x: x, header: make(http.Header, 8), streams: streams, websocket: websocket}
	var ctx context.Context
	var cancel context.CancelFunc
	if websocket || streams {
		// The deadline holds until the stream is open: then the answer stops the timer, which a deadline of the context would not allow.
		ctx, cancel = context.WithCancel(context.Background())
		a.timer = time.AfterFunc(deadline, func() { a.expire(); cancel() })
	} else {
		ctx, cancel = context.WithTimeout(context.Background(), deadline)
		a.timer = time.AfterFunc(deadline, a.expire)
	}
	defer cancel()
	// The client's going away ends the work, though no value of the outer context is to be seen.
	defer context.AfterFunc(x.r.Context(), cancel)()

	r := blank.WithContext(ctx)
	r.Method, r.URL, r.Header, r.Host = x.r.Method, x.target, x.outgoing(websocket), x.r.Host
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.RemoteAddr = loopback
	r.Body, r.ContentLength = http.NoBody, 0
	if x.body != nil {
		r.Body, r.ContentLength = x.body, x.r.ContentLength
	}
	if x.strip != nil {
		x.strip(r)
	}
	r.RequestURI = r.URL.RequestURI()
	func() {
		defer func() {
			v := recover()
			if v != nil && v != http.ErrAbortHandler {
				x.g.log.LogAttrs(context.Background(), slog.LevelError, "a handler panicked", slog.String("service", x.route.service.name),
					slog.String("http.request.id", x.id), slog.Any("error.message", v), slog.String("error.stack_trace", string(debug.Stack())))
			}
			a.finish(v)
		}()
		l.Handler.ServeHTTP(a, r)
	}()
	if a.broken {
		panic(http.ErrAbortHandler)
	}
}
