package escrow

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

const fireAtOnce = 100 // accounts that one transaction releases

// Due is the earliest time at which money is released or divided by itself; zero when none waits.
func (s *Service) Due(ctx context.Context) (time.Time, error) { return earliestDue(ctx, s.db) }

// Fire does that for all accounts due up to now, each as of its own due time. A no-show that booking cannot be asked about stays due.
func (s *Service) Fire(ctx context.Context, now time.Time) error {
	divided := s.divideDue(ctx, now)
	for {
		n, err := s.releaseDue(ctx, now)
		if err != nil || n < fireAtOnce {
			return errors.Join(divided, err)
		}
	}
}

// releaseDue releases what remains of accounts that nobody objected about, and answers how many.
func (s *Service) releaseDue(ctx context.Context, now time.Time) (int, error) {
	n := 0
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		due, err := claimReleases(ctx, tx, now, fireAtOnce)
		n = len(due)
		if err != nil {
			return err
		}
		for _, a := range due {
			c, at := change{Account: a}, *a.AutoReleaseAt
			if err := c.move(release, a.remaining(), "auto", system, at); err != nil {
				return err
			}
			if err := s.keep(ctx, tx, c, system, at); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// divideDue divides what the absent side has not objected to. Its word may still be on the way, so booking is asked first.
func (s *Service) divideDue(ctx context.Context, now time.Time) error {
	var failed []error
	left := []uuid.UUID{} // nil would be NULL, which nothing differs from
	for len(failed) < fireAtOnce {
		due, err := dueDivisions(ctx, s.db, now, left, fireAtOnce)
		if err != nil || len(due) == 0 {
			return errors.Join(append(failed, err)...)
		}
		for _, a := range due {
			// Whatever becomes of it, it is looked at once: another process may be moving it.
			left = append(left, a.ID)
			if err := s.divideOne(ctx, a, now); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

func (s *Service) divideOne(ctx context.Context, seen Account, now time.Time) error {
	objects := false
	if seen.DivideCause == noShow {
		b, err := s.askBooking(ctx, seen.BookingID)
		if err != nil {
			return err
		}
		objects = b.NoShow != nil && b.NoShow.Contested != nil
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if objects {
			// An objection that was heard before has frozen the account, which is due only because an admin has let go of it.
			heard := directive{BookingID: seen.BookingID, Kind: contested, Detail: detail{Reason: "The side that is said to have been absent objects."}}
			if fresh, err := s.direct(ctx, tx, heard, nil, 0, bookingService); err != nil || fresh {
				return err
			}
		}
		a, ok, err := claimDivision(ctx, tx, seen.ID, now)
		if err != nil || !ok {
			return err
		}
		c, at := change{Account: a}, *a.DivideAt
		if err := c.divide(system, at); err != nil {
			return err
		}
		return s.keep(ctx, tx, c, system, at)
	})
}
