package auth_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/api/apitest"
	"tulifo/platform/obs"
	"tulifo/services/auth"
)

// No more wrong passwords are evaluated than the limit allows, however many come at once.
func TestParallelGuesses(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	w.register("eve@example.com")
	device := cookie(s.cookies, "tulifo_device")
	if device == nil {
		t.Fatal("no device cookie")
	}
	guess := func(n int, email, with string) (tried, refused int32) {
		var a, b atomic.Int32
		together(n, func(int) {
			switch got := w.login(email, "wrong one", with); got.Status {
			case 401:
				a.Add(1)
			case 429:
				b.Add(1)
				if got.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			default:
				t.Errorf("guess: %v", got)
			}
		})
		return a.Load(), b.Load()
	}
	if tried, refused := guess(20, "ada@example.com", ""); tried != 10 || refused != 10 {
		t.Errorf("unknown devices: %d evaluated, %d refused", tried, refused)
	}
	if a := w.login("ada@example.com", password, ""); a.Status != 429 {
		t.Errorf("the right password of a locked device: %v", a)
	}
	if a := w.login("ada@example.com", password, device.Value+"x"); a.Status != 429 {
		t.Errorf("a forged device cookie: %v", a)
	}
	if a := w.login("eve@example.com", password, ""); a.Status != 200 {
		t.Errorf("others are locked out: %v", a)
	}
	if a := w.login("ada@example.com", password, device.Value); a.Status != 200 {
		t.Errorf("the known device is locked out: %v", a)
	}
	w.pass(15 * time.Minute)
	if tried, refused := guess(20, "ada@example.com", device.Value); tried != 5 || refused != 15 {
		t.Errorf("known device: %d evaluated, %d refused", tried, refused)
	}
	if a := w.login("ada@example.com", password, device.Value); a.Status != 429 {
		t.Errorf("the known device guesses on: %v", a)
	}
	if a := w.login("ada@example.com", password, ""); a.Status != 200 {
		t.Errorf("other devices are locked by it: %v", a)
	}
	w.clean()
}

func TestGuessesFromOneAddress(t *testing.T) {
	w := start(t)
	w.register("ada@example.com")
	var tried atomic.Int32
	together(60, func(i int) {
		a := w.Do(apitest.Call{Path: "/api/auth/login", Header: map[string]string{"X-Forwarded-For": strings.Repeat("1.2.3.4, ", i) + "10.0.0." + string(rune('0'+i%10))},
			Body: map[string]string{"email": string(rune('a'+i%26)) + string(rune('a'+i/26)) + "@example.com", "password": "wrong one"}})
		if a.Status == 401 {
			tried.Add(1)
		} else if a.Status != 429 {
			t.Errorf("guess: %v", a)
		}
	})
	if tried.Load() != 30 {
		t.Errorf("%d evaluated of one address that says it is many, want 30", tried.Load())
	}
	if n := w.count(`SELECT count(*) FROM attempts`); n != 31 {
		t.Errorf("%d counters, want one an account that was tried and the address's", n)
	}
	w.pass(15 * time.Minute)
	if a := w.login("ada@example.com", password, ""); a.Status != 200 {
		t.Errorf("a quarter of an hour later: %v", a)
	}
}

// Right passwords are no failures: a hundred people behind one address sign in.
func TestRightPasswordsAreNotCounted(t *testing.T) {
	w := start(t)
	w.register("ada@example.com")
	for range 40 {
		if a := w.login("ada@example.com", password, ""); a.Status != 200 {
			t.Fatalf("login: %v", a)
		}
	}
	if n := w.count(`SELECT sum(n) FROM attempts`); n != 0 {
		t.Errorf("%d failures counted", n)
	}
}

func TestFloodOfLogins(t *testing.T) {
	w := start(t, func(c *auth.Config) {
		c.HashQueue, c.BcryptCost, c.IPFailures, c.OthersFailures = 1, 8, 10000, 10000
	})
	w.register("ada@example.com")
	var ok, busy atomic.Int32
	together(100, func(int) {
		switch a := w.login("ada@example.com", password, ""); a.Status {
		case 200:
			ok.Add(1)
		case 429:
			busy.Add(1)
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Errorf("login: %v", a)
		}
	})
	if ok.Load() == 0 || ok.Load()+busy.Load() != 100 {
		t.Errorf("%d in, %d told to come back", ok.Load(), busy.Load())
	}
	if n := w.count(`SELECT sum(n) FROM attempts`); n != 0 {
		t.Errorf("%d attempts count that were not tried", n)
	}
}

// One browser of a family is known to each of its accounts.
func TestDeviceOfSeveralAccounts(t *testing.T) {
	w := start(t)
	device := ""
	for _, email := range []string{"a@example.com", "b@example.com", "c@example.com"} {
		w.register(email)
		a := w.login(email, password, device)
		device = cookie(a.Header, "tulifo_device").Value
	}
	for range 10 {
		w.login("a@example.com", "wrong one", "")
	}
	if a := w.login("a@example.com", password, device); a.Status != 200 {
		t.Errorf("known device: %v", a)
	}
	if a := w.login("a@example.com", password, ""); a.Status != 429 {
		t.Errorf("unknown device: %v", a)
	}
}

// logged is what the process logs while the test runs.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(obs.NewLogger(&log, slog.LevelDebug, "auth"))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

// What is secret stays out of logs and events. The default logger belongs to the process, so this test runs alone.
func TestNothingSecretIsTold(t *testing.T) {
	log := logged(t)
	w := startAlone(t)
	s := w.register("ada@example.com")
	w.Do(apitest.Call{Path: "/api/auth/register", Body: map[string]string{"email": "ada@example.com", "password": password + "1", "name": "A", "role": "worker"}})
	w.Do(apitest.Call{Path: "/api/auth/login", Body: map[string]any{"email": "ada@example.com", "password": []string{password}}})
	w.login("ada@example.com", "hunter2 hunter2", "")
	w.Do(apitest.Call{Path: "/api/auth/forgot-password", Body: map[string]string{"email": "ada@example.com"}})
	path := w.link("reset")
	w.Do(form(path, map[string][]string{"password": {"another long walk"}}, 0, ""))
	w.refresh(s.RefreshToken)
	if w.db.Close(); w.login("ada@example.com", password, "").Status != 503 {
		t.Error("a login without a database is not 503")
	}
	told := log.String()
	secrets := []string{password, "hunter2", "another long walk", s.AccessToken, s.RefreshToken, strings.TrimPrefix(path, "/api/auth/links/"), "$2a$"}
	for _, secret := range secrets {
		if strings.Contains(told, secret) {
			t.Errorf("%q is in the log: %s", secret, told)
		}
	}
	if log.Len() == 0 {
		t.Error("nothing was logged, so nothing was shown")
	}
}
