package escrow_test

import (
	"testing"
	"time"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/services/escrow"
)

func shares(client, worker int64, currency string) event.Shares {
	return event.Shares{Client: money.Of(client, currency), Worker: money.Of(worker, currency)}
}

func TestAutoReleaseAtItsDueTime(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	at := w.clock.Now().Add(72 * time.Hour)
	done := event.BookingCompleted{Booking: b, CompletedAt: w.clock.Now(), ReleaseAt: at}
	w.hear(b.BookingID, done, done)
	w.Call(apitest.Call{What: "a part before", As: w.asClient, Path: w.path(a, "release"), Body: `{"amount":60}`, Status: 200})
	w.until(at.Add(-time.Microsecond))
	w.want(b, escrow.PartiallyReleased, "60.00", "0.00")
	w.clock.Set(at.Add(5 * time.Hour))
	if err := w.service.Fire(t.Context(), w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if a = w.want(b, escrow.Released, "160.00", "0.00"); a.ReleasedAt == nil || !a.ReleasedAt.Equal(at) {
		t.Errorf("released at %v, want its due time %v", a.ReleasedAt, at)
	}
	w.tells(b, "escrow.held", "escrow.released", "escrow.released")
	told, err := postgres.One[time.Time](t.Context(), w.db, `SELECT occurred_at FROM outbox WHERE type = 'escrow.released' ORDER BY seq DESC LIMIT 1`)
	if err != nil || !told.Equal(at) {
		t.Errorf("told as of %v, %v", told, err)
	}
}

func TestFrozenIsNeverReleasedByItself(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	at := w.clock.Now().Add(72 * time.Hour)
	w.hear(b.BookingID, event.BookingCompleted{Booking: b, CompletedAt: w.clock.Now(), ReleaseAt: at})
	reason := map[string]any{"reason": "not as described"}
	w.Calls(
		apitest.Call{What: "dispute freezes", As: w.asDispute, Path: w.path(a, "freeze"), Body: reason, Status: 200, Has: `"status":"frozen"`},
		apitest.Call{What: "dispute tries again", As: w.asDispute, Path: w.path(a, "freeze"), Body: reason, Status: 200, Has: `"freezeReason":"not as described"`},
		apitest.Call{What: "without a reason", As: w.asDispute, Path: w.path(a, "freeze"), Body: map[string]any{}, Status: 422},
		apitest.Call{What: "the client releases", As: w.asClient, Path: w.path(a, "release"), Body: map[string]any{}, Status: 409, Has: `"frozen"`},
		apitest.Call{What: "an admin freezes too", As: w.asAdmin, Path: w.path(a, "freeze"), Body: reason, Status: 200},
		apitest.Call{What: "dispute lets go", As: w.asDispute, Path: w.path(a, "unfreeze"), Method: "POST", Status: 200, Has: `"status":"frozen"`},
	)
	w.until(at.Add(240 * time.Hour))
	w.want(b, escrow.Frozen, "0.00", "0.00")
	w.Call(apitest.Call{What: "the admin lets go", As: w.asAdmin, Path: w.path(a, "unfreeze"), Method: "POST", Status: 200, Has: `"status":"active"`})
	w.tells(b, "escrow.held", "escrow.frozen", "escrow.unfrozen")
	lifted := w.clock.Now()
	w.until(lifted.Add(time.Second))
	if a = w.want(b, escrow.Released, "160.00", "0.00"); !a.ReleasedAt.Equal(lifted) {
		t.Errorf("released at %v, want %v, when it was unfrozen", a.ReleasedAt, lifted)
	}
}

func TestResolutionDividesFrozenMoney(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	w.Calls(
		apitest.Call{What: "freeze", As: w.asDispute, Path: w.path(a, "freeze"), Body: map[string]any{"reason": "quarrel"}, Status: 200},
		apitest.Call{What: "a part back", As: w.asDispute, Path: w.path(a, "refund"), Body: `{"amount":100.01}`, Status: 200, Has: `"status":"frozen"`},
		apitest.Call{What: "the rest to the worker", As: w.asDispute, Path: w.path(a, "release"), Body: map[string]any{}, Status: 200, Has: `"status":"split"`},
		apitest.Call{What: "its movements", As: w.asWorker, Path: "/api/v1/escrow/" + a.ID.String(), Status: 200, Has: `"cause":"resolution"`},
	)
	w.want(b, escrow.Split, "59.99", "100.01")
}

func TestCancelledDividesAsBookingDecided(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		what             string
		currency         string
		held, worker     int64
		status           escrow.Status
		released, refund money.Decimal
	}{
		{"everything back", "USD", 16000, 0, escrow.Refunded, "0.00", "160.00"},
		{"half", "USD", 16001, 8001, escrow.Split, "80.01", "80.00"},
		{"nothing back", "KWD", 16001, 16001, escrow.Released, "16.001", "0.000"},
		{"half of an odd yen", "JPY", 1201, 601, escrow.Split, "601", "600"},
	} {
		b, _ := w.held(c.held, c.currency)
		cancelled := event.BookingCancelled{Booking: b, Cause: "client", Shares: shares(c.held-c.worker, c.worker, c.currency)}
		w.hear(b.BookingID, cancelled, cancelled)
		w.want(b, c.status, c.released, c.refund)

		early := w.booking(c.held, c.currency)
		cancelled.Booking = early
		w.hear(early.BookingID, cancelled)
		w.none(early)
		w.hear(early.BookingID, w.paid(early))
		w.want(early, c.status, c.released, c.refund)
	}
}

