package gateway_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/gateway"
)

// replica is one process of a service, which can be killed and brought back on its port.
type replica struct {
	name, addr string
	calls      atomic.Int64
	ready      atomic.Bool
	server     *http.Server
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	if r.addr == "" {
		r.addr = "127.0.0.7:0" // where no other test takes the port while it is down
	}
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.ready.Store(true)
	r.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/readyz" && !r.ready.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case q.URL.Path == "/readyz":
		default:
			r.calls.Add(1)
			b, _ := io.ReadAll(q.Body)
			io.WriteString(w, r.name+" "+string(b))
		}
	})}
	go r.server.Serve(l)
	t.Cleanup(func() { r.server.Close() })
}

func (r *replica) kill() { r.server.Close() }

func replicas(t *testing.T) (d *door, a, b *replica) {
	a, b = &replica{name: "a"}, &replica{name: "b"}
	a.start(t)
	b.start(t)
	log := &lines{}
	o := gateway.Options{Config: watchful(t), Log: slog.New(slog.NewJSONHandler(log, nil)), Metrics: prometheus.NewRegistry(), Targets: func(n string) []string {
		if n == "booking" {
			return []string{a.addr, "http://" + b.addr}
		}
		return nil
	}}
	return serve(t, o, log), a, b
}

func (d *door) health(t *testing.T, target string) string {
	t.Helper()
	res, err := http.Get(d.admin + "/upstreams")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var page struct {
		Data []struct {
			Targets []struct{ Target, Health string }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	for _, u := range page.Data {
		for _, g := range u.Targets {
			if g.Target == target {
				return g.Health
			}
		}
	}
	return ""
}

func TestTargetsTakeTurns(t *testing.T) {
	d, a, b := replicas(t)
	for range 40 {
		d.do(t, call{path: "/api/bookings"})
	}
	if a.calls.Load() != 20 || b.calls.Load() != 20 {
		t.Errorf("%d and %d calls", a.calls.Load(), b.calls.Load())
	}
}

func TestATargetThatIsKilledAndComesBack(t *testing.T) {
	d, a, b := replicas(t)
	a.kill()
	got := burst(t, d, 100, func(int) call { return call{method: "POST", path: "/api/bookings", body: "once"} })
	if got[200] != 100 || b.calls.Load() != 100 {
		t.Errorf("one of two is dead: %v, the other took %d calls\n%s", got, b.calls.Load(), d.log)
	}
	eventually(t, "the dead target is still in", func() bool { return d.health(t, a.addr) == "UNHEALTHY" })
	b.kill()
	for range 4 {
		x := d.do(t, call{path: "/api/bookings"})
		if x.status != 503 || x.code() != "unavailable" || x.header.Get("Retry-After") == "" {
			t.Fatalf("nobody is there: %d %v %s", x.status, x.header, x.body)
		}
	}
	a.start(t)
	if eventually(t, "the target does not come back", func() bool { return d.health(t, a.addr) == "HEALTHY" }); a.calls.Load() != 0 {
		t.Errorf("a target that was out got %d calls", a.calls.Load())
	}
	if x := d.do(t, call{method: "POST", path: "/api/bookings", body: "again"}); x.body != "a again" {
		t.Errorf("%d %q", x.status, x.body)
	}
}

func TestATargetThatIsNotReadyGetsNothing(t *testing.T) {
	d, a, b := replicas(t)
	a.ready.Store(false)
	eventually(t, "a target that is not ready is still in", func() bool { return d.health(t, a.addr) == "UNHEALTHY" })
	before := a.calls.Load()
	for range 10 {
		d.do(t, call{path: "/api/bookings"})
	}
	if a.calls.Load() != before {
		t.Error("a target that is not ready was called")
	}
	b.ready.Store(false)
	eventually(t, "the second is still in", func() bool { return d.health(t, b.addr) == "UNHEALTHY" })
	if x := d.do(t, call{path: "/api/bookings"}); x.status != 200 {
		t.Errorf("the last target was ejected: %d", x.status)
	}
	a.ready.Store(true)
	eventually(t, "a target that is ready again stays out", func() bool { return d.health(t, a.addr) == "HEALTHY" })
}

func TestAWriteThatBrokeOffIsNotRepeated(t *testing.T) {
	var calls atomic.Int64
	d := open(t, "over sockets", booking(func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler) // as a process that is killed in the middle
	}))
	x := d.do(t, call{method: "POST", path: "/api/bookings", body: "pay"})
	if x.status != 503 || calls.Load() != 1 {
		t.Errorf("%d after %d calls", x.status, calls.Load())
	}
}

func TestRemoteUsesTheTargetsOfTheTable(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(mirror))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	text := strings.Replace(kong(t), "booking-service:3007", u.Host, 1)
	d := serve(t, gateway.Options{Config: []byte(text), Log: silent, Remote: true}, &lines{})
	if x := d.do(t, call{path: "/api/bookings"}); x.status != 200 {
		t.Errorf("%d %s", x.status, x.body)
	}
	if x := d.do(t, call{path: "/api/projects"}); x.status != 503 || x.code() != "unavailable" {
		t.Errorf("%d %s", x.status, x.body)
	}
	if x := d.do(t, call{path: "/"}); x.status != 200 || !strings.Contains(x.body, "The platform is running") {
		t.Errorf("%d %s", x.status, x.body)
	}
}

func TestTheWebAppGetsTheRest(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		io.WriteString(w, "web "+r.URL.EscapedPath())
	}))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	d := serve(t, gateway.Options{Config: []byte(kong(t)), Log: silent, Web: u}, &lines{})
	for path, want := range map[string]string{"/": "web /", "/workers/a%2Fb": "web /workers/a%2Fb", "/apiary": "web /apiary", "/_next/static/x.js": "web /_next/static/x.js"} {
		if x := d.do(t, call{path: path}); x.body != want || x.header.Get("Content-Security-Policy") != "default-src 'self'" {
			t.Errorf("%s: %d %q", path, x.status, x.body)
		}
	}
	if x := d.do(t, call{path: "/api/nothing"}); x.status != 404 {
		t.Errorf("an unknown path of the API went to the web app: %d", x.status)
	}
}

func TestAccessLinesAreShipped(t *testing.T) {
	var mu sync.Mutex
	var got string
	logstash := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		got += r.Method + string(b)
		mu.Unlock()
	}))
	defer logstash.Close()
	d := open(t, "in process", booking(mirror), func(o *gateway.Options) { o.LogEndpoint = logstash.URL })
	id := d.do(t, call{path: "/api/bookings?key=s3cret"}).header.Get("X-Request-Id")
	eventually(t, "no line arrived", func() bool { mu.Lock(); defer mu.Unlock(); return strings.Contains(got, id) })
	if !strings.HasPrefix(got, "POST{") || !strings.Contains(got, `"route":{"name":"booking"}`) || strings.Contains(got, "s3cret") {
		t.Error(got)
	}
}
