package stripesim

import (
	"strconv"
	"strings"
)

// balanceTransaction is one movement of an account's balance, in minor units; the balance is the sum of their nets.
type balanceTransaction struct {
	head
	Amount            int64   `json:"amount"`
	AvailableOn       int64   `json:"available_on"`
	BalanceType       string  `json:"balance_type"`
	Currency          string  `json:"currency"`
	Description       *string `json:"description"`
	ExchangeRate      *string `json:"exchange_rate"`
	Fee               int64   `json:"fee"`
	FeeDetails        []fee   `json:"fee_details"`
	Net               int64   `json:"net"`
	ReportingCategory string  `json:"reporting_category"`
	Source            string  `json:"source"`
	Status            string  `json:"status"`
	Type              string  `json:"type"`
}

type fee struct {
	Amount      int64   `json:"amount"`
	Application *string `json:"application"`
	Currency    string  `json:"currency"`
	Description string  `json:"description"`
	Type        string  `json:"type"`
}

// movement is what a balance transaction is made of.
type movement struct {
	owner, kind, category, source, currency string
	amount, fee                             int64
	feeFor                                  string
}

// move changes a balance and answers the id of the transaction that says why.
func (t *tx) move(r *request, m movement) (string, error) {
	b := &balanceTransaction{
		head: head{newID("txn_"), "balance_transaction", r.now}, Amount: m.amount, AvailableOn: r.now, BalanceType: "payments",
		Currency: m.currency, Fee: m.fee, FeeDetails: []fee{}, Net: m.amount - m.fee, ReportingCategory: m.category,
		Source: m.source, Status: "available", Type: m.kind,
	}
	if m.fee != 0 {
		b.FeeDetails = append(b.FeeDetails, fee{Amount: m.fee, Currency: m.currency, Description: m.feeFor, Type: "stripe_fee"})
	}
	held, err := t.available(m.owner, m.currency)
	if err != nil {
		return "", err
	}
	t.put(keyBalance+m.owner+"\x00"+m.currency, strconv.AppendInt(nil, held+b.Net, 10))
	return b.ID, t.insert(m.owner, b, under("balance_transaction", m.owner, "source", m.source))
}

func (t *tx) available(owner, currency string) (int64, error) {
	b := t.get(keyBalance + owner + "\x00" + currency)
	if b == nil {
		return 0, nil
	}
	return strconv.ParseInt(string(b), 10, 64)
}

type funds struct {
	Amount      int64            `json:"amount"`
	Currency    string           `json:"currency"`
	SourceTypes map[string]int64 `json:"source_types"`
}

type balance struct {
	Object    string  `json:"object"`
	Available []funds `json:"available"`
	Pending   []funds `json:"pending"`
	Livemode  bool    `json:"livemode"`
}

func getBalance(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	b := balance{Object: "balance", Available: []funds{}, Pending: []funds{}}
	prefix := keyBalance + r.account + "\x00"
	var failed error
	t.ascend(prefix, "", func(key string, value []byte) bool {
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			failed = err
			return false
		}
		cur := strings.TrimPrefix(key, prefix)
		b.Available = append(b.Available, funds{n, cur, map[string]int64{"card": n}})
		b.Pending = append(b.Pending, funds{0, cur, map[string]int64{"card": 0}})
		return true
	})
	if len(b.Available) == 0 {
		zero := funds{0, "usd", map[string]int64{"card": 0}}
		b.Available, b.Pending = append(b.Available, zero), append(b.Pending, zero)
	}
	return b, failed
}

func getBalanceTransaction(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[balanceTransaction](t, r.account, "balance_transaction", r.path("id"))
}

func listBalanceTransactions(t *tx, r *request) (any, error) {
	scope := all("balance_transaction", r.account)
	if source := r.str("source"); source != "" {
		scope = under("balance_transaction", r.account, "source", source)
	}
	kind, currency := r.str("type"), r.str("currency")
	return t.listing(r, "/v1/balance_transactions", scope, func(i item) bool {
		return (kind == "" || i.Type == kind) && (currency == "" || i.Currency == currency)
	})
}

// noFunds is the answer to a transfer or payout that the balance does not cover.
func noFunds(what string) *fault {
	return refused("balance_insufficient", "You have insufficient available funds in your Stripe account to make this "+what+".")
}
