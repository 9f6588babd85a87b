package notification

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
)

// leads are how long before its start people are reminded of a booking.
var leads = []time.Duration{24 * time.Hour, time.Hour}

// bookingStartsSoon is what a reminder is made of; it does not leave the service.
type bookingStartsSoon struct{ event.Booking }

// Type is the notification's.
func (bookingStartsSoon) Type() string { return "booking.reminder" }

// nextReminder is the first reminder after a time; nil when none is left.
func nextReminder(start, after time.Time) *time.Time {
	for _, lead := range leads {
		if due := start.Add(-lead).UTC(); due.After(after) {
			return &due
		}
	}
	return nil
}

// plan keeps the reminders of a booking: they are there while it is confirmed and has not begun, and move with it.
func plan(ctx context.Context, tx docdb.Tx, e outbox.Event, at time.Time) error {
	switch e := e.(type) {
	case event.BookingConfirmed:
		_, err := reminders.Upsert(ctx, tx, reminder{ID: e.BookingID, Booking: e.Booking, DueAt: nextReminder(e.Start, at)})
		if err == nil {
			tx.Committed(look)
		}
		return err
	case event.BookingRescheduled:
		next := docdb.Unset("dueAt")
		if due := nextReminder(e.Start, at); due != nil {
			next = docdb.Set("dueAt", *due)
		}
		_, err := reminders.UpdateAll(ctx, tx, docdb.Eq("id", e.BookingID), docdb.Set("booking", e.Booking), next)
		if err == nil {
			tx.Committed(look)
		}
		return err
	case event.BookingCancelled:
		return unplan(ctx, tx, e.BookingID)
	case event.BookingExpired:
		return unplan(ctx, tx, e.BookingID)
	case event.BookingStarted:
		return unplan(ctx, tx, e.BookingID)
	case event.BookingCompleted:
		return unplan(ctx, tx, e.BookingID)
	case event.BookingNoShow:
		return unplan(ctx, tx, e.BookingID)
	}
	return nil
}

func unplan(ctx context.Context, tx docdb.Tx, booking uuid.UUID) error {
	_, err := reminders.DeleteAll(ctx, tx, docdb.Eq("id", booking))
	return err
}

// Due is when the next booking is to be reminded of, or the next quiet hours with mail behind them end.
func (s *Service) Due(ctx context.Context) (time.Time, error) {
	next, err := reminders.Find(ctx, s.docs, docdb.Query{Sort: docdb.Asc("dueAt"), Limit: 1})
	if err != nil {
		return time.Time{}, err
	}
	waiting, err := deliveries.Find(ctx, s.docs, docdb.Query{Where: isHeld, Sort: docdb.Asc("dueAt"), Limit: 1})
	if err != nil {
		return time.Time{}, err
	}
	var due time.Time
	if len(next.Docs) > 0 {
		due = *next.Docs[0].DueAt
	}
	if len(waiting.Docs) > 0 && (due.IsZero() || waiting.Docs[0].DueAt.Before(due)) {
		due = *waiting.Docs[0].DueAt
	}
	return due, nil
}

// Fire reminds of the bookings whose time has come, and lets mail go whose quiet hours are over.
func (s *Service) Fire(ctx context.Context, now time.Time) error {
	for {
		page, err := reminders.Find(ctx, s.docs, docdb.Query{Where: docdb.Lte("dueAt", now), Sort: docdb.Asc("dueAt"), Limit: 100})
		if err != nil {
			return err
		}
		for _, r := range page.Docs {
			if err := s.remind(ctx, r, now); err != nil {
				return fmt.Errorf("remind of booking %s: %w", r.ID, err)
			}
		}
		if page.Next == "" {
			break
		}
	}
	n, err := deliveries.UpdateAll(ctx, s.docs, docdb.And(isHeld, docdb.Lte("dueAt", now)),
		docdb.Set("status", queued), docdb.Set("nextTryAt", s.now()), docdb.Unset("dueAt"))
	if n > 0 {
		look()
	}
	return err
}

// remind tells both sides, and notes the next reminder, unless another process was faster or the booking has moved. One that comes after
// the start, because nobody was there to fire it, is left out.
func (s *Service) remind(ctx context.Context, r reminder, now time.Time) error {
	next := docdb.Unset("dueAt")
	if due := nextReminder(r.Booking.Start, now); due != nil {
		next = docdb.Set("dueAt", *due)
	}
	err := s.docs.InTx(ctx, func(tx docdb.Tx) error {
		if _, err := reminders.Update(ctx, tx, r.ID, docdb.Eq("dueAt", *r.DueAt), next); err != nil {
			return err
		}
		if !now.Before(r.Booking.Start) {
			return nil
		}
		id := uuid.NewSHA1(r.ID, []byte("reminder "+r.DueAt.UTC().Format(time.RFC3339Nano)))
		return s.tell(ctx, tx, id, *r.DueAt, bookingStartsSoon{r.Booking})
	})
	if kind := errs.KindOf(err); kind == errs.Conflict || kind == errs.NotFound {
		return nil
	}
	return err
}
