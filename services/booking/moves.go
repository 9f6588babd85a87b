package booking

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

// How early before its start a booking may be started.
const earlyStart = 15 * time.Minute

// save stores after in the place of before and remembers the move; the answer has its new version. Conflict: before is no longer what is stored.
func (s *Service) save(ctx context.Context, tx postgres.Tx, before, after Booking, actor string) (Booking, error) {
	saved, err := s.saveAll(ctx, tx, []change{{before, after}}, actor)
	if err != nil {
		return Booking{}, err
	}
	return saved[0], nil
}

// saveAll is save of many in one round trip.
func (s *Service) saveAll(ctx context.Context, tx postgres.Tx, changes []change, actor string) ([]Booking, error) {
	saved := make([]Booking, len(changes))
	for i := range changes {
		ch := &changes[i]
		ch.after.Version, ch.after.UpdatedAt = ch.before.Version+1, s.now()
		saved[i] = ch.after
	}
	if err := replace(ctx, tx, s.config, changes...); err != nil {
		return nil, err
	}
	for _, ch := range changes {
		if err := remember(ctx, tx, ch.before, ch.after, actor); err != nil {
			return nil, err
		}
		if ch.after.Status != ch.before.Status {
			s.count(tx, ch.after.Status)
		}
	}
	tx.Committed(func() { timer.Poke("booking") })
	return saved, nil
}

// remember writes the move into the audit log, which is also the booking's history; check.go reads it.
func remember(ctx context.Context, tx postgres.Tx, before, after Booking, actor string) error {
	action := "booking.changed"
	if after.Status != before.Status {
		action = "booking." + string(after.Status)
	}
	return audit.Add(ctx, tx, audit.Entry{Actor: actor, Action: action, Subject: after.ID, Detail: map[string]string{
		"from": string(before.Status), "to": string(after.Status), "version": strconv.FormatInt(after.Version, 10), "reason": after.Reason,
	}})
}

// change saves after in a transaction of its own and tells the event made of it.
func (s *Service) change(ctx context.Context, before, after Booking, by token.Caller, told func(Booking) outbox.Event) (Booking, error) {
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		saved, err := s.save(ctx, tx, before, after, actor(by))
		if err != nil {
			return err
		}
		after = saved
		return outbox.Add(s.telling(ctx), tx, after.ID, told(after))
	})
	return after, err
}

// forStep is the booking if the caller may take it along the step. NotFound: the caller is a stranger.
func (s *Service) forStep(ctx context.Context, by token.Caller, id uuid.UUID, st step) (Booking, side, error) {
	b, err := find(ctx, s.db, id)
	if err != nil {
		return b, "", err
	}
	as, err := b.side(by)
	if err != nil {
		return b, "", err
	}
	if b.overdue(s.now()) {
		b = b.expired(*b.ExpiresAt)
	}
	return b, as, st.allows(b, as)
}

// Confirm is the worker's word that she will come. seen is the start that she agrees to, if she says. Conflict: it is not pending any more, or
// starts at another time by now (changed).
func (s *Service) Confirm(ctx context.Context, by token.Caller, id uuid.UUID, seen *time.Time) (Booking, error) {
	b, _, err := s.forStep(ctx, by, id, confirmStep)
	if err != nil {
		return b, err
	}
	if seen != nil && !seen.Equal(b.Start) {
		return b, errChanged
	}
	return s.change(ctx, b, b.confirmed(s.config, s.now()), by, confirmedEvent)
}

func confirmedEvent(b Booking) outbox.Event {
	return event.BookingConfirmed{Booking: b.facts(), PayBy: *b.PayBy}
}

// Cancel ends it before it is done. A paid client pays by the policy (Config); all others pay nothing.
func (s *Service) Cancel(ctx context.Context, by token.Caller, id uuid.UUID, reason string) (Booking, error) {
	before, as, err := s.forStep(ctx, by, id, cancelStep)
	if err != nil {
		return before, err
	}
	after, err := s.cancelledBy(ctx, before, as, reason, s.now())
	if err != nil {
		return before, err
	}
	return s.change(ctx, before, after, by, cancelledEvent)
}

// cancelledBy is b as it is when as cancels it. Where it would cost the client something, payment-service is asked when nothing is known of a payment,
// and a worker who has been suspended takes nothing.
func (s *Service) cancelledBy(ctx context.Context, b Booking, as side, reason string, now time.Time) (Booking, error) {
	if as != clientSide || b.Status == Pending || s.config.fee(b.price(), b.EarliestStart, now).Minor == 0 {
		return b.cancelled(s.config, as, string(as), reason, now), nil
	}
	suspended, err := isSuspended(ctx, s.db, b.WorkerID)
	if err != nil {
		return b, err
	}
	if suspended {
		return b.cancelled(s.config, systemSide, "suspended", reason, now), nil
	}
	if b, err = s.paidByNow(ctx, b); err != nil {
		return b, err
	}
	return b.cancelled(s.config, as, string(as), reason, now), nil
}

