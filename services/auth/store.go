package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// counted counts an attempt by its address and then, unless that is over its limit, by its account. The address comes first in every statement
// that touches both, so that none waits for another in a circle.
const counted = `
	WITH ip AS (
		INSERT INTO attempts AS a (key, n, until) VALUES ($1, 1, $5)
		ON CONFLICT (key) DO UPDATE SET n = CASE WHEN a.until <= $4 THEN 1 ELSE a.n + 1 END, until = CASE WHEN a.until <= $4 THEN excluded.until ELSE a.until END
		RETURNING n, until
	), account AS (
		INSERT INTO attempts AS a (key, n, until) SELECT $2, 1, $5 FROM ip WHERE ip.n <= $3
		ON CONFLICT (key) DO UPDATE SET n = CASE WHEN a.until <= $4 THEN 1 ELSE a.n + 1 END, until = CASE WHEN a.until <= $4 THEN excluded.until ELSE a.until END
		RETURNING n, until
	)
	SELECT ip.n AS ip_n, ip.until AS ip_until, coalesce(account.n, 0) AS account_n, coalesce(account.until, ip.until) AS account_until,
	       coalesce(u.id, '00000000-0000-0000-0000-000000000000') AS id, coalesce(u.email, '') AS email, coalesce(u.name, '') AS name, coalesce(u.role, '') AS role,
	       coalesce(u.email_verified, false) AS email_verified, coalesce(u.created_at, ip.until) AS created_at, coalesce(u.status, '') AS status,
	       coalesce(u.password_hash, '') AS password_hash, t.secret AS totp_secret, coalesce(t.last_step, 0) AS totp_step,
	       EXISTS (SELECT FROM passkeys p WHERE p.user_id = u.id) AS has_passkey
	FROM ip LEFT JOIN account ON true LEFT JOIN (users u LEFT JOIN totps t ON t.user_id = u.id AND t.confirmed_at IS NOT NULL) ON `

// attemptByEmail counts an attempt and answers the user, whose ID is nil when nobody has the address: one round trip either way.
func attemptByEmail(ctx context.Context, db postgres.Querier, m meter, email string, now time.Time) (credentials, tally, error) {
	return attempt(ctx, db, m, now, `lower(u.email) = lower($6)`, email)
}

func attemptByID(ctx context.Context, db postgres.Querier, m meter, id uuid.UUID, now time.Time) (credentials, tally, error) {
	return attempt(ctx, db, m, now, `u.id = $6`, id)
}

func attempt(ctx context.Context, db postgres.Querier, m meter, now time.Time, where string, who any) (credentials, tally, error) {
	type row struct {
		credentials
		tally
	}
	r, err := postgres.One[row](ctx, db, counted+where, m.ip, m.account, m.ipMax, now, now.Add(m.window), who)
	if err != nil {
		return credentials{}, tally{}, fmt.Errorf("count an attempt: %w", err)
	}
	return r.credentials, r.tally, nil
}

const userColumns = `id, CASE WHEN status = 'deleted' THEN '' ELSE email END AS email, name, role, email_verified, created_at, status`

// account is a user. NotFound: there is none.
func account(ctx context.Context, db postgres.Querier, id uuid.UUID) (Account, error) {
	return postgres.One[Account](ctx, db, `SELECT `+userColumns+` FROM users WHERE id = $1`, id)
}

func hasAccount(ctx context.Context, db postgres.Querier, email string) (bool, error) {
	return postgres.One[bool](ctx, db, `SELECT EXISTS (SELECT FROM users WHERE lower(email) = lower($1))`, email)
}

// insertUser stores u with COMMIT; users_email_key is violated when its address has an account.
func insertUser(tx postgres.Tx, u newUser) {
	tx.Later(`INSERT INTO users (id, email, name, role, email_verified, created_at, updated_at, status, password_hash) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)`,
		u.ID, u.Email, u.Name, u.Role, u.EmailVerified, u.CreatedAt, u.Status, u.hash)
}

// setStatus moves the user to status. NotFound: there is no such user, or it is in it already.
func setStatus(ctx context.Context, tx postgres.Tx, id uuid.UUID, status string, at time.Time) (Account, error) {
	return postgres.One[Account](ctx, tx, `UPDATE users SET status = $2, updated_at = $3 WHERE id = $1 AND status <> $2 AND status IN ('active', 'suspended') RETURNING `+userColumns, id, status, at)
}

// setRole answers the role that the user had.
func setRole(ctx context.Context, tx postgres.Tx, id uuid.UUID, role string, at time.Time) (was string, err error) {
	return postgres.One[string](ctx, tx, `
		UPDATE users u SET role = $2, updated_at = $3 FROM (SELECT id, role FROM users WHERE id = $1 FOR UPDATE) before
		WHERE u.id = before.id RETURNING before.role`, id, role, at)
}

// swapPassword puts another hash in place of the one that was compared with. Conflict: it has changed meanwhile.
func swapPassword(ctx context.Context, tx postgres.Tx, id uuid.UUID, from, to string, at time.Time) error {
	tag, err := tx.Exec(ctx, `UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2`, id, from, to, at)
	if err == nil && tag.RowsAffected() == 0 {
		return changed
	}
	return err
}

