package escrow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/services/escrow"
)

func TestPaymentMakesOneAccount(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	w.none(b)
	paid := w.envelope(b.BookingID, w.paid(b))
	w.deliver(paid, paid)
	a := w.want(b, escrow.Active, "0.00", "0.00")
	if a.Held != "160.00" || a.Remaining != "160.00" || a.Currency != "USD" || !a.AutoRelease || a.AutoReleaseAt != nil || a.ClientID != w.client || a.WorkerID != w.worker {
		t.Errorf("%+v", a)
	}
	w.tells(b, "escrow.held")
	w.Call(apitest.Call{What: "as its worker", As: w.asWorker, Path: "/api/v1/escrow/" + a.ID.String(), Status: 200, Has: `"moves":[]`})
}

func TestClientReleasesEverything(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	w.Call(apitest.Call{What: "release", As: w.asClient, Path: w.path(a, "release"), Body: map[string]any{}, Status: 200, Has: `"status":"released"`})
	w.tells(b, "escrow.held", "escrow.released")
	w.Calls(
		apitest.Call{What: "again", As: w.asClient, Path: w.path(a, "release"), Method: "POST", Status: 409, Has: "settled"},
		apitest.Call{What: "refund what is gone", As: w.asAdmin, Path: w.path(a, "refund"), Body: map[string]any{}, Status: 409, Has: "settled"},
		apitest.Call{What: "freeze what is gone", As: w.asDispute, Path: w.path(a, "freeze"), Body: map[string]any{"reason": "late"}, Status: 409, Has: "already"},
		apitest.Call{What: "its movements", As: w.asClient, Path: "/api/v1/escrow/" + a.ID.String(), Status: 200, Has: `"kind":"release","amount":160.00,"remainingAmount":0.00,"cause":"client"`},
	)
	var told event.EscrowReleased
	raw, err := postgres.One[string](t.Context(), w.db, `SELECT data::text FROM outbox WHERE type = 'escrow.released'`)
	if err != nil || json.Unmarshal([]byte(raw), &told) != nil {
		t.Fatal(err, raw)
	}
	if told.Amount != money.Of(16000, "USD") || told.Remaining.Minor != 0 || told.MoveID == uuid.Nil || told.Cause != "client" || told.BookingID != b.BookingID {
		t.Errorf("%+v", told)
	}
}

func TestPartialReleasesSum(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		currency string
		held     int64
		parts    []string
		tooFine  string
		left     money.Decimal
	}{
		{"USD", 1035, []string{"0.35", "1.45", "8.00"}, "0.001", "0.55"},
		{"JPY", 1200, []string{"1", "1000"}, "0.5", "199"},
		{"KWD", 16050, []string{"0.010", "16.03"}, "0.001", "0.010"}, // what can be paid of them has two
	} {
		b, a := w.held(c.held, c.currency)
		release := w.path(a, "release")
		w.Call(apitest.Call{What: "finer than " + c.currency, As: w.asClient, Path: release, Body: `{"amount":` + c.tooFine + `}`, Status: 422, Has: "amount"})
		for _, part := range c.parts {
			w.Call(apitest.Call{What: part + " " + c.currency, As: w.asClient, Path: release, Body: `{"amount":` + part + `}`, Status: 200, Has: `"partially_released"`})
		}
		if got := w.account(b); got.Remaining != c.left {
			t.Errorf("%s: %s remain, want %s", c.currency, got.Remaining, c.left)
		}
		w.Calls(
			apitest.Call{What: "more than remains", As: w.asClient, Path: release, Body: `{"amount":` + string(c.left) + `1}`, Status: 422, Has: "amount"},
			apitest.Call{What: "exactly what remains", As: w.asClient, Path: release, Body: `{"amount":` + string(c.left) + `}`, Status: 200, Has: `"status":"released"`},
		)
	}
}

