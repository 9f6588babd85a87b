// Package kvtest is the specification of kv.Store as tests, for every engine.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/kv"
)

const (
	long  = time.Hour
	brief = 50 * time.Millisecond
)

// Engine is what Suite runs against.
type Engine struct {
	// Open answers a store that no other test uses.
	Open func(t *testing.T) kv.Store
	// Small answers one that is full with fewer values, or fewer counters, than keys.
	Small func(t *testing.T) (s kv.Store, keys int)
	// Restarting answers one, and what ends it and starts it again, with all that it held or with nothing.
	Restarting func(t *testing.T) (s kv.Store, restart func())
}

// Suite runs all of it.
func Suite(t *testing.T, e Engine) {
	t.Run("a full store forgets, but no limit that is used up", func(t *testing.T) {
		s, keys := e.Small(t)
		full(t, s, keys)
	})
	t.Run("a restart forgets and opens nothing else", func(t *testing.T) {
		s, restart := e.Restarting(t)
		restarts(t, s, restart)
	})
	for name, run := range map[string]func(*testing.T, kv.Store){
		"a value is kept as it was given":              kept,
		"absent keys":                                  absent,
		"set if absent tells one of many":              setIfAbsent,
		"take gives to one of many":                    take,
		"a value ends":                                 ends,
		"a lock has one holder":                        lock,
		"exactly max calls are allowed":                allow,
		"counts have one order":                        order,
		"no stretch holds more than twice the maximum": series,
		"refused calls do not lengthen a window":       refused,
		"a window ends":                                windows,
		"a counter is no value":                        apart,
		"what cannot be kept is refused":               hostile,
		"different keys do not touch each other":       many,
		"delete forgets values and counters, at once":  forget,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, e.Open(t))
		})
	}
}

func kept(t *testing.T, s kv.Store) {
	ctx := t.Context()
	val := []byte("a\x00\xff")
	ok(t, s.Set(ctx, "k", val, long))
	val[0] = 'z'
	got, found, err := s.Get(ctx, "k")
	if err != nil || !found || string(got) != "a\x00\xff" {
		t.Fatalf("Get = %q, %v, %v", got, found, err)
	}
	got[0] = 'y'
	if again, _, _ := s.Get(ctx, "k"); string(again) != "a\x00\xff" {
		t.Fatalf("the store shares its memory: %q", again)
	}
	ok(t, s.Set(ctx, "k", nil, long))
	if got, found, err := s.Get(ctx, "k"); err != nil || !found || len(got) != 0 {
		t.Fatalf("an empty value: %q, %v, %v", got, found, err)
	}
}

func absent(t *testing.T, s kv.Store) {
	ctx := t.Context()
	if got, found, err := s.Get(ctx, "none"); got != nil || found || err != nil {
		t.Fatalf("Get = %q, %v, %v", got, found, err)
	}
	if got, found, err := s.Take(ctx, "none"); got != nil || found || err != nil {
		t.Fatalf("Take = %q, %v, %v", got, found, err)
	}
	ok(t, s.Delete(ctx, "none", "nothing"))
	ok(t, s.Delete(ctx))
}

func setIfAbsent(t *testing.T, s kv.Store) {
	var told atomic.Int64
	var winner atomic.Value
	together(64, func(n int) {
		val := fmt.Sprint(n)
		did, err := s.SetIfAbsent(t.Context(), "lock", []byte(val), long)
		if err != nil {
			t.Error(err)
		}
		if did {
			told.Add(1)
			winner.Store(val)
		}
	})
	got, _, err := s.Get(t.Context(), "lock")
	ok(t, err)
	if told.Load() != 1 || string(got) != winner.Load() {
		t.Fatalf("%d were told that they set it; it is %q", told.Load(), got)
	}
}

