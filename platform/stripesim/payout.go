package stripesim

import (
	"strings"
)

// payout sends money of a connected account's balance to its bank: pending → paid | failed | canceled; the bank may also
// send a paid one back, which makes it failed.
type payout struct {
	head
	Amount               int64             `json:"amount"`
	ArrivalDate          int64             `json:"arrival_date"`
	Automatic            bool              `json:"automatic"`
	BalanceTransaction   *string           `json:"balance_transaction"`
	Currency             string            `json:"currency"`
	Description          *string           `json:"description"`
	Destination          string            `json:"destination"`
	FailureTransaction   *string           `json:"failure_balance_transaction"`
	FailureCode          *string           `json:"failure_code"`
	FailureMessage       *string           `json:"failure_message"`
	Livemode             bool              `json:"livemode"`
	Metadata             map[string]string `json:"metadata"`
	Method               string            `json:"method"`
	OriginalPayout       *string           `json:"original_payout"`
	ReconciliationStatus string            `json:"reconciliation_status"`
	ReversedBy           *string           `json:"reversed_by"`
	SourceType           string            `json:"source_type"`
	StatementDescriptor  *string           `json:"statement_descriptor"`
	Status               string            `json:"status"`
	Type                 string            `json:"type"`
}

const everyPayout = "payout*" // lists payouts of all accounts, for the page

// Banks that fail a payout, by the account numbers of https://docs.stripe.com/connect/testing, each with its failure code.
var failingBanks = map[string]string{
	"000111111116": "no_account", "000111111113": "account_closed", "000222222227": "insufficient_funds",
	"000333333335": "debit_not_authorized", "000444444440": "invalid_currency",
}

func createPayout(t *tx, r *request) (any, error) {
	po := &payout{head: head{newID("po_"), "payout", r.now}, Amount: r.amount("amount"), Currency: r.currency("currency"), ArrivalDate: r.now,
		Description: r.opt("description"), Metadata: r.metadata(nil), Method: r.one("method", "standard", "instant"), ReconciliationStatus: "not_applicable",
		SourceType: r.one("source_type", "card"), StatementDescriptor: r.opt("statement_descriptor"), Status: "pending", Type: "bank_account"}
	destination := r.str("destination")
	r.inSteps(po.Amount, po.Currency, steps)
	r.inSteps(po.Amount, po.Currency, payoutSteps)
	if err := r.done(); err != nil {
		return nil, err
	}
	if r.account == "" {
		return nil, refused("payouts_not_allowed", "The simulator pays out of connected accounts only: send Stripe-Account.")
	}
	from, err := fetch[account](t, "", "account", r.account)
	if err != nil {
		return nil, err
	}
	if !from.PayoutsEnabled {
		return nil, refused("payouts_not_allowed", "Cannot create payouts: this account has requirements that need to be collected.")
	}
	bank := from.bank()
	if destination != "" && destination != bank.ID {
		return nil, invalid("destination", "resource_missing", "No such external account: '"+clip(destination)+"'")
	}
	po.Destination = bank.ID
	held, err := t.available(r.account, po.Currency)
	if err != nil {
		return nil, err
	}
	if held < po.Amount {
		return nil, noFunds("payout")
	}
	txn, err := t.move(r, movement{owner: r.account, kind: "payout", category: "payout", source: po.ID, currency: po.Currency, amount: -po.Amount})
	if err != nil {
		return nil, err
	}
	po.BalanceTransaction = &txn
	if err := t.insert(r.account, po, everyPayout); err != nil {
		return nil, err
	}
	code := failingBanks[bank.Number]
	if from.says("fail payout") {
		code = "could_not_process"
	}
	if err := t.schedule(r, task{Do: "payout", ID: po.ID, Account: r.account, Fail: code != "", Code: code}); err != nil {
		return nil, err
	}
	return po, t.emit(r, r.account, "payout.created", po.ID, po, nil)
}

// finishPayout ends a payout; failing one gives the money back to the account once.
func (t *tx) finishPayout(r *request, id, code string, fail bool) error {
	po, err := fetch[payout](t, r.account, "payout", id)
	if err != nil {
		return err
	}
	if po.Status == "failed" || po.Status == "canceled" || po.Status == "paid" && !fail {
		return nil
	}
	before := po.Status
	if !fail {
		po.Status, po.ArrivalDate = "paid", r.now
		if err := t.update(po); err != nil {
			return err
		}
		return t.emit(r, r.account, "payout.paid", po.ID, po, map[string]any{"status": before})
	}
	if code == "" {
		code = "could_not_process"
	}
	why := "The bank could not process this payout: " + strings.ReplaceAll(code, "_", " ") + "."
	if err := t.giveBack(r, po, "failed", "payout_failure"); err != nil {
		return err
	}
	po.FailureCode, po.FailureMessage = &code, &why
	if err := t.update(po); err != nil {
		return err
	}
	return t.emit(r, r.account, "payout.failed", po.ID, po, map[string]any{"status": before})
}

func (t *tx) giveBack(r *request, po *payout, status, kind string) error {
	txn, err := t.move(r, movement{owner: r.account, kind: kind, category: "payout_reversal", source: po.ID, currency: po.Currency, amount: po.Amount})
	po.Status, po.FailureTransaction = status, &txn
	return err
}

func cancelPayout(t *tx, r *request) (any, error) {
	po, err := fetch[payout](t, r.account, "payout", r.path("id"))
	if err != nil {
		return nil, err
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if po.Status != "pending" {
		return nil, refused("", "Payouts can only be canceled while they are pending.")
	}
	if err := t.giveBack(r, po, "canceled", "payout_cancel"); err != nil {
		return nil, err
	}
	if err := t.update(po); err != nil {
		return nil, err
	}
	return po, t.emit(r, r.account, "payout.canceled", po.ID, po, map[string]any{"status": "pending"})
}

func getPayout(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[payout](t, r.account, "payout", r.path("id"))
}

func updatePayout(t *tx, r *request) (any, error) {
	po, err := fetch[payout](t, r.account, "payout", r.path("id"))
	if err != nil {
		return nil, err
	}
	po.Metadata = r.metadata(po.Metadata)
	if err := r.done(); err != nil {
		return nil, err
	}
	return po, t.update(po)
}

func listPayouts(t *tx, r *request) (any, error) {
	status, destination := r.str("status"), r.str("destination")
	return t.listing(r, "/v1/payouts", all("payout", r.account), func(i item) bool {
		return (status == "" || i.Status == status) && (destination == "" || i.Destination == destination)
	})
}
