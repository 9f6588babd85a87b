package kv

import (
	"context"
	"time"
)

// Bounded is a store whose limits hold without it: while it cannot answer, Allow counts in this process's memory, so that each process allows at most
// max more. A limit never opens because its store is away, and never closes for it either.
type Bounded struct {
	Store
	local *Memory
}

// NewBounded is s with room for maxKeys counters of this process.
func NewBounded(s Store, maxKeys int) Bounded { return Bounded{s, NewMemory(maxKeys)} }

// Allow is Store's. Its error is the program's fault.
func (b Bounded) Allow(ctx context.Context, key string, max int, per time.Duration) (left int, reset time.Time, err error) {
	if left, reset, err = b.Store.Allow(ctx, key, max, per); err != nil {
		return b.local.Allow(ctx, key, max, per)
	}
	return left, reset, nil
}
