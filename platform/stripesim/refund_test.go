package stripesim_test

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/stripesim"
)

func TestRefunds(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	pi := w.paid(16000)
	before := w.balance("")
	re := must(w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID, Amount: stripe.Int64(6000), Reason: stripe.String("requested_by_customer"), Metadata: map[string]string{"tulifo_id": "r"}}))(w)
	if re.Status != "succeeded" || re.Amount != 6000 || re.Charge.ID != pi.LatestCharge.ID || w.balance("") != before-6000 {
		t.Fatalf("%+v", re)
	}
	_, err := w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID, Amount: stripe.Int64(10001)})
	if se := w.fails(err, 400, ""); se.Param != "amount" {
		t.Fatalf("%+v", se)
	}
	must(w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{Charge: &pi.LatestCharge.ID}))(w)
	_, err = w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID})
	w.fails(err, 400, stripe.ErrorCodeChargeAlreadyRefunded)
	ch := must(w.client.V1Charges.Retrieve(ctx, pi.LatestCharge.ID, nil))(w)
	if !ch.Refunded || ch.AmountRefunded != 16000 {
		t.Fatalf("%+v", ch)
	}
	unpaid := must(w.client.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("usd")}))(w)
	_, err = w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &unpaid.ID})
	w.fails(err, 400, "payment_intent_unexpected_state")
	if got := must(w.client.V1Refunds.Retrieve(ctx, re.ID, nil))(w); got.Metadata["tulifo_id"] != "r" || got.Reason != "requested_by_customer" {
		t.Fatalf("%+v", got)
	}
	var sum int64
	for re, err := range w.client.V1Refunds.List(ctx, &stripe.RefundListParams{PaymentIntent: &pi.ID}).All(ctx) {
		sum += must(re, err)(w).Amount
	}
	if sum != 16000 {
		t.Fatal(sum)
	}
	e := about(w.hooks.until(func(e []stripe.Event) bool { return len(about(e, pi.ID)) == 7 }), pi.ID)
	if got := kinds(e)[3:]; !slices.Equal(got, []string{"refund.created", "charge.refunded", "refund.created", "charge.refunded"}) {
		t.Fatal(got)
	}
}

func TestRefundsThatTakeTime(t *testing.T) {
	w := start(t)
	for method, want := range map[string]struct {
		first, last string
		back        int64
	}{"pm_card_pendingRefund": {"pending", "succeeded", 0}, "pm_card_refundFail": {"succeeded", "failed", 4000}} {
		pi := must(w.pay(9000, method))(w)
		before := w.balance("")
		re := must(w.client.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{PaymentIntent: &pi.ID, Amount: stripe.Int64(4000)}))(w)
		if string(re.Status) != want.first {
			t.Fatalf("%+v", re)
		}
		w.idle()
		re = must(w.client.V1Refunds.Retrieve(t.Context(), re.ID, nil))(w)
		ch := must(w.client.V1Charges.Retrieve(t.Context(), pi.LatestCharge.ID, nil))(w)
		if string(re.Status) != want.last || w.balance("") != before-4000+want.back || ch.AmountRefunded != 4000-want.back {
			t.Fatalf("%+v %+v", re, ch)
		}
		w.hooks.until(func(e []stripe.Event) bool { return slices.Contains(kinds(about(e, re.ID)), "refund.updated") })
	}
}

