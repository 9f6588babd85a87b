package booking

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

var errNotMovable = errs.New(errs.Conflict, "Only a pending or confirmed booking can be moved.")

// Reschedule moves the booking to another start, at the same length and price. When the old or the new start is near (within the worker's notice
// or the time in which cancelling costs), it is only proposed, and the other side has to accept. Conflict, Invalid: as for Book.
func (s *Service) Reschedule(ctx context.Context, by token.Caller, id uuid.UUID, start time.Time) (Booking, error) {
	b, as, err := s.movable(ctx, by, id)
	if err != nil {
		return b, err
	}
	to := span{start.UTC(), start.UTC().Add(minutes(b.Duration))}
	if to.Start.Equal(b.Start) {
		return b, errs.Field("startTime", "is the start it has already")
	}
	now := s.now()
	cal, err := readCalendar(ctx, s.db, b.WorkerID, b.ClientID, to, now)
	if err != nil {
		return b, err
	}
	near := now.Add(max(minutes(cal.MinNotice), s.config.FreeUntil))
	if !b.Start.Before(near) && !to.Start.Before(near) {
		return s.move(ctx, by, b, to, cal)
	}
	if no := decide(cal.without(b).agreed(), to, now); no != nil {
		return b, no.forClient()
	}
	after := b
	after.ProposedBy, after.ProposedStart = string(as), &to.Start
	return s.change(ctx, b, after, by, func(b Booking) outbox.Event {
		return event.BookingRescheduleProposed{Booking: b.facts(), By: b.ProposedBy, NewStart: to.Start, NewEnd: to.End}
	})
}

// AcceptReschedule moves the booking to the start that the other side proposes. seen is the one that the caller agrees to, if he says. Conflict:
// nothing is proposed, another start is by now (changed), or the time is no longer free.
func (s *Service) AcceptReschedule(ctx context.Context, by token.Caller, id uuid.UUID, seen *time.Time) (Booking, error) {
	b, as, err := s.movable(ctx, by, id)
	if err != nil {
		return b, err
	}
	if b.ProposedStart == nil {
		return b, errs.New(errs.Conflict, "No other time is proposed.")
	}
	if b.ProposedBy == string(as) {
		return b, errs.New(errs.Forbidden, "The other side has to accept your proposal.")
	}
	if seen != nil && !seen.Equal(*b.ProposedStart) {
		return b, errChanged
	}
	to := span{b.ProposedStart.UTC(), b.ProposedStart.UTC().Add(minutes(b.Duration))}
	cal, err := readCalendar(ctx, s.db, b.WorkerID, b.ClientID, to, s.now())
	if err != nil {
		return b, err
	}
	cal.calendar = *cal.agreed()
	return s.move(ctx, by, b, to, cal)
}

func (s *Service) movable(ctx context.Context, by token.Caller, id uuid.UUID) (Booking, side, error) {
	b, err := s.Booking(ctx, by, id)
	if err != nil {
		return b, "", err
	}
	as, err := b.side(by)
	switch {
	case err != nil:
		return b, "", err
	case b.overdue(s.now()) || !slices.Contains(movable, b.Status):
		return b, "", errNotMovable
	case !s.now().Before(b.Start):
		return b, "", errs.New(errs.Conflict, "The booking has begun, so it can no longer be moved.")
	}
	return b, as, nil
}

// move takes the new time and gives back the old one.
func (s *Service) move(ctx context.Context, by token.Caller, b Booking, to span, cal *workerCalendar) (Booking, error) {
	free := cal.without(b)
	if no := decide(free, to, s.now()); no != nil {
		return b, no.forClient()
	}
	after := b.moved(s.config, to, free)
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := holdVersion(ctx, tx, cal); err != nil {
			return err
		}
		if err := s.expireOverdue(ctx, tx, cal.overdue); err != nil {
			return err
		}
		saved, err := s.save(ctx, tx, b, after, actor(by))
		if err != nil {
			return err
		}
		after = saved
		takeLoad(tx, after, cal.Limits)
		told := event.BookingRescheduled{Booking: after.facts(), PreviousStart: b.Start, PreviousEnd: b.End}
		if after.Status == Confirmed && after.PaidAt == nil {
			told.PayBy = after.PayBy
		}
		return outbox.Add(s.telling(ctx), tx, after.ID, told)
	})
	return after, err
}
