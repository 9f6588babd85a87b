// Package timer makes things happen when their time has come: expiry, auto-release and reminders by the business clock, retries of calls and
// mail by the system's.
//
// A timed exit is a due_at column of the row it moves, never a job in a queue, so that nothing is lost with a process. The timer only asks
// for the earliest and says when. Always: what is due is fired within a second of its time in at least one process, and firing in several
// at once is harmless because a Timed claims its rows. An error or a panic is logged, backed off from, and never ends the loop.
package timer

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/crash"
)

// Timed is a service with timed exits, in business time.
type Timed interface {
	// Due answers the earliest business time at which something of this service is to happen; zero when nothing waits.
	Due(ctx context.Context) (time.Time, error)
	// Fire does what is due up to now, each row recorded as happening at its own due time. It is safe in many processes: rows are
	// claimed (SKIP LOCKED) and moved by compare-and-set.
	Fire(ctx context.Context, now time.Time) error
}

// Retry is what a Timed may have besides: rows with next_try_at, in system time.
type Retry interface {
	// RetryDue answers the earliest system time at which something is to be tried again; zero when nothing waits.
	RetryDue(ctx context.Context) (time.Time, error)
	// Retry tries what is due up to now, with the same care as Fire.
	Retry(ctx context.Context, now time.Time) error
}

// Options of a timer.
type Options struct {
	Name  string      // of the service, for the log and for Poke
	Timed any         // a Timed, a Retry or both
	Clock clock.Clock // business time; clock.System when nil
	Log   *slog.Logger
}

const (
	poll     = time.Second           // an exit of another process' making is seen within it
	firstGap = 50 * time.Millisecond // before trying again after an error
	lastGap  = 5 * time.Second       // the longest such pause
	bound    = time.Minute           // one question or one firing may take
	again    = 10 * time.Millisecond // between two firings that left something due
)

var (
	wakes   sync.Map // name → *sync.Map of chan struct{}
	working atomic.Int64
)

// Busy tells whether something due is being worked on in this process just now.
func Busy() bool { return working.Load() > 0 }

// Poke has the timers of that name in this process look again at once, because a row may be due earlier than they know.
// Call it after commit. It never blocks; for a name without a timer it does nothing.
func Poke(name string) {
	v, ok := wakes.Load(name)
	if !ok {
		return
	}
	v.(*sync.Map).Range(func(k, _ any) bool {
		select {
		case k.(chan struct{}) <- struct{}{}:
		default:
		}
		return true
	})
}

// Run fires what is due until ctx ends, and then answers nil. Both clocks of a service are served, neither waits for the other.
func Run(ctx context.Context, o Options) error {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	timed, isTimed := o.Timed.(Timed)
	retry, isRetry := o.Timed.(Retry)
	if !isTimed && !isRetry {
		return fmt.Errorf("timer %s: %T has neither Due and Fire nor RetryDue and Retry", o.Name, o.Timed)
	}
	var loops sync.WaitGroup
	if isTimed {
		l := newLoop(o, "fire", o.Clock, timed.Due, timed.Fire)
		loops.Go(func() { l.run(ctx) })
	}
	if isRetry {
		l := newLoop(o, "retry", clock.System, retry.RetryDue, retry.Retry)
		loops.Go(func() { l.run(ctx) })
	}
	loops.Wait()
	return nil
}

// loop is one clock of one service.
type loop struct {
	name  string
	what  string // fire or retry
	clock clock.Clock
	due   func(context.Context) (time.Time, error)
	fire  func(context.Context, time.Time) error
	log   *slog.Logger
	wake  chan struct{}
	sleep *time.Timer
}

func newLoop(o Options, what string, c clock.Clock, due func(context.Context) (time.Time, error), fire func(context.Context, time.Time) error) *loop {
	return &loop{name: o.Name, what: what, clock: c, due: due, fire: fire, log: o.Log.With("timer", o.Name, "loop", what), wake: make(chan struct{}, 1)}
}

func (l *loop) run(ctx context.Context) {
	peers, _ := wakes.LoadOrStore(l.name, &sync.Map{})
	peers.(*sync.Map).Store(l.wake, nil)
	defer peers.(*sync.Map).Delete(l.wake)
	l.sleep = time.NewTimer(0)
	defer l.sleep.Stop()
	failures := 0
	for ctx.Err() == nil {
		jumped := l.clock.Jumped() // taken before the question, so that a jump during it is not missed
		left, err := l.step(ctx)
		switch {
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return
		default:
			failures++
			left = gap(failures)
			l.log.Error("The timer failed and tries again.", "error", err, "failures", failures, "again_in", left)
		}
		l.pause(ctx, left, jumped, failures > 0)
	}
}

// step fires once if something is due, and answers how long nothing more is to be done.
func (l *loop) step(ctx context.Context) (left time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	defer recovered(&err)
	due, err := l.due(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the next due time: %w", err)
	}
	if due.IsZero() {
		return poll, nil
	}
	now := l.clock.Now()
	if due.After(now) {
		return min(due.Sub(now), poll), nil
	}
	working.Add(1)
	defer working.Add(-1)
	ctx = crash.Because(ctx, l.what)
	crash.Before(ctx, l.name, crash.Fire, "")
	if err := l.fire(ctx, now); err != nil {
		return 0, fmt.Errorf("fire what is due: %w", err)
	}
	crash.After(ctx, l.name, crash.Fire, "")
	return again, nil
}

// pause waits until the time is over, or something happens that makes looking again worthwhile. After a failure only the time counts:
// pokes and jumps must not turn a database that is away into a busy loop.
func (l *loop) pause(ctx context.Context, left time.Duration, jumped <-chan struct{}, failed bool) {
	l.sleep.Reset(left)
	wake := l.wake
	if failed {
		wake, jumped = nil, nil
	}
	select {
	case <-ctx.Done():
	case <-l.sleep.C:
	case <-jumped:
	case <-wake:
	}
}

func gap(failures int) time.Duration {
	return min(firstGap<<min(failures-1, 10), lastGap)
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}
