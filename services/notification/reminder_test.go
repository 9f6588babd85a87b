package notification_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
)

// fire lets everything happen up to a time, as the timer would.
func (w *world) fire(to time.Time) {
	w.t.Helper()
	for {
		due, err := w.service.Due(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if due.IsZero() || due.After(to) {
			break
		}
		w.clock.Set(due)
		if err := w.service.Fire(w.t.Context(), w.clock.Now()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.clock.Set(to)
}

// reminded are the times at which a user was reminded, the last first.
func (w *world) reminded(id uuid.UUID) (times []time.Time) {
	w.t.Helper()
	for _, n := range w.list(id) {
		if n.Type == "booking.reminder" {
			times = append(times, n.CreatedAt)
		}
	}
	return times
}

func TestBothSidesAreRemindedADayAndAnHourBefore(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	b := deal(client, worker, w.clock.Now().Add(72*time.Hour))
	w.tell(b.BookingID, event.BookingCreated{Booking: b, ExpiresAt: b.Start})
	if due, err := w.service.Due(t.Context()); err != nil || !due.IsZero() {
		t.Errorf("an unanswered booking is reminded of at %s: %v", due, err)
	}
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start})
	w.fire(b.Start.Add(time.Hour))
	for _, id := range []uuid.UUID{client, worker} {
		got := w.reminded(id)
		if len(got) != 2 || !got[1].Equal(b.Start.Add(-24*time.Hour)) || !got[0].Equal(b.Start.Add(-time.Hour)) {
			t.Errorf("reminded at %v", got)
		}
	}
	w.send(time.Second)
	if n := len(w.mails(worker)); n != 0 {
		t.Errorf("%d mails to the worker after the booking, about what is over", n)
	}
}

func TestRemindersAreMailed(t *testing.T) {
	w := start(t, options{timers: true})
	client, worker := w.someone("Ann", "Europe/Berlin"), w.someone("Bob", "UTC")
	b := deal(client, worker, w.clock.Now().Add(25*time.Hour))
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start})
	w.clock.Advance(time.Hour)
	if got := w.awaitMail(address(worker)); got.Subject != "Reminder: “Fix the roof” on Tuesday, 3 March 2026, 13:00 (UTC)" {
		t.Errorf("%q", got.Subject)
	}
	w.await("both sides know", func() bool { return w.statuses("sent") == 3 })
}

func TestOldNewsIsNotMailed(t *testing.T) {
	w := start(t, options{})
	id := w.someone("Ann", "UTC")
	w.tell(id, badge(id, 1), event.UserPasswordChanged{UserID: id})
	w.clock.Advance(4 * 24 * time.Hour)
	w.send(time.Second)
	if got := w.mails(id); len(got) != 1 || got[0].Subject != "Your password was changed" || w.statuses("dropped") != 1 {
		t.Errorf("%+v", got)
	}
}

func TestRemindersFollowTheBooking(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	now := w.clock.Now()
	soon, cancelled, moved, started, unconfirmed := deal(client, worker, now.Add(3*time.Hour)), deal(client, uuid.New(), now.Add(50*time.Hour)),
		deal(uuid.New(), worker, now.Add(50*time.Hour)), deal(client, uuid.New(), now.Add(50*time.Hour)), deal(client, worker, now.Add(50*time.Hour))
	for _, b := range []event.Booking{soon, cancelled, moved, started} {
		w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start})
	}
	w.tell(cancelled.BookingID, event.BookingCancelled{Booking: cancelled, Cause: "client"})
	w.tell(started.BookingID, event.BookingStarted{Booking: started})
	w.tell(unconfirmed.BookingID, event.BookingRescheduled{Booking: unconfirmed, PreviousStart: now, PreviousEnd: now})
	later := moved
	later.Start, later.End = moved.Start.Add(100*time.Hour), moved.End.Add(100*time.Hour)
	w.tell(moved.BookingID, event.BookingRescheduled{Booking: later, PreviousStart: moved.Start, PreviousEnd: moved.End})
	w.fire(now.Add(60 * time.Hour))
	if got := w.reminded(client); len(got) != 1 || !got[0].Equal(soon.Start.Add(-time.Hour)) {
		t.Errorf("the client was reminded at %v", got)
	}
	w.fire(later.End)
	if got := w.reminded(worker); len(got) != 3 || !got[1].Equal(later.Start.Add(-24*time.Hour)) {
		t.Errorf("the worker was reminded at %v", got)
	}
}

func TestAReminderAfterTheStartIsLeftOut(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	b := deal(client, worker, w.clock.Now().Add(30*time.Hour))
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start})
	w.clock.Set(b.Start)
	if err := w.service.Fire(t.Context(), w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if got := w.reminded(client); len(got) != 0 {
		t.Errorf("reminded at %v", got)
	}
	if due, err := w.service.Due(t.Context()); err != nil || !due.IsZero() {
		t.Errorf("still due at %s: %v", due, err)
	}
}

func TestManyProcessesRemindOnce(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	for range 20 {
		b := deal(client, worker, w.clock.Now().Add(25*time.Hour))
		w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start})
	}
	w.clock.Advance(90 * time.Minute)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := w.service.Fire(t.Context(), w.clock.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(w.reminded(client)); n != 20 {
		t.Errorf("%d reminders of 20 bookings", n)
	}
}

func TestMailWaitsOutTheQuietHoursOfItsReader(t *testing.T) {
	// 23:00 in Berlin, 17:00 in New York.
	w := start(t, options{at: time.Date(2026, 3, 2, 22, 0, 0, 0, time.UTC)})
	berlin, york := w.someone("Ann", "Europe/Berlin"), w.someone("Bob", "America/New_York")
	for _, id := range []uuid.UUID{berlin, york} {
		w.Call(apitest.Call{What: "quiet nights", As: w.Token("client", id), Method: "PUT", Path: "/api/notifications/preferences",
			Body: `{"quietHours":{"start":"22:00","end":"07:00"}}`, Status: 200})
		w.tell(id, badge(id, 1), event.UserPasswordChanged{UserID: id})
	}
	w.send(time.Second)
	if len(w.mails(york)) != 2 || len(w.mails(berlin)) != 1 || w.mails(berlin)[0].Subject != "Your password was changed" {
		t.Errorf("%d mails to New York, %d to Berlin", len(w.mails(york)), len(w.mails(berlin)))
	}
	if len(w.list(berlin)) != 2 {
		t.Error("the app is never quiet")
	}
	due, err := w.service.Due(t.Context())
	if want := time.Date(2026, 3, 3, 6, 0, 0, 0, time.UTC); err != nil || !due.Equal(want) {
		t.Fatalf("due at %s, want %s: %v", due, want, err)
	}
	w.fire(due.Add(-time.Second))
	w.send(time.Hour)
	if len(w.mails(berlin)) != 1 {
		t.Error("it did not wait to the end")
	}
	w.fire(due)
	w.send(time.Hour)
	w.send(time.Hour)
	if len(w.mails(berlin)) != 2 {
		t.Errorf("%d mails in the morning", len(w.mails(berlin)))
	}
	if said, err := w.service.Check(t.Context()); err != nil || len(said) != 0 {
		t.Errorf("check: %v %v", said, err)
	}
}
