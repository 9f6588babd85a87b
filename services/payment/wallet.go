package payment

import (
	"context"
	"slices"
	"strings"
	"time"

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
}

// Wallet is what somebody has, waits for and owes: in the currency that most of it is in, and in others.
type Wallet struct {
	Funds
	Others []Funds `json:"others"`
}

// fundsOf sums up everything of a user in one query. What the worker can expect of a held payment is computed as holding.expected does.
var fundsOf = `
	SELECT currency, sum(available)::bigint AS available, sum(pending)::bigint AS pending, sum(held)::bigint AS held, sum(owed)::bigint AS owed FROM (
		SELECT currency, balance AS available, 0::bigint AS pending, 0::bigint AS held, 0::bigint AS owed FROM balances WHERE account = 'wallet:' || $1::uuid
		UNION ALL SELECT currency, 0, 0, 0, -balance FROM balances WHERE account = 'chargeback_debt:' || $1::uuid
		UNION ALL SELECT currency, 0, amount, 0, 0 FROM payouts WHERE user_id = $1 AND status NOT IN ('paid', 'failed')
		UNION ALL SELECT r.currency, 0, r.rail_amount, 0, 0 FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE p.client_id = $1 AND r.status <> 'succeeded'
		UNION ALL SELECT currency, 0, 0, amount - released - refunded, 0 FROM payments
			WHERE client_id = $1 AND completed_at IS NOT NULL AND released + refunded < amount
		UNION ALL SELECT currency, 0, 0, (amount - released - refunded) - (` + feeOf("amount - refunded") + ` - fee_taken)::bigint, 0 FROM payments
			WHERE worker_id = $1 AND completed_at IS NOT NULL AND released + refunded < amount
	) AS parts GROUP BY currency ORDER BY currency`

// Wallet answers the caller's funds; zeros in USD when there never were any.
func (s *Service) Wallet(ctx context.Context, by token.Caller) (Wallet, error) {
	rows, err := postgres.All[struct {
		Currency                       string
		Available, Pending, Held, Owed int64
	}](ctx, s.db, fundsOf, by.ID)
	if err != nil {
		return Wallet{}, err
	}
	if len(rows) == 0 {
		zero := money.Of(0, "USD").Decimal()
		return Wallet{Funds: Funds{zero, zero, zero, zero, "USD"}}, nil
	}
	most := 0
	all := make([]Funds, len(rows))
	for i, r := range rows {
		in := func(minor int64) money.Decimal { return money.Of(minor, r.Currency).Decimal() }
		all[i] = Funds{in(r.Available), in(r.Pending), in(r.Held), in(r.Owed), r.Currency}
		if weight(r.Available, r.Pending, r.Held, r.Owed) > weight(rows[most].Available, rows[most].Pending, rows[most].Held, rows[most].Owed) {
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

// Held is one booking's held money, and what it waits for.
type Held struct {
	BookingID     uuid.UUID     `json:"bookingId"`
	Title         string        `json:"title"`
	Amount        money.Decimal `json:"amount" doc:"what the worker gets of it after the fee, or what the client has paid"`
	Currency      string        `json:"currency"`
	BlockedBy     string        `json:"blockedBy" enum:"work_not_done,client_release,no_show,no_show_contested,frozen"`
	WhoCanUnblock string        `json:"whoCanUnblock" enum:"worker,client,support" doc:"after a no-show, who is said to have been absent and may object"`
	ETA           *time.Time    `json:"eta" doc:"when it moves by itself; absent when it does not"`
}

// held says what a held payment waits for. A worker sees what he gets, a client what he has paid.
func (p payment) held(role string) Held {
	h := Held{BookingID: p.BookingID, Title: p.Title, Currency: p.Currency, Amount: money.Of(p.holding().remaining(), p.Currency).Decimal(), ETA: p.ReleaseAt}
	if role == token.Worker {
		h.Amount = money.Of(p.holding().expected(), p.Currency).Decimal()
	}
	switch {
	case p.Blocked == "no_show_contested":
		h.BlockedBy, h.WhoCanUnblock, h.ETA = p.Blocked, token.Support, nil
	case p.Frozen:
		h.BlockedBy, h.WhoCanUnblock, h.ETA = "frozen", token.Support, nil
	case p.Blocked == "no_show":
		h.BlockedBy, h.WhoCanUnblock = p.Blocked, p.Absent
	case p.ReleaseAt == nil:
		// Untouched, the booking completes itself a day after its end, and the money follows three days later.
		eta := p.EndsAt.Add((24 + 72) * time.Hour)
		h.BlockedBy, h.WhoCanUnblock, h.ETA = "work_not_done", token.Worker, &eta
	default:
		h.BlockedBy, h.WhoCanUnblock = "client_release", token.Client
	}
	return h
}

// HeldOf is a page of the caller's held money, oldest first.
func (s *Service) HeldOf(ctx context.Context, by token.Caller, paging api.Paging) (api.Page[Held], error) {
	var after uuid.UUID
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &after); err != nil {
			return api.Page[Held]{}, err
		}
	}
	party := map[string]string{token.Worker: "worker_id", token.Client: "client_id"}[by.Role]
	rows, err := postgres.All[payment](ctx, s.db, `SELECT `+columns+` FROM payments
		WHERE `+party+` = $1 AND completed_at IS NOT NULL AND released + refunded < amount AND id > $2 ORDER BY id LIMIT $3`, by.ID, after, paging.Limit+1)
	if err != nil {
		return api.Page[Held]{}, err
	}
	out := api.Slice(rows, paging.Limit, func(p payment) string { return api.EncodeCursor(p.ID) })
	page := api.Page[Held]{Limit: out.Limit, NextCursor: out.NextCursor}
	for _, p := range out.Items {
		page.Items = append(page.Items, p.held(by.Role))
	}
	return page, nil
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
	rows, err := page(ctx, s.db, by.Role, by.ID, status, before, paging.Limit+1)
	if err != nil {
		return api.Page[Payment]{}, err
	}
	cut := api.Slice(rows, paging.Limit, func(p payment) string { return api.EncodeCursor(p.CreatedAt, p.ID) })
	out := api.Page[Payment]{Limit: cut.Limit, NextCursor: cut.NextCursor}
	for _, p := range cut.Items {
		out.Items = append(out.Items, view(p, by))
	}
	return out, nil
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
