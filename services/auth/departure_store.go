package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// activeAdmins are locked, in order, so that two who leave at once see each other.
func activeAdmins(ctx context.Context, tx postgres.Tx) ([]uuid.UUID, error) {
	return postgres.All[uuid.UUID](ctx, tx, `SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR UPDATE`)
}

// beginDeparture closes an active account. Conflict: it is not active any more.
func beginDeparture(ctx context.Context, tx postgres.Tx, id uuid.UUID, at, retry time.Time) error {
	closed, err := changes(ctx, tx, `UPDATE users SET status = 'leaving', updated_at = $2 WHERE id = $1 AND status = 'active'`, id, at)
	if err != nil || !closed {
		return orErr(err, changed)
	}
	tx.Later(`INSERT INTO departures (user_id, next_try_at) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET next_try_at = excluded.next_try_at`, id, retry)
	return nil
}

// resumeDeparture has the departure of somebody who stays be taken up once more, to open what it has closed.
func resumeDeparture(ctx context.Context, db postgres.Querier, id uuid.UUID, at time.Time) error {
	_, err := db.Exec(ctx, `INSERT INTO departures (user_id, next_try_at) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING`, id, at)
	return err
}

// dropDeparture forgets it, unless the user has begun another.
func dropDeparture(ctx context.Context, db postgres.Querier, id uuid.UUID) error {
	_, err := db.Exec(ctx, `DELETE FROM departures WHERE user_id = $1 AND EXISTS (SELECT FROM users WHERE id = $1 AND status = 'active')`, id)
	return err
}

// endDeparture opens an account that is leaving again, and says whether it was.
func endDeparture(ctx context.Context, tx postgres.Tx, id uuid.UUID, at time.Time) (back bool, err error) {
	tx.Later(`DELETE FROM departures WHERE user_id = $1`, id)
	return changes(ctx, tx, `UPDATE users SET status = 'active', updated_at = $2 WHERE id = $1 AND status = 'leaving'`, id, at)
}

// eraseUser takes from an account all that says whose it was, and answers the address that it had. NotFound: it is not leaving.
func eraseUser(ctx context.Context, tx postgres.Tx, id uuid.UUID, at time.Time) (email string, err error) {
	return postgres.One[string](ctx, tx, `
		UPDATE users u SET status = 'deleted', email = 'deleted:' || u.id, name = 'Deleted user', password_hash = '', email_verified = false,
			name_version = 9223372036854775807, updated_at = $2
		FROM (SELECT id, email FROM users WHERE id = $1 AND status = 'leaving' FOR UPDATE) before
		WHERE u.id = before.id RETURNING before.email`, id, at)
}

func nextDeparture(ctx context.Context, db postgres.Querier) (time.Time, error) {
	next, err := postgres.One[*time.Time](ctx, db, `SELECT min(next_try_at) FROM departures`)
	if err != nil || next == nil {
		return time.Time{}, err
	}
	return *next, nil
}

// claimDepartures are those that are due; they are due again later.
func claimDepartures(ctx context.Context, db postgres.Querier, now, again time.Time) ([]uuid.UUID, error) {
	return postgres.All[uuid.UUID](ctx, db, `
		UPDATE departures d SET next_try_at = $2 FROM (SELECT user_id FROM departures WHERE next_try_at <= $1 ORDER BY next_try_at LIMIT 20 FOR UPDATE SKIP LOCKED) due
		WHERE d.user_id = due.user_id AND d.next_try_at <= $1 RETURNING d.user_id`, now, again)
}
