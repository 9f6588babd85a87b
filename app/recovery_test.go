package app

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A killed postmaster costs its clients 503 with Retry-After for a moment; no process ends, and nothing acknowledged is lost.
func TestPostgresKilledUnderLoad(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	pid := i.cmd.Process.Pid
	var good, refused atomic.Int64
	var names sync.Map
	end := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 16 {
		clients.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-end:
					return
				default:
				}
				email := fmt.Sprintf("c%d-%d@example.com", n, k)
				var in signedIn
				note := func(what string, want, status int, header http.Header, err error) bool {
					switch {
					case err == nil && status == want:
						good.Add(1)
						return true
					case err == nil && status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
						refused.Add(1)
					default:
						t.Errorf("%s: %d %v", what, status, err)
					}
					return false
				}
				status, header, err := ask("POST", i.at(gatewayPort)+"/api/auth/register", "", map[string]string{"email": email, "password": processPassword, "name": "Ada Test", "role": "client"}, nil)
				if !note("register", http.StatusCreated, status, header, err) {
					continue
				}
				names.Store(email, true)
				status, header, err = ask("POST", i.at(gatewayPort)+"/api/auth/login", "", map[string]string{"email": email, "password": processPassword}, &in)
				if !note("login", http.StatusOK, status, header, err) {
					continue
				}
				status, header, err = ask("GET", i.at(gatewayPort)+"/api/auth/me", in.AccessToken, nil, nil)
				note("me", http.StatusOK, status, header, err)
			}
		})
	}
	for range 2 {
		before := good.Load()
		soon(t, "requests to be answered", 30*time.Second, func() bool { return good.Load() > before+100 })
		old := i.postmaster()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		soon(t, "another postmaster", 30*time.Second, func() bool { p := i.postmaster(); return p != 0 && p != old })
		started := time.Since(killed)
		before = good.Load()
		soon(t, "the first good answer", 30*time.Second, func() bool { return good.Load() > before })
		first := time.Since(killed)
		soon(t, "requests to be answered again", 30*time.Second, func() bool { return good.Load() > before+100 })
		t.Logf("another postmaster after %v, the first good answer after %v, a hundred after %v; refused so far: %d", started, first, time.Since(killed), refused.Load())
	}
	close(end)
	clients.Wait()
	if refused.Load() == 0 {
		t.Error("nobody noticed that Postgres was away")
	}
	lost := 0
	names.Range(func(email, _ any) bool {
		// A sample: each costs a password's hash.
		if lost++; lost > 40 {
			return false
		}
		i.mustLogin(t, email.(string), processPassword)
		return true
	})
	if !alive(pid) {
		t.Error("tulifo ended with its Postgres")
	}
	i.signal(t, syscall.SIGTERM)
	if code := i.exit(t, 20*time.Second); code != 0 {
		t.Errorf("code %d", code)
	}
}
