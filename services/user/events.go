package user

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	outbox.On(in, s.onUserCreated)
	outbox.On(in, s.onUserVerified)
	outbox.On(in, s.onUserEmailChanged)
	outbox.On(in, s.onUserRoleChanged)
	outbox.On(in, s.onUserSuspended)
	outbox.On(in, s.onUserReinstated)
	outbox.On(in, s.onUserDeleted)
	outbox.On(in, s.onBookingCreated)
	outbox.On(in, s.onBookingConfirmed)
	outbox.On(in, s.onReviewCreated)
	outbox.On(in, s.onReviewRevealed)
	outbox.On(in, s.onBadgeAwarded)
	outbox.On(in, s.onBadgeRevoked)
}

// onUserCreated opens a profile, and an offer for a worker.
func (s *Service) onUserCreated(ctx context.Context, tx postgres.Tx, e event.UserCreated) error {
	at := outbox.EnvelopeFrom(ctx).OccurredAt
	return s.add(ctx, tx, newPerson(e.UserID, e.Name, account{e.Email, e.Verified, e.Role, active}, at))
}

func (s *Service) onUserVerified(ctx context.Context, tx postgres.Tx, e event.UserVerified) error {
	return s.follow(ctx, tx, e.UserID, func(p *person) { p.EmailVerified = p.EmailVerified || p.Email == e.Email })
}

func (s *Service) onUserEmailChanged(ctx context.Context, tx postgres.Tx, e event.UserEmailChanged) error {
	return s.follow(ctx, tx, e.UserID, func(p *person) { p.Email, p.EmailVerified = e.Email, true })
}

func (s *Service) onUserRoleChanged(ctx context.Context, tx postgres.Tx, e event.UserRoleChanged) error {
	return s.follow(ctx, tx, e.UserID, func(p *person) { p.Role = e.Role })
}

func (s *Service) onUserSuspended(ctx context.Context, tx postgres.Tx, e event.UserSuspended) error {
	return s.follow(ctx, tx, e.UserID, func(p *person) { p.Status = suspended })
}

func (s *Service) onUserReinstated(ctx context.Context, tx postgres.Tx, e event.UserReinstated) error {
	return s.follow(ctx, tx, e.UserID, func(p *person) { p.Status = active })
}

// onUserDeleted forgets what the user said; that there was one, and what others said about them, stays.
func (s *Service) onUserDeleted(ctx context.Context, tx postgres.Tx, e event.UserDeleted) error {
	dropSettings(tx, e.UserID)
	return s.follow(ctx, tx, e.UserID, func(p *person) {
		p.Status, p.Email, p.EmailVerified = deleted, "", false
		p.profile, p.offer, p.company = blank("Deleted user"), noOffer(), company{}
	})
}

// follow takes over what auth says of an account; one that is deleted stays so. A user who is not known yet is found at auth when needed, as
// auth then has them.
func (s *Service) follow(ctx context.Context, tx postgres.Tx, id uuid.UUID, fn func(*person)) error {
	err := atOnce(ctx, tx, func(send write) error {
		_, err := s.change(ctx, tx, send, id, func(p *person) error {
			if p.Status != deleted {
				fn(p)
			}
			return nil
		})
		return err
	})
	if errs.KindOf(err) == errs.NotFound {
		return nil
	}
	return err
}

// onBookingCreated lets the two see each other's pages.
func (s *Service) onBookingCreated(_ context.Context, tx postgres.Tx, e event.BookingCreated) error {
	meet(tx, e.ClientID, e.WorkerID)
	return nil
}

// onBookingConfirmed does too: an instant booking is confirmed from the start.
func (s *Service) onBookingConfirmed(_ context.Context, tx postgres.Tx, e event.BookingConfirmed) error {
	meet(tx, e.ClientID, e.WorkerID)
	return nil
}

// onReviewCreated lets the user see that there is a review to come, which is all that may be known of it.
func (s *Service) onReviewCreated(ctx context.Context, tx postgres.Tx, e event.ReviewCreated) error {
	known, err := await(ctx, tx, e.RevieweeID)
	if err == nil && !known {
		return fmt.Errorf("the reviewed user %s is not known yet", e.RevieweeID)
	}
	return err
}

// onReviewRevealed takes over the exact sum and count. Those of a user come under many bookings, so in any order: the highest version counts.
func (s *Service) onReviewRevealed(ctx context.Context, tx postgres.Tx, e event.ReviewRevealed) error {
	known, err := rate(ctx, tx, e.RevieweeID, e.Sum, e.Count, e.Version)
	if err == nil && !known {
		return fmt.Errorf("the reviewed user %s is not known yet", e.RevieweeID)
	}
	return err
}

func (s *Service) onBadgeAwarded(ctx context.Context, tx postgres.Tx, e event.BadgeAwarded) error {
	return s.pin(ctx, tx, e.UserID, e.Badge, func(others []Badge) []Badge { return append(others, Badge{e.Badge, e.Name}) })
}

func (s *Service) onBadgeRevoked(ctx context.Context, tx postgres.Tx, e event.BadgeRevoked) error {
	return s.pin(ctx, tx, e.UserID, e.Badge, func(others []Badge) []Badge { return others })
}

// pin replaces the badges of a user by what fn makes of those but one.
func (s *Service) pin(ctx context.Context, tx postgres.Tx, id uuid.UUID, badge string, fn func(others []Badge) []Badge) error {
	p, err := lock(ctx, tx, id)
	if err != nil {
		return fmt.Errorf("badge %s of %s: %w", badge, id, err)
	}
	return setBadges(ctx, tx, id, fn(slices.DeleteFunc(p.Badges, func(b Badge) bool { return b.Badge == badge })))
}
