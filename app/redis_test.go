package app

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"tulifo/platform/kv"
	"tulifo/platform/servertest"
	"tulifo/platform/token"
)

// stores is what a service says of its stores, and how it is.
func (i *installation) stores(t *testing.T, port int) (status int, said string, stores map[string]string) {
	t.Helper()
	res, err := quick.Get(i.at(port) + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct {
		Data struct {
			Status string
			Stores map[string]string
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body.Data.Status, body.Data.Stores
}

// sessionOf is the sign-in that an access token belongs to.
func sessionOf(t *testing.T, access string) uuid.UUID {
	t.Helper()
	var claims struct {
		jwt.RegisteredClaims
		Session uuid.UUID `json:"sid"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(access, &claims); err != nil || claims.Session == uuid.Nil {
		t.Fatalf("%v, %v", claims, err)
	}
	return claims.Session
}

// me is what the gateway answers somebody who asks who he is.
func (i *installation) me(t *testing.T, access string) int {
	t.Helper()
	status, _, err := ask("GET", i.at(gatewayPort)+"/api/auth/me", access, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// A platform with a Redis that dies under load and comes back: nobody is told but by health, all stay ready, and who was signed out stays signed out.
func TestRedisDiesUnderThePlatform(t *testing.T) {
	t.Parallel()
	server := servertest.OwnRedis(t)
	i := newInstallation(t, "REDIS_URL="+server.URL())
	i.up(t)
	healthy := func(what string, answers int, status, redis string) {
		t.Helper()
		soon(t, what, 30*time.Second, func() bool {
			for _, e := range services {
				code, said, stores := i.stores(t, e.port)
				if code != answers || said != status || stores["redis"] != redis || stores["postgres"] != "connected" {
					return false
				}
			}
			return true
		})
		if code, _, _ := i.state(t, 3001, "/readyz"); code != http.StatusOK {
			t.Errorf("%s: auth is not ready: %d", what, code)
		}
	}
	healthy("Redis", http.StatusOK, "ok", "connected")
	i.register(t, "ada@example.com")
	leave := func() string {
		t.Helper()
		access, status, err := i.login("ada@example.com", processPassword)
		if err != nil || status != http.StatusOK || i.me(t, access) != http.StatusOK {
			t.Fatalf("sign in: %d %v", status, err)
		}
		if status, _, err := ask("POST", i.at(gatewayPort)+"/api/auth/logout", access, nil, nil); err != nil || status != http.StatusOK {
			t.Fatalf("sign out: %d %v", status, err)
		}
		return access
	}
	var gone []string
	still := func(when string) {
		t.Helper()
		for n, access := range gone {
			if status := i.me(t, access); status != http.StatusUnauthorized {
				t.Errorf("%s: sign-out %d is revived: %d", when, n, status)
			}
		}
	}
	// Another process, which hears no broadcast, sees the sign-out in Redis.
	log := slog.New(slog.DiscardHandler)
	shared, err := kv.NewRedis(server.URL(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	elsewhere := token.NewRevocations()
	go elsewhere.Look(t.Context(), log, shared)
	gone = append(gone, leave())
	soon(t, "the sign-out to be seen elsewhere", 10*time.Second, func() bool { return elsewhere.Has(sessionOf(t, gone[0])) })

	over := make(chan struct{})
	var load sync.WaitGroup
	var calls, slowest atomic.Int64
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				began := time.Now()
				status, _, err := ask("GET", i.at(gatewayPort)+"/api/workers?limit=1", "", nil, nil)
				if err != nil || status != http.StatusOK {
					t.Errorf("a caller is told of it: %d %v", status, err)
				}
				calls.Add(1)
				slowest.Store(max(slowest.Load(), int64(time.Since(began))))
			}
		})
	}
	server.Kill()
	healthy("Redis is dead", http.StatusServiceUnavailable, "degraded", "disconnected")
	still("without Redis")
	gone = append(gone, leave())
	still("signed out without Redis")
	began := time.Now()
	server.Start()
	healthy("Redis is back", http.StatusOK, "ok", "connected")
	t.Logf("%d calls, the slowest took %v; connected %v after Redis answered", calls.Load(), time.Duration(slowest.Load()), time.Since(began))
	still("with a Redis that has forgotten")
	close(over)
	load.Wait()
	i.signal(t, syscall.SIGTERM)
	if code := i.exit(t, 20*time.Second); code != 0 {
		t.Errorf("code %d", code)
	}
	if said := i.err.String(); !strings.Contains(said, "Redis does not answer") {
		t.Errorf("the log tells nothing of it:\n%s", tail(said, 10))
	}
}
