package booking

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/peer"
)

// learnWorker asks user-service for an offer that no event has told of yet. NotFound: there is no such worker.
func (s *Service) learnWorker(ctx context.Context, id uuid.UUID) error {
	offer, err := peer.Get[event.WorkerUpdated](ctx, s.peers.To("user"), "/api/workers/"+id.String()+"/offer")
	if errs.KindOf(err) == errs.NotFound {
		return errNoWorker
	}
	if err != nil {
		return err
	}
	return keepWorker(ctx, s.db, offer)
}

// learnVerified asks auth before somebody is refused whose proof may still be on its way. Forbidden: the e-mail address is not proven.
func (s *Service) learnVerified(ctx context.Context, id uuid.UUID) error {
	user, err := peer.Get[struct {
		EmailVerified bool `json:"emailVerified"`
	}](ctx, s.peers.To("auth"), "/api/auth/users/"+id.String())
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return err
	}
	if !user.EmailVerified {
		return errs.Coded(errs.Forbidden, "email_unverified", "Verify your e-mail address first, then you can book.")
	}
	return keepVerified(ctx, s.db, id)
}

// askPaid asks payment-service when the booking was paid; nil when it is not.
func (s *Service) askPaid(ctx context.Context, booking uuid.UUID) (*time.Time, error) {
	payment, err := peer.Get[struct {
		CompletedAt *time.Time `json:"completedAt"`
	}](ctx, s.peers.To("payment"), "/api/payments/booking/"+booking.String())
	if errs.KindOf(err) == errs.NotFound {
		return nil, nil
	}
	if err != nil || payment.CompletedAt == nil || payment.CompletedAt.IsZero() {
		return nil, err
	}
	return payment.CompletedAt, nil
}
