package payment_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/services/payment"
)

// A title that would be markup stands in the page as text, and the page lets nothing run.
func TestStatementPageWithHostileTitle(t *testing.T) {
	w := start(t)
	b := w.unheard(16000, "USD")
	b.Title = `<script>alert(1)</script>"><img src=x onerror=alert(1)>`
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.AddDate(0, 0, 1)})
	w.settle()
	c := w.arrived(b)
	w.tell(b.BookingID, w.released(b, 16000))
	w.settle()
	w.earn(12345, "JPY")
	const path = "/api/payments/statement?format=html&from=2026-03-02&to=2026-03-02&tz=Asia/Tokyo"
	a := w.Call(apitest.Call{What: "the page", As: w.asWorker, Path: path, Status: 200, Has: "Earned: &lt;script&gt;alert(1)", HasNot: "<script"})
	page, policy := string(a.Body), a.Header.Get("Content-Security-Policy")
	style := page[strings.Index(page, "<style>")+len("<style>") : strings.Index(page, "</style>")]
	sum := sha256.Sum256([]byte(style))
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, base64.StdEncoding.EncodeToString(sum[:])) || strings.Contains(policy, "script") {
		t.Errorf("policy %q for the style %x", policy, sum)
	}
	for _, want := range []string{"<html lang=\"en\">", "<caption>", "scope=\"col\"", "break-before:page", "144.00", "11110", "2 March 2026, 17:00", "Asia/Tokyo", ">USD<", ">JPY<"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	w.Calls(
		apitest.Call{What: "no zone", As: w.asWorker, Path: "/api/payments/statement?format=html&tz=Mars", Status: 422, Has: "tz"},
		apitest.Call{What: "nothing moved", As: w.Token("worker", uuid.New()), Path: "/api/payments/statement?format=html", Status: 200, Has: "Nothing moved"},
		apitest.Call{What: "the receipt", As: w.asClient, Path: "/api/payments/receipts/" + c.Payment.ID.String(), Status: 200, Has: "160.00 USD", HasNot: "<script"},
		apitest.Call{What: "a receipt of what is not paid", As: w.asClient, Path: "/api/payments/receipts/" + w.checkout(w.booking(9000, "USD")).Payment.ID.String(), Status: 409, Has: "not_paid"},
		apitest.Call{What: "the receipt of a stranger", As: w.Token("client", uuid.New()), Path: "/api/payments/receipts/" + c.Payment.ID.String(), Status: 404},
		apitest.Call{What: "the worker has the statement", As: w.asWorker, Path: "/api/payments/receipts/" + c.Payment.ID.String(), Status: 403},
		apitest.Call{What: "the months", As: w.asWorker, Path: "/api/payments/statements?tz=Asia/Tokyo", Status: 200, Has: `"month":"2026-03","from":"2026-02-28T15:00:00Z","to":"2026-03-31T15:00:00Z","currencies":[{"currency":"JPY","entries":1,"in":11110,"out":0}`},
		apitest.Call{What: "the client's months", As: w.asClient, Path: "/api/payments/statements", Status: 200, Has: `"in":160.00`},
		apitest.Call{What: "a stranger's", As: w.Token("client", uuid.New()), Path: "/api/payments/statements", Status: 200, Has: `"data":[]`},
	)
}

