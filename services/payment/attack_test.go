package payment_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

// The bank takes the money back while a refund of it is on its way: the rail refuses the refund, and what the client owes is paid from it.
func TestRefundOvertakenByAChargeback(t *testing.T) {
	for _, how := range []string{"win", "lose"} {
		t.Run(how, func(t *testing.T) {
			w := start(t)
			b, c := w.paid(16000, "USD")
			w.tell(b.BookingID, w.refunded(b, 16000))
			w.heard(t.Context())
			end := w.dispute(c)
			w.has("the bank has what the refund was to send", map[string]int64{"escrow USD": 0, "refunds_payable USD": 0, "chargeback_debt:client USD": 0})
			w.sound()
			end(how)
			if how == "win" {
				w.status(c, payment.Refunded)
			}
			w.sound()
		})
	}
	t.Run("before we know why", func(t *testing.T) {
		w := start(t)
		b, c := w.paid(16000, "USD")
		w.tell(b.BookingID, w.refunded(b, 16000))
		w.heard(t.Context())
		if err := w.sim.SetControl(hold("charge.dispute.*")); err != nil {
			t.Fatal(err)
		}
		w.dispute(c)
		w.has("the rail refuses, and nobody knows why yet", map[string]int64{"refunds_payable USD": 16000, "chargeback_debt:client USD": 0})
		if err := w.sim.SetControl(stripesim.Control{}); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.has("then it is known", map[string]int64{"refunds_payable USD": 0, "chargeback_debt:client USD": 0})
		w.sound()
	})
	// Of 160.00 the bank takes 100.00: what it has not taken is sent once it has given up, and is for a person to send when it has not.
	for how, want := range map[string]map[string]int64{
		"win":  {"refunds_payable USD": 0, "chargeback_debt:client USD": 0, "rail_clearing USD": 1994},
		"lose": {"refunds_payable USD": 6000, "chargeback_debt:client USD": 0, "rail_clearing USD": 1994 - 6000},
	} {
		t.Run("a part, "+how, func(t *testing.T) {
			w := start(t)
			b, c := w.paid(16000, "USD")
			w.tell(b.BookingID, w.refunded(b, 16000))
			w.heard(t.Context())
			status, d := w.rail(secretKey, "POST", "/_control/disputes", url.Values{"payment_intent": {c.intent()}, "amount": {"10000"}}, "")
			if status != 200 {
				t.Fatalf("%d %v", status, d)
			}
			w.settle()
			w.has("a part is with the bank", map[string]int64{"refunds_payable USD": 6000, "chargeback_debt:client USD": 0})
			w.sound()
			w.rail(secretKey, "POST", "/_control/disputes/"+d["id"].(string)+"/"+how, nil, "")
			w.settle()
			w.later(11 * time.Minute)
			w.settle()
			w.has(how, want)
			w.sound()
		})
	}
}

// Some was released when the bank takes all of it back, for good: she gives back what she got, the platform its fee, and the rest is owed by the
// client, who gets nothing of what is still held.
func TestChargebackLostAfterAPartialRelease(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	w.tell(b.BookingID, w.released(b, 6000))
	w.settle()
	end := w.dispute(c)
	w.has("each gives back his part", map[string]int64{"escrow USD": 10000, "wallet USD": 0, "fees USD": 0, "chargeback_debt:client USD": -10000, "chargeback_debt:worker USD": 0})
	end("lose")
	w.status(c, payment.ChargedBack)
	w.tell(b.BookingID, w.refunded(b, 10000))
	w.settle()
	w.has("nothing is sent to who has it", map[string]int64{"escrow USD": 0, "refunds_payable USD": 0, "chargeback_debt:client USD": 0, "rail_clearing USD": 1994})
	w.sound()
}

