package stripesim

import (
	"errors"
	"fmt"
)

// transfer moves money from the platform's balance to a connected account's.
type transfer struct {
	head
	Amount             int64             `json:"amount"`
	AmountReversed     int64             `json:"amount_reversed"`
	BalanceTransaction *string           `json:"balance_transaction"`
	Currency           string            `json:"currency"`
	Description        *string           `json:"description"`
	Destination        string            `json:"destination"`
	DestinationPayment string            `json:"destination_payment"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	Reversals          page              `json:"reversals"`
	Reversed           bool              `json:"reversed"`
	SourceTransaction  *string           `json:"source_transaction"`
	SourceType         string            `json:"source_type"`
	TransferGroup      *string           `json:"transfer_group"`
}

// reversal takes part of a transfer back.
type reversal struct {
	head
	Amount             int64             `json:"amount"`
	BalanceTransaction *string           `json:"balance_transaction"`
	Currency           string            `json:"currency"`
	PaymentRefund      string            `json:"destination_payment_refund"`
	Metadata           map[string]string `json:"metadata"`
	SourceRefund       *string           `json:"source_refund"`
	Transfer           string            `json:"transfer"`
}

func createTransfer(t *tx, r *request) (any, error) {
	tr := &transfer{head: head{newID("tr_"), "transfer", r.now}, Currency: r.currency("currency"), Amount: r.amount("amount"),
		Description: r.opt("description"), Destination: r.need("destination"), DestinationPayment: newID("py_"), Metadata: r.metadata(nil),
		SourceTransaction: r.opt("source_transaction"), SourceType: r.one("source_type", "card"), TransferGroup: r.opt("transfer_group")}
	tr.Reversals = listed("/v1/transfers/" + tr.ID + "/reversals")
	r.inSteps(tr.Amount, tr.Currency, steps)
	if err := r.done(); err != nil {
		return nil, err
	}
	if r.account != "" {
		return nil, refused("", "The simulator transfers from the platform only: leave Stripe-Account out.")
	}
	to, err := fetch[account](t, "", "account", tr.Destination)
	if err != nil {
		if f, ok := errors.AsType[*fault](err); ok {
			f.body.Param, f.body.Message = "destination", "No such destination: '"+clip(tr.Destination)+"'"
		}
		return nil, err
	}
	if to.Capabilities["transfers"] != "active" {
		return nil, refused("insufficient_capabilities_for_transfer", "Your destination account needs to have at least one of the following capabilities enabled: transfers, crypto_transfers, legacy_payments")
	}
	if tr.SourceTransaction != nil {
		if err := t.takeFromCharge(r, tr); err != nil {
			return nil, err
		}
	}
	held, err := t.available("", tr.Currency)
	if err != nil {
		return nil, err
	}
	if held < tr.Amount {
		return nil, noFunds("transfer")
	}
	txn, err := t.move(r, movement{kind: "transfer", category: "transfer", source: tr.ID, currency: tr.Currency, amount: -tr.Amount})
	if err != nil {
		return nil, err
	}
	tr.BalanceTransaction = &txn
	if _, err := t.move(r, movement{owner: to.ID, kind: "payment", category: "charge", source: tr.DestinationPayment, currency: tr.Currency, amount: tr.Amount}); err != nil {
		return nil, err
	}
	scopes := []string{under("transfer", "", "destination", to.ID)}
	if tr.TransferGroup != nil {
		scopes = append(scopes, under("transfer", "", "transfer_group", *tr.TransferGroup))
	}
	if err := t.insert("", tr, scopes...); err != nil {
		return nil, err
	}
	return tr, t.emit(r, "", "transfer.created", tr.ID, tr, nil)
}

// takeFromCharge holds the transfers of one charge below its amount.
func (t *tx) takeFromCharge(r *request, tr *transfer) error {
	ch, err := fetch[charge](t, "", "charge", *tr.SourceTransaction)
	if err != nil {
		return err
	}
	switch {
	case ch.Status != "succeeded":
		return refused("", "The source_transaction did not succeed.")
	case ch.Currency != tr.Currency:
		return refused("", "The currency of source_transaction's balance transaction ("+ch.Currency+") must be the same as the transfer currency ("+tr.Currency+")")
	case ch.Transferred+tr.Amount > ch.Amount:
		return refused("", fmt.Sprintf("Transfers using this transaction as a source must not exceed the source amount of %d.", ch.Amount))
	}
	ch.Transferred += tr.Amount
	if tr.TransferGroup == nil {
		tr.TransferGroup = ch.TransferGroup
	}
	return t.update(ch)
}

func getTransfer(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[transfer](t, "", "transfer", r.path("id"))
}

func updateTransfer(t *tx, r *request) (any, error) {
	tr, err := fetch[transfer](t, "", "transfer", r.path("id"))
	if err != nil {
		return nil, err
	}
	tr.Metadata = r.metadata(tr.Metadata)
	if r.has("description") {
		tr.Description = r.opt("description")
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return tr, t.update(tr)
}

func listTransfers(t *tx, r *request) (any, error) {
	scope := all("transfer", "")
	destination := r.str("destination")
	if destination != "" {
		scope = under("transfer", "", "destination", destination)
	}
	if group := r.str("transfer_group"); group != "" {
		scope = under("transfer", "", "transfer_group", group)
	}
	return t.listing(r, "/v1/transfers", scope, func(i item) bool { return destination == "" || i.Destination == destination })
}

func createReversal(t *tx, r *request) (any, error) {
	tr, err := fetch[transfer](t, "", "transfer", r.path("id"))
	if err != nil {
		return nil, err
	}
	left := tr.Amount - tr.AmountReversed
	amount := left
	if r.has("amount") {
		amount = r.amount("amount")
	}
	rv := &reversal{head: head{newID("trr_"), "transfer_reversal", r.now}, Amount: amount, Currency: tr.Currency, PaymentRefund: newID("pyr_"), Metadata: r.metadata(nil), Transfer: tr.ID}
	r.ignore("description")
	r.inSteps(amount, tr.Currency, steps)
	if err := r.done(); err != nil {
		return nil, err
	}
	if left == 0 {
		return nil, refused("transfer_already_reversed", "Transfer "+tr.ID+" has already been fully reversed.")
	}
	if amount > left {
		f := refused("", fmt.Sprintf("Reversal amount (%d) is greater than unreversed amount on transfer (%d)", amount, left))
		f.body.Param = "amount"
		return nil, f
	}
	held, err := t.available(tr.Destination, tr.Currency)
	if err != nil {
		return nil, err
	}
	if held < amount {
		return nil, refused("balance_insufficient", "The connected account has insufficient funds to reverse this transfer.")
	}
	txn, err := t.move(r, movement{kind: "transfer_refund", category: "transfer_reversal", source: rv.ID, currency: tr.Currency, amount: amount})
	if err != nil {
		return nil, err
	}
	rv.BalanceTransaction = &txn
	if _, err := t.move(r, movement{owner: tr.Destination, kind: "payment_refund", category: "refund", source: rv.PaymentRefund, currency: tr.Currency, amount: -amount}); err != nil {
		return nil, err
	}
	if err := t.insert("", rv, under("transfer_reversal", "", "transfer", tr.ID)); err != nil {
		return nil, err
	}
	tr.AmountReversed += amount
	tr.Reversed = tr.AmountReversed == tr.Amount
	if err := tr.Reversals.prepend(t, rv); err != nil {
		return nil, err
	}
	if err := t.update(tr); err != nil {
		return nil, err
	}
	return rv, t.emit(r, "", "transfer.reversed", tr.ID, tr, nil)
}

func getReversal(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	rv, err := fetch[reversal](t, "", "transfer_reversal", r.path("reversal"))
	if err == nil && rv.Transfer != r.path("id") {
		return nil, missing("transfer_reversal", rv.ID)
	}
	return rv, err
}

func listReversals(t *tx, r *request) (any, error) {
	if _, err := fetch[transfer](t, "", "transfer", r.path("id")); err != nil {
		return nil, err
	}
	return t.listing(r, "/v1/transfers/"+escape(r.path("id"))+"/reversals", under("transfer_reversal", "", "transfer", r.path("id")), nil)
}
