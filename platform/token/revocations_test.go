package token_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/token"
)

// What watches a session ends once: with the revocation, at once when it came before, and never after it has left.
func TestWatchers(t *testing.T) {
	r, session, until := token.NewRevocations(), uuid.New(), time.Now().Add(time.Hour)
	var ended, left, other atomic.Int64
	r.Watch(session, func() { ended.Add(1) })
	r.Watch(session, func() { left.Add(1) })()
	r.Watch(uuid.New(), func() { other.Add(1) })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { r.Add(session, until) })
		wg.Go(func() { r.Watch(session, func() { ended.Add(1) })() })
	}
	wg.Wait()
	late := ended.Load()
	r.Watch(session, func() { ended.Add(1) })
	if late < 1 || ended.Load() != late+1 || left.Load() != 0 || other.Load() != 0 {
		t.Errorf("ended %d then %d, left %d, other %d", late, ended.Load(), left.Load(), other.Load())
	}
}
