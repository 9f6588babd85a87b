package payment_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/soak"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

// heldOf is everything in the list, walked in small pages.
func (w *world) heldOf(as string) (all []payment.Held) {
	w.t.Helper()
	for cursor, path := "", "/api/payments/wallet/held?limit=2"; ; path = "/api/payments/wallet/held?limit=2&cursor=" + cursor {
		var page []payment.Held
		r := w.Call(apitest.Call{What: "what is held", As: as, Path: path, Status: 200})
		r.Data(&page)
		all = append(all, page...)
		var meta struct {
			Meta struct{ NextCursor string }
		}
		if err := json.Unmarshal(r.Body, &meta); err != nil {
			w.t.Fatal(err)
		}
		if cursor = meta.Meta.NextCursor; cursor == "" {
			return all
		}
	}
}

func minor(t testing.TB, d money.Decimal, currency string) int64 {
	t.Helper()
	a, err := d.In(currency)
	if err != nil {
		t.Fatal(err)
	}
	return a.Minor
}

// addsUp fails when what is listed as held is not all that the wallet shows, in each currency, or an item does not say what it waits for.
func (w *world) addsUp(what, as string) {
	w.t.Helper()
	sums := map[string]int64{}
	for _, h := range w.heldOf(as) {
		sums[h.Currency] += minor(w.t, h.Amount, h.Currency)
		if h.BlockedBy == "" || h.WhoCanUnblock == "" {
			w.t.Errorf("%s: %+v does not say what it waits for", what, h)
		}
	}
	var purse payment.Wallet
	w.Call(apitest.Call{What: "the wallet", As: as, Path: "/api/payments/wallet", Status: 200}).Data(&purse)
	for _, f := range append(purse.Others, purse.Funds) {
		want := minor(w.t, f.Available, f.Currency) + minor(w.t, f.Pending, f.Currency) + minor(w.t, f.Held, f.Currency) + minor(w.t, f.Disputed, f.Currency) - minor(w.t, f.Owed, f.Currency)
		if sums[f.Currency] != want {
			w.t.Errorf("%s: the list of %s comes to %d and the wallet to %d: %+v", what, f.Currency, sums[f.Currency], want, f)
		}
		delete(sums, f.Currency)
	}
	for currency, sum := range sums {
		w.t.Errorf("%s: %d %s are listed and not in the wallet", what, sum, currency)
	}
}

// TestEveryCentNotPaidOutIsListed has payments, releases, refunds, chargebacks and withdrawals happen in any order: after each step the list of what is
// held comes to the wallet, to the smallest unit, for both sides.
func TestEveryCentNotPaidOutIsListed(t *testing.T) {
	w := start(t)
	w.verify(w.worker)
	w.account()
	if err := w.sim.SetControl(stripesim.Control{HoldPayouts: true}); err != nil {
		t.Fatal(err)
	}
	r := soak.Rand(t)
	type deal struct {
		b         event.Booking
		c         checkout
		left      int64
		contested func(string)
	}
	var deals []*deal
	some := func(of int64) int64 { return 1 + r.Int64N(max(of, 1)) }
	for range soak.N(25, 400) {
		var d *deal
		if len(deals) > 0 {
			d = deals[r.IntN(len(deals))]
		}
		switch step := r.IntN(7); {
		case d == nil || step == 0:
			amount := 5000 + r.Int64N(20000)
			b, c := w.paid(amount, []string{"USD", "EUR"}[r.IntN(2)])
			deals = append(deals, &deal{b: b, c: c, left: amount})
		case step < 3 && d.left > 0:
			part := min(some(d.left), d.left)
			d.left -= part
			w.tell(d.b.BookingID, w.released(d.b, part))
		case step == 3 && d.left > 0 && d.contested == nil:
			part := min(some(d.left), d.left)
			d.left -= part
			w.tell(d.b.BookingID, w.refunded(d.b, part))
		case step == 4 && d.contested == nil:
			if p := w.get(d.c); p.Refunded == "0.00" {
				d.contested = w.dispute(d.c)
			}
		case step == 5 && d.contested != nil:
			d.contested([]string{"win", "lose"}[r.IntN(2)])
			d.contested = func(string) {}
		default:
			w.Do(apitest.Call{As: w.asWorker, Path: "/api/payments/payouts", Body: map[string]any{"currency": d.b.Amount.Currency}})
		}
		w.settle()
		w.addsUp("the worker", w.asWorker)
		w.addsUp("the client", w.asClient)
		if t.Failed() {
			t.FailNow()
		}
	}
	w.sound()
}

// What the wallet waits for is the first thing that is in the way.
func TestWalletSaysWhatItWaitsFor(t *testing.T) {
	w := start(t)
	w.earn(16000, "USD")
	waits := func(by, who string) {
		t.Helper()
		for _, h := range w.heldOf(w.asWorker) {
			if h.Kind == "wallet" && (h.BlockedBy != by || h.WhoCanUnblock != who) {
				t.Errorf("the wallet waits for %s by %s, want %s by %s", h.BlockedBy, h.WhoCanUnblock, by, who)
			}
		}
	}
	waits("email_unverified", "worker")
	w.verify(w.worker)
	waits("payout_account_missing", "worker")
	w.account()
	waits("not_withdrawn", "worker")
	w.put(`{"every":"weekly","day":5,"timezone":"Asia/Kolkata","minimums":{"USD":200}}`)
	waits("below_minimum", "worker")
	w.put(`{"minimums":{}}`)
	waits("payout_schedule", "worker")
	friday := time.Date(2026, 3, 6, 3, 30, 0, 0, time.UTC)
	if h := w.heldOf(w.asWorker)[0]; h.ETA == nil || !h.ETA.Equal(friday) {
		t.Errorf("it leaves at %v, want %v", h.ETA, friday)
	}
	w.Calls(
		apitest.Call{What: "a stranger has nothing", As: w.Token("worker", uuid.New()), Path: "/api/payments/wallet/held", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "a made-up cursor", As: w.asWorker, Path: "/api/payments/wallet/held?cursor=e30", Status: 400},
	)
	w.sound()
}