func cancelledEvent(b Booking) outbox.Event {
	return event.BookingCancelled{Booking: b.facts(), Cause: b.Cause, Reason: b.Reason, Shares: b.shares()}
}

// Start says that the work has begun. Conflict: it is not paid, or it is too early.
func (s *Service) Start(ctx context.Context, by token.Caller, id uuid.UUID) (Booking, error) {
	before, _, err := s.forStep(ctx, by, id, startStep)
	if err != nil {
		return before, err
	}
	now := s.now()
	if now.Before(before.Start.Add(-earlyStart)) {
		return before, errs.Coded(errs.Conflict, "too_early", "It can be started from 15 minutes before its time.")
	}
	b, err := s.mustBePaid(ctx, before)
	if err != nil {
		return b, err
	}
	return s.change(ctx, before, b.started(now), by, func(b Booking) outbox.Event { return event.BookingStarted{Booking: b.facts()} })
}

// Complete says that the work is done: the worker may from the end on, the client from the start on. Conflict: too early, or not paid.
func (s *Service) Complete(ctx context.Context, by token.Caller, id uuid.UUID) (Booking, error) {
	before, as, err := s.forStep(ctx, by, id, completeStep)
	if err != nil {
		return before, err
	}
	now := s.now()
	if from := before.Start; now.Before(from) {
		return before, errs.Coded(errs.Conflict, "too_early", "It has not begun yet.")
	}
	if as == workerSide && now.Before(before.End) {
		return before, errs.Coded(errs.Conflict, "too_early", "The worker can complete it once its time is over.")
	}
	b, err := s.mustBePaid(ctx, before)
	if err != nil {
		return b, err
	}
	return s.change(ctx, before, b.completed(now), by, s.completedEvent)
}

func (s *Service) completedEvent(b Booking) outbox.Event {
	return event.BookingCompleted{Booking: b.facts(), CompletedAt: *b.CompletedAt, ReleaseAt: b.releaseAt(s.config)}
}

// ReportNoShow says that the other side did not come. It is settled after the time to object. Conflict: too early, or not paid.
func (s *Service) ReportNoShow(ctx context.Context, by token.Caller, id uuid.UUID) (Booking, error) {
	before, as, err := s.forStep(ctx, by, id, noShowStep)
	if err != nil {
		return before, err
	}
	now := s.now()
	if now.Before(before.Start.Add(s.config.NoShowAfter)) {
		return before, errs.Coded(errs.Conflict, "too_early", "Wait a little longer: nobody counts as absent yet.")
	}
	b, err := s.mustBePaid(ctx, before)
	if err != nil {
		return b, err
	}
	return s.change(ctx, before, b.notShown(s.config, as.other(), now), by, func(b Booking) outbox.Event {
		return event.BookingNoShow{Booking: b.facts(), Absent: b.Absent, Shares: b.shares(), SettleAt: *b.SettleAt}
	})
}

// ContestNoShow is the objection of the side that is said to have been absent. Forbidden: it is the other. Conflict: it is settled, or contested already.
func (s *Service) ContestNoShow(ctx context.Context, by token.Caller, id uuid.UUID, reason string) (Booking, error) {
	b, err := s.Booking(ctx, by, id)
	if err != nil {
		return b, err
	}
	now := s.now()
	switch as, _ := b.side(by); {
	case b.Status != NoShow:
		return b, errs.New(errs.Conflict, "The booking is "+b.Status.words()+"; there is no no-show to object to.")
	case string(as) != b.Absent:
		return b, errs.New(errs.Forbidden, "Only who is said to have been absent can object.")
	case b.ContestedAt != nil:
		return b, errs.New(errs.Conflict, "You have objected already.")
	case !now.Before(*b.SettleAt):
		return b, errs.Coded(errs.Conflict, "too_late", "The time to object is over.")
	}
	after := b
	after.ContestedAt, after.ContestReason = &now, reason
	return s.change(ctx, b, after, by, func(b Booking) outbox.Event {
		return event.BookingNoShowContested{Booking: b.facts(), Reason: reason}
	})
}

// mustBePaid is b as paid. Conflict: payment-service says it is not.
func (s *Service) mustBePaid(ctx context.Context, b Booking) (Booking, error) {
	b, err := s.paidByNow(ctx, b)
	if err == nil && b.PaidAt == nil {
		err = errs.Coded(errs.Conflict, "unpaid", "The booking is not paid yet.")
	}
	return b, err
}

// paidByNow asks payment-service when the local copy says unpaid: the word of payment may still be on its way.
func (s *Service) paidByNow(ctx context.Context, b Booking) (Booking, error) {
	if b.PaidAt != nil {
		return b, nil
	}
	at, err := s.askPaid(ctx, b.ID)
	if err != nil || at == nil {
		return b, err
	}
	return b.paid(*at), nil
}
