package outbox

import (
	"context"
	"fmt"
	"time"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
)

const settlePoll = 5 * time.Millisecond

// Settle returns when everything that was committed before it, and all that this caused, is consumed: the outboxes of the inboxes' services
// are empty, their consumers have no lag, and nothing waits for another try. Dead letters, and what is parked behind them, do not count.
func Settle(ctx context.Context, b bus.Bus, in ...*Inbox) error {
	for _, i := range in {
		poke(i.events)
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("events have not settled: %w", context.Cause(ctx))
		case <-pause.C:
		}
		quiet, err := settled(ctx, b, in)
		if err != nil {
			return err
		}
		if quiet {
			return nil
		}
		pause.Reset(settlePoll)
	}
}

// Told is how many events the services of the inboxes have ever told: it grows whenever one is added.
func Told(ctx context.Context, in ...*Inbox) (int64, error) {
	var sum int64
	for _, i := range in {
		n, err := i.events.told(ctx)
		if err != nil {
			return 0, fmt.Errorf("look at the outbox of %s: %w", i.service, err)
		}
		sum += n
	}
	return sum, nil
}

// settled looks at the outboxes, then at the bus. An event that moved on between the two looks has told others meanwhile, which the counts
// of what was ever told show when they are read again.
func settled(ctx context.Context, b bus.Bus, in []*Inbox) (bool, error) {
	before, err := Told(ctx, in...)
	if err != nil {
		return false, err
	}
	for _, i := range in {
		if _, busy, err := i.busy(ctx); err != nil || busy {
			return false, err
		}
	}
	for _, i := range in {
		lag, err := b.Lag(ctx, i.service)
		if errs.KindOf(err) == errs.NotFound {
			// One that hears something will get it once it has started.
			if len(i.handlers) > 0 {
				return false, nil
			}
			continue
		}
		if err != nil || lag > 0 {
			return false, err
		}
	}
	var after int64
	for _, i := range in {
		told, busy, err := i.busy(ctx)
		if err != nil || busy {
			return false, err
		}
		after += told
	}
	return after == before, nil
}

func (in *Inbox) busy(ctx context.Context) (told int64, busy bool, err error) {
	if told, busy, err = in.events.busy(ctx); err != nil {
		err = fmt.Errorf("look at the events of %s: %w", in.service, err)
	}
	return told, busy, err
}
