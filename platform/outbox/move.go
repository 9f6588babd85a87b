package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tulifo/platform/pause"
	"tulifo/platform/postgres"
)

// Move has to hold the events that from holds back, with what waits behind them and in their order, and nothing else, and answers how many those
// are. Nothing else of from may wait: Settle sees to that. What from has handled is not carried over, since no bus brings that again
// once it is settled. Nobody uses either meanwhile.
func Move(ctx context.Context, from, to DB) (int, error) {
	source, err := storeOf(from)
	if err != nil {
		return 0, err
	}
	target, err := storeOf(to)
	if err != nil {
		return 0, err
	}
	waits, err := source.depths(ctx)
	if err != nil {
		return 0, fmt.Errorf("look at the outbox: %w", err)
	}
	if waits.Outbox > 0 {
		return 0, fmt.Errorf("%d events have not reached the bus yet", waits.Outbox)
	}
	held, err := source.held(ctx)
	if err == nil {
		err = target.hold(ctx, held)
	}
	if err != nil {
		return 0, fmt.Errorf("move what is held: %w", err)
	}
	has, err := target.depths(ctx)
	if err == nil && (has.Parked != waits.Parked || has.Dead != waits.Dead) {
		err = fmt.Errorf("%d parked events and %d dead letters became %d and %d", waits.Parked, waits.Dead, has.Parked, has.Dead)
	}
	return len(held), err
}

var errElsewhere = errors.New("another process has the lock")

// Idle tells whether no process works on the service whose data db keeps. A process that was killed counts for as long as its lease.
func Idle(ctx context.Context, db DB, session *postgres.Session) (bool, error) {
	events, err := storeOf(db)
	if err != nil {
		return false, err
	}
	lock := events.lock(session)
	for began := time.Now(); ; {
		err := errElsewhere
		if asked := lock.once(ctx, func(context.Context) error { err = nil; return nil }); asked != nil {
			return false, asked
		}
		if err == nil || time.Since(began) > 2*leaseTime {
			return err == nil, nil
		}
		if err := pause.For(ctx, takeover); err != nil {
			return false, err
		}
	}
}
