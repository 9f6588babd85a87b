package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Held is some of the caller's money that is not in his bank, and what it waits for. In each currency the amounts of all of them are what the wallet
// shows as available, pending, held and disputed, less what is owed.
type Held struct {
	Kind          string        `json:"kind" enum:"escrow,wallet,payout,refund,chargeback,debt"`
	BookingID     *uuid.UUID    `json:"bookingId,omitempty"`
	PayoutID      *uuid.UUID    `json:"payoutId,omitempty"`
	Title         string        `json:"title,omitempty"`
	Amount        money.Decimal `json:"amount" doc:"what the worker gets of it after the fee, or what the client has paid; below 0 for a debt"`
	Currency      string        `json:"currency"`
	BlockedBy     string        `json:"blockedBy" enum:"work_not_done,client_release,no_show,no_show_contested,frozen,chargeback,email_unverified,payout_account_missing,payout_account_incomplete,payout_account_refused,payouts_paused,below_minimum,payout_schedule,not_withdrawn,in_transit,bank_refused,review,earnings"`
	WhoCanUnblock string        `json:"whoCanUnblock" enum:"worker,client,admin,bank,platform" doc:"after a no-show, who is said to have been absent and may object"`
	ETA           *time.Time    `json:"eta" doc:"when it moves by itself; absent when it does not"`
	Since         *time.Time    `json:"since,omitempty" doc:"of a debt or a chargeback: when the bank took the money"`
}

// Who can have money move, besides the parties and an administrator.
const (
	theBank     = "bank"
	thePlatform = "platform"
)

const (
	payoutTakes = 3 * 24 * time.Hour  // a bank, at most, on working days
	refundTakes = 10 * 24 * time.Hour // https://docs.stripe.com/refunds
)