func take(t *testing.T, s kv.Store) {
	ok(t, s.Set(t.Context(), "code", []byte("secret"), long))
	var got atomic.Int64
	together(64, func(int) {
		val, found, err := s.Take(t.Context(), "code")
		if err != nil {
			t.Error(err)
		}
		if found {
			got.Add(1)
			if string(val) != "secret" {
				t.Errorf("Take = %q", val)
			}
		}
	})
	if got.Load() != 1 {
		t.Fatalf("%d got it", got.Load())
	}
	if _, found, _ := s.Get(t.Context(), "code"); found {
		t.Fatal("it is still there")
	}
}

func ends(t *testing.T, s kv.Store) {
	ctx := t.Context()
	start := time.Now()
	ok(t, s.Set(ctx, "k", []byte("v"), brief))
	ok(t, s.Set(ctx, "stays", []byte("v"), long))
	until(t, func() bool { _, found, err := s.Get(ctx, "k"); return err == nil && !found })
	if took := time.Since(start); took < brief/2 {
		t.Fatalf("it was gone after %v", took)
	}
	if did, err := s.SetIfAbsent(ctx, "k", []byte("w"), long); err != nil || !did {
		t.Fatalf("SetIfAbsent after the end: %v, %v", did, err)
	}
	if _, found, err := s.Get(ctx, "stays"); err != nil || !found {
		t.Fatalf("the other one: %v, %v", found, err)
	}
	ok(t, s.Set(ctx, "late", []byte("v"), brief))
	until(t, func() bool { did, err := s.SetIfAbsent(ctx, "late", []byte("w"), long); return err == nil && did })
}

func allow(t *testing.T, s kv.Store) {
	const most = 100
	var allowed, refused atomic.Int64
	var lefts sync.Map
	together(64, func(int) {
		for range 5 {
			left, reset, err := s.Allow(t.Context(), "ip", most, long)
			switch {
			case err != nil:
				t.Error(err)
			case left >= 0:
				allowed.Add(1)
				if _, twice := lefts.LoadOrStore(left, true); twice {
					t.Errorf("two calls were told that %d are left", left)
				}
			default:
				refused.Add(1)
				if left != -1 {
					t.Errorf("left = %d", left)
				}
			}
			if in := time.Until(reset); in <= 0 || in > long+time.Minute {
				t.Errorf("reset in %v", in)
			}
		}
	})
	if allowed.Load() != most || refused.Load() != 64*5-most {
		t.Fatalf("%d allowed, %d refused", allowed.Load(), refused.Load())
	}
	if left, _, err := s.Allow(t.Context(), "never", 0, long); left != -1 || err != nil {
		t.Fatalf("max 0: %d, %v", left, err)
	}
}

func refused(t *testing.T, s kv.Store) {
	ctx := t.Context()
	began := time.Now()
	_, first, err := s.Allow(ctx, "k", 1, long)
	ok(t, err)
	exact := time.Since(began) // a server says how long it is until then, and the answer takes a while
	for range 10 {
		began := time.Now()
		left, reset, err := s.Allow(ctx, "k", 1, long)
		if left != -1 || err != nil || reset.Sub(first).Abs() > max(exact, time.Since(began))+2*time.Millisecond {
			t.Fatalf("left %d, reset %v later, %v", left, reset.Sub(first), err)
		}
	}
	if left, _, err := s.Allow(ctx, "k", 3, long); left != 1 || err != nil {
		t.Fatalf("after ten refused calls a larger max leaves %d, %v", left, err)
	}
}

func windows(t *testing.T, s kv.Store) {
	ctx := t.Context()
	until(t, func() bool {
		began := time.Now()
		var last int
		for range 4 {
			var err error
			last, _, err = s.Allow(ctx, "k", 3, 4*brief)
			ok(t, err)
		}
		inTime := time.Since(began) < 4*brief
		if inTime && last != -1 {
			t.Fatalf("the fourth: left %d", last)
		}
		return inTime
	})
	until(t, func() bool { left, _, err := s.Allow(ctx, "k", 3, 4*brief); return err == nil && left == 2 })
}

