package payment

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
)

// purse is one account in one currency.
type purse struct {
	Account  account
	Currency string
}

func byName(a, b purse) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Currency, b.Currency))
}

// columnsOf splits purses for unnest, in the one order in which everybody locks them.
func columnsOf(p []purse) (accounts, currencies []string) {
	slices.SortFunc(p, byName)
	for _, one := range slices.Compact(p) {
		accounts, currencies = append(accounts, string(one.Account)), append(currencies, one.Currency)
	}
	return accounts, currencies
}

const (
	openBalances = `INSERT INTO balances (account, currency) SELECT a, c FROM unnest($1::text[], $2::text[]) AS p (a, c) ORDER BY a COLLATE "C", c ON CONFLICT DO NOTHING`
	lockBalances = `SELECT b.account, b.currency, b.balance FROM balances b JOIN unnest($1::text[], $2::text[]) AS p (a, c) ON b.account = p.a AND b.currency = p.c
		ORDER BY b.account, b.currency FOR NO KEY UPDATE OF b`
)

// locked reads the balances of accounts that are not hot and holds them until the transaction ends. It is part of a batch.
func queueLocks(b *pgx.Batch, purses []purse, into map[purse]int64) {
	accounts, currencies := columnsOf(purses)
	b.Queue(openBalances, accounts, currencies)
	postgres.Queue(b, func(one struct {
		Account  account
		Currency string
		Balance  int64
	}) {
		into[purse{one.Account, one.Currency}] = one.Balance
	}, lockBalances, accounts, currencies)
}

// postedKeys looks key by key: for all keys of a batch at once Postgres would rather read the whole ledger, as long as it has but some thousand rows.
const postedKeys = `SELECT k FROM unnest($1::text[]) AS k CROSS JOIN LATERAL (SELECT FROM ledger_transactions WHERE key = k LIMIT 1) AS there`

// queueKeys reads which of the business keys are posted already.
func queueKeys(b *pgx.Batch, keys []string, into map[string]bool) {
	postgres.Queue(b, func(key string) { into[key] = true }, postedKeys, keys)
}

// post writes the postings and their effect on the balances with COMMIT, in no round trip of its own. Balances are locked in one order, so
// that two batches cannot wait for each other. A key that is posted already, or an account that would be overdrawn, fails the transaction.
func post(tx postgres.Tx, postings ...posting) {
	var (
		keys, kinds      []string
		subjects         []uuid.UUID
		workers, clients []*uuid.UUID
		at               []time.Time
		ofKey            []string
		n                []int16
		debits, credits  []string
		currencies       []string
		amounts          []int64
		deltas           = map[purse]int64{}
	)
	for _, p := range postings {
		if len(p.Transfers) == 0 {
			continue
		}
		keys, kinds, subjects = append(keys, p.Key), append(kinds, p.Kind), append(subjects, p.Subject)
		workers, clients, at = append(workers, orNull(p.Worker)), append(clients, orNull(p.Client)), append(at, p.At)
		for i, t := range p.Transfers {
			ofKey, n = append(ofKey, p.Key), append(n, int16(i+1))
			debits, credits = append(debits, string(t.Debit)), append(credits, string(t.Credit))
			currencies, amounts = append(currencies, t.Amount.Currency), append(amounts, t.Amount.Minor)
			deltas[purse{t.Debit, t.Amount.Currency}] -= t.Amount.Minor
			deltas[purse{t.Credit, t.Amount.Currency}] += t.Amount.Minor
		}
	}
	if len(keys) == 0 {
		return
	}
	var cold, hot []purse
	for p := range deltas {
		if p.Account.hot() {
			hot = append(hot, p)
		} else {
			cold = append(cold, p)
		}
	}
	accounts, money := columnsOf(cold)
	if len(accounts) > 0 {
		tx.Later(openBalances, accounts, money)
		tx.Later(lockBalances, accounts, money)
		tx.Later(`UPDATE balances b SET balance = b.balance + p.d FROM unnest($1::text[], $2::text[], $3::bigint[]) AS p (a, c, d) WHERE b.account = p.a AND b.currency = p.c`,
			accounts, money, deltasOf(accounts, money, deltas))
	}
	tx.Later(`WITH posted AS (
			INSERT INTO ledger_transactions (key, kind, subject, worker_id, client_id, posted_at)
			SELECT key, kind, subject, worker_id, client_id, posted_at
			FROM unnest($1::text[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[]) WITH ORDINALITY AS p (key, kind, subject, worker_id, client_id, posted_at, i)
			ORDER BY i
			RETURNING seq, key)
		INSERT INTO transfers (transaction, n, debit, credit, currency, amount)
		SELECT posted.seq, t.n, t.debit, t.credit, t.currency, t.amount
		FROM unnest($7::text[], $8::smallint[], $9::text[], $10::text[], $11::text[], $12::bigint[]) AS t (key, n, debit, credit, currency, amount)
		JOIN posted USING (key)`,
		keys, kinds, subjects, workers, clients, at, ofKey, n, debits, credits, currencies, amounts)
	if accounts, money := columnsOf(hot); len(accounts) > 0 {
		tx.Later(`INSERT INTO rollup (account, currency, amount) SELECT a, c, d FROM unnest($1::text[], $2::text[], $3::bigint[]) AS p (a, c, d)`,
			accounts, money, deltasOf(accounts, money, deltas))
	}
}

func deltasOf(accounts, currencies []string, deltas map[purse]int64) []int64 {
	out := make([]int64, len(accounts))
	for i := range accounts {
		out[i] = deltas[purse{account(accounts[i]), currencies[i]}]
	}
	return out
}

func orNull(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// merge adds up the roll-up's rows of each account into one. Rows that another process is merging are left to it.
func merge(ctx context.Context, q postgres.Querier) error {
	_, err := q.Exec(ctx, `WITH gone AS (
			DELETE FROM rollup WHERE id IN (SELECT id FROM rollup ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED)
			RETURNING account, currency, amount)
		INSERT INTO rollup (account, currency, amount) SELECT account, currency, sum(amount) FROM gone GROUP BY account, currency`)
	return err
}

// LedgerEscrows is a page of what the ledger holds for bookings, those for which it holds nothing any more included.
func (s *Service) LedgerEscrows(ctx context.Context, paging api.Paging) (api.Page[LedgerEscrow], error) {
	after := "escrow:"
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &after); err != nil {
			return api.Page[LedgerEscrow]{}, err
		}
	}
	rows, err := postgres.All[LedgerEscrow](ctx, s.db, `SELECT substr(account, 8)::uuid AS booking_id, balance AS remaining, currency FROM balances
		WHERE account LIKE 'escrow:%' AND account > $1 ORDER BY account LIMIT $2`, after, paging.Limit+1)
	if err != nil {
		return api.Page[LedgerEscrow]{}, err
	}
	return api.Slice(rows, paging.Limit, func(l LedgerEscrow) string { return api.EncodeCursor("escrow:" + l.BookingID.String()) }), nil
}

// feeOf is the SQL of holding.fee for a column of payments.
func feeOf(released string) string {
	step := "1"
	for currency, n := range money.Steps() {
		step = fmt.Sprintf("CASE currency WHEN '%s' THEN %d ELSE %s END", currency, n, step)
	}
	step = "(" + step + ")"
	return "least(" + released + ", " + step + " * div((" + released + ")::numeric * fee_basis_points + 5000 * " + step + ", 10000 * " + step + "))"
}
