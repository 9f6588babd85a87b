package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

var changed = errs.New(errs.Conflict, "The account has changed meanwhile. Try again.")

// sessionRow is a session as it begins.
type sessionRow struct {
	ID, UserID           uuid.UUID
	TokenHash            []byte
	ExpiresAt, CreatedAt time.Time
	Device, IP           string
	ProvedAt             *time.Time // nil: there is a second factor, which was not used
}

// insertSession stores a session with COMMIT, while its user is active and still has the role that its access token will say and the password that was
// compared with (empty: it was not by a password); else user_id is NULL, which fails. The lock makes a suspension, another role or a new password that
// is on its way come before or after, never between.
func insertSession(tx postgres.Tx, r sessionRow, role, passwordHash string) {
	tx.Later(`
		INSERT INTO sessions (id, user_id, token_hash, expires_at, device, ip, created_at, last_seen_at, proved_at)
		VALUES ($1, (SELECT id FROM users WHERE id = $2 AND $3 IN ('', password_hash) AND role = $10 AND status = 'active' FOR SHARE), $4, $5, $6, $7, $8, $8, $9)`,
		r.ID, r.UserID, passwordHash, r.TokenHash, r.ExpiresAt, r.Device, r.IP, r.CreatedAt, r.ProvedAt, role)
}

// holder is whose session it is, and when he last proved it.
type holder struct {
	UserID   uuid.UUID
	Role     string
	ProvedAt *time.Time
}

// rotation is one use of a refresh token.
type rotation struct {
	Session        uuid.UUID
	Used, Next     []byte
	Now, ExpiresAt time.Time
	Device, IP     string
}

// rotate puts the next token in place of the used one, in one round trip. NotFound: it is not the one that is good now.
func rotate(ctx context.Context, db postgres.Querier, r rotation) (holder, error) {
	return postgres.One[holder](ctx, db, `
		UPDATE sessions s SET token_hash = $3, previous_hash = $2, rotated_at = $4, last_seen_at = $4, expires_at = $5, device = $6, ip = $7
		FROM users u
		WHERE s.id = $1 AND s.token_hash = $2 AND s.revoked_at IS NULL AND s.expires_at > $4 AND u.id = s.user_id AND u.status = 'active'
		RETURNING u.id AS user_id, u.role, s.proved_at`,
		r.Session, r.Used, r.Next, r.Now, r.ExpiresAt, r.Device, r.IP)
}

// proveSession notes that the owner of a live sign-in has proved who he is. NotFound: it has ended, or the user is suspended.
func proveSession(ctx context.Context, tx postgres.Tx, user, session uuid.UUID, now time.Time) (holder, error) {
	return postgres.One[holder](ctx, tx, `
		UPDATE sessions s SET proved_at = $3 FROM users u
		WHERE s.id = $2 AND s.user_id = $1 AND s.revoked_at IS NULL AND s.expires_at > $3 AND u.id = s.user_id AND u.status = 'active'
		RETURNING u.id AS user_id, u.role, s.proved_at`, user, session, now)
}

// state is what stands in the way of a rotation.
type state struct {
	holder
	Status       string
	TokenHash    []byte
	PreviousHash []byte
	RotatedAt    *time.Time
	ExpiresAt    time.Time
	RevokedAt    *time.Time
}

func sessionState(ctx context.Context, db postgres.Querier, id uuid.UUID) (state, error) {
	return postgres.One[state](ctx, db, `
		SELECT s.user_id, u.role, s.proved_at, u.status, s.token_hash, s.previous_hash, s.rotated_at, s.expires_at, s.revoked_at
		FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1`, id)
}

// isTwin says that the token was used a moment ago, and that what came of it was not used yet.
func (s state) isTwin(r rotation) bool {
	return s.RotatedAt != nil && r.Now.Before(s.RotatedAt.Add(grace)) && string(s.PreviousHash) == string(r.Used) && string(s.TokenHash) == string(r.Next)
}

// revokeSessions ends the live sessions of a user, or only one, and answers which.
func revokeSessions(ctx context.Context, tx postgres.Tx, user uuid.UUID, only *uuid.UUID, now, until time.Time) ([]uuid.UUID, error) {
	return postgres.All[uuid.UUID](ctx, tx, `
		WITH ended AS (
			UPDATE sessions SET revoked_at = $3 WHERE user_id = $1 AND ($2::uuid IS NULL OR id = $2) AND revoked_at IS NULL RETURNING id
		), stored AS (
			INSERT INTO revoked_sessions (session_id, until, revoked_at) SELECT id, $4, $3 FROM ended ON CONFLICT DO NOTHING
		)
		SELECT id FROM ended`, user, only, now, until)
}

// devices are the user's live sessions, the newest first, after the one of that id; one more than limit.
func devices(ctx context.Context, db postgres.Querier, user uuid.UUID, after *uuid.UUID, now time.Time, limit int) ([]Device, error) {
	return postgres.All[Device](ctx, db, `
		SELECT id, device, ip, created_at, last_seen_at, false AS current FROM sessions
		WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3 AND ($2::uuid IS NULL OR id < $2)
		ORDER BY id DESC LIMIT $4 + 1`, user, after, now, limit)
}

// revocations are those stored since that time, or all that still count when it is zero.
func revocations(ctx context.Context, db postgres.Querier, since, now time.Time) ([]token.Revoked, error) {
	return postgres.All[token.Revoked](ctx, db, `SELECT session_id, until FROM revoked_sessions WHERE revoked_at >= $1 AND until > $2`, since, now)
}
