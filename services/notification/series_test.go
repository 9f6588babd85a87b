package notification_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/services/notification"
)

// One act about many bookings is one message.
func TestSeriesIsToldOnce(t *testing.T) {
	w := start(t, options{})
	ann, bob := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	id := uuid.New()
	for n := range 5 {
		b := deal(ann, bob, monday.AddDate(0, 0, 7*n))
		b.Series = &event.Series{SeriesID: id, N: n + 1, Of: 5}
		w.tell(b.BookingID, event.BookingCreated{Booking: b, ExpiresAt: monday}, event.BookingConfirmed{Booking: b, PayBy: monday}, event.BookingCancelled{Booking: b, Cause: "client"})
	}
	for who, want := range map[uuid.UUID]int{bob: 3, ann: 2} {
		if got := w.list(who); len(got) != want {
			t.Errorf("%d notifications, want %d: %+v", len(got), want, got)
		}
	}
}

func TestSeriesIsWordedAsOne(t *testing.T) {
	t.Parallel()
	b := gig
	b.Series = &event.Series{SeriesID: uuid.New(), N: 1, Of: 5}
	subject, paragraphs, _, err := notification.Words(event.BookingCreated{Booking: b, ExpiresAt: monday}, "worker", "", "UTC")
	if err != nil || !strings.HasSuffix(subject, ", 5 times") || !strings.Contains(paragraphs[0], "book you 5 times, first on Monday, 2 March 2026") || !strings.HasSuffix(paragraphs[0], "each.") {
		t.Errorf("%v %q %q", err, subject, paragraphs)
	}
	_, paragraphs, _, err = notification.Words(event.BookingConfirmed{Booking: b, PayBy: monday.Add(time.Hour)}, "client", "", "UTC")
	if err != nil || !strings.HasPrefix(paragraphs[0], "Your 5 bookings, the first on ") || !strings.HasPrefix(paragraphs[1], "Please pay each of them by ") {
		t.Errorf("%v %q", err, paragraphs)
	}
	_, paragraphs, _, err = notification.Words(event.BookingCancelled{Booking: b, Cause: "client"}, "worker", "", "UTC")
	if err != nil || !strings.Contains(paragraphs[0], "the first of 5 that are cancelled together") {
		t.Errorf("%v %q", err, paragraphs)
	}
}
