package payment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/pause"
	"tulifo/platform/postgres"
)

const (
	settlesIn     = 10 * time.Minute // what the rail has told is here by then
	overlap       = time.Hour        // periods of daily reports do not leave a gap between them
	longestSpan   = 31 * 24 * time.Hour
	balanceLooks  = 3
	balancePause  = 300 * time.Millisecond
	maxDifference = 1000 // a report names so many

	reconciliationDue = `SELECT coalesce((SELECT max(due_at) FROM reconciliations), (SELECT min(created_at) FROM payments)) + interval '1 day'`
)

// here is a row as it can be compared with the rail.
type here struct {
	ID       string
	RailID   string
	Account  string
	Amount   int64
	Currency string
	State    string
}

// compared are the kinds of objects: how rows of ours are read by their ids, and those stored in a period that the rail must have.
var compared = []struct{ object, byID, stored string }{
	{"payment", hereOf("payment") + ` WHERE id = ANY($1::text[]::uuid[])`, hereOf("payment") + ` WHERE recorded_at >= $1 AND recorded_at < $2 AND completed_at IS NOT NULL`},
	{"refund", hereOf("refund") + ` WHERE id = ANY($1::text[]::uuid[])`, hereOf("refund") + ` WHERE recorded_at >= $1 AND recorded_at < $2 AND rail_id IS NOT NULL`},
	{"chargeback", hereOf("chargeback") + ` WHERE c.id = ANY($1)`, hereOf("chargeback") + ` WHERE c.recorded_at >= $1 AND c.recorded_at < $2`},
	{"transfer", hereOf("transfer") + ` WHERE id = ANY($1::text[]::uuid[])`, hereOf("transfer") + ` WHERE recorded_at >= $1 AND recorded_at < $2 AND transfer_id IS NOT NULL`},
	{"payout", hereOf("payout") + ` WHERE id = ANY($1::text[]::uuid[])`, hereOf("payout") + ` WHERE recorded_at >= $1 AND recorded_at < $2 AND rail_id IS NOT NULL`},
}

func hereOf(object string) string {
	return `SELECT ` + map[string]string{
		"payment":    `id::text, coalesce(intent_id, '') AS rail_id, '' AS account, amount, currency, CASE WHEN completed_at IS NULL THEN 'open' ELSE 'done' END AS state FROM payments`,
		"refund":     `id::text, coalesce(rail_id, '') AS rail_id, '' AS account, rail_amount AS amount, currency, CASE status WHEN 'succeeded' THEN 'done' WHEN 'needs_review' THEN '' ELSE 'open' END AS state FROM refunds`,
		"chargeback": `c.id, c.id AS rail_id, '' AS account, c.amount, p.currency, c.status AS state FROM chargebacks c JOIN payments p ON p.id = c.payment_id`,
		"transfer":   `id::text, coalesce(transfer_id, '') AS rail_id, account_id AS account, amount, currency, CASE WHEN status IN ('transferred', 'in_transit', 'paid') THEN 'done' WHEN status = 'failed' THEN 'failed' WHEN status = 'pending' THEN 'open' ELSE '' END AS state FROM payouts`,
		"payout":     `id::text, coalesce(rail_id, '') AS rail_id, account_id AS account, amount, currency, CASE WHEN status = 'paid' THEN 'done' WHEN status IN ('returning', 'failed') THEN 'failed' WHEN status = 'needs_review' THEN '' ELSE 'open' END AS state FROM payouts`,
	}[object]
}

// report is a comparison as it grows.
type report struct {
	sums        map[sumKey]*Sum
	differences []Difference
	own         map[string]int64
	accounts    map[string]bool
}

type sumKey struct{ object, currency string }

func (r *report) sum(object, currency string) *Sum {
	k := sumKey{object, currency}
	if r.sums[k] == nil {
		r.sums[k] = &Sum{Object: object, Currency: currency}
	}
	return r.sums[k]
}

func (r *report) differs(kind, object, ours, rails, sentence string, args ...any) {
	r.differences = append(r.differences, Difference{kind, object, ours, rails, fmt.Sprintf(sentence, args...)})
}

