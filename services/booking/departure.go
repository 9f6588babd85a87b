package booking

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Ties are what keeps an account from being deleted, as sentences by code; none when nothing does.
type Ties struct {
	Reasons map[string]string `json:"reasons"`
}

func (s *Service) departureRoutes(r *api.Router) {
	api.Get(r, "/api/bookings/people/{id}/ties", s.getTies, api.For(token.Service), api.Summary("What keeps a person's account from being deleted"))
	api.Post(r, "/api/bookings/people/{id}/close", s.postClose, api.For(token.Service), api.Summary("Let a person book and be booked no more, unless something ties him"))
	api.Post(r, "/api/bookings/people/{id}/reopen", s.postReopen, api.For(token.Service), api.Summary("Take a closing back"))
}

func (s *Service) getTies(ctx context.Context, in *byID) (Ties, error) { return ties(ctx, s.db, in.ID) }

func ties(ctx context.Context, q postgres.Querier, user uuid.UUID) (Ties, error) {
	n, err := postgres.One[int64](ctx, q, `SELECT count(*) FROM bookings WHERE (worker_id = $1 OR client_id = $1)
		AND (status IN ('pending', 'confirmed', 'in_progress') OR status = 'no_show' AND settled_at IS NULL)`, user)
	if n > 0 {
		return tied(), nil
	}
	return Ties{map[string]string{}}, err
}

func tied() Ties { return Ties{map[string]string{"bookings": errTied.Message}} }

var errTied = errs.Coded(errs.Conflict, "bookings", "There are bookings that are not over. Cancel or complete them first.")

func (s *Service) postClose(ctx context.Context, in *byID) (Ties, error) { return s.Close(ctx, in.ID) }

// Close lets the user neither book nor be booked from now on, and answers no ties; or it answers what ties him, and changes nothing. A booking that is made
// at the same time is either seen here or not made: both need the client's row of holds, or the worker's calendar as it was.
func (s *Service) Close(ctx context.Context, user uuid.UUID) (Ties, error) {
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := closePerson(ctx, tx, user); err != nil {
			return err
		}
		found, err := ties(ctx, tx, user)
		if err == nil && len(found.Reasons) > 0 {
			err = errTied
		}
		return err
	})
	// What tied him may be over by now; but nothing is closed, so it is told all the same.
	if postgres.Violates(err, "holds_closed") || errors.Is(err, errTied) {
		return tied(), nil
	}
	return Ties{map[string]string{}}, err
}

// closePerson takes what every booking of the user needs: the client's holds are closed, which a constraint keeps, and the worker takes no bookings on a
// calendar that is not the one that anybody has decided on. The offer comes first, so that news of it either is seen here or changes nothing any more.
func closePerson(ctx context.Context, tx postgres.Tx, user uuid.UUID) error {
	for _, sql := range []string{
		`INSERT INTO holds (client_id, worker_id, held, closed) VALUES ($1, '00000000-0000-0000-0000-000000000000', 0, true)
		ON CONFLICT (client_id, worker_id) DO UPDATE SET closed = true`,
		`INSERT INTO workers (worker_id, rate_minor, currency, category, timezone, instant, active, version) VALUES ($1, 0, '', '', '', false, false, ` + closedOffer + `)
		ON CONFLICT (worker_id) DO UPDATE SET active = false, version = excluded.version`,
		`UPDATE calendars SET version = version + 1 WHERE worker_id = $1`,
	} {
		if _, err := tx.Exec(ctx, sql, user); err != nil {
			return err
		}
	}
	return nil
}

// closedOffer is a version of an offer after which nothing is newer.
const closedOffer = "9223372036854775807"

func (s *Service) postReopen(ctx context.Context, in *byID) (api.Nothing, error) {
	return api.Nothing{}, s.db.InTx(ctx, func(tx postgres.Tx) error {
		tx.Later(`UPDATE holds SET closed = false WHERE client_id = $1`, in.ID)
		// What the offer is now is asked of user-service when it is needed.
		tx.Later(`UPDATE workers SET version = 0 WHERE worker_id = $1 AND version = `+closedOffer, in.ID)
		return nil
	})
}

// forgetPerson deletes, with COMMIT, what is the user's alone. Bookings stay: they are the other side's too.
func forgetPerson(tx postgres.Tx, user uuid.UUID) {
	for _, sql := range []string{
		`DELETE FROM busy WHERE block_id IN (SELECT id FROM blocks WHERE worker_id = $1)`,
		`DELETE FROM blocks WHERE worker_id = $1`,
		`DELETE FROM weekly_rules WHERE worker_id = $1`,
		`DELETE FROM date_overrides WHERE worker_id = $1`,
		`DELETE FROM external_calendars WHERE worker_id = $1`,
		`DELETE FROM calendar_reads WHERE worker_id = $1`,
		`DELETE FROM calendar_tokens WHERE user_id = $1`,
		`DELETE FROM people WHERE user_id = $1`,
	} {
		tx.Later(sql, user)
	}
}
