package booking

import (
	"context"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

var errNoSeries = errs.New(errs.NotFound, "There is no such series.")

// findSeries are the bookings of a series, by start.
func findSeries(ctx context.Context, q postgres.Querier, id uuid.UUID) ([]Booking, error) {
	return postgres.All[Booking](ctx, q, `SELECT `+columns+` FROM bookings WHERE series_id = $1 ORDER BY starts_at, id`, id)
}

// lockBookings locks the bookings of the changes in the order of their ids, as everybody does who locks several.
func lockBookings(ctx context.Context, tx postgres.Tx, changes []change) error {
	ids := make([]uuid.UUID, len(changes))
	for i, ch := range changes {
		ids[i] = ch.before.ID
	}
	_, err := tx.Exec(ctx, `SELECT id FROM bookings WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids)
	return err
}
