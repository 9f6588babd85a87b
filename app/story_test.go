package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/obs"
	"tulifo/platform/outbox"
	"tulifo/platform/pause"
	"tulifo/platform/postgres/pgtest"
)

// platform is tulifo up, in this process, over a database of the test's own.
type platform struct {
	machine *machine
	log     *lines
}

// lines collects what is logged; it may be written to from many goroutines.
type lines struct {
	mu  chan struct{}
	buf bytes.Buffer
}

func newLines() *lines { l := &lines{mu: make(chan struct{}, 1)}; l.mu <- struct{}{}; return l }
func (l *lines) Write(p []byte) (int, error) {
	<-l.mu
	defer func() { l.mu <- struct{}{} }()
	return l.buf.Write(p)
}
func (l *lines) String() string {
	<-l.mu
	defer func() { l.mu <- struct{}{} }()
	return l.buf.String()
}

func startPlatform(t *testing.T, c clock.Clock, variables ...string) *platform {
	t.Helper()
	p := &platform{log: newLines()}
	log := obs.NewLogger(p.log, slog.LevelDebug, "tulifo")
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan *machine, 1), make(chan error, 1)
	environment := map[string]string{"DATABASE_URL": pgtest.Database(t), "AUTH_BCRYPT_COST": "4", "GATEWAY_OVERLAY": overlay(t), "FETCH_ALLOW": loopback}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		environment[name] = value
	}
	go func() {
		ended <- up(ctx, upOptions{dir: filepath.Join(t.TempDir(), "data"), portBase: portBase(t), clock: c, started: func(m *machine) { started <- m }}, environment, io.Discard, log)
	}()
	select {
	case p.machine = <-started:
	case err := <-ended:
		t.Fatalf("up: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("up takes more than a minute")
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("up ended: %v", err)
		}
		if t.Failed() {
			t.Logf("what was logged above info:\n%s", alarming(p.log.String()))
		}
	})
	return p
}

// overlay lifts the limits per address, which many test clients share.
func overlay(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "limits.yml")
	text := "plugins:\n  - {name: rate-limiting, config: {minute: 1000000000}}\n"
	for _, route := range []string{"auth-login", "auth-register", "auth-reset", "auth-oauth"} {
		text += "  - {name: rate-limiting, route: " + route + ", config: {minute: 1000000000}}\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// alarming are the lines above info.
func alarming(log string) string {
	var out []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"log.level":"warn"`) || strings.Contains(line, `"log.level":"error"`) {
			out = append(out, line)
		}
	}
	return strings.Join(out[max(0, len(out)-40):], "")
}

func tail(text string, n int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// tour is a tour of the platform that moves its virtual clock instead of waiting.
func (p *platform) tour(v *clock.Virtual) *tour {
	t := newTour(p.machine.gateway.url(), p.machine.page.url(), p.machine.rail.url(), io.Discard)
	if v != nil {
		t.now = v.Now
		t.wait = func(_ context.Context, at time.Time) error { v.Set(at); return nil }
	}
	return t
}

// settle waits until everything that has happened is heard by everybody.
func (p *platform) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var inboxes []*outbox.Inbox
	for _, r := range p.machine.node.rooms {
		inboxes = append(inboxes, r.inbox)
	}
	if err := outbox.Settle(ctx, p.machine.node.bus, inboxes...); err != nil {
		t.Fatalf("settle: %v", err)
	}
}

// intact fails the test on every broken invariant. Only the sealing of audit rows, which goes on in the background, may be a moment late.
func (p *platform) intact(t *testing.T) {
	t.Helper()
	p.settle(t)
	for late := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
		broken, err := p.machine.node.check(t.Context(), true)
		if err != nil {
			t.Fatalf("check: %v", err)
		}
		if len(broken) == 0 {
			return
		}
		if time.Now().After(late) || slices.ContainsFunc(broken, func(b string) bool { return !strings.Contains(b, "not sealed") }) {
			t.Errorf("broken:\n%s", strings.Join(broken, "\n"))
			return
		}
	}
}

func TestNoSecretInTheLog(t *testing.T) {
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	tour := p.tour(v)
	var out bytes.Buffer
	tour.out = &out
	if err := tour.walk(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	p.intact(t)
	for _, secret := range []string{tourPassword, tour.client.token, tour.worker.token} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("a secret stands in the log")
		}
	}
}

func environ0(env map[string]string) []string {
	var out []string
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// awaitReady waits until who listens on the port says that it is ready.
func awaitReady(t *testing.T, port int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tour := newTour("http://127.0.0.1:"+strconv.Itoa(port), "", "", io.Discard)
	for {
		err := tour.call(ctx, http.MethodGet, "/readyz", "", nil, http.StatusOK, nil)
		if err == nil {
			return
		}
		if pause.For(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("port %d: %v", port, err)
		}
	}
}

func awaitPort(t *testing.T, port int) {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			c.Close()
			return
		}
		if pause.For(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("nothing answers on port %d: %v", port, err)
		}
	}
}