func TestPartlyReleasedThenCancelled(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	w.Call(apitest.Call{What: "a part", As: w.asClient, Path: w.path(a, "release"), Body: `{"amount":100}`, Status: 200})
	w.hear(b.BookingID, event.BookingCancelled{Booking: b, Cause: "client", Shares: shares(8000, 8000, "USD")})
	w.want(b, escrow.Split, "100.00", "60.00")
}

func TestCancelRacingPaymentGivesTheMoneyBack(t *testing.T) {
	w := start(t)
	for i := range 20 {
		b := w.booking(16000, "USD")
		unpaid := w.envelope(b.BookingID, event.BookingCancelled{Booking: b, Cause: "unpaid", Shares: shares(16000, 0, "USD")})
		p := w.paid(b)
		paid := w.envelope(b.BookingID, p)
		// The two are told under one subject but by different services, and somebody opens the account by hand meanwhile.
		asked := make(chan apitest.Answer)
		go func() {
			asked <- w.Do(apitest.Call{As: w.asClient, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": p.PaymentID}})
		}()
		if i%2 == 0 {
			w.deliver(unpaid, paid, unpaid)
		} else {
			w.deliver(paid, unpaid, paid)
		}
		if a := <-asked; a.Status != 201 {
			t.Errorf("%s", a)
		}
		w.until(w.clock.Now().Add(100 * time.Hour))
		w.want(b, escrow.Refunded, "0.00", "160.00")
		w.tells(b, "escrow.held", "escrow.refunded")
	}
}

func TestCancelledWhileFrozenWaits(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	w.Call(apitest.Call{What: "freeze", As: w.asDispute, Path: w.path(a, "freeze"), Body: map[string]any{"reason": "quarrel"}, Status: 200})
	w.hear(b.BookingID, event.BookingCancelled{Booking: b, Cause: "worker", Shares: shares(16000, 0, "USD")})
	w.until(w.clock.Now().Add(time.Hour))
	w.want(b, escrow.Frozen, "0.00", "0.00")
	w.Call(apitest.Call{What: "unfreeze", As: w.asDispute, Path: w.path(a, "unfreeze"), Method: "POST", Status: 200, Has: `"status":"refunded"`})
	w.tells(b, "escrow.held", "escrow.frozen", "escrow.unfrozen", "escrow.refunded")
}

func TestNoShow(t *testing.T) {
	w := start(t)
	settle := w.clock.Now().Add(24 * time.Hour)
	absent := func(b event.Booking) event.BookingNoShow {
		return event.BookingNoShow{Booking: b, Absent: "client", Shares: shares(0, b.Amount.Minor, "USD"), SettleAt: settle}
	}
	quiet, _ := w.held(16000, "USD")
	w.hear(quiet.BookingID, absent(quiet))

	objects, asked := w.held(16000, "USD")
	w.hear(objects.BookingID, absent(objects), event.BookingNoShowContested{Booking: objects, Reason: "I was there."})
	w.want(objects, escrow.Frozen, "0.00", "0.00")

	// The word of the objection is still on its way when the time comes.
	late, _ := w.held(16000, "USD")
	w.hear(late.BookingID, absent(late))
	w.near.know(func(n *neighbours) { n.contested[late.BookingID] = w.clock.Now() })

	turned := w.booking(16000, "USD")
	w.hear(turned.BookingID, event.BookingNoShowContested{Booking: turned, Reason: "I was there."}, absent(turned), w.paid(turned))

	waiting := w.booking(16000, "USD")
	worker := absent(waiting)
	worker.Absent, worker.Shares = "worker", shares(16000, 0, "USD")
	w.hear(waiting.BookingID, worker, w.paid(waiting))

	// An admin has let go of the account before the time comes: what the booking decided stands.
	groundless, let := w.held(16000, "USD")
	w.hear(groundless.BookingID, absent(groundless), event.BookingNoShowContested{Booking: groundless, Reason: "I was there."})
	w.near.know(func(n *neighbours) { n.contested[groundless.BookingID] = w.clock.Now() })
	w.Call(apitest.Call{What: "an admin lets go", As: w.asAdmin, Method: "POST", Path: w.path(let, "unfreeze"), Status: 200, Has: `"status":"active"`})

	w.until(settle.Add(-time.Second))
	w.want(quiet, escrow.Active, "0.00", "0.00")
	w.want(groundless, escrow.Active, "0.00", "0.00")
	w.clock.Set(settle)
	w.near.know(func(n *neighbours) { n.away = true })
	if err := w.service.Fire(t.Context(), settle); err == nil {
		t.Error("booking could not be asked, and nobody says so")
	}
	w.want(quiet, escrow.Active, "0.00", "0.00")
	w.near.know(func(n *neighbours) { n.away = false })
	w.until(settle.Add(100 * time.Hour))
	w.want(quiet, escrow.Released, "160.00", "0.00")
	w.want(groundless, escrow.Released, "160.00", "0.00")
	w.want(objects, escrow.Frozen, "0.00", "0.00")
	w.want(late, escrow.Frozen, "0.00", "0.00")
	w.want(turned, escrow.Frozen, "0.00", "0.00")
	w.want(waiting, escrow.Refunded, "0.00", "160.00")
	w.hear(late.BookingID, event.BookingNoShowContested{Booking: late, Reason: "I was there."})
	w.want(late, escrow.Frozen, "0.00", "0.00")
	w.Call(apitest.Call{What: "an admin finds no ground for the objection", As: w.asAdmin, Method: "POST", Path: w.path(w.want(late, escrow.Frozen, "0.00", "0.00"), "unfreeze"), Status: 200, Has: `"status":"released"`})
	w.Call(apitest.Call{What: "an admin decides", As: w.asAdmin, Path: w.path(asked, "refund"), Body: `{"reason":"he was there"}`, Status: 200, Has: `"status":"refunded"`})
}

func TestChargebackStopsWhatRemains(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	at := w.clock.Now().Add(72 * time.Hour)
	back := event.PaymentChargedBack{Payment: w.paid(b).Payment, Charged: money.Of(16000, "USD")}
	won := event.PaymentChargebackWon(back)
	w.hear(b.BookingID, event.BookingCompleted{Booking: b, ReleaseAt: at}, back, back)
	w.until(at.Add(time.Hour))
	if a := w.want(b, escrow.Frozen, "0.00", "0.00"); a.FreezeReason != "chargeback" {
		t.Errorf("frozen for %q", a.FreezeReason)
	}
	w.Call(apitest.Call{What: "dispute freezes besides", As: w.asDispute, Path: w.path(a, "freeze"), Body: map[string]any{"reason": "quarrel"}, Status: 200})
	w.hear(b.BookingID, won)
	w.Call(apitest.Call{What: "dispute lets go, one chargeback is open", As: w.asDispute, Path: w.path(a, "unfreeze"), Method: "POST", Status: 200, Has: `"frozen"`})
	w.hear(b.BookingID, won)
	w.want(b, escrow.Active, "0.00", "0.00")
	w.until(w.clock.Now().Add(time.Second))
	w.want(b, escrow.Released, "160.00", "0.00")
	w.hear(b.BookingID, back, won)
	w.want(b, escrow.Released, "160.00", "0.00")

	early := w.booking(16000, "USD")
	back.Payment = w.paid(early).Payment
	w.hear(early.BookingID, back, w.paid(early))
	w.want(early, escrow.Frozen, "0.00", "0.00")
}

// What is held pays for a chargeback that is lost, whoever else holds it, and only so much; no admin is needed.
func TestLostChargebackIsPaidFromWhatIsHeld(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	back := event.PaymentChargedBack{Payment: w.paid(b).Payment, Charged: money.Of(16000, "USD")}
	lost := event.PaymentChargebackLost{Payment: back.Payment, Charged: back.Charged, Owed: money.Of(16000, "USD")}
	w.hear(b.BookingID, back)
	w.Call(apitest.Call{What: "dispute freezes besides", As: w.asDispute, Path: w.path(a, "freeze"), Body: map[string]any{"reason": "quarrel"}, Status: 200})
	w.hear(b.BookingID, lost)
	w.want(b, escrow.Refunded, "0.00", "160.00")
	w.hear(b.BookingID, lost)
	w.want(b, escrow.Refunded, "0.00", "160.00")

	part, _ := w.held(16000, "USD")
	at := w.clock.Now().Add(72 * time.Hour)
	back.Payment = w.paid(part).Payment
	w.hear(part.BookingID, event.BookingCompleted{Booking: part, ReleaseAt: at}, back)
	w.until(at.Add(time.Hour))
	w.want(part, escrow.Frozen, "0.00", "0.00")
	w.hear(part.BookingID, event.PaymentChargebackLost{Payment: back.Payment, Charged: money.Of(6000, "USD"), Owed: money.Of(6000, "USD")})
	w.until(w.clock.Now().Add(time.Second))
	w.want(part, escrow.Split, "100.00", "60.00")

	gone, _ := w.held(16000, "USD")
	w.hear(gone.BookingID, event.BookingCompleted{Booking: gone, ReleaseAt: w.clock.Now()})
	w.until(w.clock.Now().Add(time.Second))
	w.hear(gone.BookingID, event.PaymentChargebackLost{Payment: w.paid(gone).Payment, Charged: money.Of(16000, "USD"), Owed: money.Of(0, "USD")})
	w.want(gone, escrow.Released, "160.00", "0.00")
}

// Events of different services about one booking come in any order; whatever it is, the money ends where it belongs.
func TestAnyOrderEndsAlike(t *testing.T) {
	w := start(t)
	orders := [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	for _, order := range orders {
		b := w.booking(16000, "USD")
		at := w.clock.Now().Add(72 * time.Hour)
		events := []outbox.Event{w.paid(b), event.BookingConfirmed{Booking: b}, event.BookingCompleted{Booking: b, ReleaseAt: at}}
		var batch []bus.Envelope
		for _, i := range order {
			e := w.envelope(b.BookingID, events[i])
			batch = append(batch, e, e)
		}
		w.deliver(batch...)
		w.want(b, escrow.Active, "0.00", "0.00")
		w.until(at)
		w.want(b, escrow.Released, "160.00", "0.00")
		w.tells(b, "escrow.held", "escrow.released")
	}
}
