package stripesim

import (
	"net/http"
	"strings"
	"time"
)

// dispute is a charge that the cardholder's bank has taken back: needs_response → under_review → won | lost. An inquiry runs
// warning_needs_response → warning_under_review → warning_closed and moves no money.
type dispute struct {
	head
	Amount         int64                `json:"amount"`
	Transactions   []balanceTransaction `json:"balance_transactions"`
	Charge         string               `json:"charge"`
	Currency       string               `json:"currency"`
	Enhanced       []string             `json:"enhanced_eligibility_types"`
	Evidence       map[string]any       `json:"evidence"`
	Details        evidenceDetails      `json:"evidence_details"`
	IsRefundable   bool                 `json:"is_charge_refundable"`
	Livemode       bool                 `json:"livemode"`
	Metadata       map[string]string    `json:"metadata"`
	PaymentIntent  string               `json:"payment_intent"`
	Reason         string               `json:"reason"`
	Status         string               `json:"status"`
	WithdrawnMoney bool                 `json:"_withdrawn"`
}

type evidenceDetails struct {
	DueBy           *int64   `json:"due_by"`
	Enhanced        struct{} `json:"enhanced_eligibility"`
	HasEvidence     bool     `json:"has_evidence"`
	PastDue         bool     `json:"past_due"`
	SubmissionCount int64    `json:"submission_count"`
}

const (
	disputeFee    = 1500 // minor units; kept by Stripe however the dispute ends
	disputeAnswer = 7 * 24 * time.Hour
)

// openDispute disputes amount of ch; 0: all that was not refunded.
func (t *tx) openDispute(r *request, ch *charge, amount int64, reason string, inquiry bool) (*dispute, error) {
	left := ch.Amount - ch.AmountRefunded
	if amount == 0 {
		amount = left
	}
	switch {
	case ch.Status != "succeeded":
		return nil, refused("", "Only a charge that succeeded can be disputed.")
	case ch.Disputed:
		return nil, refused("", "The charge is disputed already.")
	case amount < 1 || amount > left:
		return nil, refused("", "There is not so much left of the charge to dispute.")
	}
	due := r.now + int64(disputeAnswer/time.Second)
	d := &dispute{head: head{newID("du_"), "dispute", r.now}, Amount: amount, Charge: ch.ID, Currency: ch.Currency, Enhanced: []string{},
		Transactions: []balanceTransaction{}, Evidence: map[string]any{"enhanced_evidence": map[string]any{}}, Details: evidenceDetails{DueBy: &due},
		IsRefundable: inquiry, Metadata: map[string]string{}, PaymentIntent: ch.PaymentIntent, Reason: reason, Status: "needs_response"}
	if inquiry {
		d.Status = "warning_needs_response"
	}
	err := t.insert(r.account, d, under("dispute", r.account, "charge", ch.ID), under("dispute", r.account, "payment_intent", ch.PaymentIntent))
	if err != nil {
		return nil, err
	}
	ch.Disputed = true
	if !inquiry {
		ch.Dispute = d.ID
	}
	if err := t.update(ch); err != nil {
		return nil, err
	}
	if err := t.emit(r, r.account, "charge.dispute.created", d.PaymentIntent, d, nil); err != nil || inquiry {
		return d, err
	}
	return d, t.moveDispute(r, d, -amount, disputeFee, "charge.dispute.funds_withdrawn")
}

// moveDispute takes the disputed money from the balance or gives it back, and tells so.
func (t *tx) moveDispute(r *request, d *dispute, amount, price int64, event string) error {
	category := "dispute"
	if amount > 0 {
		category = "dispute_reversal"
	}
	id, err := t.move(r, movement{r.account, "adjustment", category, d.ID, d.Currency, amount, price, "Dispute fee"})
	if err != nil {
		return err
	}
	txn, err := fetch[balanceTransaction](t, r.account, "balance_transaction", id)
	if err != nil {
		return err
	}
	d.Transactions, d.WithdrawnMoney = append(d.Transactions, *txn), amount < 0
	if err := t.update(d); err != nil {
		return err
	}
	return t.emit(r, r.account, event, d.PaymentIntent, d, nil)
}

