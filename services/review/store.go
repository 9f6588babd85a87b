package review

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/postgres"
)

// Stats are what the revealed ratings of a user come to. Stars are how many of 1 to 5.
type Stats struct {
	UserID  uuid.UUID
	Count   int64
	Sum     int64
	Stars   []int64
	Version int64
}

// Badge is one that a user has.
type Badge struct {
	UserID      uuid.UUID
	Type        string `db:"badge_type"`
	Name        string
	Description string
	EarnedAt    time.Time
}

const columns = `id, booking_id, reviewer_id, reviewee_id, rating, comment, category, private_note, created_at, revealed_at, due_at`

// seen is an engagement as far as it is known here, and whether the user has written about it.
type seen struct {
	BookingID   uuid.UUID
	Known       bool
	WorkerID    *uuid.UUID
	ClientID    *uuid.UUID
	Category    *string
	CompletedAt *time.Time
	Written     bool
}

func (k seen) engagement() engagement {
	if !k.Known {
		return engagement{}
	}
	return engagement{k.BookingID, *k.WorkerID, *k.ClientID, *k.Category, *k.CompletedAt}
}

func findEngagement(ctx context.Context, q postgres.Querier, booking, user uuid.UUID) (seen, error) {
	return postgres.One[seen](ctx, q, `SELECT w.booking_id, e.booking_id IS NOT NULL AS known, e.worker_id, e.client_id, e.category, e.completed_at,
			EXISTS (SELECT FROM reviews r WHERE r.booking_id = w.booking_id AND r.reviewer_id = $2) AS written
		FROM (SELECT $1::uuid AS booking_id) w LEFT JOIN engagements e ON e.booking_id = w.booking_id`, booking, user)
}

const insertEngagement = `INSERT INTO engagements (booking_id, worker_id, client_id, category, completed_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (booking_id) DO `

func keepEngagement(ctx context.Context, q postgres.Querier, e engagement) error {
	_, err := q.Exec(ctx, insertEngagement+`NOTHING`, e.BookingID, e.WorkerID, e.ClientID, e.Category, e.CompletedAt)
	return err
}

// enter stores r and answers all reviews of its booking; the engagement's row is held, so that of two who write at once the second sees both.
// Conflict: the reviewer has written already.
func enter(ctx context.Context, tx postgres.Tx, e engagement, r Review) ([]Review, error) {
	var both []Review
	batch := &pgx.Batch{}
	batch.Queue(insertEngagement+`UPDATE SET completed_at = engagements.completed_at`, e.BookingID, e.WorkerID, e.ClientID, e.Category, e.CompletedAt)
	batch.Queue(`INSERT INTO reviews (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		r.ID, r.BookingID, r.ReviewerID, r.RevieweeID, r.Rating, r.Comment, r.Category, r.PrivateNote, r.CreatedAt, r.RevealedAt, r.DueAt)
	batch.Queue(`SELECT `+columns+` FROM reviews WHERE booking_id = $1`, r.BookingID).Query(func(rows pgx.Rows) (err error) {
		both, err = pgx.CollectRows(rows, pgx.RowToStructByName[Review])
		return err
	})
	err := tx.SendBatch(ctx, batch).Close()
	if postgres.Violates(err, "reviews_once") {
		err = errTwice
	}
	return both, err
}

// counted are a user's stats after a reveal, with the badges from before it.
type counted struct {
	Stats
	badges []string
}

// count reveals r and adds it to the reviewee's stats, whose row is then held; false when it was revealed before.
func count(ctx context.Context, tx postgres.Tx, r Review, at time.Time) (counted, bool, error) {
	stars := make([]int64, 5)
	stars[r.Rating-1] = 1
	var c counted
	var found []Stats
	batch := &pgx.Batch{}
	batch.Queue(`WITH revealed AS (UPDATE reviews SET revealed_at = $2, due_at = NULL WHERE id = $1 AND revealed_at IS NULL RETURNING reviewee_id, rating)
		INSERT INTO stats AS s (user_id, count, sum, stars, version) SELECT reviewee_id, 1, rating, $3::bigint[], 1 FROM revealed ON CONFLICT (user_id) DO UPDATE SET
			count = s.count + 1, sum = s.sum + excluded.sum, version = s.version + 1, stars = ARRAY[s.stars[1] + excluded.stars[1], s.stars[2] + excluded.stars[2],
				s.stars[3] + excluded.stars[3], s.stars[4] + excluded.stars[4], s.stars[5] + excluded.stars[5]]
		RETURNING user_id, count, sum, stars, version`, r.ID, at, stars).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByName[Stats])
		return err
	})
	batch.Queue(`SELECT badge_type FROM user_badges WHERE user_id = $1`, r.RevieweeID).Query(func(rows pgx.Rows) (err error) {
		c.badges, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	err := tx.SendBatch(ctx, batch).Close()
	if err != nil || len(found) == 0 {
		return c, false, err
	}
	c.Stats = found[0]
	return c, true, nil
}

// list is a page of what user was written about that may be read by reader: revealed, or the reader's own.
func list(ctx context.Context, q postgres.Querier, user, reader uuid.UUID, before *time.Time, id uuid.UUID, offset, limit int) ([]Review, error) {
	return postgres.All[Review](ctx, q, `SELECT `+columns+` FROM reviews WHERE reviewee_id = $1 AND (revealed_at IS NOT NULL OR reviewer_id = $2)
		AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4)) ORDER BY created_at DESC, id DESC OFFSET $5 LIMIT $6`, user, reader, before, id, offset, limit)
}

func statsOf(ctx context.Context, q postgres.Querier, user uuid.UUID) (Stats, error) {
	rows, err := postgres.All[Stats](ctx, q, `SELECT user_id, count, sum, stars, version FROM stats WHERE user_id = $1`, user)
	if err != nil || len(rows) == 0 {
		return Stats{UserID: user, Stars: make([]int64, 5)}, err
	}
	return rows[0], nil
}

func badgesOf(ctx context.Context, q postgres.Querier, user uuid.UUID) ([]Badge, error) {
	return postgres.All[Badge](ctx, q, `SELECT user_id, badge_type, name, description, earned_at FROM user_badges WHERE user_id = $1 ORDER BY earned_at, badge_type`, user)
}

func earliestDue(ctx context.Context, q postgres.Querier) (time.Time, error) {
	at, err := postgres.One[*time.Time](ctx, q, `SELECT min(due_at) FROM reviews WHERE due_at IS NOT NULL`)
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// claimDue locks reviews whose time has come and that nobody else is revealing, the earliest first.
func claimDue(ctx context.Context, tx postgres.Tx, now time.Time, limit int) ([]Review, error) {
	return postgres.All[Review](ctx, tx, `SELECT `+columns+` FROM reviews WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED`, now, limit)
}
