package booking_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/services/booking"
)

func TestConfirmAndPay(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-04T09:00:00+01:00", 120)
	w.do(w.asClient, b, "confirm", 403)
	b = w.do(w.asWorker, b, "confirm", 200)
	if b.Status != booking.Confirmed || !b.PayBy.Equal(w.clock.Now().Add(24*time.Hour)) {
		t.Errorf("%s, to be paid by %v", b.Status, b.PayBy)
	}
	w.tells(b, "booking.confirmed", `"payBy":"2026-03-03T07:00:00Z"`)
	w.do(w.asWorker, b, "confirm", 409)
	w.near.know(func(n *neighbours) { n.paid[b.ID] = w.clock.Now() })
	done := event.PaymentCompleted{Payment: event.Payment{PaymentID: uuid.New(), BookingID: b.ID, Amount: money.Of(16000, "USD")}, CompletedAt: w.clock.Now()}
	w.hear(b.ID, done, done)
	if b = w.get(b); !b.Paid || b.Version != 3 {
		t.Errorf("paid: %t, version %d", b.Paid, b.Version)
	}
	w.until("2026-03-05T09:59:00Z")
	if b = w.get(b); b.Status != booking.Confirmed {
		t.Errorf("a day after its end it is %s", b.Status)
	}
	w.until("2026-03-05T10:00:00Z")
	if b = w.get(b); b.Status != booking.Completed {
		t.Errorf("24 hours after its end it is %s", b.Status)
	}
	w.tells(b, "booking.completed", `"completedAt":"2026-03-05T10:00:00Z"`)
	if e := w.told(b, "booking.completed")[0]; e["releaseAt"] != "2026-03-08T10:00:00Z" {
		t.Errorf("released at %v", e["releaseAt"])
	}
}

func TestExpiry(t *testing.T) {
	w := start(t)
	soon := w.book("2026-03-02T09:00:00+01:00", 60)
	later := w.book("2026-03-05T09:00:00+01:00", 60)
	w.clock.Set(at(t, "2026-03-02T08:00:00Z")) // the start; the timer has not been there yet
	w.do(w.asWorker, soon, "confirm", 409)
	w.until("2026-03-03T07:00:00Z")
	for _, b := range []booking.Answer{soon, later} {
		if got := w.get(b); got.Status != booking.Expired || !got.EndedAt.Equal(*b.ExpiresAt) {
			t.Errorf("%s at %v, want expired at %v", got.Status, got.EndedAt, b.ExpiresAt)
		}
		w.tells(b, "booking.expired", "")
		w.do(w.asWorker, b, "confirm", 409)
	}
	occurred, err := postgres.One[time.Time](t.Context(), w.db, `SELECT occurred_at FROM outbox WHERE type = 'booking.expired' AND subject = $1`, soon.ID)
	if err != nil || !occurred.Equal(at(t, "2026-03-02T08:00:00Z")) {
		t.Errorf("told as of %v, %v", occurred, err)
	}
}

func TestOverdueTimeIsFreeBeforeTheTimerComes(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"limits": map[string]any{"perDay": 1}})
	old := w.book("2026-03-05T09:00:00+01:00", 60)
	w.clock.Set(at(t, "2026-03-03T08:00:00Z"))
	w.Call(apitest.Call{What: "it is listed", Path: w.calendar("/slots?date=2026-03-05"), Status: 200, Has: `"startTime":"2026-03-05T08:00:00Z"`})
	w.book("2026-03-05T09:00:00+01:00", 60)
	if got := w.get(old); got.Status != booking.Expired {
		t.Errorf("the old one is %s", got.Status)
	}
	w.tells(old, "booking.expired", "")
}