func TestHostileAmounts(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	for _, action := range []string{"release", "refund"} {
		as := map[string]string{"release": w.asClient, "refund": w.asAdmin}[action]
		for _, amount := range []string{"0", "-1", "-0.01", "160.01", "1e3", "99999999999999999999", "1e99", "0.001", "1e-400"} {
			w.Call(apitest.Call{What: action + " " + amount, As: as, Path: w.path(a, action), Body: `{"amount":` + amount + `}`, Status: 422})
		}
		for _, body := range []string{`{"amount":"10"}`, `{"amount":[1]}`, `{"amount":{"$gt":0}}`, `{"amount":true}`, `{"amount":10,"currency":"EUR"}`, `{"status":"released"}`, `{"heldAmount":1}`, `[]`} {
			w.Call(apitest.Call{What: action + " " + body, As: as, Path: w.path(a, action), Body: body, Status: 422})
		}
		for _, body := range []string{`{"amount":NaN}`, `{"amount":`} {
			w.Call(apitest.Call{What: action + " " + body, As: as, Path: w.path(a, action), Body: body, Status: 400})
		}
	}
	w.want(b, escrow.Active, "0.00", "0.00")
}

func TestStrangersGetNothing(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	one := "/api/v1/escrow/" + a.ID.String()
	p := w.paid(w.booking(100, "USD"))
	other := w.Token("worker", uuid.New())
	reason := map[string]any{"reason": "because"}
	asBooking := w.ServiceToken("booking", "escrow")
	w.Calls(
		apitest.Call{What: "another client looks", As: w.stranger, Path: one, Status: 404},
		apitest.Call{What: "another worker looks", As: other, Path: one, Status: 404},
		apitest.Call{What: "nobody looks", Path: one, Status: 401},
		apitest.Call{What: "another client's list", As: w.stranger, Path: "/api/v1/escrow?bookingId=" + b.BookingID.String(), Status: 200, Has: `"data":[]`},
		apitest.Call{What: "another worker's list", As: other, Path: "/api/v1/escrow", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "another client releases", As: w.stranger, Path: w.path(a, "release"), Body: map[string]any{}, Status: 404},
		apitest.Call{What: "the worker releases", As: w.asWorker, Path: w.path(a, "release"), Body: map[string]any{}, Status: 403},
		apitest.Call{What: "nobody releases", Path: w.path(a, "release"), Body: map[string]any{}, Status: 401},
		apitest.Call{What: "booking-service releases", As: asBooking, Path: w.path(a, "release"), Body: map[string]any{}, Status: 403},
		apitest.Call{What: "payment-service releases", As: w.asPayment, Path: w.path(a, "release"), Body: map[string]any{}, Status: 403},
		apitest.Call{What: "the client refunds himself", As: w.asClient, Path: w.path(a, "refund"), Body: map[string]any{}, Status: 403},
		apitest.Call{What: "booking-service refunds", As: asBooking, Path: w.path(a, "refund"), Body: map[string]any{}, Status: 403},
		apitest.Call{What: "the client freezes", As: w.asClient, Path: w.path(a, "freeze"), Body: reason, Status: 403},
		apitest.Call{What: "a stranger freezes", As: w.stranger, Path: w.path(a, "freeze"), Body: reason, Status: 403},
		apitest.Call{What: "payment-service freezes", As: w.asPayment, Path: w.path(a, "freeze"), Body: reason, Status: 403},
		apitest.Call{What: "the worker unfreezes", As: w.asWorker, Path: w.path(a, "unfreeze"), Method: "POST", Status: 403},
		apitest.Call{What: "a stranger opens an account", As: w.stranger, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": p.PaymentID}, Status: 404},
		apitest.Call{What: "a stranger asks for one that is there", As: w.stranger, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": a.PaymentID}, Status: 404},
		apitest.Call{What: "an admin opens an account", As: w.asAdmin, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": p.PaymentID}, Status: 403},
		apitest.Call{What: "no id", As: w.asClient, Path: "/api/v1/escrow/1/release", Body: map[string]any{}, Status: 422},
		apitest.Call{What: "an unknown account", As: w.asClient, Path: "/api/v1/escrow/" + uuid.NewString() + "/release", Body: map[string]any{}, Status: 404},
		apitest.Call{What: "an admin looks", As: w.asAdmin, Path: one, Status: 200},
		apitest.Call{What: "a service looks", As: w.asPayment, Path: "/api/v1/escrow?bookingId=" + b.BookingID.String(), Status: 200, Has: a.ID.String()},
		apitest.Call{What: "a bad cursor", As: w.asClient, Path: "/api/v1/escrow?cursor=xyz", Status: 400},
		apitest.Call{What: "a huge limit", As: w.asClient, Path: "/api/v1/escrow?limit=1000000000", Status: 422},
	)
	w.want(b, escrow.Active, "0.00", "0.00")
}

func TestEnsureAsksPayment(t *testing.T) {
	w := start(t)
	b := w.booking(1200, "JPY")
	p := w.paid(b)
	body := map[string]any{"paymentId": p.PaymentID}
	unpaid := w.booking(500, "USD")
	open := w.paid(unpaid)
	w.near.know(func(n *neighbours) {
		o := n.payments[open.PaymentID]
		o.CompletedAt = time.Time{}
		n.payments[open.PaymentID] = o
	})
	w.Calls(
		apitest.Call{What: "with an amount", As: w.asClient, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": p.PaymentID, "amount": 99999}, Status: 422},
		apitest.Call{What: "of no payment", As: w.asClient, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": uuid.New()}, Status: 404},
		apitest.Call{What: "of one that has not arrived", As: w.asClient, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": open.PaymentID}, Status: 409, Has: "not_paid"},
	)
	w.none(unpaid)
	first := w.Call(apitest.Call{What: "by the worker", As: w.asWorker, Path: "/api/v1/escrow", Body: body, Key: "k1", Status: 201, Has: `"heldAmount":1200`})
	w.Call(apitest.Call{What: "by the client, the same", As: w.asClient, Path: "/api/v1/escrow", Body: body, Status: 201, Has: w.account(b).ID.String()})
	w.hear(b.BookingID, p)
	again := w.Call(apitest.Call{What: "the same key", As: w.asWorker, Path: "/api/v1/escrow", Body: body, Key: "k1", Status: 201})
	if !bytes.Equal(first.Body, again.Body) {
		t.Errorf("replay differs:\n%s\n%s", first.Body, again.Body)
	}
	w.tells(b, "escrow.held")
	w.near.know(func(n *neighbours) { n.away = true })
	w.Call(apitest.Call{What: "payment is away", As: w.asClient, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": uuid.New()}, Status: 503})
	w.Call(apitest.Call{What: "payment is away, the account is here", As: w.asClient, Path: "/api/v1/escrow", Body: body, Status: 201})
}

func TestReleaseOnlyFromTheStartOn(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	b.Start, b.End = w.clock.Now().Add(2*time.Hour), w.clock.Now().Add(4*time.Hour)
	w.near.know(func(n *neighbours) { n.starts[b.BookingID] = b.Start })
	w.hear(b.BookingID, w.paid(b))
	a := w.account(b)
	release := apitest.Call{What: "before the start", As: w.asClient, Path: w.path(a, "release"), Body: map[string]any{}, Status: 409, Has: "too_early"}
	w.Call(release)
	w.hear(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start})
	w.Call(release)
	w.near.know(func(n *neighbours) { n.away = true })
	release.What, release.Status, release.Has = "booking is away, and may have moved", 503, ""
	w.Call(release)
	w.near.know(func(n *neighbours) { n.away, n.starts[b.BookingID] = false, w.clock.Now() })
	release.What, release.Status, release.Body = "moved to now, though no event has told", 200, `{"amount":1}`
	w.Call(release)
	w.near.know(func(n *neighbours) { n.away = true })
	w.clock.Set(b.Start)
	release.What = "the copy knows that it has begun"
	w.Call(release)
	w.want(b, escrow.PartiallyReleased, "2.00", "0.00")
}

func TestReplaysAreByteIdentical(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	reason := map[string]any{"reason": "a complaint"}
	for _, c := range []apitest.Call{
		{What: "release a part", As: w.asClient, Path: w.path(a, "release"), Body: map[string]any{"amount": 10}, Key: "r"},
		{What: "freeze", As: w.asDispute, Path: w.path(a, "freeze"), Body: reason, Key: "f"},
		{What: "unfreeze", As: w.asDispute, Path: w.path(a, "unfreeze"), Body: map[string]any{}, Key: "u"},
		{What: "refund a part", As: w.asAdmin, Path: w.path(a, "refund"), Body: map[string]any{"amount": 20, "reason": "goodwill"}, Key: "b"},
		{What: "release the rest", As: w.asClient, Path: w.path(a, "release"), Body: map[string]any{}, Key: "r2"},
	} {
		c.Status = 200
		first := w.Call(c)
		for range 2 {
			if again := w.Call(c); !bytes.Equal(first.Body, again.Body) {
				t.Errorf("%s: replay differs:\n%s\n%s", c.What, first.Body, again.Body)
			}
		}
	}
	w.Call(apitest.Call{What: "the key with another body", As: w.asClient, Path: w.path(a, "release"), Body: map[string]any{"amount": 11}, Key: "r", Status: 422, Has: "idempotency_key_reused"})
	w.want(b, escrow.Split, "140.00", "20.00")
}

func TestReleaseTakesThreeRoundTrips(t *testing.T) {
	w := start(t)
	_, a := w.held(16000, "USD")
	w.Do(apitest.Call{As: w.asClient, Path: w.path(a, "release"), Body: `{"amount":1}`, Key: "warm"})
	w.deaf() // the inbox shares the pool
	for _, c := range []struct {
		call apitest.Call
		most int64
	}{
		{apitest.Call{What: "a release with a key", As: w.asClient, Path: w.path(a, "release"), Body: `{"amount":2}`, Key: "k", Status: 200}, 3},
		{apitest.Call{What: "a refused one", As: w.asClient, Path: w.path(a, "release"), Body: `{"amount":1000}`, Status: 422}, 1},
		{apitest.Call{What: "one account", As: w.asClient, Path: "/api/v1/escrow/" + a.ID.String(), Status: 200}, 2},
		{apitest.Call{What: "a page", As: w.asClient, Path: "/api/v1/escrow", Status: 200}, 1},
	} {
		if got := pgtest.Trips(w.db, func() { w.Call(c.call) }); got > c.most {
			t.Errorf("%s takes %d round trips, want at most %d", c.call.What, got, c.most)
		}
	}
}

func TestPaging(t *testing.T) {
	w := start(t)
	want := map[uuid.UUID]bool{}
	for range 5 {
		w.clock.Advance(time.Minute)
		_, a := w.held(100, "USD")
		want[a.ID] = true
	}
	var seen int
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		var list []escrow.Answer
		a := w.Call(apitest.Call{What: "a page", As: w.asWorker, Path: "/api/v1/escrow?limit=2&cursor=" + cursor, Status: 200})
		a.Data(&list)
		for _, one := range list {
			if !want[one.ID] {
				t.Errorf("account %s is listed twice or is foreign", one.ID)
			}
			delete(want, one.ID)
			seen++
		}
		var meta struct {
			Meta struct{ NextCursor string } `json:"meta"`
		}
		if err := json.Unmarshal(a.Body, &meta); err != nil {
			t.Fatal(err)
		}
		cursor = meta.Meta.NextCursor
	}
	if seen != 5 {
		t.Errorf("%d of 5 accounts are listed", seen)
	}
}

func TestCheckSeesTheLedgerDiffer(t *testing.T) {
	w := start(t)
	w.held(16000, "USD")
	real := w.near.ledger
	w.near.ledger = func(after uuid.UUID, limit int) ([]ledgerRow, error) {
		rows, err := real(after, limit)
		for i := range rows {
			rows[i].Remaining--
		}
		return append(rows, ledgerRow{uuid.Max, 5, "USD"}), err
	}
	found, err := w.service.Check(context.Background())
	w.near.ledger = real
	if err != nil || len(found) < 2 {
		t.Errorf("%q, %v", found, err)
	}
}

func TestCollectorsShowWhatIsHeld(t *testing.T) {
	w := start(t)
	w.held(16050, "USD")
	_, frozen := w.held(1200, "JPY")
	w.Call(apitest.Call{What: "freeze", As: w.asAdmin, Path: w.path(frozen, "freeze"), Body: map[string]any{"reason": "a look"}, Status: 200})
	w.Call(apitest.Call{What: "what somebody has to decide about", As: w.asAdmin, Path: "/api/v1/escrow?status=frozen", Status: 200, Has: frozen.ID.String(), HasNot: `"active"`})
	w.Call(apitest.Call{What: "a status that is none", As: w.asAdmin, Path: "/api/v1/escrow?status=lost", Status: 422})
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.service.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()+"/"+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	for series, want := range map[string]float64{"tulifo_escrow_held/USD": 160.5, "tulifo_escrow_held/JPY": 1200, "tulifo_escrow_accounts/active": 1, "tulifo_escrow_accounts/frozen": 1} {
		if got[series] != want {
			t.Errorf("%s is %v, want %v", series, got[series], want)
		}
	}
}
