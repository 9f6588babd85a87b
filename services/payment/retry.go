package payment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tulifo/platform/postgres"
)

const (
	lease    = 30 * time.Second // a claimed row is another's again after it
	stepMax  = 25 * time.Second // a step ends before its lease does
	claims   = 32               // rows of a table looked for at once
	parallel = 4
	mergeGap = time.Minute
)

// RetryDue answers the earliest system time at which something at the rail, or a webhook, is to be tried again.
func (s *Service) RetryDue(ctx context.Context) (time.Time, error) {
	due, err := postgres.One[*time.Time](ctx, s.db, `SELECT least(
		(SELECT min(next_try_at) FROM webhook_events), (SELECT min(next_try_at) FROM payments), (SELECT min(next_try_at) FROM refunds),
		(SELECT min(next_try_at) FROM payouts), (SELECT min(next_try_at) FROM payout_accounts), (SELECT min(next_try_at) FROM chargebacks))`)
	if err != nil || due == nil {
		return time.Time{}, err
	}
	return *due, nil
}

// Retry does what is due up to now. A row that fails is tried again later, with growing pauses, and holds up no other.
func (s *Service) Retry(ctx context.Context, now time.Time) error {
	now = now.UTC()
	if err := work(ctx, s, now, "webhook_events", "id", `id, type, payload, received_at, outcome, attempts`,
		func(t told) string { return t.ID }, func(t told) int { return t.Attempts },
		func(ctx context.Context, t told) error { return s.retryTold(ctx, t, now) }); err != nil {
		return err
	}
	if err := work(ctx, s, now, "payments", "id", columns,
		func(p payment) string { return p.ID.String() }, func(p payment) int { return p.Attempts },
		func(ctx context.Context, p payment) error { return s.retryPayment(ctx, p, now) }); err != nil {
		return err
	}
	if err := work(ctx, s, now, "refunds", "id", refundColumns,
		func(f refund) string { return f.ID.String() }, func(f refund) int { return f.Attempts },
		func(ctx context.Context, f refund) error { return s.retryRefund(ctx, f, now) }); err != nil {
		return err
	}
	if err := work(ctx, s, now, "chargebacks", "id", chargebackColumns,
		func(c chargeback) string { return c.ID }, func(c chargeback) int { return c.Attempts },
		func(ctx context.Context, c chargeback) error { return s.retryChargeback(ctx, c, now) }); err != nil {
		return err
	}
	if err := work(ctx, s, now, "payout_accounts", "user_id", payoutAccountColumns,
		func(a payoutAccount) string { return a.UserID.String() }, func(a payoutAccount) int { return a.Attempts },
		s.retryAccount); err != nil {
		return err
	}
	return work(ctx, s, now, "payouts", "id", payoutColumns,
		func(p payout) string { return p.ID.String() }, func(p payout) int { return p.Attempts },
		func(ctx context.Context, p payout) error { return s.retryPayout(ctx, p, now) })
}

// work makes one step of each due row of a table. A row is claimed just before its step, so that no other process takes it, and a process that dies
// holds up no more rows than it was working on.
func work[T any](ctx context.Context, s *Service, now time.Time, table, id, columns string, idOf func(T) string, attempts func(T) int, step func(context.Context, T) error) error {
	also, kind := "", "uuid"
	switch table {
	case "refunds", "payouts":
		also = `asked_at = coalesce(asked_at, $1), turn = turn + 1, `
	case "payout_accounts":
		also = `turn = turn + 1, `
	case "webhook_events", "chargebacks":
		kind = "text"
	}
	due, err := postgres.All[string](ctx, s.db, `SELECT `+id+`::text FROM `+table+` WHERE next_try_at <= $1 ORDER BY next_try_at LIMIT $2`, now, claims)
	if err != nil {
		return fmt.Errorf("look for %s: %w", table, err)
	}
	until := now.Add(lease).Truncate(time.Microsecond) // as it is stored
	claim := func(one string) (row T, ok bool) {
		rows, err := postgres.All[T](ctx, s.db, `UPDATE `+table+` SET `+also+`next_try_at = $2, attempts = attempts + 1
			WHERE `+id+` = (SELECT `+id+` FROM `+table+` WHERE `+id+` = $3::text::`+kind+` AND next_try_at <= $1 FOR UPDATE SKIP LOCKED)
			RETURNING `+columns, now, until, one)
		if err != nil {
			s.log.WarnContext(ctx, "a row was not claimed", "table", table, "id", one, "error", err)
		}
		if len(rows) == 0 {
			return row, false
		}
		return rows[0], true
	}
	var done sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, one := range due {
		slots <- struct{}{}
		done.Go(func() {
			defer func() { <-slots }()
			row, ok := claim(one)
			if !ok {
				return
			}
			bounded, cancel := context.WithTimeout(ctx, stepMax)
			defer cancel()
			if err := step(bounded, row); err != nil {
				again := time.Now().UTC().Add(min(time.Second<<min(attempts(row), 12), time.Hour))
				s.log.WarnContext(ctx, "a step at the rail failed and is tried again", "table", table, "id", idOf(row), "attempts", attempts(row), "error", err)
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				if err := s.rest(ctx, table, idOf(row), until, &again); err != nil {
					s.log.ErrorContext(ctx, "a row keeps its lease", "table", table, "id", idOf(row), "error", err)
				}
			}
		})
	}
	done.Wait()
	return nil
}

// rest says when a row that is claimed until then is to be looked at again; nil: when something happens to it. It changes nothing when something
// has happened since, or when the row has been claimed again.
func (s *Service) rest(ctx context.Context, table, id string, until time.Time, next *time.Time) error {
	name, kind := "id", "uuid"
	switch table {
	case "payout_accounts":
		name = "user_id"
	case "webhook_events", "chargebacks":
		kind = "text"
	}
	_, err := s.db.Exec(ctx, `UPDATE `+table+` SET next_try_at = $2 WHERE `+name+` = $1::text::`+kind+` AND next_try_at = $3`, id, next, until)
	return err
}

// hinted keeps a time to look that came while the row was being worked on, and so is not in the future, as a lease is.
func hinted(stored, next *time.Time) *time.Time {
	if stored != nil && !stored.After(time.Now()) {
		return stored
	}
	return next
}

// Run merges the ledger's roll-up every minute until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(mergeGap)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := merge(ctx, s.db); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "the roll-up was not merged", "error", err)
			}
		}
	}
}
