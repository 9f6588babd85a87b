package user

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// authAccount is what auth answers about a user.
type authAccount struct {
	ID            uuid.UUID `json:"id"`
	Email         string    `json:"email"`
	Name          string    `json:"name"`
	Role          string    `json:"role"`
	EmailVerified bool      `json:"emailVerified"`
	Status        string    `json:"status"`
	CreatedAt     time.Time `json:"createdAt"`
}

func (s *Service) turn(ctx context.Context, by token.Caller, id uuid.UUID, status, reason string) error {
	path, body := "/reinstate", map[string]any{"by": by.ID}
	if status == suspended {
		path, body["reason"] = "/suspend", reason
	}
	_, err := peer.Post[authAccount](ctx, s.peers.To("auth"), "/api/auth/users/"+id.String()+path, uuid.NewString(), body)
	if errs.KindOf(err) == errs.NotFound {
		return errNoUser
	}
	return err
}

// learn asks auth for a user of whom no event has told yet. NotFound: auth knows of none either.
func (s *Service) learn(ctx context.Context, id uuid.UUID) error {
	a, err := peer.Get[authAccount](ctx, s.peers.To("auth"), "/api/auth/users/"+id.String())
	if errs.KindOf(err) == errs.NotFound {
		return errNoUser
	}
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		return s.add(ctx, tx, newPerson(a.ID, a.Name, account{a.Email, a.EmailVerified, a.Role, a.Status}, a.CreatedAt))
	})
}

// learnProof asks auth whether the user's address is proven, and remembers it. Forbidden: it is not.
func (s *Service) learnProof(ctx context.Context, id uuid.UUID) error {
	a, err := peer.Get[authAccount](ctx, s.peers.To("auth"), "/api/auth/users/"+id.String())
	if err != nil {
		return err
	}
	if !a.EmailVerified {
		return errUnverified
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		return s.follow(ctx, tx, id, func(p *person) { p.EmailVerified = p.EmailVerified || p.Email == a.Email })
	})
}

// reviewStats is what review answers about a user's visible reviews.
type reviewStats struct {
	AverageRating float64 `json:"averageRating"`
	TotalReviews  int64   `json:"totalReviews"`
}

func (s *Service) askStats(ctx context.Context, id uuid.UUID) (reviewStats, error) {
	return peer.Get[reviewStats](ctx, s.peers.To("review"), "/api/v1/reviews/stats/"+id.String())
}
