package booking

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

const fireAtOnce = 200 // rows that one Fire looks at in a round

// Due is the earliest time at which a booking expires, is cancelled as unpaid, completes itself, or a no-show is settled; zero when none waits.
func (s *Service) Due(ctx context.Context) (time.Time, error) { return earliestDue(ctx, s.db) }

// Fire does that for all bookings due up to now, each as of its own due time. Bookings that payment-service cannot be asked about stay due.
func (s *Service) Fire(ctx context.Context, now time.Time) error {
	var failed []error
	left := []uuid.UUID{}
	for moved := true; moved && len(failed) < fireAtOnce; {
		due, err := dueUpTo(ctx, s.db, now, left, fireAtOnce)
		if err != nil {
			return err
		}
		moved = false // those that another process is moving just now are left to it
		for _, b := range due {
			done, err := s.fire(ctx, b, now)
			if err != nil {
				failed = append(failed, err)
				left = append(left, b.ID)
			}
			moved = moved || done
		}
	}
	return errors.Join(failed...)
}

// fire asks what has to be asked outside of a transaction, and then moves the booking if it is still due and nobody else moves it.
func (s *Service) fire(ctx context.Context, seen Booking, now time.Time) (done bool, err error) {
	var paid *time.Time
	if seen.Status == Confirmed && seen.PaidAt == nil {
		if paid, err = s.askPaid(ctx, seen.ID); err != nil {
			return false, err
		}
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		b, ok, err := claimDue(ctx, tx, seen.ID, seen.Version, now)
		if done = ok; err != nil || !ok {
			return err
		}
		if paid != nil {
			_, err = s.save(ctx, tx, b, b.paid(*paid), string(systemSide))
			return err
		}
		return s.run(ctx, tx, b)
	})
	return done && err == nil, err
}

// run is what happens to a booking whose time has come.
func (s *Service) run(ctx context.Context, tx postgres.Tx, b Booking) error {
	at := *b.due(s.config)
	switch {
	case b.Status == Pending:
		return s.expire(ctx, tx, b)
	case b.Status == NoShow:
		after := b
		after.SettledAt = &at
		_, err := s.save(ctx, tx, b, after, string(systemSide))
		return err
	case b.PaidAt == nil:
		return s.end(ctx, tx, []change{{b, b.cancelled(s.config, systemSide, "unpaid", "It was not paid in time.", at)}}, cancelledEvent)
	}
	return s.end(ctx, tx, []change{{b, b.completed(at)}}, s.completedEvent)
}

func (s *Service) expire(ctx context.Context, tx postgres.Tx, overdue ...Booking) error {
	changes := make([]change, len(overdue))
	for i, b := range overdue {
		changes[i] = change{b, b.expired(*b.ExpiresAt)}
	}
	return s.end(ctx, tx, changes, func(b Booking) outbox.Event { return event.BookingExpired{Booking: b.facts()} })
}

// end saves bookings that are over, in one round trip, and tells of each as of its end.
func (s *Service) end(ctx context.Context, tx postgres.Tx, changes []change, told func(Booking) outbox.Event) error {
	if len(changes) == 0 {
		return nil
	}
	saved, err := s.saveAll(ctx, tx, changes, string(systemSide))
	if err != nil {
		return err
	}
	for _, b := range saved {
		at := cmp.Or(b.EndedAt, b.CompletedAt)
		if err := outbox.Add(outbox.At(ctx, *at), tx, b.ID, told(b)); err != nil {
			return err
		}
	}
	return nil
}
