package api

import (
	"context"
	"time"

	"tulifo/platform/errs"
)

// heavyWait is how long a heavy request stands in line.
const heavyWait = time.Second

// share is what the heavy operations of a service may have of its connections at a time: half of them, so that however many of them there are and however slow the
// database is, the others find one.
type share chan struct{}

func newShare(connections int32) share { return make(share, max(1, connections/2)) }

// enter waits for a place. Unavailable: there was none within a second.
func (s share) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-s }
	select {
	case s <- struct{}{}:
		return leave, nil
	default:
	}
	wait := time.NewTimer(heavyWait)
	defer wait.Stop()
	select {
	case s <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
		return nil, errs.New(errs.Unavailable, "Too many are asking for that at the moment. Try again shortly.")
	}
}
