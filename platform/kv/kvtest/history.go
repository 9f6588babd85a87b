package kvtest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/kv"
)

// counted is one call of Allow: when it was made, when it was answered, and what was said.
type counted struct {
	from, to time.Time
	left     int
}

// order has many clients count in one window, and checks that their calls can have happened one after the other, each between its start and its end.
func order(t *testing.T, s kv.Store) {
	const most = 150
	for round := range 5 {
		history := record(t, s, fmt.Sprint("round", round), most, long, func(done int) bool { return done == 20 })
		if why := disorder(history, most); why != "" {
			t.Errorf("round %d of %d calls: %s", round, len(history), why)
		}
	}
}

// series has many clients count over some windows. Whatever the windows are, no stretch of their length holds more than twice the maximum, and each lets
// the maximum through.
func series(t *testing.T, s kv.Store) {
	const most, per, times = 10, 2 * brief, 5
	over := time.Now().Add(times * per)
	history := record(t, s, "k", most, per, func(int) bool { return time.Now().After(over) })
	history = slices.DeleteFunc(history, func(c counted) bool { return c.left < 0 })
	slices.SortFunc(history, func(a, b counted) int { return a.from.Compare(b.from) })
	for i, first := range history {
		inside := 0
		for _, c := range history[i:] {
			if c.to.Before(first.from.Add(per)) {
				inside++
			}
		}
		if inside > 2*most {
			t.Fatalf("%d were allowed within %v, with a maximum of %d in a window of that length", inside, per, most)
		}
	}
	if len(history) == 0 {
		t.Fatal("nothing was allowed")
	}
	last := history[len(history)-1].to.Sub(history[0].from)
	if n := len(history); n > most*(int(last/per)+1) || n < 2*most {
		t.Errorf("%d were allowed in %v, with a maximum of %d in %v", n, last, most, per)
	}
}

// record has clients call Allow until each has enough.
func record(t *testing.T, s kv.Store, key string, most int, per time.Duration, enough func(done int) bool) (history []counted) {
	var mu sync.Mutex
	together(12, func(int) {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for done := 0; !enough(done); done++ {
			if per < long {
				<-pace.C
			}
			c := counted{from: time.Now()}
			left, _, err := s.Allow(t.Context(), key, most, per)
			c.left, c.to = left, time.Now()
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			history = append(history, c)
			mu.Unlock()
		}
	})
	return history
}

// disorder says why the calls of one window cannot be those of one counter; empty when they can.
//
// There is an order if and only if those that are allowed are told max-1, max-2 and so on, nobody had his answer before one asked who comes before
// him, and nobody is refused while more are left.
func disorder(w []counted, max int) string {
	byLeft := slices.SortedFunc(slices.Values(w), func(a, b counted) int { return b.left - a.left })
	var latest time.Time // start of those that come before
	allowed := 0
	for i, c := range byLeft {
		if c.left >= 0 {
			allowed++
			if want := max - 1 - i; c.left != want {
				return fmt.Sprintf("%d are left where %d should be", c.left, want)
			}
		}
		if c.to.Before(latest) {
			return fmt.Sprintf("who is told that %d are left had his answer before one asked who comes before him", c.left)
		}
		if c.left >= 0 && c.from.After(latest) {
			latest = c.from
		}
	}
	if allowed != min(max, len(w)) {
		return fmt.Sprintf("%d were allowed of %d, with a maximum of %d", allowed, len(w), max)
	}
	return ""
}

// lock is held by who set it if absent, until he takes it.
func lock(t *testing.T, s kv.Store) {
	var holders, turns atomic.Int64
	together(12, func(n int) {
		for own := fmt.Sprint(n); turns.Load() < 150; {
			did, err := s.SetIfAbsent(t.Context(), "lock", []byte(own), long)
			if err != nil {
				t.Error(err)
				return
			}
			if !did {
				continue
			}
			if h := holders.Add(1); h != 1 {
				t.Errorf("%d hold the lock", h)
			}
			turns.Add(1)
			holders.Add(-1)
			if got, found, err := s.Take(t.Context(), "lock"); !found || string(got) != own || err != nil {
				t.Errorf("the lock of %s is %q, %v, %v", own, got, found, err)
				return
			}
		}
	})
}

