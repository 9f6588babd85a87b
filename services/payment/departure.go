package payment

import (
	"context"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Ties are what keeps an account from being deleted, as sentences by code; none when nothing does.
type Ties struct {
	Reasons map[string]string `json:"reasons"`
}

func (s *Service) departureRoutes(r *api.Router) {
	api.Get(r, "/api/payments/people/{id}/ties", s.getTies, api.For(token.Service), api.Summary("What keeps a person's account from being deleted"))
}

type personIn struct {
	ID uuid.UUID `path:"id"`
}

func (s *Service) getTies(ctx context.Context, in *personIn) (Ties, error) {
	return s.Ties(ctx, in.ID)
}

// Ties are the money that somebody has here, waits for or owes. Nothing here changes it: the books stay as they are.
func (s *Service) Ties(ctx context.Context, user uuid.UUID) (Ties, error) {
	out := Ties{map[string]string{}}
	found, err := postgres.One[struct{ Available, Pending, Held, Owed, Open bool }](ctx, s.db, `
		SELECT coalesce(bool_or(available <> 0), false) AS available, coalesce(bool_or(pending <> 0), false) AS pending, coalesce(bool_or(held <> 0), false) AS held,
			coalesce(bool_or(owed <> 0), false) AS owed,
			EXISTS (SELECT FROM payments WHERE (client_id = $1 OR worker_id = $1) AND status IN ('created', 'processing', 'needs_review')) AS open
		FROM (`+fundsOf+`) funds`, user)
	for code, tie := range map[string]struct {
		is     bool
		reason string
	}{
		"wallet":   {found.Available, "There is money in your wallet. Withdraw it first."},
		"pending":  {found.Pending, "Money is on its way to you. Wait until it has arrived."},
		"held":     {found.Held, "Money of your bookings is still held. It has to be released or refunded first."},
		"debt":     {found.Owed, "You owe money because a bank took a payment back."},
		"payments": {found.Open, "There are payments that are not finished."},
	} {
		if tie.is {
			out.Reasons[code] = tie.reason
		}
	}
	return out, err
}

// onUserDeleted forgets the addresses; the books stay, and name ids only.
func (s *Service) onUserDeleted(_ context.Context, tx postgres.Tx, e event.UserDeleted) error {
	tx.Later(`UPDATE payout_accounts SET email = '' WHERE user_id = $1`, e.UserID)
	tx.Later(`DELETE FROM people WHERE user_id = $1`, e.UserID)
	return nil
}