// Two banks, or one twice, take parts back of a payment that was released in parts and refunded in part; one gives back. In no order is more taken
// from anybody than he got.
func TestTwoChargebacksOfOnePayment(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	w.tell(b.BookingID, w.released(b, 8000), w.refunded(b, 3000))
	w.settle()
	id, err := uuid.Parse(c.Payment.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	tell := func(dispute string, minor int, status string) {
		t.Helper()
		raw := fmt.Appendf(nil, `{"id":"evt_%s","object":"event","api_version":%q,"created":1,"type":"charge.dispute.updated","data":{"object":{"id":%q,"object":"dispute","amount":%d,"currency":"usd","status":%q,"payment_intent":%q}}}`,
			uuid.NewString(), stripesim.APIVersion, dispute, minor, status, c.intent())
		if got := w.hook(raw); got != 200 {
			t.Fatalf("a webhook is answered %d", got)
		}
		w.sound()
	}
	tell("du_1", 7000, "needs_response")
	w.has("the first is the client's, who has 3000 of it and 5000 held", map[string]int64{"chargeback_debt:client USD": -7000, "wallet USD": 7200, "fees USD": 800})
	tell("du_2", 6000, "needs_response")
	w.has("the second is partly hers", map[string]int64{"chargeback_debt:client USD": -8000, "wallet USD": 2700, "fees USD": 300})
	tell("du_1", 7000, "won")
	tell("du_2", 6000, "lost")
	tell("du_1", 7000, "needs_response") // late news
	tell("du_2", 6000, "won")            // of what is closed
	w.has("one is over", map[string]int64{"chargeback_debt:client USD": -1000, "wallet USD": 2700, "fees USD": 300, "escrow USD": 5000})
	w.Call(apitest.Call{What: "what is taken", As: w.asAdmin, Path: "/api/payments/" + id.String(), Status: 200, Has: `"chargedBack":60.00`})
}

// Escrow would never release in another currency than was paid; if it did, nothing is posted.
func TestReleaseInAnotherCurrencyIsNotPosted(t *testing.T) {
	w := start(t)
	b, _ := w.paid(16000, "USD")
	e := w.released(b, 16000)
	e.Amount = money.Of(16000, "KWD")
	w.tell(b.BookingID, e)
	if reason := w.refusal(); !strings.Contains(reason, "paid in USD") {
		t.Errorf("the event fails because %q", reason)
	}
	w.has("nothing moves", map[string]int64{"escrow USD": 16000, "wallet USD": 0, "wallet KWD": 0, "escrow KWD": 0})
}

// Two workers use one Idempotency-Key for the same body: each has his own withdrawal, and sees nothing of the other's.
func TestIdempotencyKeyOfAnotherUserIsNotHis(t *testing.T) {
	w, _ := funded(t)
	first := w.Call(apitest.Call{What: "she withdraws", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":44}`, Key: "payday", Status: 201})
	rival := uuid.New()
	w.tell(rival, event.UserCreated{UserID: rival, Email: "eve@example.com", Role: "worker", Verified: true})
	w.settle()
	asRival := w.Token("worker", rival)
	w.Call(apitest.Call{As: asRival, Path: "/api/payments/payout-account", Body: `{}`, Status: 201})
	w.Call(apitest.Call{What: "another worker with her key", As: asRival, Path: "/api/payments/payouts", Body: `{"amount":44}`, Key: "payday", Status: 409, Has: "insufficient_funds"})
	again := w.Call(apitest.Call{What: "she herself again", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":44}`, Key: "payday", Status: 201})
	if string(first.Body) != string(again.Body) {
		t.Errorf("the replay is %s instead of %s", again.Body, first.Body)
	}
	w.Call(apitest.Call{What: "another amount under her key", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":45}`, Key: "payday", Status: 422})
	w.settle()
	w.has("once", map[string]int64{"wallet USD": 10000, "payout_clearing USD": 0})
	w.sound()
}

// The amount is the booking's: neither the body nor the browser's key at the rail changes it.
func TestPayerCannotChooseTheAmount(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	for _, more := range []string{`"amount":0.01`, `"currency":"JPY"`, `"feeBasisPoints":0`, `"workerId":"` + uuid.NewString() + `"`, `"status":"completed"`} {
		w.Call(apitest.Call{What: more, As: w.asClient, Path: "/api/payments", Body: `{"bookingId":"` + b.BookingID.String() + `",` + more + `}`, Status: 422})
	}
	c := w.checkout(b)
	for _, form := range []url.Values{{"client_secret": {c.ClientSecret}, "amount": {"1"}}, {"client_secret": {c.ClientSecret}, "amount": {"1"}, "payment_method": {"pm_card_visa"}}} {
		for _, path := range []string{"/v1/payment_intents/" + c.intent(), "/v1/payment_intents/" + c.intent() + "/confirm"} {
			if status, out := w.rail(publicKey, "POST", path, form, ""); status < 400 {
				t.Errorf("the browser set the amount at %s: %d %v", path, status, out)
			}
		}
	}
	w.card(c, "pm_card_visa")
	w.settle()
	w.has("all of it", map[string]int64{"escrow USD": 16000})
	w.sound()
}

// What was withdrawn is the bank's: no refund takes it back, and the payment stays as it is.
func TestRefundAfterPayoutIsNotPosted(t *testing.T) {
	w, _ := funded(t)
	w.Call(apitest.Call{As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 201})
	w.settle()
	w.has("withdrawn", map[string]int64{"wallet USD": 0, "escrow USD": 0, "fees USD": 1600})
	var list []payment.Payment
	w.Call(apitest.Call{As: w.asClient, Path: "/api/payments", Status: 200}).Data(&list)
	b := event.Booking{BookingID: list[0].BookingID, WorkerID: w.worker, ClientID: w.client, Amount: money.Of(16000, "USD")}
	w.tell(b.BookingID, w.refunded(b, 1))
	if reason := w.refusal(); !strings.Contains(reason, "holds 0") {
		t.Errorf("the event fails because %q", reason)
	}
	w.has("still", map[string]int64{"wallet USD": 0, "escrow USD": 0, "fees USD": 1600, "refunds_payable USD": 0})
}
