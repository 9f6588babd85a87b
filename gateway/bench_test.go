package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/gateway"
)

var silent = slog.New(slog.DiscardHandler)

// void is a ResponseWriter that costs nothing.
type void struct {
	header http.Header
	status int
}

func (v *void) Header() http.Header         { return v.header }
func (v *void) WriteHeader(s int)           { v.status = s }
func (v *void) Write(p []byte) (int, error) { v.WriteHeader(max(v.status, 200)); return len(p), nil }

// raised lets one client make as many calls as a benchmark does.
const raised = "plugins: [{name: rate-limiting, config: {minute: 1000000000}}]\n"

var small = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header()["Content-Type"] = []string{"application/json"}
	io.WriteString(w, `{"success":true,"data":{"id":"01957a3e-7c00-7000-8000-000000000001"}}`)
})

func inProcess(t testing.TB) http.Handler {
	g, err := gateway.New(gateway.Options{Config: []byte(kong(t)), Overlay: []byte(raised), Local: map[string]gateway.Local{"booking": {Handler: small}}, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	return g.Handler()
}

func sample() *http.Request {
	return &http.Request{Method: "GET", URL: &url.URL{Path: "/api/bookings/01957a3e-7c00-7000-8000-000000000001"}, Host: "localhost:8000", Body: http.NoBody, RemoteAddr: "192.0.2.1:4711",
		Header: http.Header{"Accept": {"application/json"}, "Authorization": {"Bearer x"}, "User-Agent": {"bench"}, "Accept-Encoding": {"gzip"}}}
}

// TestAllocations keeps the price of a call in the process from growing unseen.
func TestAllocations(t *testing.T) {
	h, ctx := inProcess(t), t.Context()
	n := testing.AllocsPerRun(200, func() { h.ServeHTTP(&void{header: make(http.Header, 16)}, sample().WithContext(ctx)) })
	base := testing.AllocsPerRun(200, func() { small.ServeHTTP(&void{header: make(http.Header, 16)}, sample().WithContext(ctx)) })
	t.Logf("%v allocations, %v of them the call's own", n, base)
	if n-base > 16 {
		t.Errorf("the gateway adds %v allocations to a call, at most 16 are allowed", n-base)
	}
}

func BenchmarkInProcess(b *testing.B) {
	h := inProcess(b)
	r := sample().WithContext(withCancel(b))
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&void{header: make(http.Header, 16)}, r)
	}
}

// BenchmarkBare is the handler alone, to be taken off the others.
func BenchmarkBare(b *testing.B) {
	r := sample().WithContext(withCancel(b))
	b.ReportAllocs()
	for b.Loop() {
		small.ServeHTTP(&void{header: make(http.Header, 16)}, r)
	}
}

// BenchmarkLogged is BenchmarkInProcess with its access line.
func BenchmarkLogged(b *testing.B) {
	g, err := gateway.New(gateway.Options{Config: []byte(kong(b)), Overlay: []byte(raised), Local: map[string]gateway.Local{"booking": {Handler: small}}, Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	h, r := g.Handler(), sample().WithContext(withCancel(b))
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&void{header: make(http.Header, 16)}, r)
	}
}

func withCancel(b *testing.B) context.Context {
	ctx, cancel := context.WithCancel(context.Background()) // as a server's connection has it
	b.Cleanup(cancel)
	return ctx
}

func BenchmarkSplit(b *testing.B) {
	s := httptest.NewServer(small)
	defer s.Close()
	g, err := gateway.New(gateway.Options{Config: []byte(kong(b)), Overlay: []byte(raised), Targets: func(n string) []string {
		if n == "booking" {
			return []string{s.URL}
		}
		return nil
	}, Log: silent})
	if err != nil {
		b.Fatal(err)
	}
	through(b, g.Handler())
}

// BenchmarkInProcessServed is BenchmarkInProcess behind a real listener, to be compared with BenchmarkSplit.
func BenchmarkInProcessServed(b *testing.B) { through(b, inProcess(b)) }

func through(b *testing.B, h http.Handler) {
	url := listen(b, h)
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		res, err := client.Get(url + "/api/bookings/1")
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 200 {
			b.Fatal(res.Status)
		}
	}
}

// BenchmarkAnswered is BenchmarkInProcess with net/http's server around it and no socket beneath: what writing the answer costs is counted too.
func BenchmarkAnswered(b *testing.B) { answered(b, inProcess(b)) }

// BenchmarkAnsweredBare is the handler alone under the same server.
func BenchmarkAnsweredBare(b *testing.B) { answered(b, small) }

func answered(b *testing.B, h http.Handler) {
	l := &loop{left: b.N, done: make(chan struct{})}
	s := gateway.NewServer(h, silent)
	b.ReportAllocs()
	b.ResetTimer()
	go s.Serve(l)
	<-l.done
	b.StopTimer()
	s.Close()
}

// loop is a listener with one connection, over which the same request comes again and again.
type loop struct {
	left  int
	rest  []byte
	taken atomic.Bool
	done  chan struct{}
}

var spoken = []byte("GET /api/bookings/01957a3e-7c00-7000-8000-000000000001 HTTP/1.1\r\nHost: localhost:8000\r\nAccept: application/json\r\nUser-Agent: bench\r\n\r\n")

func (l *loop) Accept() (net.Conn, error) {
	if l.taken.Swap(true) {
		<-l.done
		return nil, net.ErrClosed
	}
	return &looped{l: l}, nil
}

func (l *loop) Close() error   { return nil }
func (l *loop) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

type looped struct {
	net.Conn
	l *loop
}

func (c *looped) Read(p []byte) (int, error) {
	if len(c.l.rest) == 0 {
		if c.l.left == 0 {
			return 0, io.EOF
		}
		c.l.left--
		c.l.rest = spoken
	}
	n := copy(p, c.l.rest)
	c.l.rest = c.l.rest[n:]
	return n, nil
}

func (c *looped) Write(p []byte) (int, error)      { return len(p), nil }
func (c *looped) Close() error                     { close(c.l.done); return nil }
func (c *looped) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711} }
func (c *looped) LocalAddr() net.Addr              { return c.l.Addr() }
func (c *looped) SetDeadline(time.Time) error      { return nil }
func (c *looped) SetReadDeadline(time.Time) error  { return nil }
func (c *looped) SetWriteDeadline(time.Time) error { return nil }
