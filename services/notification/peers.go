package notification

import (
	"context"

	"github.com/google/uuid"

	"tulifo/platform/peer"
)

// account is what auth says of a user.
type account struct {
	Email         string `json:"email"`
	Name          string `json:"name"`
	EmailVerified bool   `json:"emailVerified"`
}

func (s *Service) askAccount(ctx context.Context, user uuid.UUID) (account, error) {
	return peer.Get[account](ctx, s.auth, "/api/auth/users/"+user.String())
}

// askLink is the address behind a link's id. NotFound, Conflict: it is of no more use.
func (s *Service) askLink(ctx context.Context, id uuid.UUID) (string, error) {
	l, err := peer.Get[struct {
		URL string `json:"url"`
	}](ctx, s.auth, "/api/auth/links/"+id.String()+"/url")
	return l.URL, err
}
