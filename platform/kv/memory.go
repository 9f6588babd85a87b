package kv

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// Memory is the Store of a single process. It starts no goroutine: what is over is dropped when it is met, and every write looks at a few more.
type Memory struct {
	now    func() time.Time
	seed   maphash.Seed
	shards []shard
	each   int // most values, and most counters, of one shard
}

type shard struct {
	mu       sync.Mutex
	values   map[string]value
	counters map[string]counter
	_        [32]byte // keeps two shards' locks off one cache line
}

type value struct {
	val  []byte
	ends time.Time
}

type counter struct {
	count int
	ends  time.Time
}

// MemoryOption changes how a Memory works.
type MemoryOption func(*Memory)

// WithNow makes the store tell time by now, which must never go back.
func WithNow(now func() time.Time) MemoryOption { return func(m *Memory) { m.now = now } }

const (
	maxShards = 64
	perShard  = 64 // smaller stores have fewer shards, so that one busy shard does not forget while others are empty
	looks     = 8  // entries a write looks at to find what is over, or what to forget when full
)

// NewMemory is an empty store of at most maxKeys values and maxKeys counters.
func NewMemory(maxKeys int, opts ...MemoryOption) *Memory {
	maxKeys = max(maxKeys, 1)
	n := min(max(maxKeys/perShard, 1), maxShards)
	m := &Memory{now: time.Now, seed: maphash.MakeSeed(), shards: make([]shard, n), each: maxKeys / n}
	for i := range m.shards {
		m.shards[i].values = map[string]value{}
		m.shards[i].counters = map[string]counter{}
	}
	for _, o := range opts {
		o(m)
	}
	return m
}

func (m *Memory) lock(key string) *shard {
	s := &m.shards[maphash.String(m.seed, key)%uint64(len(m.shards))]
	s.mu.Lock()
	return s
}

// Get is Store's.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	s := m.lock(key)
	defer s.mu.Unlock()
	v, ok := s.live(key, m.now())
	return bytes.Clone(v.val), ok, nil
}

// Set is Store's.
func (m *Memory) Set(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if err := check(key, val, ttl); err != nil {
		return err
	}
	now := m.now()
	s := m.lock(key)
	defer s.mu.Unlock()
	s.put(key, val, now, ttl, m.each)
	return nil
}

// SetIfAbsent is Store's.
func (m *Memory) SetIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	if err := check(key, val, ttl); err != nil {
		return false, err
	}
	now := m.now()
	s := m.lock(key)
	defer s.mu.Unlock()
	if _, ok := s.live(key, now); ok {
		return false, nil
	}
	s.put(key, val, now, ttl, m.each)
	return true, nil
}

// Take is Store's.
func (m *Memory) Take(ctx context.Context, key string) ([]byte, bool, error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	s := m.lock(key)
	defer s.mu.Unlock()
	v, ok := s.live(key, m.now())
	delete(s.values, key)
	return v.val, ok, nil
}

// Allow is Store's.
func (m *Memory) Allow(ctx context.Context, key string, max int, per time.Duration) (int, time.Time, error) {
	if err := check(key, nil, per); err != nil {
		return -1, time.Time{}, err
	}
	s := m.lock(key)
	defer s.mu.Unlock()
	// Read under the lock: a window must not start before the end of the one it follows.
	now := m.now()
	c, ok := s.counters[key]
	if !ok || !now.Before(c.ends) {
		c = counter{ends: now.Add(per)}
	}
	if c.count >= max {
		if !ok {
			return -1, c.ends, nil
		}
		s.counters[key] = c
		return -1, c.ends, nil
	}
	c.count++
	if !ok {
		s.sweepCounters(now, m.each)
	}
	s.counters[key] = c
	return max - c.count, c.ends, nil
}

// Delete is Store's.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		s := m.lock(key)
		delete(s.values, key)
		delete(s.counters, key)
		s.mu.Unlock()
	}
	return nil
}

// Len is how many values and counters take memory now, those included whose time is over and that nothing has met yet.
func (m *Memory) Len() (values, counters int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		values += len(s.values)
		counters += len(s.counters)
		s.mu.Unlock()
	}
	return values, counters
}

func (s *shard) live(key string, now time.Time) (value, bool) {
	v, ok := s.values[key]
	if ok && !now.Before(v.ends) {
		delete(s.values, key)
		return value{}, false
	}
	return v, ok
}

func (s *shard) put(key string, val []byte, now time.Time, ttl time.Duration, most int) {
	if _, ok := s.values[key]; !ok {
		s.sweepValues(now, most)
	}
	s.values[key] = value{bytes.Clone(val), now.Add(ttl)}
}

// sweepValues drops what is over among a few values, and makes room for one more: of those it looked at, the one that would have ended first goes.
func (s *shard) sweepValues(now time.Time, most int) {
	var first string
	var ends time.Time
	seen := 0
	for k, v := range s.values {
		if !now.Before(v.ends) {
			delete(s.values, k)
		} else if ends.IsZero() || v.ends.Before(ends) {
			first, ends = k, v.ends
		}
		if seen++; seen == looks {
			break
		}
	}
	if len(s.values) >= most {
		delete(s.values, first)
	}
}

// sweepCounters is sweepValues for counters, but the one that counted least goes: who floods the store with fresh keys must not get his used-up limit forgotten.
func (s *shard) sweepCounters(now time.Time, most int) {
	var least string
	count, seen := -1, 0
	for k, c := range s.counters {
		if !now.Before(c.ends) {
			delete(s.counters, k)
		} else if count < 0 || c.count < count {
			least, count = k, c.count
		}
		if seen++; seen == looks {
			break
		}
	}
	if len(s.counters) >= most {
		delete(s.counters, least)
	}
}