func TestConfirmRacesCancelAndExpiry(t *testing.T) {
	w := start(t)
	for day := 3; day <= 6; day++ {
		b := w.book("2026-03-0"+string(rune('0'+day))+"T09:00:00+01:00", 60)
		one := "/api/bookings/" + b.ID.String()
		got := w.race([]apitest.Call{
			{As: w.asWorker, Method: "POST", Path: one + "/confirm"}, {As: w.asClient, Method: "POST", Path: one + "/cancel"},
			{As: w.asWorker, Method: "POST", Path: one + "/confirm"}, {As: w.asClient, Method: "POST", Path: one + "/cancel"},
		})
		after := w.get(b)
		if n := len(w.told(b, "booking.cancelled")); n > 1 || (after.Status == booking.Cancelled) != (n == 1) {
			t.Errorf("%v: it is %s, and cancelled was told %d times", got, after.Status, n)
		}
		if after.Status == booking.Confirmed {
			w.do(w.asWorker, after, "cancel", 200)
		}
	}
	b := w.book("2026-03-06T13:00:00+01:00", 60)
	w.clock.Set(*b.ExpiresAt)
	w.do(w.asWorker, b, "confirm", 409)
	c := w.book("2026-03-09T09:00:00+01:00", 60)
	w.clock.Set(c.ExpiresAt.Add(-time.Microsecond))
	var both sync.WaitGroup
	both.Go(func() {
		w.Do(apitest.Call{As: w.asWorker, Method: "POST", Path: "/api/bookings/" + c.ID.String() + "/confirm"})
	})
	for range 4 {
		both.Go(func() {
			if err := w.service.Fire(t.Context(), *c.ExpiresAt); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	expired, confirmed := len(w.told(c, "booking.expired")), len(w.told(c, "booking.confirmed"))
	if expired+confirmed != 1 {
		t.Errorf("expired told %d times, confirmed %d", expired, confirmed)
	}
}

func TestCancelPolicy(t *testing.T) {
	for _, c := range []struct {
		what, when     string
		as             string
		client, worker string
	}{
		{"30 hours before, by the client", "2026-03-04T02:00:00Z", "client", "160.00", "0.00"},
		{"just 24 hours before", "2026-03-04T08:00:00Z", "client", "160.00", "0.00"},
		{"a moment later", "2026-03-04T08:00:01Z", "client", "80.00", "80.00"},
		{"2 hours before", "2026-03-05T06:00:00Z", "client", "80.00", "80.00"},
		{"after the start", "2026-03-05T08:00:01Z", "client", "0.00", "160.00"},
		{"2 hours before, by the worker", "2026-03-05T06:00:00Z", "worker", "160.00", "0.00"},
		{"after the start, by an admin", "2026-03-05T08:30:00Z", "admin", "160.00", "0.00"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := start(t)
			b := w.paid("2026-03-05T09:00:00+01:00", 120)
			w.clock.Set(at(t, c.when))
			as := map[string]string{"client": w.asClient, "worker": w.asWorker, "admin": w.asAdmin}[c.as]
			b = w.do(as, b, "cancel", 200)
			if b.Status != booking.Cancelled || b.Cause != c.as || string(b.Shares.Client) != c.client || string(b.Shares.Worker) != c.worker {
				t.Errorf("%s by %s, %s to the client, %s to the worker", b.Status, b.Cause, b.Shares.Client, b.Shares.Worker)
			}
			w.tells(b, "booking.cancelled", `"cause":"`+c.as+`"`)
			w.do(w.asClient, b, "cancel", 409)
		})
	}
}

func TestOddCentOfHalfAPriceIsRoundedOnce(t *testing.T) {
	w := start(t)
	w.workerUpdate.Rate, w.workerUpdate.Version = money.Of(1035, "USD"), 2
	w.hear(w.worker, w.workerUpdate)
	b := w.paid("2026-03-05T09:00:00+01:00", 60)
	w.clock.Set(at(t, "2026-03-05T06:00:00Z"))
	if b = w.do(w.asClient, b, "cancel", 200); string(b.Shares.Worker) != "5.18" || string(b.Shares.Client) != "5.17" {
		t.Errorf("%+v", b.Shares)
	}
}

func TestUnpaid(t *testing.T) {
	w := start(t)
	b := w.do(w.asWorker, w.book("2026-03-02T09:00:00+01:00", 60), "confirm", 200)
	w.clock.Set(at(t, "2026-03-02T07:50:00Z"))
	w.do(w.asWorker, b, "start", 409)
	free := w.do(w.asWorker, w.book("2026-03-03T09:00:00+01:00", 60), "confirm", 200)
	free = w.do(w.asClient, free, "cancel", 200)
	if free.Shares != nil {
		t.Errorf("an unpaid booking has money to divide: %+v", free.Shares)
	}
	w.near.know(func(n *neighbours) { n.away = true })
	w.do(w.asWorker, b, "start", 503)
	late := w.do(w.asWorker, w.book("2026-03-03T12:00:00+01:00", 60), "confirm", 200)
	w.do(w.asClient, late, "cancel", 200) // more than 24 hours ahead: nobody has to be asked
	w.near.know(func(n *neighbours) { n.away = false; n.paid[b.ID] = w.clock.Now() })
	if b = w.do(w.asWorker, b, "start", 200); b.Status != booking.InProgress || !b.Paid {
		t.Errorf("payment says paid: %s, %t", b.Status, b.Paid)
	}
	w.do(w.asWorker, b, "complete", 409)
	w.do(w.asClient, b, "complete", 409)
	w.clock.Set(at(t, "2026-03-02T08:30:00Z"))
	w.do(w.asWorker, b, "complete", 409)
	b = w.do(w.asClient, b, "complete", 200)
	if e := w.told(b, "booking.completed"); len(e) != 1 || e[0]["releaseAt"] != "2026-03-05T09:00:00Z" {
		t.Errorf("released 72 hours after the end: %v", e)
	}
}

func TestUnpaidIsCancelledOnlyOnTheWordOfPayment(t *testing.T) {
	w := start(t)
	a := w.do(w.asWorker, w.book("2026-03-05T09:00:00+01:00", 60), "confirm", 200)
	b := w.do(w.asWorker, w.book("2026-03-05T11:00:00+01:00", 60), "confirm", 200)
	w.clock.Set(*a.PayBy)
	w.near.know(func(n *neighbours) { n.away = true })
	if err := w.service.Fire(t.Context(), w.clock.Now()); err == nil {
		t.Error("nobody could be asked, and Fire has nothing to say")
	}
	if got := w.get(a); got.Status != booking.Confirmed {
		t.Errorf("nobody could be asked, and it is %s", got.Status)
	}
	w.near.know(func(n *neighbours) { n.away = false; n.paid[b.ID] = w.clock.Now() })
	if err := w.service.Fire(t.Context(), w.clock.Now()); err != nil {
		t.Error(err)
	}
	if a, b := w.get(a), w.get(b); a.Status != booking.Cancelled || b.Status != booking.Confirmed || !b.Paid {
		t.Errorf("unpaid: %s; paid: %s, %t", a.Status, b.Status, b.Paid)
	}
	w.tells(a, "booking.cancelled", `"cause":"unpaid"`)
	w.hear(a.ID, event.PaymentCompleted{Payment: event.Payment{BookingID: a.ID}, CompletedAt: w.clock.Now()})
	if got := w.get(a); got.Status != booking.Cancelled {
		t.Errorf("a payment after all made it %s", got.Status)
	}
}

func TestNoShow(t *testing.T) {
	w := start(t)
	b := w.paid("2026-03-03T09:00:00+01:00", 60)
	c := w.paid("2026-03-03T11:00:00+01:00", 60)
	w.clock.Set(at(t, "2026-03-03T08:14:59Z"))
	w.do(w.asWorker, b, "no-show", 409)
	w.clock.Set(at(t, "2026-03-03T08:15:00Z"))
	b = w.do(w.asWorker, b, "no-show", 200)
	if string(b.Shares.Worker) != "80.00" || b.NoShow.Absent != "client" || !b.NoShow.SettleAt.Equal(at(t, "2026-03-04T08:15:00Z")) {
		t.Errorf("%+v %+v", b.Shares, b.NoShow)
	}
	w.tells(b, "booking.no_show", `"absent":"client"`)
	w.clock.Set(at(t, "2026-03-03T10:20:00Z"))
	c = w.do(w.asClient, c, "no-show", 200)
	if string(c.Shares.Client) != "80.00" || c.NoShow.Absent != "worker" {
		t.Errorf("%+v %+v", c.Shares, c.NoShow)
	}
	contest := func(what, as string, b booking.Answer, status int) {
		w.Call(apitest.Call{What: what, As: as, Path: "/api/bookings/" + b.ID.String() + "/no-show/contest", Body: map[string]any{"reason": "I was there."}, Status: status})
	}
	contest("the side that reported it", w.asWorker, b, 403)
	contest("the absent side", w.asClient, b, 200)
	contest("twice", w.asClient, b, 409)
	w.tells(b, "booking.no_show_contested", "I was there.")
	w.until("2026-03-05T00:00:00Z")
	contest("too late", w.asWorker, c, 409)
	due, err := w.service.Due(t.Context())
	if err != nil || !due.IsZero() {
		t.Errorf("still due at %v, %v", due, err)
	}
}

func TestSuspendedUsersPendingBookingsAreCancelled(t *testing.T) {
	w := start(t)
	confirmed := w.do(w.asWorker, w.book("2026-03-04T09:00:00+01:00", 60), "confirm", 200)
	pending := w.book("2026-03-05T09:00:00+01:00", 60)
	w.hear(w.client, event.UserSuspended{UserID: w.client, Reason: "fraud"})
	if a, b := w.get(confirmed), w.get(pending); a.Status != booking.Confirmed || b.Status != booking.Cancelled || b.Cause != "suspended" {
		t.Errorf("confirmed is %s, pending %s by %s", a.Status, b.Status, b.Cause)
	}
	w.tells(pending, "booking.cancelled", `"cause":"suspended"`)
}

func TestRescheduleFarAhead(t *testing.T) {
	w := start(t)
	b := w.paid("2026-03-10T09:00:00+01:00", 60)
	other := w.paid("2026-03-11T09:00:00+01:00", 60)
	move := func(as, to string, status int, has string) booking.Answer {
		var after booking.Answer
		a := w.Call(apitest.Call{What: "move to " + to, As: as, Path: "/api/bookings/" + b.ID.String() + "/reschedule", Body: map[string]any{"startTime": to}, Status: status, Has: has})
		if a.Status == 200 {
			a.Data(&after)
		}
		return after
	}
	move(w.asClient, "2026-03-11T09:30:00+01:00", 409, "busy")
	move(w.asClient, "2026-03-14T09:00:00+01:00", 422, "outside_hours")
	move(w.asClient, "2026-03-10T09:00:00+01:00", 422, "startTime")
	after := move(w.asClient, "2026-03-10T09:30:00+01:00", 200, "") // overlaps itself only
	if !after.Start.Equal(at(t, "2026-03-10T08:30:00Z")) || after.Amount != b.Amount || after.Duration != 60 || after.Status != booking.Confirmed {
		t.Errorf("%+v", after)
	}
	w.tells(b, "booking.rescheduled", `"previousStart":"2026-03-10T08:00:00Z"`)
	move(w.asWorker, "2026-03-12T09:00:00+01:00", 200, "")
	w.Call(apitest.Call{What: "the old time is free", Path: w.calendar("/slots?date=2026-03-10"), Status: 200, Has: `"startTime":"2026-03-10T08:30:00Z"`})
	w.Call(apitest.Call{What: "the new one is not", Path: w.calendar("/slots?date=2026-03-12"), Status: 200, HasNot: `"startTime":"2026-03-12T08:00:00Z"`})
	w.do(w.asClient, other, "cancel", 200)
	w.until("2026-03-13T08:59:00Z")
	if got := w.get(b); got.Status != booking.Confirmed {
		t.Errorf("before the new due time it is %s", got.Status)
	}
}

// TestConfirmTheTimeThatWasSeen has the client move the booking while the worker looks at its old time.
func TestConfirmTheTimeThatWasSeen(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-04T09:00:00+01:00", 60)
	one := "/api/bookings/" + b.ID.String()
	w.Calls(
		apitest.Call{What: "moved", As: w.asClient, Path: one + "/reschedule", Body: map[string]any{"startTime": "2026-03-12T09:00:00+01:00"}, Status: 200},
		apitest.Call{What: "the old time", As: w.asWorker, Path: one + "/confirm", Body: map[string]any{"startTime": "2026-03-04T09:00:00+01:00"}, Status: 409, Has: `"changed"`},
		apitest.Call{What: "no time at all", As: w.asWorker, Path: one + "/confirm", Body: map[string]any{"startTime": "soon"}, Status: 422},
		apitest.Call{What: "the new time", As: w.asWorker, Path: one + "/confirm", Body: map[string]any{"startTime": "2026-03-12T08:00:00Z"}, Status: 200, Has: `"confirmed"`},
	)
}

func TestRescheduleNearNeedsBoth(t *testing.T) {
	w := start(t)
	b := w.paid("2026-03-04T09:00:00+01:00", 60)
	one := "/api/bookings/" + b.ID.String()
	w.clock.Set(at(t, "2026-03-03T12:00:00Z")) // 20 hours before
	w.Calls(
		apitest.Call{What: "nothing is proposed", As: w.asWorker, Method: "POST", Path: one + "/reschedule/accept", Status: 409},
		apitest.Call{What: "propose", As: w.asClient, Path: one + "/reschedule", Body: map[string]any{"startTime": "2026-03-12T09:00:00+01:00"}, Status: 200, Has: `"reschedule":{"by":"client"`},
		apitest.Call{What: "accept his own", As: w.asClient, Method: "POST", Path: one + "/reschedule/accept", Status: 403},
		apitest.Call{What: "accept what was proposed before", As: w.asWorker, Path: one + "/reschedule/accept", Body: map[string]any{"startTime": "2026-03-12T10:00:00+01:00"}, Status: 409, Has: `"changed"`},
	)
	if got := w.get(b); !got.Start.Equal(b.Start) {
		t.Errorf("a proposal moved it to %v", got.Start)
	}
	w.tells(b, "booking.reschedule_proposed", `"newStart":"2026-03-12T08:00:00Z"`)
	var after booking.Answer
	w.Call(apitest.Call{What: "accept", As: w.asWorker, Path: one + "/reschedule/accept", Body: map[string]any{"startTime": "2026-03-12T08:00:00Z"}, Status: 200, HasNot: `"reschedule":`}).Data(&after)
	if !after.Start.Equal(at(t, "2026-03-12T08:00:00Z")) {
		t.Errorf("it is at %v", after.Start)
	}
	w.clock.Set(at(t, "2026-03-05T12:00:00Z")) // after its first start, a week before the new one
	if after = w.do(w.asClient, after, "cancel", 200); string(after.Shares.Worker) != "80.00" {
		t.Errorf("the worst of all starts counts: %+v", after.Shares)
	}
}

func TestMovingIntoOneTimeCannotRace(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"bufferAfter": 0})
	var calls []apitest.Call
	for i := range 8 {
		start := at(t, "2026-03-10T08:00:00Z").Add(time.Duration(i) * time.Hour)
		as := w.newClient()
		var b booking.Answer
		w.Call(apitest.Call{As: as, Path: "/api/bookings", Body: w.body(start.Format(time.RFC3339), 60), Status: 201}).Data(&b)
		calls = append(calls, apitest.Call{As: as, Path: "/api/bookings/" + b.ID.String() + "/reschedule", Body: map[string]any{"startTime": "2026-03-12T10:00:00Z"}})
	}
	if got := w.race(calls); got[200] != 1 || got[409] != 7 {
		t.Errorf("%v, want one 200 and 7 × 409", got)
	}
}

func TestMetricsAndChecksSee(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-03T09:00:00+01:00", 60)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.service.Collectors()...)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "tulifo_bookings_total" || len(families[0].GetMetric()) != 7 {
		t.Errorf("not every status is counted from 0 on: %v, %v", families, err)
	}
	if _, err := w.db.Exec(t.Context(), `UPDATE bookings SET status = 'completed' WHERE id = $1`, b.ID); err != nil {
		t.Fatal(err)
	}
	found, err := w.service.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(found, "\n")
	for _, want := range []string{"does not hold its time", "is not to where it stands", "without being paid", "not as many as counted"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among:\n%s", want, all)
		}
	}
	if _, err := w.db.Exec(t.Context(), `UPDATE bookings SET status = 'pending' WHERE id = $1`, b.ID); err != nil {
		t.Fatal(err)
	}
}
