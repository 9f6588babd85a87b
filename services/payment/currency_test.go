package payment_test

import (
	"testing"

	"tulifo/platform/api/apitest"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

// Currencies of no, two and three digits, and those that the rail counts in its own way: paid, released in part, refunded in part, withdrawn; the
// ledger and the rail agree to the smallest unit.
func TestCurrenciesEndToEnd(t *testing.T) {
	for _, c := range []struct {
		currency                  string
		gross, release, net, back int64
		part, tooFine             string // for a withdrawal
	}{
		{"JPY", 16005, 10005, 9004, 6000, "1000", "0.5"},
		{"KWD", 16250, 10250, 9220, 6000, "1.01", "1.001"}, // a tenth is 1.025, and 1.03 is the next that can be paid
		{"ISK", 16005, 10005, 9004, 6000, "1000", "0.5"},
		{"HUF", 1600500, 1000500, 900400, 600000, "1000", "1000.50"},
		{"UGX", 160005, 100005, 90004, 60000, "1000", "0.5"},
	} {
		t.Run(c.currency, func(t *testing.T) {
			w := start(t)
			if err := w.sim.SetControl(stripesim.Control{}); err != nil {
				t.Fatal(err)
			}
			w.verify(w.worker)
			b, p := w.paid(c.gross, c.currency)
			w.tell(b.BookingID, w.released(b, c.release), w.refunded(b, c.back))
			w.settle()
			w.has("released and refunded", map[string]int64{"wallet " + c.currency: c.net, "fees " + c.currency: c.release - c.net, "escrow " + c.currency: 0, "refunds_payable " + c.currency: 0})
			w.status(p, payment.Completed)
			w.Call(apitest.Call{What: "open the account", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{"country":"DE"}`, Status: 201})
			w.Call(apitest.Call{What: "too fine", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":` + c.tooFine + `}`, Status: 422, Has: "amount"})
			w.Call(apitest.Call{What: "a part", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":` + c.part + `}`, Status: 201})
			w.Call(apitest.Call{What: "the rest", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 201})
			w.settle()
			w.has("withdrawn", map[string]int64{"wallet " + c.currency: 0, "payout_clearing " + c.currency: 0})
			w.Call(apitest.Call{What: "both arrived", As: w.asWorker, Path: "/api/payments/payouts", Status: 200, HasNot: `"status":"needs_review"`})
			w.sound()
		})
	}
}

// What is less than can be paid in its currency is nothing to withdraw.
func TestWalletOfLessThanCanBePaid(t *testing.T) {
	w := start(t)
	w.verify(w.worker)
	w.Call(apitest.Call{As: w.asWorker, Path: "/api/payments/payout-account", Body: `{"country":"DE"}`, Status: 201})
	b, _ := w.paid(16250, "KWD")
	w.tell(b.BookingID, w.released(b, 5))
	w.settle()
	w.has("half a step", map[string]int64{"wallet KWD": 5})
	w.Call(apitest.Call{What: "all there is", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 409, Has: "insufficient_funds"})
	w.sound()
}

// What the rail could not move is refused in words before the rail is asked.
func TestAmountThatTheRailCannotMove(t *testing.T) {
	w := start(t)
	for currency, minor := range map[string]int64{"KWD": 16255, "HUF": 160050, "LYD": 16250} {
		b := w.booking(minor, currency)
		w.Call(apitest.Call{What: currency, As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID}, Status: 409, Has: "payment_refused"})
	}
}
