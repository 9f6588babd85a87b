package kv_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/kv"
	"tulifo/platform/kv/kvtest"
)

func TestMemory(t *testing.T) {
	kvtest.Suite(t, kvtest.Engine{
		Open:  func(*testing.T) kv.Store { return kv.NewMemory(100_000) },
		Small: func(*testing.T) (kv.Store, int) { return kv.NewMemory(1000), 1200 },
		Restarting: func(*testing.T) (kv.Store, func()) {
			var m memories
			m.restart()
			return &m, m.restart
		},
	})
}

// memories are the stores of a process that is started again and again.
type memories struct{ atomic.Pointer[kv.Memory] }

func (m *memories) restart() { m.Store(kv.NewMemory(1000)) }

func (m *memories) Get(ctx context.Context, key string) ([]byte, bool, error) {
	return m.Load().Get(ctx, key)
}
func (m *memories) Set(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	return m.Load().Set(ctx, key, val, ttl)
}
func (m *memories) SetIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	return m.Load().SetIfAbsent(ctx, key, val, ttl)
}
func (m *memories) Take(ctx context.Context, key string) ([]byte, bool, error) {
	return m.Load().Take(ctx, key)
}
func (m *memories) Allow(ctx context.Context, key string, max int, per time.Duration) (int, time.Time, error) {
	return m.Load().Allow(ctx, key, max, per)
}
func (m *memories) Delete(ctx context.Context, keys ...string) error {
	return m.Load().Delete(ctx, keys...)
}

// at is a clock that the test moves.
type at struct{ ns atomic.Int64 }

func (a *at) now() time.Time          { return time.Unix(0, a.ns.Load()) }
func (a *at) advance(d time.Duration) { a.ns.Add(int64(d)) }

func TestMemoryEndsToTheNanosecond(t *testing.T) {
	var clock at
	s := kv.NewMemory(10, kv.WithNow(clock.now))
	ctx := t.Context()
	if err := s.Set(ctx, "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if left, reset, _ := s.Allow(ctx, "c", 2, time.Minute); left < -1 || !reset.Equal(time.Unix(60, 0)) {
			t.Fatalf("left %d, reset %v", left, reset)
		}
	}
	clock.advance(time.Minute - 1)
	if _, found, _ := s.Get(ctx, "k"); !found {
		t.Error("gone too early")
	}
	if left, _, _ := s.Allow(ctx, "c", 2, time.Minute); left != -1 {
		t.Errorf("open too early: %d", left)
	}
	clock.advance(1)
	if _, found, _ := s.Get(ctx, "k"); found {
		t.Error("there too long")
	}
	if left, reset, _ := s.Allow(ctx, "c", 2, time.Minute); left != 1 || !reset.Equal(time.Unix(120, 0)) {
		t.Errorf("the next window: %d, %v", left, reset)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	for _, most := range []int{1, 10, 1000, 5000} {
		s := kv.NewMemory(most)
		for i := range 4 * most {
			key := fmt.Sprint(i)
			if err := s.Set(t.Context(), key, nil, time.Hour); err != nil {
				t.Fatal(err)
			}
			if _, found, _ := s.Get(t.Context(), key); !found {
				t.Fatalf("of %d: %s was forgotten at once", most, key)
			}
			if left, _, err := s.Allow(t.Context(), key, 5, time.Hour); left != 4 || err != nil {
				t.Fatalf("left %d, %v", left, err)
			}
		}
		values, counters := s.Len()
		if values > most || counters > most || values < most/2 || counters < most/2 {
			t.Errorf("of %d: %d values, %d counters", most, values, counters)
		}
	}
}

func TestMemoryDropsWhatIsOver(t *testing.T) {
	var clock at
	s := kv.NewMemory(100_000, kv.WithNow(clock.now))
	for i := range 10_000 {
		_ = s.Set(t.Context(), fmt.Sprint("old", i), nil, time.Second)
		_, _, _ = s.Allow(t.Context(), fmt.Sprint("old", i), 1, time.Second)
	}
	clock.advance(time.Second)
	for i := range 10_000 {
		_ = s.Set(t.Context(), fmt.Sprint("new", i), nil, time.Hour)
		_, _, _ = s.Allow(t.Context(), fmt.Sprint("new", i), 1, time.Hour)
	}
	if values, counters := s.Len(); values > 11_000 || counters > 11_000 {
		t.Errorf("%d values and %d counters are still there", values, counters)
	}
}

func TestMemoryFloodDoesNotOpenALimit(t *testing.T) {
	s := kv.NewMemory(1000)
	for range 20 {
		_, _, _ = s.Allow(t.Context(), "attacker", 20, time.Hour)
	}
	for i := range 50_000 {
		_, _, _ = s.Allow(t.Context(), fmt.Sprint(i), 20, time.Hour)
	}
	if left, _, _ := s.Allow(t.Context(), "attacker", 20, time.Hour); left != -1 {
		t.Errorf("after a flood of fresh keys %d more are allowed", left)
	}
}

func BenchmarkMemory(b *testing.B) {
	s := kv.NewMemory(100_000)
	b.Run("Allow", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _, _ = s.Allow(b.Context(), "10.0.0.1", 1<<30, time.Hour)
			}
		})
	})
	b.Run("Get", func(b *testing.B) {
		_ = s.Set(b.Context(), "k", []byte("value"), time.Hour)
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = s.Get(b.Context(), "k")
		}
	})
}
