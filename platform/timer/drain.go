package timer

import (
	"context"
	"fmt"
	"time"

	"tulifo/platform/pause"
)

// Advance is a walk of the business clock: how far, and what is to be done at each stop.
type Advance struct {
	To     time.Time                              // where the clock stands in the end
	Set    func(context.Context, time.Time) error // moves the clock, and answers when every process has seen it
	Settle func(context.Context) error            // answers when what was caused has had its effects; nil: nothing to wait for
}

const (
	stuckAfter = 30 * time.Second      // the same thing stays due for so long: it will not move
	lookAgain  = 20 * time.Millisecond // the longest pause before asking again what another process may be doing
)

// Drain lets everything happen in the order of its business time: it moves the clock to the least Due of all, fires what is due there, lets it
// settle, and so on until nothing is due up to a.To, where the clock then stands. An exit whose time is already past is fired first, without
// moving the clock. It ends with the first error, and with one when something stays due although it was fired again and again.
func Drain(ctx context.Context, a Advance, timed ...Timed) error {
	settle := a.Settle
	if settle == nil {
		settle = func(context.Context) error { return nil }
	}
	if err := settle(ctx); err != nil {
		return err
	}
	var at, last time.Time // where the clock was last set to; what was last due
	var since time.Time    // last is due since then, by the machine's time
	rest := time.Millisecond
	for {
		least, all, err := earliest(ctx, timed)
		if err != nil {
			return err
		}
		if least.IsZero() || least.After(a.To) {
			return finish(ctx, a, settle)
		}
		if least.After(at) {
			if err := a.Set(ctx, least); err != nil {
				return fmt.Errorf("set the clock to %s: %w", least.Format(time.RFC3339), err)
			}
			at = least
		}
		if !least.Equal(last) {
			last, since, rest = least, time.Now(), time.Millisecond
		} else if time.Since(since) > stuckAfter {
			return fmt.Errorf("what is due at %s stays due after it was fired", least.Format(time.RFC3339Nano))
		} else if err := pause.For(ctx, rest); err != nil {
			return err
		} else {
			rest = min(2*rest, lookAgain)
		}
		for i, t := range timed {
			if due := all[i]; due.IsZero() || due.After(at) {
				continue
			}
			if err := t.Fire(ctx, at); err != nil {
				return fmt.Errorf("fire what is due at %s: %w", at.Format(time.RFC3339), err)
			}
		}
		if err := settle(ctx); err != nil {
			return err
		}
	}
}

func finish(ctx context.Context, a Advance, settle func(context.Context) error) error {
	if err := a.Set(ctx, a.To); err != nil {
		return fmt.Errorf("set the clock to %s: %w", a.To.Format(time.RFC3339), err)
	}
	return settle(ctx)
}

// earliest is the least due time, zero when nothing waits, and that of each.
func earliest(ctx context.Context, timed []Timed) (least time.Time, all []time.Time, err error) {
	all = make([]time.Time, len(timed))
	for i, t := range timed {
		due, err := t.Due(ctx)
		if err != nil {
			return time.Time{}, nil, fmt.Errorf("ask for the next due time: %w", err)
		}
		all[i] = due
		if !due.IsZero() && (least.IsZero() || due.Before(least)) {
			least = due
		}
	}
	return least, all, nil
}
