package user

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/blob"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

const personColumns = `
	p.user_id, p.email, p.email_verified, p.role, p.status, p.name, p.bio, p.skills, p.experience, p.city, p.country, p.lat, p.lon, p.timezone, p.locale,
	p.avatar, p.portfolio, p.social_links, p.badges, coalesce(round(p.average_rating, 2), 0)::float8 AS average_rating, p.total_reviews, p.reviews_waiting,
	p.version, p.created_at, p.updated_at,
	coalesce(w.title, '') AS title, coalesce(w.rate_minor, 0) AS rate_minor, coalesce(w.currency, 'USD') AS currency,
	coalesce(w.categories, '{}') AS categories, coalesce(w.languages, '{}') AS languages, coalesce(w.instant_booking, false) AS instant_booking,
	coalesce(w.available, true) AS available, coalesce(w.rating, 0) AS rank, coalesce(w.version, 0) AS offer_version,
	coalesce(c.company, '') AS company, coalesce(c.industry, '') AS industry, coalesce(c.size, '') AS size, coalesce(c.version, 0) AS client_version`

const people = ` FROM user_profiles p LEFT JOIN workers w ON w.worker_id = p.user_id LEFT JOIN clients c ON c.client_id = p.user_id `

const personByID = `SELECT ` + personColumns + people + `WHERE p.user_id = $1`

// find is a user, deleted ones too. NotFound: there is none.
func find(ctx context.Context, db postgres.Querier, id uuid.UUID) (person, error) {
	p, err := postgres.One[person](ctx, db, personByID, id)
	if errs.KindOf(err) == errs.NotFound {
		return p, errNoUser
	}
	return p, err
}

// lock is find, and keeps all others from changing the user until tx ends: whoever changes a worker or client locks the profile first.
//
// The row is locked by a statement of its own, because the rows joined to one that was waited for would be older than it.
func lock(ctx context.Context, tx postgres.Tx, id uuid.UUID) (person, error) {
	b := &pgx.Batch{}
	b.Queue(`SELECT FROM user_profiles WHERE user_id = $1 FOR NO KEY UPDATE`, id)
	b.Queue(personByID, id)
	r := tx.SendBatch(ctx, b)
	defer r.Close()
	locked, err := r.Exec()
	if err != nil {
		return person{}, err
	}
	if locked.RowsAffected() == 0 {
		// The second statement may see a row that was not there to be locked.
		return person{}, errNoUser
	}
	rows, err := r.Query()
	if err != nil {
		return person{}, err
	}
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[person])
	if err != nil {
		return person{}, err
	}
	return p, r.Close()
}