// held says what a held payment waits for. A worker sees what he gets, a client what he has paid.
func (p payment) held(role string) Held {
	h := Held{Kind: "escrow", BookingID: &p.BookingID, Title: p.Title, Currency: p.Currency, Amount: money.Of(p.holding().remaining(), p.Currency).Decimal(), ETA: p.ReleaseAt}
	if role == token.Worker {
		h.Amount = money.Of(p.holding().expected(), p.Currency).Decimal()
	}
	switch {
	case p.Frozen && p.ChargedBack > 0:
		h.BlockedBy, h.WhoCanUnblock, h.ETA = "chargeback", theBank, nil
	case p.Blocked == "no_show_contested":
		h.BlockedBy, h.WhoCanUnblock, h.ETA = p.Blocked, token.Admin, nil
	case p.Frozen:
		h.BlockedBy, h.WhoCanUnblock, h.ETA = "frozen", token.Admin, nil
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

// standing is what decides whether a wallet can be paid out.
type walletStanding struct {
	verified bool
	account  string // its status; empty: none
	schedule schedule
}

// blocked says what money in a wallet waits for.
func (w walletStanding) blocked(h *Held, minor int64) {
	h.WhoCanUnblock = token.Worker
	switch {
	case !w.verified:
		h.BlockedBy = emailUnproven
	case w.account == "":
		h.BlockedBy = "payout_account_missing"
	case w.account == accountRefused:
		h.BlockedBy, h.WhoCanUnblock = "payout_account_refused", theBank
	case w.account != accountVerified:
		h.BlockedBy = "payout_account_incomplete"
	case w.schedule.PausedAt != nil:
		h.BlockedBy = "payouts_paused"
	case w.schedule.Every == byHand:
		h.BlockedBy = "not_withdrawn"
	case minor < w.schedule.Minimums[h.Currency]:
		h.BlockedBy = belowMinimum
	default:
		h.BlockedBy, h.ETA = "payout_schedule", w.schedule.NextAt
	}
}

func (p payout) held() Held {
	h := Held{Kind: "payout", PayoutID: &p.ID, Amount: p.total().Decimal(), Currency: p.Currency}
	switch p.Status {
	case payoutReturning:
		h.BlockedBy, h.WhoCanUnblock = "bank_refused", thePlatform
	case payoutReview:
		h.BlockedBy, h.WhoCanUnblock = "review", token.Admin
	default:
		eta := p.CreatedAt.Add(payoutTakes)
		h.BlockedBy, h.WhoCanUnblock, h.ETA = "in_transit", theBank, &eta
	}
	return h
}

// waiting is money of a payment that is under way, taken or owed.
type waiting struct {
	Key       string
	BookingID uuid.UUID
	Title     string
	Amount    int64
	Currency  string
	Status    string
	At        time.Time
}

func (x waiting) held(kind, role string) Held {
	at := x.At.UTC()
	h := Held{Kind: kind, BookingID: &x.BookingID, Title: x.Title, Currency: x.Currency, Amount: money.Of(x.Amount, x.Currency).Decimal()}
	switch kind {
	case "refund":
		eta := at.Add(refundTakes)
		h.BlockedBy, h.WhoCanUnblock, h.ETA = "in_transit", theBank, &eta
		if x.Status == refundReview {
			h.BlockedBy, h.WhoCanUnblock, h.ETA = "review", token.Admin, nil
		}
	case "chargeback":
		h.BlockedBy, h.WhoCanUnblock, h.Since = "chargeback", theBank, &at
	case "debt":
		h.Amount = money.Of(-x.Amount, x.Currency).Decimal()
		h.BlockedBy, h.WhoCanUnblock, h.Since = "earnings", role, &at
		if role == token.Client {
			h.BlockedBy, h.WhoCanUnblock = "chargeback", theBank
		}
	}
	return h
}

const waitingColumns = `p.booking_id, p.title, `

// A worker's debt is paid from what comes in, the oldest first; so what is open is of the latest chargebacks.
var waitingOf = map[string]string{
	"refund": `SELECT r.id::text AS key, ` + waitingColumns + `r.rail_amount AS amount, r.currency, r.status, r.created_at AS at FROM refunds r JOIN payments p ON p.id = r.payment_id
		WHERE p.client_id = $1 AND r.status <> 'succeeded' AND r.rail_amount > 0 AND r.id::text > $2 ORDER BY r.id::text LIMIT $3`,
	"chargeback": `SELECT c.id AS key, ` + waitingColumns + `c.from_worker AS amount, p.currency, c.status, c.opened_at AS at FROM chargebacks c JOIN payments p ON p.id = c.payment_id
		WHERE p.worker_id = $1 AND c.status = 'open' AND c.from_worker > 0 AND c.id > $2 ORDER BY c.id LIMIT $3`,
	"debt " + token.Client: `SELECT p.id::text AS key, ` + waitingColumns + `p.client_owes AS amount, p.currency, '' AS status,
			(SELECT max(c.opened_at) FROM chargebacks c WHERE c.payment_id = p.id) AS at
		FROM payments p WHERE p.client_id = $1 AND p.client_owes > 0 AND p.id::text > $2 ORDER BY p.id::text LIMIT $3`,
	"debt " + token.Worker: `WITH owed AS (SELECT currency, -balance AS owed FROM balances WHERE account = 'chargeback_debt:' || $1::uuid AND balance < 0),
		taken AS (SELECT lpad(l.seq::text, 20, '0') AS key, l.subject, l.posted_at, e.currency, -e.amount AS amount,
				coalesce(sum(-e.amount) OVER (PARTITION BY e.currency ORDER BY l.seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS newer
			FROM ledger_transactions l JOIN entries e ON e.transaction = l.seq JOIN chargebacks c ON c.id = substr(l.key, length('chargeback:') + 1)
			WHERE l.worker_id = $1 AND l.kind = 'chargeback' AND e.account = 'chargeback_debt:' || $1::uuid AND c.status <> 'won')
		SELECT t.key, ` + waitingColumns + `least(t.amount, o.owed - t.newer) AS amount, t.currency, '' AS status, t.posted_at AS at
		FROM taken t JOIN owed o USING (currency) JOIN payments p ON p.booking_id = t.subject WHERE o.owed > t.newer AND t.key > $2 ORDER BY t.key LIMIT $3`,
}

// heldKinds is the order of the list.
var heldKinds = []string{"escrow", "wallet", "payout", "refund", "chargeback", "debt"}

// heldItem is an item with its place in the list.
type heldItem struct {
	Held
	minor int64 // of a wallet
	kind  int
	key   string
}

// HeldOf is a page of all of the caller's money that is not in his bank, by kind, in one round trip.
func (s *Service) HeldOf(ctx context.Context, by token.Caller, paging api.Paging) (api.Page[Held], error) {
	kind, after := 0, ""
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &kind, &after); err != nil {
			return api.Page[Held]{}, err
		}
	}
	var items []heldItem
	var stands walletStanding
	wallets := false
	b := &pgx.Batch{}
	for n, name := range heldKinds {
		if n < kind {
			continue
		}
		from := ""
		if n == kind {
			from = after
		}
		switch name {
		case "escrow":
			id, err := uuid.Parse(from)
			if err != nil && from != "" {
				return api.Page[Held]{}, errs.New(errs.Malformed, "The cursor is not one of ours.")
			}
			party := map[string]string{token.Worker: "worker_id", token.Client: "client_id"}[by.Role]
			postgres.Queue(b, func(p payment) { items = append(items, heldItem{Held: p.held(by.Role), kind: n, key: p.ID.String()}) },
				`SELECT `+columns+` FROM payments WHERE `+party+` = $1 AND completed_at IS NOT NULL AND released + refunded < amount AND id > $2 ORDER BY id LIMIT $3`, by.ID, id, paging.Limit+1)
		case "wallet":
			postgres.Queue(b, func(yes bool) { stands.verified = yes }, `SELECT EXISTS (SELECT FROM people WHERE user_id = $1 AND verified)`, by.ID)
			postgres.Queue(b, func(status string) { stands.account = status }, `SELECT status FROM payout_accounts WHERE user_id = $1`, by.ID)
			stands.schedule = schedule{Every: byHand}
			postgres.Queue(b, func(sc schedule) { stands.schedule = sc }, `SELECT `+scheduleColumns+` FROM payout_schedules WHERE user_id = $1`, by.ID)
			postgres.Queue(b, func(f funds) {
				wallets = true
				items = append(items, heldItem{Held{Kind: name, Amount: f.total().Decimal(), Currency: f.Currency}, f.Balance, n, f.Currency})
			}, `SELECT currency, balance FROM balances WHERE account = $1 AND balance > 0 AND currency > $2 ORDER BY currency LIMIT $3`, walletOf(by.ID), from, paging.Limit+1)
		case "payout":
			postgres.Queue(b, func(p payout) { items = append(items, heldItem{Held: p.held(), kind: n, key: p.ID.String()}) },
				`SELECT `+payoutColumns+` FROM payouts WHERE user_id = $1 AND status NOT IN ('paid', 'failed') AND id::text > $2 ORDER BY id::text LIMIT $3`, by.ID, from, paging.Limit+1)
		default:
			sql, ok := waitingOf[name]
			if !ok {
				sql = waitingOf[name+" "+by.Role]
			}
			postgres.Queue(b, func(x waiting) { items = append(items, heldItem{Held: x.held(name, by.Role), kind: n, key: x.Key}) }, sql, by.ID, from, paging.Limit+1)
		}
	}
	if err := s.db.SendBatch(ctx, b).Close(); err != nil {
		return api.Page[Held]{}, fmt.Errorf("read what is held: %w", err)
	}
	if wallets && !stands.verified {
		// The copy may say yes only.
		_, err := s.provenEmail(ctx, by.ID)
		stands.verified = err == nil
		if err != nil && errs.KindOf(err) != errs.Forbidden {
			return api.Page[Held]{}, err
		}
	}
	for i := range items {
		if items[i].Kind == "wallet" {
			stands.blocked(&items[i].Held, items[i].minor)
		}
	}
	cut := api.Slice(items, paging.Limit, func(i heldItem) string { return api.EncodeCursor(i.kind, i.key) })
	return api.View(cut, func(i heldItem) Held { return i.Held }), nil
}
