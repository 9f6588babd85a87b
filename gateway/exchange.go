package gateway

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is one request on its way through the gateway, and the ResponseWriter to its client.
type exchange struct {
	g         *Gateway
	w         http.ResponseWriter
	r         *http.Request
	start     time.Time
	id        string
	trace     string
	continued bool
	client    netip.Addr
	address   string // of the client
	trusted   bool   // the peer is a trusted proxy
	consumer  string
	route     *route              // nil: the gateway's own pages, or nothing
	page      string              // the gateway's own page
	target    url.URL             // path and query of the request, and nothing else of its URL
	values    [5]string           // of the header that the service gets
	asked     bool                // the client waits to be told that it may send its body
	answer    answer              // of a handler in this process
	scope     scope               // and its context
	body      *body               // nil: none
	strip     func(*http.Request) // takes out what the service must not see
	status    int
	bytes     int64
	err       error // what fail was told
	finished  atomic.Bool
	timer     *time.Timer // the deadline of a stream that is not open yet
	leave     atomic.Pointer[func()]
}

func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		x.status = status
	}
	x.w.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.w.Write(p)
	x.bytes += int64(n)
	return n, err
}

// FlushError lets the proxy pass on an event stream as it comes.
func (x *exchange) FlushError() error { return x.flush() }

func (x *exchange) flush() error { return http.NewResponseController(x.w).Flush() }

// Hijack gives the client's connection away to a websocket.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.status = http.StatusSwitchingProtocols
	return &watched{c, sync.OnceFunc(x.g.watch(x.r, func() { _ = c.Close() }))}, rw, nil
}

// watched is a websocket that ends with the sign-in that opened it.
type watched struct {
	net.Conn
	leave func()
}

func (w *watched) Close() error {
	w.leave()
	return w.Conn.Close()
}

// CloseWrite ends one direction, where the connection can.
func (w *watched) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return w.Close()
}

// close has the connection closed after the answer, because what else comes over it cannot be told from the rest of this request.
func (x *exchange) close() { x.w.Header()["Connection"] = []string{"close"} }

// endless lifts the server's bounds on time, for event streams, which end with the sign-in that opened them.
func (x *exchange) endless() {
	c := http.NewResponseController(x.w)
	_ = c.SetWriteDeadline(time.Time{}) // not every server has one
	_ = c.SetReadDeadline(time.Time{})
	leave := x.g.watch(x.r, func() {
		// The server's read of what comes next fails, which ends the request's context.
		_ = c.SetReadDeadline(time.Unix(1, 0))
		_ = c.SetWriteDeadline(time.Unix(1, 0))
	})
	x.leave.Store(&leave)
}

// fail answers err in the envelope.
func (x *exchange) fail(err error) {
	x.err = err
	writeError(x, x.r, x.id, x.trace, err)
}

// done writes the access line and counts the request; once, when the answer is out.
func (x *exchange) done() {
	if x.finished.CompareAndSwap(false, true) {
		if leave := x.leave.Load(); leave != nil {
			(*leave)()
		}
		x.g.record(x)
	}
}
