package review

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// checks are queries that answer a sentence for every breach.
var checks = []string{
	`WITH counted AS (
			SELECT reviewee_id AS user_id, count(*) AS count, sum(rating)::bigint AS sum, ARRAY[count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2),
				count(*) FILTER (WHERE rating = 3), count(*) FILTER (WHERE rating = 4), count(*) FILTER (WHERE rating = 5)] AS stars
			FROM reviews WHERE revealed_at IS NOT NULL GROUP BY reviewee_id)
		SELECT 'I13: user ' || user_id || ' is kept with ' || coalesce(s.count, 0) || ' reviews that sum to ' || coalesce(s.sum, 0) || '; the reviews say '
			|| coalesce(c.count, 0) || ' and ' || coalesce(c.sum, 0) || '.'
		FROM stats s FULL JOIN counted c USING (user_id)
		WHERE s.count IS DISTINCT FROM c.count OR s.sum IS DISTINCT FROM c.sum OR s.stars IS DISTINCT FROM c.stars OR s.version IS DISTINCT FROM c.count`,
	`SELECT 'Review ' || a.id || ' is hidden though both sides of booking ' || a.booking_id || ' have written.'
		FROM reviews a JOIN reviews b ON b.booking_id = a.booking_id AND b.id <> a.id WHERE a.revealed_at IS NULL`,
	`SELECT 'Review ' || r.id || ' is not between the two sides of booking ' || r.booking_id || '.' FROM reviews r JOIN engagements e ON e.booking_id = r.booking_id
		WHERE (r.reviewer_id, r.reviewee_id) NOT IN ((e.client_id, e.worker_id), (e.worker_id, e.client_id))`,
}

// Check is a sentence for every breach of I13, and of who may write and read what.
func (s *Service) Check(ctx context.Context) ([]string, error) {
	var found []string
	for i, sql := range checks {
		more, err := postgres.All[string](ctx, s.db, sql+` LIMIT 100`)
		if err != nil {
			return nil, fmt.Errorf("check %d: %w", i+1, err)
		}
		found = append(found, more...)
	}
	users, err := postgres.All[struct {
		UserID     uuid.UUID
		Count, Sum int64
		Badges     []string
	}](ctx, s.db, `WITH counted AS (SELECT reviewee_id AS user_id, count(*) AS count, sum(rating)::bigint AS sum FROM reviews WHERE revealed_at IS NOT NULL GROUP BY reviewee_id),
			earned AS (SELECT user_id, array_agg(badge_type) AS badges FROM user_badges GROUP BY user_id)
		SELECT user_id, coalesce(c.count, 0) AS count, coalesce(c.sum, 0) AS sum, coalesce(e.badges, '{}') AS badges FROM counted c FULL JOIN earned e USING (user_id)
		WHERE c.count >= 10 OR e.badges IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("check badges: %w", err)
	}
	for _, u := range users {
		for _, b := range badges {
			if has := slices.Contains(u.Badges, b.kind); has != b.earned(u.Count, u.Sum) {
				found = append(found, fmt.Sprintf("I13: user %s with %d reviews that sum to %d: badge %s is kept as %t.", u.UserID, u.Count, u.Sum, b.name, has))
			}
		}
	}
	return found, nil
}
