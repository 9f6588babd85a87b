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
	a := &x.answer
	a.x, a.header, a.streams, a.websocket = x, make(http.Header, 8), streams, websocket
	x.scope.outer = x.r.Context()
	if !websocket && !streams {
		// A stream has a deadline until it is open: one in the context could not be lifted.
		x.scope.deadline = x.start.Add(deadline)
	}
	defer x.scope.end()
	a.mu.Lock() // the deadline may be over before its guard is noted
	a.guard = guard(a, deadline)
	a.mu.Unlock()

	r := blank.WithContext(&x.scope)
	r.Method, r.URL, r.Header, r.Host = x.r.Method, &x.target, x.outgoing(websocket), x.r.Host
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.RemoteAddr = loopback
	r.Body, r.ContentLength = http.NoBody, 0
	if x.body != nil {
		r.Body, r.ContentLength = x.body, x.r.ContentLength
	}
	if x.strip != nil {
		x.strip(r)
	}
	r.RequestURI = x.uri()
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
