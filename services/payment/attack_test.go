package payment_test

import (
	"net/url"
	"testing"
	"time"

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
	// Of 160.00 the bank takes 100.00: what it has not taken is sent once it has given up, and is for a person to send when it has not.
	for how, want := range map[string]map[string]int64{
		"win":  {"refunds_payable USD": 0, "chargeback_debt:client USD": 0, "rail_clearing USD": 494},
		"lose": {"refunds_payable USD": 6000, "chargeback_debt:client USD": 0, "rail_clearing USD": 494 - 6000},
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