// insertProfile answers whether the user was not known before.
func insertProfile(ctx context.Context, tx postgres.Tx, p person) (bool, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO user_profiles (user_id, email, email_verified, role, status, name, bio, skills, experience, city, country, lat, lon, timezone, locale,
			avatar, portfolio, social_links, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
		ON CONFLICT (user_id) DO NOTHING`, append(p.row(), p.CreatedAt, p.UpdatedAt)...)
	return tag.RowsAffected() == 1, err
}

// write takes a statement to send: with COMMIT (Tx.Later), or at once, where more in the same transaction may read what it writes.
type write func(sql string, args ...any)

// atOnce has fn's statements travel together, now.
func atOnce(ctx context.Context, tx postgres.Tx, fn func(write) error) error {
	b := &pgx.Batch{}
	if err := fn(func(sql string, args ...any) { b.Queue(sql, args...) }); err != nil || b.Len() == 0 {
		return err
	}
	return tx.SendBatch(ctx, b).Close()
}

func updateProfile(send write, p person) {
	send(`
		UPDATE user_profiles SET email = $2, email_verified = $3, role = $4, status = $5, name = $6, bio = $7, skills = $8, experience = $9, city = $10,
			country = $11, lat = $12, lon = $13, timezone = $14, locale = $15, avatar = $16, portfolio = $17, social_links = $18, version = $19, updated_at = $20
		WHERE user_id = $1`, append(p.row(), p.UpdatedAt)...)
}

func (p person) row() []any {
	return []any{p.UserID, p.Email, p.EmailVerified, p.Role, p.Status, p.Name, p.Bio, p.Skills, p.Experience, p.City, p.Country, p.Lat, p.Lon, p.Timezone,
		p.Locale, p.Avatar, p.Portfolio, p.SocialLinks, p.Version}
}

// putWorker writes the offer, and what lists filter and sort by.
func putWorker(send write, p person, now time.Time) {
	send(`
		INSERT INTO workers (worker_id, title, rate_minor, currency, categories, languages, instant_booking, available, version, updated_at,
			active, country, skill_keys, words, created_at, rating, reviews)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, array_to_tsvector($14::text[]), created_at, `+ratingOf+`, total_reviews
		FROM user_profiles WHERE user_id = $1
		ON CONFLICT (worker_id) DO UPDATE SET title = excluded.title, rate_minor = excluded.rate_minor, currency = excluded.currency,
			categories = excluded.categories, languages = excluded.languages, instant_booking = excluded.instant_booking, available = excluded.available,
			version = excluded.version, updated_at = excluded.updated_at, active = excluded.active, country = excluded.country,
			skill_keys = excluded.skill_keys, words = excluded.words`,
		p.UserID, p.Title, p.RateMinor, p.Currency, p.Categories, p.Languages, p.InstantBooking, p.Available, p.OfferVersion, now,
		p.bookable(), p.Country, p.skillKeys(), p.words())
}

// ratingOf is an average in billionths, whole, so that pages sorted by it can be continued exactly.
const ratingOf = `coalesce(rating_sum * 1000000000 / nullif(total_reviews, 0), 0)`

// putClient writes what a client adds.
func putClient(send write, p person, now time.Time) {
	send(`
		INSERT INTO clients (client_id, company, industry, size, version, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (client_id) DO UPDATE SET company = excluded.company, industry = excluded.industry, size = excluded.size,
			version = excluded.version, updated_at = excluded.updated_at`,
		p.UserID, p.Company, p.Industry, p.Size, p.ClientVersion, now)
}

// await counts a review about a user that nobody can read yet; it answers false when the user is not known.
func await(ctx context.Context, tx postgres.Tx, id uuid.UUID) (known bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE user_profiles SET reviews_waiting = reviews_waiting + 1 WHERE user_id = $1`, id)
	return tag.RowsAffected() == 1, err
}

// rate takes over what a user's visible ratings come to with one more, unless something newer is here; it answers false when the user is not known.
//
// The list's row is found by a statement of its own: it may have been made by whoever held the profile's lock before.
func rate(ctx context.Context, tx postgres.Tx, id uuid.UUID, sum, count, version int64) (known bool, err error) {
	b := &pgx.Batch{}
	b.Queue(`UPDATE user_profiles SET reviews_waiting = greatest(reviews_waiting - 1, 0) WHERE user_id = $1`, id)
	b.Queue(`UPDATE user_profiles SET rating_sum = $2, total_reviews = $3, rating_version = $4 WHERE user_id = $1 AND rating_version < $4`, id, sum, count, version)
	b.Queue(`UPDATE workers SET rating = `+ratingOf+`, reviews = total_reviews FROM user_profiles WHERE user_id = $1 AND worker_id = $1`, id)
	b.Queue(`SELECT EXISTS (SELECT FROM user_profiles WHERE user_id = $1)`, id)
	r := tx.SendBatch(ctx, b)
	defer r.Close()
	for range 3 {
		if _, err := r.Exec(); err != nil {
			return false, err
		}
	}
	err = r.QueryRow().Scan(&known)
	return known, err
}

// setBadges puts badges in place of those the user has; the row is locked.
func setBadges(ctx context.Context, tx postgres.Tx, id uuid.UUID, badges []Badge) error {
	_, err := tx.Exec(ctx, `UPDATE user_profiles SET badges = $2 WHERE user_id = $1`, id, badges)
	return err
}

// meet notes, with COMMIT, that the two share a booking.
func meet(tx postgres.Tx, client, worker uuid.UUID) {
	tx.Later(`INSERT INTO counterparties (client_id, worker_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, client, worker)
}

func haveMet(ctx context.Context, db postgres.Querier, client, worker uuid.UUID) (bool, error) {
	return postgres.One[bool](ctx, db, `SELECT EXISTS (SELECT FROM counterparties WHERE client_id = $1 AND worker_id = $2)`, client, worker)
}

// shown are those of the pictures that somebody shows.
func (s *Service) shown(ctx context.Context, refs []blob.Ref) ([]blob.Ref, error) {
	names := make([]string, len(refs))
	for i, r := range refs {
		names[i] = string(r)
	}
	found, err := postgres.All[string](ctx, s.db, `SELECT DISTINCT avatar FROM user_profiles WHERE avatar <> '' AND avatar = ANY ($1)`, names)
	out := make([]blob.Ref, len(found))
	for i, n := range found {
		out[i] = blob.Ref(n)
	}
	return out, err
}

// settings are a user's. NotFound: nothing was ever set.
func settings(ctx context.Context, db postgres.Querier, id uuid.UUID) (Settings, error) {
	return postgres.One[Settings](ctx, db, `SELECT notifications, privacy, preferences, version FROM user_settings WHERE user_id = $1`, id)
}

// putSettings writes now with COMMIT; the user's profile is locked.
func putSettings(tx postgres.Tx, id uuid.UUID, now Settings, at time.Time) {
	tx.Later(`
		INSERT INTO user_settings (user_id, notifications, privacy, preferences, version, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (user_id) DO UPDATE SET notifications = excluded.notifications, privacy = excluded.privacy, preferences = excluded.preferences,
			version = excluded.version, updated_at = excluded.updated_at`, id, now.Notifications, now.Privacy, now.Preferences, now.Version, at)
}

// dropSettings deletes a user's settings with COMMIT.
func dropSettings(tx postgres.Tx, id uuid.UUID) {
	tx.Later(`DELETE FROM user_settings WHERE user_id = $1`, id)
}

// avatar is the name of the picture of somebody whose account is active. NotFound: there is none such.
func avatar(ctx context.Context, db postgres.Querier, id uuid.UUID) (string, error) {
	return postgres.One[string](ctx, db, `SELECT avatar FROM user_profiles WHERE user_id = $1 AND status = 'active'`, id)
}
