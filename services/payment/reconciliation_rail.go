package payment

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/money"
)

// there is an object as the rail has it.
type there struct {
	ID      string
	OurID   string // of the row that it was made for; empty when it names none
	Account string // on which it is, of a payout; to which it goes, of a transfer
	Amount  money.Amount
	Whole   bool // the amount is no finer than the currency
	State   string
}

// States in which both sides can be compared; an empty one agrees with every other.
const (
	stateDone   = "done"
	stateOpen   = "open"
	stateFailed = "failed"
	stateWon    = "won"
	stateLost   = "lost"
)

func thereOf(id string, metadata map[string]string, account string, amount int64, currency stripe.Currency, state string) there {
	a, whole := railAmount(amount, currency)
	return there{id, metadata[ourID], account, a, whole, state}
}

func intentThere(pi *stripe.PaymentIntent) there {
	state := stateOpen
	if pi.Status == stripe.PaymentIntentStatusSucceeded {
		state = stateDone
	}
	return thereOf(pi.ID, pi.Metadata, "", pi.AmountReceived, pi.Currency, state)
}

func refundThere(r *stripe.Refund) there {
	state := stateOpen
	switch r.Status {
	case stripe.RefundStatusSucceeded:
		state = stateDone
	case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
		state = stateFailed
	}
	return thereOf(r.ID, r.Metadata, "", r.Amount, r.Currency, state)
}

func disputeThere(d *stripe.Dispute) there {
	state := stateOpen
	switch d.Status {
	case stripe.DisputeStatusWon:
		state = stateWon
	case stripe.DisputeStatusLost:
		state = stateLost
	}
	one := thereOf(d.ID, nil, "", d.Amount, d.Currency, state)
	one.OurID = d.ID
	return one
}

func transferThere(t *stripe.Transfer) there {
	state := stateDone
	if t.Reversed {
		state = stateFailed
	}
	account := ""
	if t.Destination != nil {
		account = t.Destination.ID
	}
	return thereOf(t.ID, t.Metadata, account, t.Amount, t.Currency, state)
}

func payoutThere(account string) func(*stripe.Payout) there {
	return func(p *stripe.Payout) there {
		state := stateOpen
		switch p.Status {
		case stripe.PayoutStatusPaid:
			state = stateDone
		case stripe.PayoutStatusFailed, stripe.PayoutStatusCanceled:
			state = stateFailed
		}
		return thereOf(p.ID, p.Metadata, account, p.Amount, p.Currency, state)
	}
}

// span is a period at the rail, in its seconds.
type span struct{ since, until time.Time }

func (p span) created() *stripe.RangeQueryParams {
	return &stripe.RangeQueryParams{GreaterThanOrEqual: p.since.Unix(), LesserThan: p.until.Unix() + 1}
}

// pages asks for pages as long as there are, of an account of ours or, when empty, of the platform's own.
func pages(account string) stripe.ListParams {
	p := stripe.ListParams{Limit: stripe.Int64(100)}
	if account != "" {
		p.SetStripeAccount(account)
	}
	return p
}

// collect reads all pages of a list.
func collect[T any](seq func(func(*T, error) bool), as func(*T) there, keep func(*T) bool) (all []there, err error) {
	for one, err := range seq {
		if err != nil {
			return nil, bare(err)
		}
		if keep == nil || keep(one) {
			all = append(all, as(one))
		}
	}
	return all, nil
}

func (r *rail) intentsIn(ctx context.Context, p span) ([]there, error) {
	list := &stripe.PaymentIntentListParams{ListParams: pages(""), CreatedRange: p.created()}
	return collect(r.stripe.V1PaymentIntents.List(ctx, list).All(ctx), intentThere, func(pi *stripe.PaymentIntent) bool { return pi.Status == stripe.PaymentIntentStatusSucceeded })
}

func (r *rail) refundsIn(ctx context.Context, p span) ([]there, error) {
	list := &stripe.RefundListParams{ListParams: pages(""), CreatedRange: p.created()}
	return collect(r.stripe.V1Refunds.List(ctx, list).All(ctx), refundThere, nil)
}

func (r *rail) disputesIn(ctx context.Context, p span) ([]there, error) {
	list := &stripe.DisputeListParams{ListParams: pages(""), CreatedRange: p.created()}
	return collect(r.stripe.V1Disputes.List(ctx, list).All(ctx), disputeThere, func(d *stripe.Dispute) bool { return took(d.Status) })
}

func (r *rail) transfersIn(ctx context.Context, p span) ([]there, error) {
	list := &stripe.TransferListParams{ListParams: pages(""), CreatedRange: p.created()}
	return collect(r.stripe.V1Transfers.List(ctx, list).All(ctx), transferThere, nil)
}

func (r *rail) payoutsIn(ctx context.Context, p span, account string) ([]there, error) {
	list := &stripe.PayoutListParams{ListParams: pages(account), CreatedRange: p.created()}
	return collect(r.stripe.V1Payouts.List(ctx, list).All(ctx), payoutThere(account), nil)
}

// one is a single object; nil when the rail does not have it.
func one[T any](v *T, err error, as func(*T) there) (*there, error) {
	if e, is := errors.AsType[*stripe.Error](err); is && e.HTTPStatusCode == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, bare(err)
	}
	found := as(v)
	return &found, nil
}

func (r *rail) findThere(ctx context.Context, object, id, account string) (*there, error) {
	switch object {
	case "payment":
		pi, err := r.stripe.V1PaymentIntents.Retrieve(ctx, id, nil)
		return one(pi, err, intentThere)
	case "refund":
		f, err := r.stripe.V1Refunds.Retrieve(ctx, id, nil)
		return one(f, err, refundThere)
	case "chargeback":
		d, err := r.stripe.V1Disputes.Retrieve(ctx, id, nil)
		return one(d, err, disputeThere)
	case "transfer":
		t, err := r.stripe.V1Transfers.Retrieve(ctx, id, nil)
		return one(t, err, transferThere)
	}
	in := &stripe.PayoutRetrieveParams{}
	in.SetStripeAccount(account)
	p, err := r.stripe.V1Payouts.Retrieve(ctx, id, in)
	return one(p, err, payoutThere(account))
}

// has is what the platform has at the rail, by currency, in minor units.
func (r *rail) has(ctx context.Context) (map[string]int64, error) {
	b, err := r.stripe.V1Balance.Retrieve(ctx, nil)
	if err != nil {
		return nil, bare(err)
	}
	has := map[string]int64{}
	add := func(minor int64, currency stripe.Currency) {
		a, _ := railAmount(minor, currency)
		has[a.Currency] += a.Minor
	}
	for _, one := range b.Available {
		add(one.Amount, one.Currency)
	}
	for _, one := range b.Pending {
		add(one.Amount, one.Currency)
	}
	return has, nil
}
