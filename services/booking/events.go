package booking

import (
	"context"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/postgres"
)

// onWorkerUpdated keeps what a booking needs of a worker's offer.
func (s *Service) onWorkerUpdated(ctx context.Context, tx postgres.Tx, e event.WorkerUpdated) error {
	return keepWorker(ctx, tx, e)
}

func (s *Service) onUserCreated(ctx context.Context, tx postgres.Tx, e event.UserCreated) error {
	if !e.Verified {
		return nil
	}
	return keepVerified(ctx, tx, e.UserID)
}

// onUserVerified notes that the user may book.
func (s *Service) onUserVerified(ctx context.Context, tx postgres.Tx, e event.UserVerified) error {
	return keepVerified(ctx, tx, e.UserID)
}

func (s *Service) onUserSuspended(ctx context.Context, tx postgres.Tx, e event.UserSuspended) error {
	return s.dropPending(ctx, tx, e.UserID, "The account was suspended.")
}

func (s *Service) onUserReinstated(ctx context.Context, tx postgres.Tx, e event.UserReinstated) error {
	return keepSuspended(ctx, tx, e.UserID, false)
}

func (s *Service) onUserDeleted(ctx context.Context, tx postgres.Tx, e event.UserDeleted) error {
	forgetPerson(tx, e.UserID)
	return s.dropPending(ctx, tx, e.UserID, "The account was deleted.")
}

// dropPending cancels what the user has pending, on either side. Confirmed bookings carry money and stay for their parties or an admin.
func (s *Service) dropPending(ctx context.Context, tx postgres.Tx, user uuid.UUID, reason string) error {
	if err := keepSuspended(ctx, tx, user, true); err != nil {
		return err
	}
	pending, err := lockPendingOf(ctx, tx, user)
	if err != nil {
		return err
	}
	now, changes := s.now(), make([]change, len(pending))
	for i, b := range pending {
		changes[i] = change{b, b.cancelled(s.config, systemSide, "suspended", reason, now)}
	}
	return s.end(ctx, tx, changes, cancelledEvent)
}

// onPaymentCompleted notes that the money is held: the booking may be started, and completes itself.
func (s *Service) onPaymentCompleted(ctx context.Context, tx postgres.Tx, e event.PaymentCompleted) error {
	b, ok, err := lock(ctx, tx, e.BookingID)
	if err != nil || !ok || b.PaidAt != nil {
		return err
	}
	_, err = s.save(ctx, tx, b, b.paid(e.CompletedAt), "service:payment")
	return err
}