// endDispute closes d as won or lost; a dispute that is closed stays as it is.
func (t *tx) endDispute(r *request, d *dispute, won bool) error {
	before := d.Status
	inquiry := strings.HasPrefix(before, "warning_")
	switch {
	case before == "won" || before == "lost" || before == "warning_closed":
		return refused("", "This dispute is already closed.")
	case inquiry:
		d.Status = "warning_closed"
	case won:
		d.Status = "won"
	default:
		d.Status = "lost"
	}
	d.Details.DueBy = nil
	if err := t.update(d); err != nil {
		return err
	}
	ch, err := fetch[charge](t, r.account, "charge", d.Charge)
	if err != nil {
		return err
	}
	if d.Status == "won" {
		ch.Dispute = ""
	}
	if err := t.update(ch); err != nil {
		return err
	}
	if d.Status == "won" && d.WithdrawnMoney {
		if err := t.moveDispute(r, d, d.Amount, 0, "charge.dispute.funds_reinstated"); err != nil {
			return err
		}
	}
	return t.emit(r, r.account, "charge.dispute.closed", d.PaymentIntent, d, map[string]any{"status": before})
}

func getDispute(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[dispute](t, r.account, "dispute", r.path("id"))
}

// updateDispute takes evidence. When it is submitted, the texts that Stripe's test mode knows decide at once:
// winning_evidence and losing_evidence as uncategorized_text; any other leaves the dispute under review.
func updateDispute(t *tx, r *request) (any, error) {
	d, err := fetch[dispute](t, r.account, "dispute", r.path("id"))
	if err != nil {
		return nil, err
	}
	d.Metadata = r.metadata(d.Metadata)
	evidence := r.dict("evidence")
	submit := !r.has("submit") || r.flag("submit")
	if err := r.done(); err != nil {
		return nil, err
	}
	if len(evidence) == 0 {
		return d, t.update(d)
	}
	if d.Status == "won" || d.Status == "lost" || d.Status == "warning_closed" {
		return nil, refused("", "This dispute is already closed.")
	}
	for k, v := range evidence {
		d.Evidence[k] = v
	}
	d.Details.HasEvidence = true
	before := d.Status
	if submit {
		d.Details.SubmissionCount++
		d.Status = strings.Replace(d.Status, "needs_response", "under_review", 1)
	}
	if err := t.update(d); err != nil {
		return nil, err
	}
	if err := t.emit(r, r.account, "charge.dispute.updated", d.PaymentIntent, d, map[string]any{"status": before}); err != nil {
		return nil, err
	}
	text, _ := d.Evidence["uncategorized_text"].(string)
	if submit && (text == "winning_evidence" || text == "losing_evidence") {
		return d, t.endDispute(r, d, text == "winning_evidence")
	}
	return d, nil
}

func closeDispute(t *tx, r *request) (any, error) {
	d, err := fetch[dispute](t, r.account, "dispute", r.path("id"))
	if err != nil {
		return nil, err
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return d, t.endDispute(r, d, false)
}

func listDisputes(t *tx, r *request) (any, error) {
	scope := all("dispute", r.account)
	if ch := r.str("charge"); ch != "" {
		scope = under("dispute", r.account, "charge", ch)
	}
	if pi := r.str("payment_intent"); pi != "" {
		scope = under("dispute", r.account, "payment_intent", pi)
	}
	return t.listing(r, "/v1/disputes", scope, nil)
}

// controlDispute opens a dispute on a charge: charge or payment_intent, amount, reason, inquiry.
func controlDispute(t *tx, r *request) (any, error) {
	id, pi := r.str("charge"), r.str("payment_intent")
	amount, _ := r.whole("amount")
	reason := r.one("reason", "fraudulent", "product_not_received", "product_unacceptable", "duplicate", "credit_not_processed", "general", "unrecognized", "subscription_canceled")
	inquiry := r.flag("inquiry")
	if err := r.done(); err != nil {
		return nil, err
	}
	ch, err := t.refundable(r, pi, id)
	if err != nil {
		return nil, err
	}
	return t.openDispute(r, ch, amount, reason, inquiry)
}

// controlDisputeEnd decides a dispute: won or lost.
func controlDisputeEnd(t *tx, r *request) (any, error) {
	d, err := fetch[dispute](t, r.account, "dispute", r.path("id"))
	if err != nil {
		return nil, err
	}
	how := r.path("how")
	if how != "win" && how != "lose" {
		return nil, newFault(http.StatusNotFound, "invalid_request_error", "", "A dispute ends by win or lose.")
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return d, t.endDispute(r, d, how == "win")
}
