package review

import (
	"context"
	"time"

	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// Due is the earliest time at which a review is revealed though the other side has not written; zero when none waits.
func (s *Service) Due(ctx context.Context) (time.Time, error) { return earliestDue(ctx, s.db) }

// Fire reveals all reviews due up to now, each as of its own due time, one in a transaction: reviews that are revealed together lock users in
// the order of their ids, and these come in the order of time.
func (s *Service) Fire(ctx context.Context, now time.Time) error {
	for {
		found := false
		err := s.db.InTx(ctx, func(tx postgres.Tx) error {
			due, err := claimDue(ctx, tx, now, 1)
			found = len(due) > 0
			if err != nil || !found {
				return err
			}
			at := *due[0].DueAt
			return s.reveal(outbox.At(ctx, at), tx, due, at)
		})
		if err != nil || !found {
			return err
		}
	}
}