// compare notes how one row and one object of the rail differ.
func (r *report) compare(object string, h here, t there) {
	ours := money.Of(h.Amount, h.Currency)
	switch {
	case !t.Whole || t.Amount != ours:
		r.differs("amount", object, h.ID, t.ID, "The %s %s is %s here and %s at the rail, as %s.", object, h.ID, ours, t.Amount, t.ID)
	case h.RailID != "" && h.RailID != t.ID:
		r.differs("missing_here", object, h.ID, t.ID, "The rail has %s of %s for the %s %s, which is %s here.", t.ID, t.Amount, object, h.ID, h.RailID)
	case h.State != "" && h.State != t.State:
		r.differs("status", object, h.ID, t.ID, "The %s %s is %s here and %s at the rail, as %s.", object, h.ID, h.State, t.State, t.ID)
	}
}

// reconcile compares the books with the rail, both ways, for what came about in the period, and then the balances.
func (s *Service) reconcile(ctx context.Context, p span) (*report, error) {
	r := &report{sums: map[sumKey]*Sum{}, own: map[string]int64{}, accounts: map[string]bool{}}
	lists := map[string]func() ([]there, error){
		"payment":    func() ([]there, error) { return s.rail.intentsIn(ctx, p) },
		"refund":     func() ([]there, error) { return s.rail.refundsIn(ctx, p) },
		"chargeback": func() ([]there, error) { return s.rail.disputesIn(ctx, p) },
		"transfer":   func() ([]there, error) { return s.rail.transfersIn(ctx, p) },
		"payout": func() (all []there, err error) {
			for _, account := range slices.Sorted(maps.Keys(r.accounts)) {
				some, err := s.rail.payoutsIn(ctx, p, account)
				if err != nil {
					return nil, err
				}
				all = append(all, some...)
			}
			return all, nil
		},
	}
	for _, c := range compared {
		stored, err := postgres.All[here](ctx, s.db, c.stored, p.since, p.until)
		if err != nil {
			return nil, err
		}
		if c.object == "transfer" {
			for _, h := range stored {
				r.accounts[h.Account] = true
			}
		}
		found, err := lists[c.object]()
		if err != nil {
			return nil, err
		}
		if err := s.fromRail(ctx, r, c.object, c.byID, found); err != nil {
			return nil, err
		}
		if err := s.fromBooks(ctx, r, c.object, stored, found); err != nil {
			return nil, err
		}
	}
	return r, s.balances(ctx, r)
}

// fromRail looks for a row for each object of the rail.
func (s *Service) fromRail(ctx context.Context, r *report, object, byID string, found []there) error {
	for some := range slices.Chunk(found, 1000) {
		ids := []string{}
		for _, t := range some {
			if _, err := uuid.Parse(t.OurID); err == nil || object == "chargeback" {
				ids = append(ids, t.OurID)
			}
		}
		rows, err := postgres.All[here](ctx, s.db, byID, ids)
		if err != nil {
			return err
		}
		known := map[string]here{}
		for _, h := range rows {
			known[h.ID] = h
		}
		for _, t := range some {
			if t.Account != "" && object == "transfer" {
				r.accounts[t.Account] = true
			}
			sum := r.sum(object, t.Amount.Currency)
			sum.ThereCount++
			sum.there += t.Amount.Minor
			h, ok := known[t.OurID]
			switch {
			case ok:
				sum.HereCount++
				sum.here += h.Amount
				r.compare(object, h, t)
			case t.OurID == "":
				r.differs("unknown", object, "", t.ID, "The rail has %s, a %s of %s that names nothing of ours: somebody made it by hand.", t.ID, object, t.Amount)
			default:
				r.differs("missing_here", object, t.OurID, t.ID, "The rail has %s of %s for the %s %s, which is not here.", t.ID, t.Amount, object, t.OurID)
			}
		}
	}
	return nil
}

// fromBooks looks at the rail for each row whose object was not in the lists.
func (s *Service) fromBooks(ctx context.Context, r *report, object string, stored []here, found []there) error {
	seen := map[string]bool{}
	for _, t := range found {
		seen[t.ID] = true
	}
	for _, h := range stored {
		if seen[h.RailID] {
			continue
		}
		sum := r.sum(object, h.Currency)
		sum.HereCount++
		sum.here += h.Amount
		t, err := s.rail.findThere(ctx, object, h.RailID, h.Account)
		if err != nil {
			return err
		}
		if t == nil {
			r.differs("missing_there", object, h.ID, h.RailID, "The %s %s of %s is not at the rail, where it was %s.", object, h.ID, money.Of(h.Amount, h.Currency), h.RailID)
			continue
		}
		sum.ThereCount++
		sum.there += t.Amount.Minor
		r.compare(object, h, *t)
	}
	return nil
}

