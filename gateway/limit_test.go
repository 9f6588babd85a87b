package gateway_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tulifo/gateway"
	"tulifo/platform/kv"
	"tulifo/platform/servertest"
)

func all(h http.HandlerFunc) map[string]http.Handler {
	return map[string]http.Handler{"auth": h, "booking": h, "message": h, "web": h}
}

func trusting(o *gateway.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
}

// burst makes n calls at once and counts their statuses.
func burst(t *testing.T, d *door, n int, c func(i int) call) map[int]int {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	got, start := map[int]int{}, make(chan struct{})
	places := make(chan struct{}, 200) // more sockets at once would test the machine
	for i := range n {
		wg.Go(func() {
			<-start
			places <- struct{}{}
			defer func() { <-places }()
			a, err := d.try(c(i))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			got[a.status]++
			if s, err := strconv.Atoi(a.header.Get("Retry-After")); a.status == 429 && (a.code() != "too_many_requests" || err != nil || s < 1 || s > 60) {
				t.Errorf("429 with Retry-After %q: %s", a.header.Get("Retry-After"), a.body)
			}
		})
	}
	close(start)
	wg.Wait()
	return got
}

func TestALimitIsExactUnderAParallelBurst(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, all(mirror))
		for _, path := range []string{"/api/auth/login", "/api/auth/register", "/api/auth/forgot-password"} {
			got := burst(t, d, 200, func(i int) call {
				return call{method: "POST", path: path, body: "{}", header: http.Header{"X-Forwarded-For": {"198.51.100." + strconv.Itoa(i)}}}
			})
			if got[200] != 20 || got[429] != 180 {
				t.Errorf("%s: %v, want 20 and 180", path, got)
			}
		}
		for _, path := range []string{"/api/auth/links/abc", "/api/auth/password", "/api/auth/login/", "/%61pi/auth/login", "/api/auth/passkeys/login", "/api/auth/passkeys/login/options", "/api/auth/step-up", "/api/auth/totp/confirm"} {
			if a := d.do(t, call{path: path}); a.status != 429 {
				t.Errorf("%s shares the limit, but: %d", path, a.status)
			}
		}
		for _, path := range []string{"/api/auth/me", "/api/bookings", "/socket.io/", "/"} {
			if a := d.do(t, call{path: path}); a.status != 200 {
				t.Errorf("%s has another limit, but: %d", path, a.status)
			}
		}
	})
}

func TestTheRestOfTheAPISharesOneBudget(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, all(func(http.ResponseWriter, *http.Request) {}))
		paths := []string{"/api/auth/me", "/api/bookings/1", "/api/messages/1"}
		if got := burst(t, d, 1300, func(i int) call { return call{path: paths[i%3]} }); got[200] != 1200 || got[429] != 100 {
			t.Errorf("%v, want 1200 and 100", got)
		}
		if got := burst(t, d, 50, func(int) call { return call{path: "/socket.io/"} }); got[200] != 50 {
			t.Errorf("sockets: %v", got)
		}
	})
}

func TestLimitHeaders(t *testing.T) {
	d := open(t, "in process", all(mirror))
	a := d.do(t, call{path: "/api/auth/login"})
	for k, v := range map[string]string{"Ratelimit-Limit": "20", "Ratelimit-Remaining": "19", "X-Ratelimit-Limit-Minute": "20", "X-Ratelimit-Remaining-Minute": "19"} {
		if a.header.Get(k) != v {
			t.Errorf("%s is %q, want %q", k, a.header.Get(k), v)
		}
	}
	if s, err := strconv.Atoi(a.header.Get("Ratelimit-Reset")); err != nil || s < 1 || s > 60 {
		t.Errorf("reset is %q", a.header.Get("Ratelimit-Reset"))
	}
	if a := d.do(t, call{path: "/"}); a.header.Get("Ratelimit-Limit") != "" {
		t.Error("the web app tells of a limit")
	}
}

