package user

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/postgres"
)

// sampled is how many users' ratings one Check compares with review's, chosen at random, those with reviews first.
const sampled = 300

// checks are queries that find breaches of what always holds here: an id and what is wrong with it.
var checks = []struct{ says, sql string }{
	{"what lists say of worker %s is not what the profile says", `
		SELECT w.worker_id AS id FROM workers w JOIN user_profiles p ON p.user_id = w.worker_id
		WHERE w.country <> p.country OR w.reviews <> p.total_reviews OR w.rating <> ` + ratingOf + `
			OR w.active <> (p.role = 'worker' AND p.status = 'active' AND w.rate_minor > 0 AND w.available)
			OR cardinality(w.skill_keys) <> jsonb_array_length(p.skills)`},
	{"worker %s has no offer", `SELECT user_id AS id FROM user_profiles LEFT JOIN workers ON worker_id = user_id WHERE role = 'worker' AND worker_id IS NULL`},
	{"I13: the rating of user %s cannot come from its reviews", `
		SELECT user_id AS id FROM user_profiles WHERE rating_sum < total_reviews OR rating_sum > 5 * total_reviews OR total_reviews < 0`},
	{"I17: the deleted user %s still says something", `
		SELECT user_id AS id FROM user_profiles LEFT JOIN workers ON worker_id = user_id
		WHERE status = 'deleted' AND (email <> '' OR bio <> '' OR avatar <> '' OR lat IS NOT NULL OR active)`},
}

// Check is a sentence for every breach of what always holds here: ratings against review's own (I13), and that lists say
// what profiles say. It asks review, so that must be reachable.
func (s *Service) Check(ctx context.Context) ([]string, error) {
	var found []string
	for _, c := range checks {
		ids, err := postgres.All[uuid.UUID](ctx, s.db, c.sql+` LIMIT 100`)
		if err != nil {
			return nil, fmt.Errorf("check %q: %w", c.says, err)
		}
		for _, id := range ids {
			found = append(found, fmt.Sprintf(c.says, id))
		}
	}
	wrong, err := s.checkRatings(ctx)
	return append(found, wrong...), err
}

func (s *Service) checkRatings(ctx context.Context) ([]string, error) {
	rated, err := postgres.All[struct {
		UserID        uuid.UUID
		AverageRating float64
		TotalReviews  int64
	}](ctx, s.db, `
		SELECT user_id, coalesce(round(average_rating, 2), 0)::float8 AS average_rating, total_reviews
		FROM user_profiles WHERE role IN ('worker', 'client') ORDER BY total_reviews = 0, random() LIMIT $1`, sampled)
	if err != nil {
		return nil, fmt.Errorf("read ratings: %w", err)
	}
	var found []string
	for _, r := range rated {
		stats, err := s.askStats(ctx, r.UserID)
		if err != nil {
			return found, fmt.Errorf("ask review about %s: %w", r.UserID, err)
		}
		if stats.TotalReviews != r.TotalReviews || stats.AverageRating != r.AverageRating {
			found = append(found, fmt.Sprintf("I13: user %s has %g from %d reviews here, and %g from %d at review",
				r.UserID, r.AverageRating, r.TotalReviews, stats.AverageRating, stats.TotalReviews))
		}
	}
	return found, nil
}

const (
	gaugeAge   = 10 * time.Second
	gaugeBound = time.Second
)

// activeGauge counts the workers who may be booked, at most once in gaugeAge.
type activeGauge struct {
	db   *postgres.DB
	desc *prometheus.Desc

	mu   sync.Mutex
	at   time.Time
	last int64
}

func newActiveGauge(db *postgres.DB) *activeGauge {
	return &activeGauge{db: db, desc: prometheus.NewDesc("tulifo_user_workers_active", "Workers who may be booked.", nil, nil)}
}

// Describe is prometheus.Collector's.
func (g *activeGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect is prometheus.Collector's.
func (g *activeGauge) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) > gaugeAge {
		ctx, cancel := context.WithTimeout(context.Background(), gaugeBound)
		defer cancel()
		if n, err := postgres.One[int64](ctx, g.db, `SELECT count(*) FROM workers WHERE active`); err == nil {
			g.last = n
		}
		g.at = time.Now()
	}
	ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.last))
}