// expected is what the rail has by the books: what it owes us, less what has left it there and not yet here.
const expected = `SELECT currency, sum(amount)::bigint AS balance FROM (
		SELECT currency, -amount AS amount FROM rollup WHERE account = 'rail_clearing'
		UNION ALL SELECT currency, -amount FROM payouts WHERE transfer_id IS NOT NULL AND settled_at IS NULL AND status <> 'failed'
		UNION ALL SELECT currency, -rail_amount FROM refunds WHERE rail_id IS NOT NULL AND status = 'sent'
	) AS parts GROUP BY currency`

// balances compares what the platform has at the rail with the books. Money of the platform's own may be there; so it is the change of the
// difference since the last report that is told, once. While money moves it is looked at again.
func (s *Service) balances(ctx context.Context, r *report) error {
	last, err := postgres.All[map[string]int64](ctx, s.db, `SELECT own FROM reconciliations WHERE status IN ('clean', 'different') ORDER BY id DESC LIMIT 1`)
	if err != nil {
		return err
	}
	before := map[string]int64{}
	if len(last) > 0 {
		before = last[0]
	}
	for n := 0; ; n++ {
		has, err := s.rail.has(ctx)
		if err != nil {
			return err
		}
		books, err := postgres.All[funds](ctx, s.db, expected)
		if err != nil {
			return err
		}
		clear(r.own)
		for currency, minor := range has {
			r.own[currency] += minor
		}
		for _, b := range books {
			r.own[b.Currency] -= b.Balance
		}
		maps.DeleteFunc(r.own, func(_ string, minor int64) bool { return minor == 0 })
		if maps.Equal(r.own, before) {
			return nil
		}
		if n+1 == balanceLooks {
			break
		}
		if err := pause.For(ctx, balancePause); err != nil {
			return err
		}
	}
	all := maps.Clone(r.own)
	maps.Copy(all, before)
	for _, currency := range slices.Sorted(maps.Keys(all)) {
		if more := r.own[currency] - before[currency]; more != 0 {
			r.differs("balance", "balance", "", "", "The rail has %s more than the books say; at the last report it had %s more. Money of the platform's own that came or went explains it, or money under way.",
				money.Of(r.own[currency], currency), money.Of(before[currency], currency))
		}
	}
	return nil
}

// Reconcile compares the books with the rail now, for what came about from since up to until, and stores the report. Invalid: the period.
// Unavailable: the rail does not answer; the report says so.
func (s *Service) Reconcile(ctx context.Context, since, until *time.Time) (Reconciliation, error) {
	now := time.Now().UTC()
	p := span{now.Add(-48 * time.Hour), now}
	if until != nil {
		p.until = until.UTC()
		p.since = p.until.Add(-48 * time.Hour)
	}
	if since != nil {
		p.since = since.UTC()
	}
	switch {
	case !p.since.Before(p.until):
		return Reconciliation{}, errs.Field("from", "must be before to")
	case p.until.Sub(p.since) > longestSpan || p.until.After(now.Add(time.Minute)) || p.since.Year() < 2000:
		return Reconciliation{}, errs.Field("from", "must be at most 31 days before to, which is not in the future")
	}
	id := uuid.Must(uuid.NewV7())
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		tx.Later(`INSERT INTO reconciliations (id, at, since, until, status) VALUES ($1, $2, $3, $4, 'running')`, id, s.clock.Now(), p.since, p.until)
		return audit.Add(ctx, tx, audit.Entry{Action: "reconciliation.ordered", Subject: id})
	})
	if err != nil {
		return Reconciliation{}, err
	}
	if err := s.runReconciliation(ctx, id, p); err != nil {
		return Reconciliation{}, away(err)
	}
	return s.ReconciliationOf(ctx, id)
}

