package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// scope is the context of a handler in this process: it ends with the request and with its client, has the route's deadline, and no values.
// What that takes is made when the handler first wants to be told of the end; many an answer is given without.
type scope struct {
	outer    context.Context
	deadline time.Time // zero: none
	inner    atomic.Pointer[context.Context]

	mu     sync.Mutex
	ended  bool
	cancel context.CancelFunc
	leave  func() bool
}

func (s *scope) Deadline() (time.Time, bool) { return s.deadline, !s.deadline.IsZero() }

func (s *scope) Done() <-chan struct{} { return s.open().Done() }

func (s *scope) open() context.Context {
	if c := s.inner.Load(); c != nil {
		return *c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.inner.Load(); c != nil {
		return *c
	}
	var c context.Context
	if s.deadline.IsZero() {
		c, s.cancel = context.WithCancel(context.Background())
	} else {
		c, s.cancel = context.WithDeadline(context.Background(), s.deadline)
	}
	if s.ended {
		s.cancel()
	} else {
		s.leave = context.AfterFunc(s.outer, s.cancel)
	}
	s.inner.Store(&c)
	return c
}

func (s *scope) Err() error {
	if c := s.inner.Load(); c != nil && (*c).Err() != nil {
		return (*c).Err()
	}
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	switch {
	case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
		return s.open().Err()
	case ended || s.outer.Err() != nil:
		return context.Canceled
	}
	return nil
}

// Value is nil for every key but the one by which package context recognises its own, so that what is derived costs no goroutine.
func (s *scope) Value(key any) any {
	if c := s.inner.Load(); c != nil {
		return (*c).Value(key)
	}
	return nil
}

// end is called when the request is over.
func (s *scope) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.cancel != nil {
		s.cancel()
	}
	if s.leave != nil {
		s.leave()
	}
}

// watchdog calls an answer at its deadline. It is used again unless it has barked.
type watchdog struct {
	timer *time.Timer
	over  atomic.Pointer[answer]
}

var watchdogs = sync.Pool{New: func() any {
	w := &watchdog{}
	w.timer = time.AfterFunc(time.Hour, func() {
		if a := w.over.Load(); a != nil {
			a.expire()
		}
	})
	w.timer.Stop()
	return w
}}

// guard has a expire after the time given.
func guard(a *answer, after time.Duration) *watchdog {
	w := watchdogs.Get().(*watchdog)
	w.over.Store(a)
	w.timer.Reset(after)
	return w
}

// release is called once.
func (w *watchdog) release() {
	if w.timer.Stop() {
		w.over.Store(nil)
		watchdogs.Put(w)
	}
}