// full floods a store. What was last set is there, and a limit that is used up stays so, whatever else is forgotten.
func full(t *testing.T, s kv.Store, keys int) {
	ctx := t.Context()
	for range 30 {
		_, _, err := s.Allow(ctx, "attacker", 20, long)
		ok(t, err)
	}
	ok(t, s.Set(ctx, "first", []byte("v"), long))
	forgotten := false
	for i := range 2 * keys {
		key := fmt.Sprint(i)
		if left, _, err := s.Allow(ctx, key, 20, long); left != 19 || err != nil {
			t.Fatalf("counter %d: %d, %v", i, left, err)
		}
		ok(t, s.Set(ctx, key, []byte(key), long))
		if got, found, err := s.Get(ctx, key); !found || string(got) != key || err != nil {
			t.Fatalf("value %d was forgotten at once: %q, %v, %v", i, got, found, err)
		}
		if i%(keys/4) == 0 {
			// He goes on trying.
			left, _, err := s.Allow(ctx, "attacker", 20, long)
			if left != -1 || err != nil {
				t.Fatalf("after a flood of %d fresh keys %d more are allowed, %v", i, left, err)
			}
		}
	}
	for i := range keys {
		_, found, err := s.Get(ctx, fmt.Sprint(i))
		ok(t, err)
		forgotten = forgotten || !found
	}
	if !forgotten {
		t.Errorf("a store of fewer than %d values holds twice as many", keys)
	}
	if left, _, err := s.Allow(ctx, "attacker", 20, long); left != -1 || err != nil {
		t.Errorf("after the flood %d more are allowed, %v", left, err)
	}
}

// restarts has clients work while the store ends and starts again. Calls may fail, and do not hang; what is answered fits a store that forgot.
func restarts(t *testing.T, s kv.Store, restart func()) {
	const most, times = 50, 2
	ctx := t.Context()
	var allowed, taken, sets, slowest atomic.Int64
	var lefts [most]atomic.Int64
	over := make(chan struct{})
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				began := time.Now()
				switch {
				case n == 0:
					// Counted before, because what is not answered may have been done.
					sets.Add(1)
					_, _ = s.SetIfAbsent(ctx, "code", []byte("v"), long)
				case n < 4:
					if got, found, err := s.Take(ctx, "code"); found && err == nil {
						taken.Add(1)
						if string(got) != "v" {
							t.Errorf("Take = %q", got)
						}
					}
				default:
					left, _, err := s.Allow(ctx, "limit", most, long)
					switch {
					case err != nil && left >= 0:
						t.Errorf("an error allows: %d, %v", left, err)
					case err == nil && left >= 0:
						allowed.Add(1)
						lefts[left].Add(1)
					}
				}
				if took := int64(time.Since(began)); took > slowest.Load() {
					slowest.Store(took)
				}
			}
		})
	}
	for range times {
		until(t, func() bool { left, _, err := s.Allow(ctx, "limit", most, long); return err == nil && left == -1 })
		restart()
	}
	until(t, func() bool { left, _, err := s.Allow(ctx, "limit", most, long); return err == nil && left == -1 })
	close(over)
	clients.Wait()
	if n := allowed.Load(); n > (times+1)*most {
		t.Errorf("%d were allowed of %d in each of %d lives", n, most, times+1)
	}
	for left := range lefts {
		if n := lefts[left].Load(); n > times+1 {
			t.Errorf("%d times it was said that %d are left, in %d lives", n, left, times+1)
		}
	}
	if taken.Load() > sets.Load() {
		t.Errorf("%d took what was set %d times", taken.Load(), sets.Load())
	}
	if took := time.Duration(slowest.Load()); took > 15*time.Second {
		t.Errorf("a call took %v", took)
	}
	t.Logf("%d allowed, %d taken of %d, the slowest call took %v", allowed.Load(), taken.Load(), sets.Load(), time.Duration(slowest.Load()))
}