// runReconciliation compares, and stores the report under id; an error is stored as well.
func (s *Service) runReconciliation(ctx context.Context, id uuid.UUID, p span) error {
	r, failed := s.reconcile(ctx, p)
	if failed != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, err := s.db.Exec(ctx, `UPDATE reconciliations SET status = 'failed', failure = $2, finished_at = $3 WHERE id = $1`, id, failed.Error(), time.Now().UTC())
		return errors.Join(failed, err)
	}
	status := "clean"
	if len(r.differences) > 0 {
		status = "different"
		s.log.WarnContext(ctx, "the books and the rail differ", "report", id, "differences", len(r.differences), "first", r.differences[0].Sentence)
	}
	sums := []Sum{}
	for _, k := range slices.SortedFunc(maps.Keys(r.sums), func(a, b sumKey) int {
		return slices.Compare([]string{a.object, a.currency}, []string{b.object, b.currency})
	}) {
		one := *r.sums[k]
		one.Here, one.There = money.Of(one.here, one.Currency).Decimal(), money.Of(one.there, one.Currency).Decimal()
		sums = append(sums, one)
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		tx.Later(`UPDATE reconciliations SET status = $2, differences = $3, sums = $4, own = $5, finished_at = $6 WHERE id = $1`, id, status, len(r.differences), sums, r.own, time.Now().UTC())
		for i, d := range r.differences[:min(len(r.differences), maxDifference)] {
			tx.Later(`INSERT INTO reconciliation_differences (report_id, n, kind, object, our_id, rail_id, sentence) VALUES ($1, $2, $3, $4, $5, $6, $7)`, id, i+1, d.Kind, d.Object, d.OurID, d.RailID, d.Sentence)
		}
		return nil
	})
}

// fireReconciliation makes the daily report when it is due, in one process. A rail that does not answer makes a report that says so.
func (s *Service) fireReconciliation(ctx context.Context, now time.Time) error {
	due, err := postgres.One[*time.Time](ctx, s.db, reconciliationDue)
	if err != nil || due == nil || due.After(now) {
		return err
	}
	at := due.Add(now.Sub(*due) / (24 * time.Hour) * (24 * time.Hour))
	system := time.Now().UTC()
	id := uuid.Must(uuid.NewV7())
	mine, err := postgres.All[time.Time](ctx, s.db, `INSERT INTO reconciliations (id, due_at, at, since, until, status)
		SELECT $1, $2, $2, coalesce((SELECT max(until) FROM reconciliations WHERE due_at IS NOT NULL AND status IN ('clean', 'different')), (SELECT min(recorded_at) FROM payments)) - $3::interval, $4, 'running'
		ON CONFLICT (due_at) DO NOTHING RETURNING since`, id, at, overlap, system.Add(-settlesIn))
	if err != nil || len(mine) == 0 {
		return err
	}
	if err := s.runReconciliation(ctx, id, span{mine[0], system.Add(-settlesIn)}); err != nil {
		s.log.WarnContext(ctx, "the books were not compared with the rail", "report", id, "error", err)
	}
	return nil
}

// ReconciliationOf is one report with its differences. NotFound: there is none.
func (s *Service) ReconciliationOf(ctx context.Context, id uuid.UUID) (Reconciliation, error) {
	row, err := postgres.One[reconciliation](ctx, s.db, `SELECT `+reconciliationColumns+` FROM reconciliations WHERE id = $1`, id)
	if err != nil {
		if errs.KindOf(err) == errs.NotFound {
			err = errs.New(errs.NotFound, "There is no such report.")
		}
		return Reconciliation{}, err
	}
	out := row.view()
	out.List, err = postgres.All[Difference](ctx, s.db, `SELECT kind, object, our_id, rail_id, sentence FROM reconciliation_differences WHERE report_id = $1 ORDER BY n`, id)
	return out, err
}

// Reconciliations is a page of the reports, newest first, without their differences.
func (s *Service) Reconciliations(ctx context.Context, paging api.Paging) (api.Page[Reconciliation], error) {
	before := uuid.Max
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &before); err != nil {
			return api.Page[Reconciliation]{}, err
		}
	}
	rows, err := postgres.All[reconciliation](ctx, s.db, `SELECT `+reconciliationColumns+` FROM reconciliations WHERE id < $1 ORDER BY id DESC LIMIT $2`, before, paging.Limit+1)
	if err != nil {
		return api.Page[Reconciliation]{}, err
	}
	cut := api.Slice(rows, paging.Limit, func(r reconciliation) string { return api.EncodeCursor(r.ID) })
	return api.View(cut, reconciliation.view), nil
}
