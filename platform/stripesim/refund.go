package stripesim

import (
	"fmt"
)

// refund gives money of a charge back: pending → succeeded | failed, or succeeded → failed when the card's bank refuses it later.
type refund struct {
	head
	Amount             int64             `json:"amount"`
	BalanceTransaction *string           `json:"balance_transaction"`
	Charge             string            `json:"charge"`
	Currency           string            `json:"currency"`
	Details            refundDetails     `json:"destination_details"`
	FailureTransaction *string           `json:"failure_balance_transaction,omitempty"`
	FailureReason      *string           `json:"failure_reason,omitempty"`
	Metadata           map[string]string `json:"metadata"`
	PaymentIntent      string            `json:"payment_intent"`
	PendingReason      *string           `json:"pending_reason,omitempty"`
	Reason             *string           `json:"reason"`
	ReceiptNumber      *string           `json:"receipt_number"`
	Status             string            `json:"status"`
	TransferReversal   *string           `json:"transfer_reversal"`
}

type refundDetails struct {
	Card refundCard `json:"card"`
	Type string     `json:"type"`
}

type refundCard struct {
	Type string `json:"type"`
}

func createRefund(t *tx, r *request) (any, error) {
	piID, chID := r.str("payment_intent"), r.str("charge")
	wanted, partial := r.whole("amount")
	if partial && wanted < 1 {
		r.fail(invalid("amount", "parameter_invalid_integer", "This value must be greater than or equal to 1."))
	}
	reason := r.one("reason", "", "duplicate", "fraudulent", "requested_by_customer")
	metadata := r.metadata(nil)
	if err := r.done(); err != nil {
		return nil, err
	}
	ch, err := t.refundable(r, piID, chID)
	if err != nil {
		return nil, err
	}
	left := ch.Amount - ch.AmountRefunded
	switch {
	case ch.Disputed && ch.Dispute != "":
		return nil, refused("charge_disputed", "Charge "+ch.ID+" has been charged back; cannot issue a refund.")
	case left == 0:
		return nil, refused("charge_already_refunded", "Charge "+ch.ID+" has already been refunded.")
	case partial && wanted > left:
		f := refused("", fmt.Sprintf("Refund amount (%d) is greater than unrefunded amount on charge (%d)", wanted, left))
		f.body.Param = "amount"
		return nil, f
	case !partial:
		wanted = left
	}
	r.inSteps(wanted, ch.Currency, steps)
	if err := r.done(); err != nil {
		return nil, err
	}
	pm, err := fetch[paymentMethod](t, r.account, "payment_method", ch.PaymentMethod)
	if err != nil {
		return nil, err
	}
	c, err := pm.behavior()
	if err != nil {
		return nil, err
	}
	re := &refund{head: head{newID("re_"), "refund", r.now}, Amount: wanted, Charge: ch.ID, Currency: ch.Currency, Metadata: metadata,
		Details: refundDetails{Card: refundCard{"refund"}, Type: "card"}, PaymentIntent: ch.PaymentIntent, Status: "succeeded"}
	if reason != "" {
		re.Reason = &reason
	}
	txn, err := t.move(r, movement{owner: r.account, kind: "refund", category: "refund", source: re.ID, currency: re.Currency, amount: -re.Amount})
	if err != nil {
		return nil, err
	}
	re.BalanceTransaction = &txn
	if c.refund == "pending" {
		why := "processing"
		re.Status, re.PendingReason = "pending", &why
	}
	err = t.insert(r.account, re, under("refund", r.account, "payment_intent", re.PaymentIntent), under("refund", r.account, "charge", ch.ID))
	if err != nil {
		return nil, err
	}
	if c.refund != "" {
		if err := t.schedule(r, task{Do: "refund", ID: re.ID, Fail: c.refund == "failed"}); err != nil {
			return nil, err
		}
	}
	ch.AmountRefunded += re.Amount
	ch.Refunded = ch.AmountRefunded == ch.Amount
	if err := t.update(ch); err != nil {
		return nil, err
	}
	if err := t.emit(r, r.account, "refund.created", re.PaymentIntent, re, nil); err != nil {
		return nil, err
	}
	return re, t.emit(r, r.account, "charge.refunded", re.PaymentIntent, ch, map[string]any{"amount_refunded": ch.AmountRefunded - re.Amount})
}

// refundable is the successful charge that a refund is to be made of.
func (t *tx) refundable(r *request, piID, chID string) (*charge, error) {
	if piID == "" && chID == "" {
		return nil, missingParam("payment_intent")
	}
	if piID != "" {
		pi, err := fetch[paymentIntent](t, r.account, "payment_intent", piID)
		if err != nil {
			return nil, err
		}
		if pi.Status != "succeeded" || pi.LatestCharge == nil {
			return nil, refused("payment_intent_unexpected_state", "This PaymentIntent ("+pi.ID+") does not have a successful charge to refund.")
		}
		if chID != "" && chID != *pi.LatestCharge {
			return nil, invalid("charge", "", "The charge does not belong to the PaymentIntent.")
		}
		chID = *pi.LatestCharge
	}
	ch, err := fetch[charge](t, r.account, "charge", chID)
	if err == nil && ch.Status != "succeeded" {
		return nil, refused("charge_not_refundable", "Charge "+ch.ID+" did not succeed; there is nothing to refund.")
	}
	return ch, err
}

// finishRefund ends a refund that was pending, or fails one that the bank sends back.
func (t *tx) finishRefund(r *request, id string, fail bool) error {
	re, err := fetch[refund](t, r.account, "refund", id)
	if err != nil {
		return err
	}
	if re.Status == "failed" || re.Status == "succeeded" && !fail {
		return nil
	}
	before := re.Status
	re.PendingReason = nil
	if !fail {
		re.Status = "succeeded"
		if err := t.update(re); err != nil {
			return err
		}
		return t.emit(r, r.account, "refund.updated", re.PaymentIntent, re, map[string]any{"status": before})
	}
	why := "lost_or_stolen_card"
	txn, err := t.move(r, movement{owner: r.account, kind: "refund_failure", category: "refund_failure", source: re.ID, currency: re.Currency, amount: re.Amount})
	if err != nil {
		return err
	}
	re.Status, re.FailureReason, re.FailureTransaction = "failed", &why, &txn
	if err := t.update(re); err != nil {
		return err
	}
	ch, err := fetch[charge](t, r.account, "charge", re.Charge)
	if err != nil {
		return err
	}
	ch.AmountRefunded -= re.Amount
	ch.Refunded = false
	if err := t.update(ch); err != nil {
		return err
	}
	if err := t.emit(r, r.account, "refund.updated", re.PaymentIntent, re, map[string]any{"status": before}); err != nil {
		return err
	}
	return t.emit(r, r.account, "refund.failed", re.PaymentIntent, re, nil)
}

func getRefund(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[refund](t, r.account, "refund", r.path("id"))
}

func updateRefund(t *tx, r *request) (any, error) {
	re, err := fetch[refund](t, r.account, "refund", r.path("id"))
	if err != nil {
		return nil, err
	}
	re.Metadata = r.metadata(re.Metadata)
	if err := r.done(); err != nil {
		return nil, err
	}
	return re, t.update(re)
}

func listRefunds(t *tx, r *request) (any, error) {
	scope := all("refund", r.account)
	if ch := r.str("charge"); ch != "" {
		scope = under("refund", r.account, "charge", ch)
	}
	if pi := r.str("payment_intent"); pi != "" {
		scope = under("refund", r.account, "payment_intent", pi)
	}
	return t.listing(r, "/v1/refunds", scope, nil)
}
