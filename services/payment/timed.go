package payment

import (
	"context"
	"errors"
	"time"

	"tulifo/platform/postgres"
)

// Due is the earliest business time at which a wallet is paid out by its schedule, or the books are compared with the rail; zero when none waits.
func (s *Service) Due(ctx context.Context) (time.Time, error) {
	due, err := postgres.One[*time.Time](ctx, s.db, `SELECT least((SELECT min(next_at) FROM payout_schedules), (`+reconciliationDue+`))`)
	if err != nil || due == nil {
		return time.Time{}, err
	}
	return due.UTC(), nil
}

// Fire does what is due up to now.
func (s *Service) Fire(ctx context.Context, now time.Time) error {
	return errors.Join(s.firePayouts(ctx, now), s.fireReconciliation(ctx, now))
}