func TestWhoIsCounted(t *testing.T) {
	for _, c := range []struct {
		what, a, b string
		same       bool
	}{
		{"two clients behind a proxy", "198.51.100.1", "198.51.100.2", false},
		{"one client who writes in front", "1.1.1.1, 198.51.100.3", "2.2.2.2, 198.51.100.3", true},
		{"a client through two proxies of ours", "198.51.100.4", "198.51.100.4, 10.1.2.3", true},
		{"two hosts of one IPv6 customer", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"two IPv6 customers", "2001:db8:1:3::1", "2001:db8:1:4::1", false},
		{"IPv4 in IPv6", "198.51.100.5", "::ffff:198.51.100.5", true},
		{"with a port", "198.51.100.6", "198.51.100.6:4711", true},
		{"with a zone", "fe80::1%a", "fe80::1%b", true},
		{"garbage is the proxy itself", "garbage", "unknown", true},
		{"behind garbage nothing is believed", "198.51.100.7, x", "198.51.100.8, x", true},
		{"an over-long list is the proxy itself", strings.Repeat("198.51.100.9, ", 100), strings.Repeat("198.51.100.10, ", 100), true},
		{"too many hops of ours", strings.Repeat("10.0.0.1,", 20) + "10.0.0.2", "198.51.100.11" + strings.Repeat(",10.0.0.1", 20), true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d := open(t, "in process", all(mirror), trusting)
			first := d.do(t, call{path: "/api/auth/login", header: http.Header{"X-Forwarded-For": {c.a}}})
			second := d.do(t, call{path: "/api/auth/login", header: http.Header{"X-Forwarded-For": {c.b}}})
			if same := second.header.Get("Ratelimit-Remaining") == "18"; first.status != 200 || same != c.same {
				t.Errorf("counted as one: %v, want %v", same, c.same)
			}
		})
	}
}

func TestAForwardedListInSeveralLines(t *testing.T) {
	d := open(t, "in process", all(mirror), trusting)
	s := d.do(t, call{path: "/api/bookings", header: http.Header{"X-Forwarded-For": {"1.1.1.1", "198.51.100.1", "10.0.0.1"}, "X-Forwarded-Proto": {"https"}}}).seen(t)
	if s.Header.Get("X-Forwarded-For") != "198.51.100.1" || s.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("%v", s.Header)
	}
}

// dead is a store that cannot answer.
type dead struct{ kv.Store }

func (dead) Allow(context.Context, string, int, time.Duration) (int, time.Time, error) {
	return 0, time.Time{}, errors.New("connection refused")
}

func TestADeadStoreOpensNoLimit(t *testing.T) {
	d := open(t, "in process", all(mirror), func(o *gateway.Options) { o.Limits = dead{} })
	if got := burst(t, d, 100, func(int) call { return call{path: "/api/auth/login"} }); got[200] != 20 || got[429] != 80 {
		t.Errorf("%v, want 20 and 80", got)
	}
}

