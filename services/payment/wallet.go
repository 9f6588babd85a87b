package payment

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Funds is one currency of a wallet.
type Funds struct {
	Available money.Decimal `json:"available" doc:"may be withdrawn"`
	Pending   money.Decimal `json:"pending" doc:"on its way: to the worker's bank, or back to the client"`
	Held      money.Decimal `json:"held" doc:"in escrow: what the worker gets of it after the fee, or what the client has paid"`
	Owed      money.Decimal `json:"owed" doc:"owed because a bank took money back; paid from what comes in next"`
	Currency  string        `json:"currency"`
	Disputed  money.Decimal `json:"disputed" doc:"taken by a client's bank that has not decided yet; it comes back if the chargeback is won"`
}

// Wallet is what somebody has, waits for and owes: in the currency that most of it is in, and in others.
type Wallet struct {
	Funds
	Others []Funds `json:"others"`
}

// fundsOf sums up everything of a user in one query. What the worker can expect of a held payment is computed as holding.expected does.
var fundsOf = `
	SELECT currency, sum(available)::bigint AS available, sum(pending)::bigint AS pending, sum(held)::bigint AS held, sum(owed)::bigint AS owed, sum(disputed)::bigint AS disputed FROM (
		SELECT currency, balance AS available, 0::bigint AS pending, 0::bigint AS held, 0::bigint AS owed, 0::bigint AS disputed FROM balances WHERE account = 'wallet:' || $1::uuid
		UNION ALL SELECT currency, 0, 0, 0, -balance, 0 FROM balances WHERE account = 'chargeback_debt:' || $1::uuid
		UNION ALL SELECT currency, 0, amount, 0, 0, 0 FROM payouts WHERE user_id = $1 AND status NOT IN ('paid', 'failed')
		UNION ALL SELECT r.currency, 0, r.rail_amount, 0, 0, 0 FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE p.client_id = $1 AND r.status <> 'succeeded'
		UNION ALL SELECT currency, 0, 0, amount - released - refunded, 0, 0 FROM payments
			WHERE client_id = $1 AND completed_at IS NOT NULL AND released + refunded < amount
		UNION ALL SELECT currency, 0, 0, (amount - released - refunded) - (` + feeOf("amount - refunded") + ` - fee_taken)::bigint, 0, 0 FROM payments
			WHERE worker_id = $1 AND completed_at IS NOT NULL AND released + refunded < amount
		UNION ALL SELECT p.currency, 0, 0, 0, 0, c.from_worker FROM chargebacks c JOIN payments p ON p.id = c.payment_id WHERE p.worker_id = $1 AND c.status = 'open'
	) AS parts GROUP BY currency ORDER BY currency`

// Wallet answers the caller's funds; zeros in USD when there never were any.
func (s *Service) Wallet(ctx context.Context, by token.Caller) (Wallet, error) {
	rows, err := postgres.All[struct {
		Currency                                 string
		Available, Pending, Held, Owed, Disputed int64
	}](ctx, s.db, fundsOf, by.ID)
	if err != nil {
		return Wallet{}, err
	}
	if len(rows) == 0 {
		zero := money.Of(0, "USD").Decimal()
		return Wallet{Funds: Funds{zero, zero, zero, zero, "USD", zero}}, nil
	}
	most := 0
	all := make([]Funds, len(rows))
	for i, r := range rows {
		in := func(minor int64) money.Decimal { return money.Of(minor, r.Currency).Decimal() }
		all[i] = Funds{in(r.Available), in(r.Pending), in(r.Held), in(r.Owed), r.Currency, in(r.Disputed)}
		if weight(r.Available, r.Pending, r.Held, r.Owed, r.Disputed) > weight(rows[most].Available, rows[most].Pending, rows[most].Held, rows[most].Owed, rows[most].Disputed) {
			most = i
		}
	}
	return Wallet{all[most], slices.Delete(slices.Clone(all), most, most+1)}, nil
}

func weight(minor ...int64) (sum int64) {
	for _, m := range minor {
		sum += m
	}
	return sum
}

// Payment is the payment of that id as by may see it. NotFound: there is none, or he is no party to it.
func (s *Service) Payment(ctx context.Context, by token.Caller, id uuid.UUID) (Payment, error) {
	p, err := byID(ctx, s.db, id)
	if err != nil {
		return Payment{}, err
	}
	if !by.Is(token.Admin, token.Service) && by.ID != p.ClientID && by.ID != p.WorkerID {
		return Payment{}, errNoPayment
	}
	return view(p, by), nil
}

// Payments is a page of the caller's payments, newest first; of all of them for an admin. A status that is not empty narrows it.
func (s *Service) Payments(ctx context.Context, by token.Caller, status Status, paging api.Paging) (api.Page[Payment], error) {
	var before *key
	if paging.Cursor != "" {
		before = &key{}
		if err := api.DecodeCursor(paging.Cursor, &before.CreatedAt, &before.ID); err != nil {
			return api.Page[Payment]{}, err
		}
	}
	rows, err := pageOf(ctx, s.db, by.Role, by.ID, status, before, paging.Limit+1)
	if err != nil {
		return api.Page[Payment]{}, err
	}
	cut := api.Slice(rows, paging.Limit, func(p payment) string { return api.EncodeCursor(p.CreatedAt, p.ID) })
	return api.View(cut, func(p payment) Payment { return view(p, by) }), nil
}

// view is a payment as by may see it: what the platform takes of the worker's money is not the client's to know.
func view(p payment, by token.Caller) Payment {
	in := func(minor int64) money.Decimal { return money.Of(minor, p.Currency).Decimal() }
	v := Payment{
		ID: p.ID, BookingID: p.BookingID, ClientID: p.ClientID, WorkerID: p.WorkerID, Title: p.Title, Amount: in(p.Amount), Currency: p.Currency,
		Status: p.Status, Released: in(p.Released), Refunded: in(p.RefundDone), ChargedBack: in(p.ChargedBack), PayBy: p.PayBy, CreatedAt: p.CreatedAt, CompletedAt: p.CompletedAt,
	}
	if by.Role != token.Client {
		earned := p.Amount - p.Refunded
		fee, net := in(p.holding().fee(earned)), in(earned-p.holding().fee(earned))
		v.Fee, v.Net = &fee, &net
	}
	if by.Role != token.Worker {
		v.Failure = p.Failure
	}
	if by.Role == token.Admin {
		v.Review = strings.TrimSpace(p.Review)
	}
	return v
}
