package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// freeze stops the processes of the installation's Postgres, so that it neither answers nor refuses.
func (i *installation) freeze(t *testing.T, s syscall.Signal) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && cwd == filepath.Join(i.dir, "postgres") {
			syscall.Kill(pid, s)
		}
	}
}

// state is what a path of a service answers, and how soon.
func (i *installation) state(t *testing.T, port int, path string) (status int, stores string, took time.Duration) {
	t.Helper()
	began := time.Now()
	req, err := http.NewRequest("GET", i.at(port)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := quick.Do(req)
	if err != nil {
		return 0, "", time.Since(began)
	}
	defer res.Body.Close()
	var said struct {
		Data struct{ Stores map[string]string }
	}
	json.NewDecoder(res.Body).Decode(&said)
	return res.StatusCode, said.Data.Stores["postgres"], time.Since(began)
}

// Health tells the truth, within a bound: with Postgres, without an answer of Postgres, after it, and while the platform stops.
func TestHealthTellsTheTruth(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	// odd are the answers that are not as wanted, or come late: a quiet machine answers in milliseconds, the bound is for one that also builds and tests.
	odd := func(want int) (out []string) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, e := range services {
			for _, path := range []string{"/health", "/readyz"} {
				wg.Go(func() {
					status, stores, took := i.state(t, e.port, path)
					if status != want || took > 6*time.Second || path == "/health" && (stores == "connected") != (want == http.StatusOK) {
						mu.Lock()
						defer mu.Unlock()
						out = append(out, fmt.Sprintf("%s%s answers %d after %v, Postgres is %q", e.name, path, status, took, stores))
					}
				})
			}
		}
		wg.Wait()
		return out
	}
	var last []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("not well: %q", last)
		}
	})
	well := func() bool {
		for _, path := range []string{"/health", "/readyz"} {
			if status, _, _ := i.state(t, gatewayPort, path); status != http.StatusOK {
				return false
			}
		}
		last = odd(http.StatusOK)
		return len(last) == 0
	}
	soon(t, "all to be well", 30*time.Second, well)
	i.freeze(t, syscall.SIGSTOP)
	soon(t, "health to be bad", 20*time.Second, func() bool { s, _, _ := i.state(t, 3001, "/health"); return s == http.StatusServiceUnavailable })
	for _, answer := range odd(http.StatusServiceUnavailable) {
		t.Errorf("Postgres does not answer, but %s", answer)
	}
	if status, _, took := i.state(t, gatewayPort, "/readyz"); status != http.StatusOK || took > 6*time.Second {
		t.Errorf("the gateway, which needs no Postgres, answers %d after %v", status, took)
	}
	i.freeze(t, syscall.SIGCONT)
	soon(t, "all to be well again", 30*time.Second, well)
	// A request that does not end keeps the door open for the rest of its connection, and the services say that they stop.
	c := i.hang(t)
	i.signal(t, syscall.SIGTERM)
	soon(t, "the services to say that they are not ready", 10*time.Second, func() bool {
		s, _, _ := i.state(t, 3001, "/readyz")
		return s == http.StatusServiceUnavailable
	})
	if s, _, _ := i.state(t, 3001, "/health"); s != http.StatusOK {
		t.Errorf("health while it drains: %d", s)
	}
	fmt.Fprint(c, strings.Repeat(" ", 998)+"}")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("the request that had begun has no answer: %v", err)
	} else if res.Body.Close(); res.StatusCode != http.StatusUnprocessableEntity && res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the request that had begun was answered %d", res.StatusCode)
	}
	if code := i.exit(t, 20*time.Second); code != 0 {
		t.Errorf("code %d", code)
	}
}