// redis is a store of many processes, for one of them.
func redis(t *testing.T, url string) *kv.Redis {
	t.Helper()
	s, err := kv.NewRedis(url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Redis ends under load: nobody waits for it, nobody is told of it, and a client gets at most the limit once more from each gateway.
func TestALimitHoldsWhenRedisDies(t *testing.T) {
	server := servertest.OwnRedis(t)
	store := redis(t, server.URL())
	d := open(t, "in process", all(mirror), func(o *gateway.Options) { o.Limits = store })
	over, got := make(chan struct{}), map[int]int{}
	var load sync.WaitGroup
	var mu sync.Mutex
	for n := range 8 {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				a, err := d.try(call{path: "/api/auth/login"})
				mu.Lock()
				if err != nil {
					t.Errorf("client %d, call %d: %v", n, i, err)
				}
				got[a.status]++
				mu.Unlock()
			}
		})
	}
	count := func(status int) int { mu.Lock(); defer mu.Unlock(); return got[status] }
	wait := func(what string, done func() bool) {
		t.Helper()
		for tick, deadline := time.Tick(5*time.Millisecond), time.After(30*time.Second); !done(); {
			select {
			case <-tick:
			case <-deadline:
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	wait("the limit", func() bool { return count(200) >= 20 && count(429) > 0 })
	server.Kill()
	refused := count(429)
	wait("answers without Redis", func() bool { return count(429) > refused+200 })
	before := count(200)
	server.Start()
	wait("Redis", func() bool { _, _, err := store.Get(t.Context(), "any"); return err == nil })
	refused = count(429)
	wait("answers with Redis", func() bool { return count(429) > refused+200 })
	close(over)
	load.Wait()
	// 20 counted by Redis, at most 20 by the gateway, and at most 20 by a Redis that has forgotten.
	if before < 20 || before > 40 || got[200] > 60 || len(got) != 2 {
		t.Errorf("%d were allowed until Redis was back, and in all %v", before, got)
	}
	t.Logf("%v, %d of them allowed before Redis was back", got, before)
}

func TestTwoGatewaysOnOneRedisCountTogether(t *testing.T) {
	url := servertest.Redis(t) + "?read_timeout=20s"
	shared := func(o *gateway.Options) { o.Limits = redis(t, url) }
	a, b := open(t, "in process", all(mirror), shared), open(t, "in process", all(mirror), shared)
	var got [2]map[int]int
	var wg sync.WaitGroup
	for i, d := range []*door{a, b} {
		wg.Go(func() { got[i] = burst(t, d, 100, func(int) call { return call{path: "/api/auth/login"} }) })
	}
	wg.Wait()
	if got[0][200]+got[1][200] != 20 || got[0][429]+got[1][429] != 180 {
		t.Errorf("%v, want 20 and 180 in all", got)
	}
}

func TestAnOverlayRaisesLimits(t *testing.T) {
	d := open(t, "in process", all(mirror), func(o *gateway.Options) {
		o.Overlay = []byte("plugins:\n  - name: rate-limiting\n    route: auth-login\n    config: {second: 1000, minute: 50}\n  - name: rate-limiting\n    enabled: false\n    config: {minute: 1}\n")
	})
	if got := burst(t, d, 100, func(int) call { return call{path: "/api/auth/login"} }); got[200] != 50 {
		t.Errorf("%v, want 50", got)
	}
	if a := d.do(t, call{path: "/api/bookings"}); a.status != 200 || a.header.Get("Ratelimit-Limit") != "" {
		t.Errorf("a limit that is off: %d %v", a.status, a.header)
	}
	if a := d.do(t, call{path: "/api/auth/register"}); a.header.Get("Ratelimit-Limit") != "20" {
		t.Errorf("another limit changed: %v", a.header)
	}
}

func TestCORS(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, all(mirror), func(o *gateway.Options) { o.CORSOrigins = []string{"https://app.example"} })
		a := d.do(t, call{method: "OPTIONS", path: "/api/bookings", header: http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"}}})
		if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "https://app.example" || a.header.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
			t.Errorf("preflight: %d %v", a.status, a.header)
		}
		for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": "", "null": "", "http://localhost:3000": "", "https://app.example.evil.example": ""} {
			for _, m := range []string{"GET", "OPTIONS"} {
				a := d.do(t, call{method: m, path: "/api/bookings", header: http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}})
				if strings.Join(a.header["Access-Control-Allow-Origin"], "|") != want || want == "" && a.header.Get("Access-Control-Allow-Methods") != "" {
					t.Errorf("%s from %s: %v", m, origin, a.header)
				}
			}
		}
		a = d.do(t, call{path: "/api/projects", header: http.Header{"Origin": {"https://app.example"}}})
		if a.status != 503 || a.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("a page cannot read why it failed: %d %v", a.status, a.header)
		}
	})
}

func TestAPIKeys(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, all(mirror), func(o *gateway.Options) {
			o.Config = []byte(strings.Replace(kong(t), "\nplugins:\n", "\nconsumers:\n  - username: partner\n    keyauth_credentials: [{key: 0123456789abcdef}]\n\nplugins:\n", 1))
			o.Overlay = []byte("plugins:\n  - name: key-auth\n    service: booking\n    config: {key_names: [X-API-Key], key_in_query: true, hide_credentials: true}\n")
		})
		for key, want := range map[string]string{"": "no_api_key", "0123456789abcdeF": "bad_api_key", "0123456789abcdef": ""} {
			a := d.do(t, call{path: "/api/bookings", header: http.Header{"X-Api-Key": {key}, "X-Consumer-Username": {"root"}}})
			if want != "" && (a.status != 401 || a.code() != want) {
				t.Errorf("%q: %d %s", key, a.status, a.body)
			}
			if want == "" {
				if s := a.seen(t); s.Header.Get("X-Api-Key") != "" || s.Header.Get("X-Consumer-Username") != "partner" {
					t.Errorf("%v", s.Header)
				}
			}
		}
		if s := d.do(t, call{path: "/api/bookings?X-API-Key=0123456789abcdef&a=1"}).seen(t); s.URI != "/api/bookings?a=1" {
			t.Errorf("the service sees %s", s.URI)
		}
		if a := d.do(t, call{path: "/api/auth/me"}); a.status != 200 {
			t.Errorf("another service wants a key: %d", a.status)
		}
	})
}