func apart(t *testing.T, s kv.Store) {
	ctx := t.Context()
	ok(t, s.Set(ctx, "k", []byte("v"), long))
	if left, _, err := s.Allow(ctx, "k", 5, long); left != 4 || err != nil {
		t.Fatalf("left %d, %v", left, err)
	}
	if got, found, err := s.Take(ctx, "k"); string(got) != "v" || !found || err != nil {
		t.Fatalf("Take = %q, %v, %v", got, found, err)
	}
	if _, found, err := s.Get(ctx, "k"); found || err != nil {
		t.Fatalf("Get sees a counter: %v, %v", found, err)
	}
	if left, _, err := s.Allow(ctx, "k", 5, long); left != 3 || err != nil {
		t.Fatalf("after Take: left %d, %v", left, err)
	}
}

func hostile(t *testing.T, s kv.Store) {
	ctx := t.Context()
	big := strings.Repeat("k", kv.MaxKey+1)
	for _, key := range []string{"", big} {
		_, _, get := s.Get(ctx, key)
		_, _, took := s.Take(ctx, key)
		_, absent := s.SetIfAbsent(ctx, key, nil, long)
		left, _, allowed := s.Allow(ctx, key, 5, long)
		for _, err := range []error{get, took, absent, allowed, s.Set(ctx, key, nil, long)} {
			if !errors.Is(err, kv.ErrKey) {
				t.Errorf("a key of %d bytes: %v", len(key), err)
			}
		}
		if left >= 0 {
			t.Errorf("a limit without a key is open: %d", left)
		}
	}
	if err := s.Set(ctx, "k", bytes.Repeat([]byte("v"), kv.MaxValue+1), long); !errors.Is(err, kv.ErrValue) {
		t.Errorf("a large value: %v", err)
	}
	for _, ttl := range []time.Duration{0, -1, -long} {
		if err := s.Set(ctx, "k", nil, ttl); !errors.Is(err, kv.ErrTTL) {
			t.Errorf("ttl %v: %v", ttl, err)
		}
		if left, _, err := s.Allow(ctx, "k", 5, ttl); left >= 0 || !errors.Is(err, kv.ErrTTL) {
			t.Errorf("per %v: %d, %v", ttl, left, err)
		}
	}
	for _, key := range []string{big[:kv.MaxKey], "a b\r\nDEL *", "\x00", "ключ", "{}*?[]"} {
		ok(t, s.Set(ctx, key, []byte(key), long))
		if got, found, err := s.Get(ctx, key); string(got) != key || !found || err != nil {
			t.Errorf("key %.20q: %v, %v", key, found, err)
		}
	}
}

func many(t *testing.T, s kv.Store) {
	together(32, func(n int) {
		ctx := context.WithoutCancel(t.Context())
		for i := range 50 {
			key, val := fmt.Sprintf("%d/%d", n, i), []byte{byte(n), byte(i)}
			if err := s.Set(ctx, key, val, long); err != nil {
				t.Error(err)
			}
			if got, found, err := s.Take(ctx, key); !found || err != nil || !bytes.Equal(got, val) {
				t.Errorf("%s = %v, %v, %v", key, got, found, err)
			}
		}
	})
}

func forget(t *testing.T, s kv.Store) {
	ctx := t.Context()
	for _, key := range []string{"a", "b", "c"} {
		ok(t, s.Set(ctx, key, []byte("v"), long))
	}
	_, _, err := s.Allow(ctx, "a", 1, long)
	ok(t, err)
	ok(t, s.Delete(ctx, "a", "b", "none"))
	for key, want := range map[string]bool{"a": false, "b": false, "c": true} {
		if _, found, err := s.Get(ctx, key); found != want || err != nil {
			t.Errorf("%s: %v, %v", key, found, err)
		}
	}
	if left, _, err := s.Allow(ctx, "a", 1, long); left != 0 || err != nil {
		t.Errorf("the counter is still there: %d, %v", left, err)
	}
}

func together(n int, fn func(n int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			fn(i)
		})
	}
	close(gate)
	wg.Wait()
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass within 10 s")
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