// What needs review is asked about once more and goes where the rail says, or is closed in writing; no money is booked by hand.
func TestReviews(t *testing.T) {
	w := start(t)
	_, c := w.paid(16000, "USD")
	b := w.booking(9000, "USD")
	odd := w.checkout(b)
	w.exec(`UPDATE payments SET amount = 8000 WHERE booking_id = '` + b.BookingID.String() + `'`)
	w.card(odd, "pm_card_visa")
	w.settle()
	w.status(odd, payment.NeedsReview)
	path := "/api/payments/reviews/payment/" + odd.Payment.ID.String()
	w.Calls(
		apitest.Call{What: "it is listed", As: w.asAdmin, Path: "/api/payments/reviews", Status: 200, Has: odd.Payment.ID.String()},
		apitest.Call{What: "by a worker", As: w.asWorker, Path: path, Body: `{"decision":"close","reason":"mine"}`, Status: 403},
		apitest.Call{What: "another decision", As: w.asAdmin, Path: path, Body: `{"decision":"pay","reason":"why not"}`, Status: 422},
		apitest.Call{What: "an amount of one's own", As: w.asAdmin, Path: path, Body: `{"decision":"close","reason":"why not","amount":5}`, Status: 422},
		apitest.Call{What: "no reason", As: w.asAdmin, Path: path, Body: `{"decision":"close"}`, Status: 422},
		apitest.Call{What: "one that needs none", As: w.asAdmin, Path: "/api/payments/reviews/payment/" + c.Payment.ID.String(), Body: `{"decision":"recheck","reason":"why not"}`, Status: 409, Has: "no_review"},
		apitest.Call{What: "none", As: w.asAdmin, Path: "/api/payments/reviews/payout/" + uuid.NewString(), Body: `{"decision":"recheck","reason":"why not"}`, Status: 404},
		apitest.Call{What: "another kind", As: w.asAdmin, Path: "/api/payments/reviews/user/" + uuid.NewString(), Body: `{"decision":"recheck","reason":"why not"}`, Status: 422},
		apitest.Call{What: "asked again", As: w.asAdmin, Path: path, Body: `{"decision":"recheck","reason":"look once more"}`, Key: "again", Status: 200},
	)
	w.settle()
	w.status(odd, payment.NeedsReview)
	w.exec(`UPDATE payments SET amount = 9000 WHERE booking_id = '` + b.BookingID.String() + `'`)
	w.Call(apitest.Call{What: "now it is right", As: w.asAdmin, Path: path, Body: `{"decision":"recheck","reason":"look once more"}`, Status: 200})
	w.settle()
	w.status(odd, payment.Completed)

	w.exec(`UPDATE payments SET review = 'a second charge' WHERE id = '` + c.Payment.ID.String() + `'`)
	second := "/api/payments/reviews/payment/" + c.Payment.ID.String()
	w.Calls(
		apitest.Call{What: "there is nothing to ask", As: w.asAdmin, Path: second, Body: `{"decision":"recheck","reason":"look"}`, Status: 409, Has: "no_review"},
		apitest.Call{What: "closed", As: w.asAdmin, Path: second, Body: `{"decision":"close","reason":"given back at Stripe"}`, Status: 200, Has: `"resolution":"given back at Stripe"`},
		apitest.Call{What: "closed twice", As: w.asAdmin, Path: second, Body: `{"decision":"close","reason":"again"}`, Status: 409},
		apitest.Call{What: "nothing is left", As: w.asAdmin, Path: "/api/payments/reviews", Status: 200, Has: `"data":[]`},
	)
	rows, err := postgres.All[string](t.Context(), w.db, `SELECT action FROM audit WHERE action LIKE 'payment.review_%' ORDER BY seq`)
	if said, _ := json.Marshal(rows); err != nil || string(said) != `["payment.review_rechecked","payment.review_rechecked","payment.review_closed"]` {
		t.Errorf("%s, %v", said, err)
	}
	w.sound()
}

// A refund that the rail refused is tried again once, by the same key, when a person has it looked at: it is not sent twice.
func TestReviewedRefundIsSentOnce(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	fail := fails("status", "/v1/refunds")
	fail.Fail.Status = 400
	if err := w.sim.SetControl(fail); err != nil {
		t.Fatal(err)
	}
	w.tell(b.BookingID, w.refunded(b, 16000))
	w.settle()
	id, err := postgres.One[uuid.UUID](t.Context(), w.db, `SELECT id FROM refunds WHERE status = 'needs_review'`)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.Do(apitest.Call{As: w.asAdmin, Path: "/api/payments/reviews/refund/" + id.String(), Body: `{"decision":"recheck","reason":"look once more"}`})
		w.settle()
	}
	w.status(c, payment.Refunded)
	w.has("sent once", map[string]int64{"refunds_payable USD": 0, "rail_clearing USD": 494})
	w.sound()
}
