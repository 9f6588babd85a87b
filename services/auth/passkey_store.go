package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// passkeyRow is a passkey with what proves it.
type passkeyRow struct {
	ID, UserID     uuid.UUID
	Name           string
	CredentialID   []byte
	PublicKey      []byte
	SignCount      int64
	BackupEligible bool
	Transports     []string
	CreatedAt      time.Time
	LastUsedAt     *time.Time
}

const passkeyColumns = `id, user_id, name, credential_id, public_key, sign_count, backup_eligible, transports, created_at, last_used_at`

func passkeyRows(ctx context.Context, db postgres.Querier, user uuid.UUID) ([]passkeyRow, error) {
	return postgres.All[passkeyRow](ctx, db, `SELECT `+passkeyColumns+` FROM passkeys WHERE user_id = $1 ORDER BY id`, user)
}

// ownerOfKey is the account that a passkey signs in to, with that passkey alone. NotFound: there is none.
func ownerOfKey(ctx context.Context, db postgres.Querier, credentialID []byte) (keyOwner, error) {
	k, err := postgres.One[passkeyRow](ctx, db, `SELECT `+passkeyColumns+` FROM passkeys WHERE credential_id = $1`, credentialID)
	if err != nil {
		return keyOwner{}, err
	}
	a, err := account(ctx, db, k.UserID)
	return keyOwner{a, []passkeyRow{k}}, err
}

func countPasskeys(ctx context.Context, tx postgres.Tx, user uuid.UUID) (int64, error) {
	return postgres.One[int64](ctx, tx, `SELECT count(*) FROM passkeys WHERE user_id = $1`, user)
}

// insertPasskey stores k with COMMIT; passkeys_credential is violated when somebody has it already.
func insertPasskey(tx postgres.Tx, k passkeyRow) {
	tx.Later(`INSERT INTO passkeys (id, user_id, name, credential_id, public_key, sign_count, backup_eligible, transports, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		k.ID, k.UserID, k.Name, k.CredentialID, k.PublicKey, k.SignCount, k.BackupEligible, k.Transports, k.CreatedAt)
}

// usePasskey takes over a counter that has moved on, or stays 0; false: it has not.
func usePasskey(ctx context.Context, tx postgres.Tx, id uuid.UUID, count int64, now time.Time) (bool, error) {
	return changes(ctx, tx, `UPDATE passkeys SET sign_count = $2, last_used_at = $3 WHERE id = $1 AND (sign_count < $2 OR sign_count = 0 AND $2 = 0)`, id, count, now)
}

// renamePasskey answers the passkey under its new name. NotFound: it is not the user's.
func renamePasskey(ctx context.Context, db postgres.Querier, user, id uuid.UUID, name string) (passkeyRow, error) {
	return postgres.One[passkeyRow](ctx, db, `UPDATE passkeys SET name = $3 WHERE id = $1 AND user_id = $2 RETURNING `+passkeyColumns, id, user, name)
}

// deletePasskey answers the name of what is gone. NotFound: it is not the user's.
func deletePasskey(ctx context.Context, tx postgres.Tx, user, id uuid.UUID) (string, error) {
	return postgres.One[string](ctx, tx, `DELETE FROM passkeys WHERE id = $1 AND user_id = $2 RETURNING name`, id, user)
}

// waysIn is in how many ways the user can sign in: a password, providers, passkeys.
func waysIn(ctx context.Context, tx postgres.Tx, user uuid.UUID) (int64, error) {
	return postgres.One[int64](ctx, tx, `
		SELECT (SELECT count(*) FROM identities WHERE user_id = $1) + (SELECT count(*) FROM passkeys WHERE user_id = $1) +
		       (SELECT count(*) FROM users WHERE id = $1 AND password_hash <> '')`, user)
}

// hasSecondFactor says whether the user has an authenticator app or a passkey.
func hasSecondFactor(ctx context.Context, tx postgres.Tx, user uuid.UUID) (bool, error) {
	return postgres.One[bool](ctx, tx, `
		SELECT EXISTS (SELECT FROM totps WHERE user_id = $1 AND confirmed_at IS NOT NULL) OR EXISTS (SELECT FROM passkeys WHERE user_id = $1)`, user)
}

func insertChallenge(ctx context.Context, db postgres.Querier, hash []byte, purpose string, user, session uuid.UUID, data []byte, until time.Time) error {
	_, err := db.Exec(ctx, `INSERT INTO challenges (hash, purpose, user_id, session_id, data, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`, hash, purpose, user, session, data, until)
	return err
}

// takeChallenge uses a challenge up and answers what was kept with it. NotFound: there is none such for that user and sign-in.
func takeChallenge(ctx context.Context, db postgres.Querier, hash []byte, purpose string, user, session uuid.UUID, now time.Time) ([]byte, error) {
	return postgres.One[[]byte](ctx, db, `
		DELETE FROM challenges WHERE hash = $1 AND purpose = $2 AND user_id = $3 AND session_id = $4 AND expires_at > $5 RETURNING data`, hash, purpose, user, session, now)
}
