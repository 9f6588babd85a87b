package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"tulifo/gateway"
)

// The two ways in which a service is reached. Every promise about requests is tested in both.
var forms = []string{"in process", "over sockets"}

const patience = 20 * time.Second

func kong(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../infrastructure/kong/kong.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// hasty is the real route table with deadlines short enough to wait for.
func hasty(t testing.TB) []byte {
	return []byte(strings.ReplaceAll(kong(t), "read_timeout: 30000", "read_timeout: 1500"))
}

// watchful is the real route table with probes often enough to wait for.
func watchful(t testing.TB) []byte {
	return []byte(strings.ReplaceAll(kong(t), "interval: 5", "interval: 1"))
}

// door is a running gateway with what it has logged.
type door struct {
	*gateway.Gateway
	url   string
	admin string
	log   *lines
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open starts a gateway over real sockets, with the services in the given form.
func open(t testing.TB, form string, services map[string]http.Handler, change ...func(*gateway.Options)) *door {
	t.Helper()
	log := &lines{}
	o := gateway.Options{Config: []byte(kong(t)), Log: slog.New(slog.NewJSONHandler(log, nil)), Metrics: prometheus.NewRegistry()}
	for _, c := range change {
		c(&o)
	}
	if form == "in process" {
		o.Local = map[string]gateway.Local{}
		for n, h := range services {
			o.Local[n] = gateway.Local{Handler: recovering(h)}
		}
	} else {
		urls := map[string][]string{}
		for n, h := range services {
			s := httptest.NewUnstartedServer(recovering(h))
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
			s.Start()
			t.Cleanup(s.Close)
			urls[n] = []string{s.URL}
		}
		o.Targets = func(n string) []string { return urls[n] }
	}
	return serve(t, o, log)
}

func serve(t testing.TB, o gateway.Options, log *lines) *door {
	t.Helper()
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { g.Run(ctx); close(done) }()
	d := &door{Gateway: g, url: listen(t, g.Handler()), admin: listen(t, g.Admin()), log: log}
	t.Cleanup(func() { stop(); <-done })
	return d
}

func listen(t testing.TB, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := gateway.NewServer(h, slog.New(slog.DiscardHandler))
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String()
}

// recovering ends a panic and answers probes as platform/api does, so that the gateway sees what it would see of a real service.
func recovering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		defer func() {
			if v := recover(); v == "caught" {
				w.WriteHeader(http.StatusInternalServerError)
			} else if v != nil {
				panic(v)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) code() string {
	var e struct {
		Success   bool `json:"success"`
		Error     struct{ Code, Message string }
		RequestID string `json:"requestId"`
	}
	if json.Unmarshal([]byte(a.body), &e) != nil || e.Success || e.Error.Message == "" || e.RequestID == "" || e.RequestID != a.header.Get("X-Request-Id") {
		return "not the envelope: " + a.body
	}
	return e.Error.Code
}

type call struct {
	method, path, body string
	header             http.Header
	chunked            bool
}

// do makes a call on a connection of its own or a shared one; the path goes out as it stands.
func (d *door) do(t testing.TB, c call) answer {
	t.Helper()
	a, err := d.try(c)
	if err != nil {
		t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	return a
}

func (d *door) try(c call) (answer, error) {
	if c.method == "" {
		c.method = http.MethodGet
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
		if c.chunked {
			body = io.MultiReader(body)
		}
	}
	r, err := http.NewRequestWithContext(ctx, c.method, d.url, body)
	if err != nil {
		return answer{}, err
	}
	r.URL.Opaque = c.path
	if strings.HasPrefix(c.path, "//") {
		r.URL.Opaque = strings.TrimPrefix(d.url, "http:") + c.path
	}
	for k, v := range c.header {
		r.Header[k] = v
		if k == "Host" {
			r.Host = v[0]
		}
	}
	res, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b)}, err
}

var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// seen is what a service saw of a request.
type seen struct {
	Method, URI, Path, Host, Body, Remote string
	Length                                int64
	Header                                http.Header
	Deadline                              bool
	Leaked                                bool // a value of the gateway's context
}

func (a answer) seen(t testing.TB) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return s
}

// mirror answers what it sees.
func mirror(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	_, deadline := r.Context().Deadline()
	_, leaked := r.Context().Value(secret{}).(string)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.URL.Path, r.Host, string(b), host, r.ContentLength, r.Header, deadline, leaked})
}

type secret struct{}

// TestMain proves that no exchange leaves a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	client.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	if code == 0 {
		// Whoever clears away the test's servers is waited for until this process ends.
		if err := goleak.Find(goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait")); err != nil {
			os.Stderr.WriteString(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}