// metrics are the series at a port: name with labels → value.
func (i *installation) metrics(t *testing.T, port int) map[string]float64 {
	t.Helper()
	res, err := quick.Get(i.at(port) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %d %v", res.StatusCode, err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && !strings.HasPrefix(line, "#") {
			out[name+"}"], _ = strconv.ParseFloat(value, 64)
		} else if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			out[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return out
}

// Each port shows its service's series and no other's; those of the process stand once, on the gateway's admin page.
func TestMetrics(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	i.register(t, "ada@example.com")
	seen := i.metrics(t, 3001)
	for _, want := range []string{
		`tulifo_http_requests_total{method="POST",route="POST /api/auth/register",service="auth",status="201"}`,
		`tulifo_http_request_seconds_count{method="POST",route="POST /api/auth/register",service="auth"}`,
		`tulifo_db_connections{service="auth",state="idle"}`,
	} {
		if _, ok := seen[want]; !ok {
			t.Errorf("%s is not among %d series", want, len(seen))
		}
	}
	for _, e := range services {
		seen := i.metrics(t, e.port)
		// The bus knows of a consumer from its first question on, which may be a moment after the start.
		for began := time.Now(); time.Since(began) < time.Minute; seen = i.metrics(t, e.port) {
			if slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(name string) bool { return strings.HasPrefix(name, "tulifo_bus_lag{") }) {
				break
			}
		}
		has := func(prefix string) bool {
			for name := range seen {
				if strings.HasPrefix(name, prefix) {
					return true
				}
			}
			return false
		}
		for _, want := range []string{"tulifo_db_connections{", "tulifo_outbox_depth{", "tulifo_dead_letters{", "tulifo_bus_lag{"} {
			if !has(want) {
				t.Errorf("%s has no %s", e.name, want)
			}
		}
		for _, not := range []string{"go_", "process_", "tulifo_gateway_"} {
			if has(not) {
				t.Errorf("%s shows %s", e.name, not)
			}
		}
		for name := range seen {
			if strings.Contains(name, `service="`) && !strings.Contains(name, `service="`+e.name+`"`) {
				t.Errorf("%s shows %s", e.name, name)
			}
		}
	}
	admin := i.metrics(t, adminPort)
	for _, want := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if admin[want] == 0 {
			t.Errorf("the admin page has no %s", want)
		}
	}
	t.Logf("resident: %.0f MB", admin["process_resident_memory_bytes"]/(1<<20))
	i.stop(t, syscall.SIGTERM)
}

// What load takes it gives back: goroutines, file descriptors, database connections (I16).
func TestBackToBaseAfterLoad(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	i.register(t, "first@example.com")
	type use struct{ goroutines, files, connections float64 }
	measure := func() use {
		quick.CloseIdleConnections()
		admin := i.metrics(t, adminPort)
		u := use{goroutines: admin["go_goroutines"], files: admin["process_open_fds"]}
		for _, e := range services {
			for name, value := range i.metrics(t, e.port) {
				if strings.HasPrefix(name, "tulifo_db_connections{") {
					u.connections += value
				}
			}
		}
		return u
	}
	// The base is what is there when everything has been used once.
	base := measure()
	var wg sync.WaitGroup
	for n := range 32 {
		wg.Go(func() {
			for k := range 20 {
				email := fmt.Sprintf("c%d-%d@example.com", n, k)
				ask("POST", i.at(gatewayPort)+"/api/auth/register", "", map[string]string{"email": email, "password": processPassword, "name": "Ada Test", "role": "worker"}, nil)
				ask("GET", i.at(gatewayPort)+"/api/workers?limit=5", "", nil, nil)
				ask("GET", i.at(gatewayPort)+"/api/nothing", "", nil, nil)
				ask("GET", i.at(3001)+"/health", "", nil, nil)
			}
		})
	}
	wg.Wait()
	peak := measure()
	// Pools give idle connections back after 30 s, asked every 10.
	var last use
	soon(t, "the base", 2*time.Minute, func() bool {
		last = measure()
		return last.goroutines <= base.goroutines+8 && last.files <= base.files+8 && last.connections <= base.connections+3
	})
	t.Logf("base %v, after load %v, later %v", base, peak, last)
	i.stop(t, syscall.SIGTERM)
}
