package kv

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

var errAway = errors.New("kv: redis: it did not answer the last calls")

const (
	patience = 3           // failures in a row after which no call is made
	pause    = time.Second // until one call may look again
)

// breaker keeps calls from a server that is away.
type breaker struct {
	log      *slog.Logger
	failures atomic.Int64
	again    atomic.Int64 // when one call may look, in Unix nanoseconds
}

// lets says whether a call may be made.
func (b *breaker) lets() bool {
	if b.failures.Load() < patience {
		return true
	}
	now, again := time.Now().UnixNano(), b.again.Load()
	return now >= again && b.again.CompareAndSwap(again, now+int64(pause))
}

func (b *breaker) answered() {
	if b.failures.Load() > 0 && b.failures.Swap(0) >= patience {
		b.log.Info("Redis answers again")
	}
}

func (b *breaker) failed(err error) {
	b.again.Store(time.Now().Add(pause).UnixNano())
	if b.failures.Add(1) == patience {
		b.log.Warn("Redis does not answer; limits are counted by each process for itself", "error", err)
	}
}