func setPassword(ctx context.Context, tx postgres.Tx, id uuid.UUID, hash string, at time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1`, id, hash, at)
	return err
}

// setName takes over, with COMMIT, a name of that version, unless a newer one is here.
func setName(tx postgres.Tx, id uuid.UUID, name string, version int64, at time.Time) {
	tx.Later(`UPDATE users SET name = $2, name_version = $3, updated_at = $4 WHERE id = $1 AND name_version < $3`, id, name, version, at)
}

// verifyEmail answers whether the address was verified before. NotFound: it is not the user's any more.
func verifyEmail(ctx context.Context, tx postgres.Tx, id uuid.UUID, email string, at time.Time) (was bool, err error) {
	return postgres.One[bool](ctx, tx, `
		UPDATE users u SET email_verified = true, updated_at = $3 FROM (SELECT id, email_verified FROM users WHERE id = $1 FOR UPDATE) before
		WHERE u.id = before.id AND lower(u.email) = lower($2) RETURNING before.email_verified`, id, email, at)
}

// setEmail answers the address that the user had; users_email_key is violated when another account has the new one.
func setEmail(ctx context.Context, tx postgres.Tx, id uuid.UUID, email string, at time.Time) (previous string, err error) {
	return postgres.One[string](ctx, tx, `
		UPDATE users u SET email = $2, email_verified = true, updated_at = $3 FROM (SELECT id, email FROM users WHERE id = $1 FOR UPDATE) before
		WHERE u.id = before.id RETURNING before.email`, id, email, at)
}

// insertLink stores l with COMMIT.
func insertLink(tx postgres.Tx, l link) {
	tx.Later(`INSERT INTO links (id, user_id, purpose, email, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		l.ID, l.UserID, l.Purpose, l.Email, l.ExpiresAt, l.CreatedAt)
}

func linkByID(ctx context.Context, db postgres.Querier, id uuid.UUID) (link, error) {
	return postgres.One[link](ctx, db, `SELECT id, user_id, purpose, email, expires_at, used_at, created_at FROM links WHERE id = $1`, id)
}

// useLink uses a link up. Conflict: somebody else has, or it has expired.
func useLink(ctx context.Context, tx postgres.Tx, id uuid.UUID, now time.Time) error {
	tag, err := tx.Exec(ctx, `UPDATE links SET used_at = $2 WHERE id = $1 AND used_at IS NULL AND expires_at > $2`, id, now)
	if err == nil && tag.RowsAffected() == 0 {
		return linkUsed
	}
	return err
}

// voidLinks uses up, with COMMIT, the user's links of the purposes.
func voidLinks(tx postgres.Tx, user uuid.UUID, purposes []string, now time.Time) {
	tx.Later(`UPDATE links SET used_at = $3 WHERE user_id = $1 AND purpose = ANY ($2) AND used_at IS NULL`, user, purposes, now)
}

// sweep deletes what nobody asks for any more.
func sweep(ctx context.Context, db *postgres.DB, now time.Time) error {
	return db.InTx(ctx, func(tx postgres.Tx) error {
		month := now.AddDate(0, -1, 0)
		tx.Later(`DELETE FROM sessions WHERE expires_at < $1`, month)
		tx.Later(`DELETE FROM links WHERE expires_at < $1`, month)
		tx.Later(`DELETE FROM revoked_sessions WHERE until < $1`, now)
		tx.Later(`DELETE FROM attempts WHERE until < $1`, now)
		tx.Later(`DELETE FROM oauth_states WHERE until < $1`, now)
		tx.Later(`DELETE FROM challenges WHERE expires_at < $1`, now)
		return nil
	})
}

// contradictions are sentences about sign-ins that must not be; revocations made since still count.
func contradictions(ctx context.Context, db postgres.Querier, since time.Time) ([]string, error) {
	return postgres.All[string](ctx, db, `
		SELECT 'I12: session ' || s.id || ' of the ' || u.status || ' user ' || u.id || ' is not revoked.'
		FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.status <> 'active' AND s.revoked_at IS NULL AND s.expires_at > $1
		UNION ALL
		SELECT 'I12: session ' || s.id || ' was revoked, but its access tokens are still good.'
		FROM sessions s LEFT JOIN revoked_sessions r ON r.session_id = s.id WHERE s.revoked_at > $1 AND r.session_id IS NULL
		LIMIT 10`, since)
}

// hasUsers says whether anybody has an account.
func hasUsers(ctx context.Context, q postgres.Querier) (bool, error) {
	return postgres.One[bool](ctx, q, `SELECT EXISTS (SELECT FROM users)`)
}

// changes runs a statement that moves one row or none, and says which.
func changes(ctx context.Context, db postgres.Querier, sql string, args ...any) (bool, error) {
	tag, err := db.Exec(ctx, sql, args...)
	return err == nil && tag.RowsAffected() > 0, err
}
