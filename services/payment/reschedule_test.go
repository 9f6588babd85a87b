package payment_test

import (
	"testing"
	"time"

	"tulifo/event"
	"tulifo/platform/postgres"
)

// A booking that is moved to an earlier start has to be paid by then; a move that says nothing of it leaves the time to pay as it was.
func TestTimeToPayFollowsAMovedBooking(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	payBy := func() time.Time {
		at, err := postgres.One[time.Time](t.Context(), w.db, `SELECT pay_by FROM payments WHERE booking_id = $1`, b.BookingID)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	sooner := b.Start.Add(-time.Hour)
	moved := event.BookingRescheduled{Booking: b, PreviousStart: b.Start, PreviousEnd: b.End, PayBy: &sooner}
	w.tell(b.BookingID, moved)
	w.settle()
	if !payBy().Equal(sooner) {
		t.Errorf("pay by %s, want %s", payBy(), sooner)
	}
	moved.PayBy = nil
	w.tell(b.BookingID, moved)
	w.settle()
	if !payBy().Equal(sooner) {
		t.Errorf("pay by %s after a move that says nothing", payBy())
	}
}
