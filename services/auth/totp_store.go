package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// keepPending keeps a secret that is not in force, unless one is.
func keepPending(ctx context.Context, db postgres.Querier, user uuid.UUID, sealed []byte, now time.Time) (bool, error) {
	return changes(ctx, db, `
		INSERT INTO totps AS t (user_id, secret, created_at) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at WHERE t.confirmed_at IS NULL`, user, sealed, now)
}

// pendingTOTP is the secret that is to be confirmed. NotFound: there is none.
func pendingTOTP(ctx context.Context, db postgres.Querier, user uuid.UUID) ([]byte, error) {
	return postgres.One[[]byte](ctx, db, `SELECT secret FROM totps WHERE user_id = $1 AND confirmed_at IS NULL`, user)
}

// confirmTOTP puts in force the secret that was compared with, if it is still the one to be confirmed.
func confirmTOTP(ctx context.Context, tx postgres.Tx, user uuid.UUID, sealed []byte, step int64, now time.Time) (bool, error) {
	return changes(ctx, tx, `
		UPDATE totps SET confirmed_at = $4, last_step = $3 WHERE user_id = $1 AND secret = $2 AND confirmed_at IS NULL`, user, sealed, step, now)
}

// useStep uses up a code of the app and all before it.
func useStep(ctx context.Context, tx postgres.Tx, user uuid.UUID, step int64) (bool, error) {
	return changes(ctx, tx, `UPDATE totps SET last_step = $2 WHERE user_id = $1 AND last_step < $2 AND confirmed_at IS NOT NULL`, user, step)
}

// useRecoveryCode uses a code up and answers how many are left.
func useRecoveryCode(ctx context.Context, tx postgres.Tx, user uuid.UUID, hash []byte) (used bool, left int, err error) {
	if used, err = changes(ctx, tx, `DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2`, user, hash); err != nil || !used {
		return false, 0, err
	}
	left, err = postgres.One[int](ctx, tx, `SELECT count(*) FROM recovery_codes WHERE user_id = $1`, user)
	return true, left, err
}

// lockTOTP says whether the user has an app in force, which stays so until tx ends.
func lockTOTP(ctx context.Context, tx postgres.Tx, user uuid.UUID) (bool, error) {
	return changes(ctx, tx, `UPDATE totps SET last_step = last_step WHERE user_id = $1 AND confirmed_at IS NOT NULL`, user)
}

// deleteTOTP takes the app off, with its recovery codes.
func deleteTOTP(ctx context.Context, tx postgres.Tx, user uuid.UUID) (bool, error) {
	tx.Later(`DELETE FROM recovery_codes WHERE user_id = $1`, user)
	return changes(ctx, tx, `DELETE FROM totps WHERE user_id = $1 AND confirmed_at IS NOT NULL`, user)
}

// replaceRecoveryCodes puts these in place of the user's, with COMMIT.
func replaceRecoveryCodes(tx postgres.Tx, user uuid.UUID, hashes [][]byte) {
	tx.Later(`DELETE FROM recovery_codes WHERE user_id = $1`, user)
	tx.Later(`INSERT INTO recovery_codes (user_id, hash) SELECT $1, unnest($2::bytea[])`, user, hashes)
}

func totpState(ctx context.Context, db postgres.Querier, user uuid.UUID) (TOTPState, error) {
	return postgres.One[TOTPState](ctx, db, `
		SELECT t.confirmed_at IS NOT NULL AS active, t.confirmed_at AS since, (SELECT count(*) FROM recovery_codes WHERE user_id = $1) AS recovery_codes
		FROM (SELECT $1::uuid AS user_id) u LEFT JOIN totps t ON t.user_id = u.user_id`, user)
}
