// Package kv holds, for every service and the gateway, what may be lost: caches, counters, presence.
//
// Nothing in it is ever the truth. What a program could not do without belongs in a database.
package kv

import (
	"context"
	"errors"
	"time"
)

// Limits that hold for every engine, so that no caller's key or value can eat the memory of all.
const (
	MaxKey   = 1 << 10  // bytes
	MaxValue = 64 << 10 // bytes
)

// Errors of a call that no engine can serve; they are the program's fault and not the store's.
var (
	ErrKey   = errors.New("kv: the key is empty or longer than MaxKey")
	ErrValue = errors.New("kv: the value is longer than MaxValue")
	ErrTTL   = errors.New("kv: the time to live is not positive")
)

// Store holds what may be lost: caches, counters, presence. An error means unknown: a limit then stays closed.
//
// All methods may be called from many goroutines and, with an engine outside this process, from many processes; each call happens at one instant between its start and its end.
// A store that is full forgets: values at any time, counters the least used first.
// Values and counters have keys of their own: Get never sees a counter.
type Store interface {
	// Get answers the value under key; ok is false when there is none or its time is over. The caller owns val.
	Get(ctx context.Context, key string) (val []byte, ok bool, err error)
	// Set keeps a copy of val under key for ttl, which must be positive, whatever was there before.
	Set(ctx context.Context, key string, val []byte, ttl time.Duration) error
	// SetIfAbsent is Set if there is no value under key; of many at once exactly one is told true.
	SetIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error)
	// Take reads and deletes at once: of many at once exactly one gets the value.
	Take(ctx context.Context, key string) (val []byte, ok bool, err error)
	// Allow counts one more under key and says whether it is within max per window: left ≥ 0 when it is, and then left more are until reset; left is -1 when it is not.
	// The window is fixed: it starts with the first call under key and ends per later, at reset; refused calls are not counted.
	// Exactly max calls are allowed in a window however many run at once, so at most 2·max in any stretch of length per.
	Allow(ctx context.Context, key string, max int, per time.Duration) (left int, reset time.Time, err error)
	// Delete forgets the values and the counters under keys; those that are absent do not matter.
	Delete(ctx context.Context, keys ...string) error
}

func checkKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return ErrKey
	}
	return nil
}

func check(key string, val []byte, ttl time.Duration) error {
	switch {
	case checkKey(key) != nil:
		return ErrKey
	case len(val) > MaxValue:
		return ErrValue
	case ttl <= 0:
		return ErrTTL
	}
	return nil
}
