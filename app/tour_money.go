package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

// purse is who holds the price of the tour's booking, in minor units.
type purse struct{ client, escrow, wallet, bank, platform int64 }

// holders says who holds the money now, and fails when what everybody says does not add up to the price.
func (t *tour) holders(ctx context.Context) error {
	p, err := t.purse(ctx)
	if err != nil {
		return fmt.Errorf("who holds the money: %w", err)
	}
	if t.price == 0 {
		return nil
	}
	var parts []string
	for _, h := range []struct {
		who   string
		minor int64
	}{{"client", p.client}, {"escrow", p.escrow}, {"her wallet", p.wallet}, {"her bank", p.bank}, {"platform", p.platform}} {
		if h.minor != 0 {
			parts = append(parts, h.who+" "+money.Of(h.minor, t.currency).String())
		}
	}
	t.say("Money: %s", strings.Join(parts, ", "))
	if p.client < 0 || p.platform < 0 || p.client+p.escrow+p.wallet+p.bank+p.platform != t.price {
		return fmt.Errorf("what is held does not add up to %s: %+v", money.Of(t.price, t.currency), p)
	}
	return nil
}

// purse asks everybody. What was released and is neither in her wallet nor at her bank is the platform's fee.
func (t *tour) purse(ctx context.Context) (purse, error) {
	p := purse{client: t.price}
	if t.escrow == uuid.Nil {
		return p, nil
	}
	var account struct{ HeldAmount, ReleasedAmount, RefundedAmount, RemainingAmount money.Decimal }
	if err := t.call(ctx, http.MethodGet, "/api/v1/escrow/"+t.escrow.String(), t.client.token, nil, http.StatusOK, &account); err != nil {
		return p, err
	}
	var w wallet
	if err := t.call(ctx, http.MethodGet, "/api/payments/wallet", t.worker.token, nil, http.StatusOK, &w); err != nil {
		return p, err
	}
	var payouts []struct {
		Status string
		Amount money.Decimal
	}
	if err := t.call(ctx, http.MethodGet, "/api/payments/payouts", t.worker.token, nil, http.StatusOK, &payouts); err != nil {
		return p, err
	}
	held, released := t.minor(account.HeldAmount), t.minor(account.ReleasedAmount)
	p.escrow, p.wallet = t.minor(account.RemainingAmount), t.minor(w.Available)
	for _, o := range payouts {
		if o.Status == "paid" {
			p.bank += t.minor(o.Amount)
		}
	}
	p.client += t.minor(account.RefundedAmount) - held
	p.platform = released - p.wallet - p.bank
	return p, nil
}

func (t *tour) minor(d money.Decimal) int64 {
	a, err := d.In(t.currency)
	if err != nil {
		return -1
	}
	return a.Minor
}