// Sixteen refunds of 1,000 at once, of a payment of 5,000: five of them.
func TestRefundsAtOnceStayBelowThePayment(t *testing.T) {
	w := start(t)
	pi := w.paid(5000)
	var all sync.WaitGroup
	var made atomic.Int64
	for range 16 {
		all.Go(func() {
			status, _, _ := w.call("POST", "/v1/refunds", url.Values{"payment_intent": {pi.ID}, "amount": {"1000"}})
			if status == 200 {
				made.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != 5 {
		t.Fatalf("%d refunds were made", made.Load())
	}
}

func TestDisputes(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	pi := must(w.pay(8000, "pm_card_createDispute"))(w)
	fee := int64(8000*29/1000 + 30)
	if got := w.balance(""); got != -fee-1500 {
		t.Fatal(got)
	}
	var d *stripe.Dispute
	for each, err := range w.client.V1Disputes.List(ctx, &stripe.DisputeListParams{PaymentIntent: &pi.ID}).All(ctx) {
		d = must(each, err)(w)
	}
	if d == nil || d.Status != "needs_response" || d.Reason != "fraudulent" || d.Amount != 8000 || len(d.BalanceTransactions) != 1 {
		t.Fatalf("%+v", d)
	}
	_, err := w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID})
	w.fails(err, 400, "charge_disputed")
	d = must(w.client.V1Disputes.Update(ctx, d.ID, &stripe.DisputeUpdateParams{Evidence: &stripe.DisputeUpdateEvidenceParams{UncategorizedText: stripe.String("They met.")}, Submit: stripe.Bool(true)}))(w)
	if d.Status != "under_review" || d.EvidenceDetails.SubmissionCount != 1 {
		t.Fatalf("%+v", d)
	}
	for range 2 {
		w.call("POST", "/_control/disputes/"+d.ID+"/win", nil)
	}
	d = must(w.client.V1Disputes.Retrieve(ctx, d.ID, nil))(w)
	if got := w.balance(""); d.Status != "won" || got != 8000-fee-1500 {
		t.Fatalf("%v %d", d.Status, got)
	}
	e := about(w.hooks.until(func(e []stripe.Event) bool { return slices.Contains(kinds(e), "charge.dispute.closed") }), d.ID)
	want := []string{"charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.updated", "charge.dispute.funds_reinstated", "charge.dispute.closed"}
	if got := kinds(e); !slices.Equal(got, want) {
		t.Fatal(got)
	}
	for what, end := range map[string]func(string){
		"closed": func(id string) { must(w.client.V1Disputes.Close(ctx, id, nil))(w) },
		"lost":   func(id string) { w.call("POST", "/_control/disputes/"+id+"/lose", nil) },
		"lost in it": func(id string) {
			w.client.V1Disputes.Update(ctx, id, &stripe.DisputeUpdateParams{Evidence: &stripe.DisputeUpdateEvidenceParams{UncategorizedText: stripe.String("losing_evidence")}})
		},
	} {
		pi := w.paid(7000)
		before := w.balance("")
		status, out, _ := w.call("POST", "/_control/disputes", url.Values{"payment_intent": {pi.ID}, "reason": {"product_not_received"}, "amount": {"3000"}})
		if status != 200 || w.balance("") != before-4500 {
			t.Fatal(what, status, out)
		}
		id := out["id"].(string)
		end(id)
		if d := must(w.client.V1Disputes.Retrieve(ctx, id, nil))(w); d.Status != "lost" || w.balance("") != before-4500 {
			t.Fatal(what, d.Status)
		}
		if status, _, _ := w.call("POST", "/_control/disputes", url.Values{"payment_intent": {pi.ID}}); status != 400 {
			t.Fatal("a charge was disputed twice")
		}
	}
	inquiry := must(w.pay(5000, "pm_card_createDisputeInquiry"))(w)
	for d, err := range w.client.V1Disputes.List(ctx, &stripe.DisputeListParams{PaymentIntent: &inquiry.ID}).All(ctx) {
		if d := must(d, err)(w); d.Status != "warning_needs_response" || len(d.BalanceTransactions) != 0 {
			t.Fatalf("%+v", d)
		}
	}
	must(w.client.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &inquiry.ID}))(w)
}

// Who asks at the moment at which a refund ends waits for the webhook that says so.
func TestIdleWhileARefundEnds(t *testing.T) {
	w := start(t)
	pi := must(w.pay(100_000, "pm_card_pendingRefund"))(w)
	w.idle()
	w.control(stripesim.Control{Hold: []string{"refund.created", "charge.refunded"}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := range 40 {
		re := must(w.client.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{PaymentIntent: &pi.ID, Amount: stripe.Int64(100)}))(w)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				if err := w.sim.Idle(ctx); err != nil || len(about(w.hooks.seen(), re.ID)) == 0 {
					t.Errorf("%d: idle before its webhook, %v", n, err)
				}
			})
		}
		all.Wait()
	}
}
