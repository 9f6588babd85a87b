package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// useState remembers a state until it is no longer good by itself, and answers whether nobody had used it.
func useState(ctx context.Context, db postgres.Querier, hash []byte, until time.Time) (first bool, err error) {
	return changes(ctx, db, `INSERT INTO oauth_states (state_hash, until) VALUES ($1, $2) ON CONFLICT DO NOTHING`, hash, until)
}

// useIdentity is the account that signs in with an identity, which is locked until the transaction ends. NotFound: there is no such identity.
func useIdentity(ctx context.Context, tx postgres.Tx, provider, subject string, now time.Time) (Account, error) {
	return postgres.One[Account](ctx, tx, `
		UPDATE identities i SET last_used_at = $3 FROM users u
		WHERE i.provider = $1 AND i.subject = $2 AND u.id = i.user_id
		RETURNING u.id, u.email, u.name, u.role, u.email_verified, u.created_at, u.status`, provider, subject, now)
}

// accountByEmail is the account with the address, locked. NotFound: there is none.
func accountByEmail(ctx context.Context, tx postgres.Tx, email string) (Account, error) {
	return postgres.One[Account](ctx, tx, `SELECT `+userColumns+` FROM users WHERE lower(email) = lower($1) FOR UPDATE`, email)
}

func lockUser(ctx context.Context, tx postgres.Tx, id uuid.UUID) (Account, error) {
	return postgres.One[Account](ctx, tx, `SELECT `+userColumns+` FROM users WHERE id = $1 FOR UPDATE`, id)
}

// clearUnverified takes the password of an account whose address was never verified, and has it verified. errRaced: it was meanwhile.
func clearUnverified(ctx context.Context, tx postgres.Tx, id uuid.UUID, email string, at time.Time) error {
	cleared, err := changes(ctx, tx, `UPDATE users SET password_hash = '', email_verified = true, updated_at = $3 WHERE id = $1 AND email = $2 AND NOT email_verified`, id, email, at)
	if err == nil && !cleared {
		err = errRaced
	}
	return err
}

// dropWaysIn deletes, with COMMIT, every way to sign in to an account, and its second factors; the password stays.
func dropWaysIn(tx postgres.Tx, user uuid.UUID) {
	tx.Later(`DELETE FROM identities WHERE user_id = $1`, user)
	dropFactors(tx, user)
}

// insertIdentity stores, with COMMIT, that the user signs in with a provider. identities_pkey is violated when somebody does with that account there,
// identities_user when he does with another.
func insertIdentity(tx postgres.Tx, provider string, who person, user uuid.UUID, now time.Time) {
	tx.Later(`INSERT INTO identities (provider, subject, user_id, email, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $5)`,
		provider, who.Subject, user, cut(who.Email, 320), now)
}

func identityOwner(ctx context.Context, tx postgres.Tx, provider, subject string) (uuid.UUID, error) {
	return postgres.One[uuid.UUID](ctx, tx, `SELECT user_id FROM identities WHERE provider = $1 AND subject = $2`, provider, subject)
}

func identities(ctx context.Context, db postgres.Querier, user uuid.UUID) ([]Identity, error) {
	return postgres.All[Identity](ctx, db, `SELECT provider, email, created_at, last_used_at FROM identities WHERE user_id = $1 ORDER BY provider`, user)
}

// deleteIdentity says whether the user signed in with the provider.
func deleteIdentity(ctx context.Context, tx postgres.Tx, user uuid.UUID, provider string) (bool, error) {
	return changes(ctx, tx, `DELETE FROM identities WHERE user_id = $1 AND provider = $2`, user, provider)
}
