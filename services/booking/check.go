package booking

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"tulifo/platform/money"
	"tulifo/platform/postgres"
)

// history is every move of every booking, as the audit log has it.
const history = `
	SELECT subject AS id, d->>'from' AS came, d->>'to' AS arrived, (d->>'version')::bigint AS version
	FROM (SELECT subject, detail::jsonb AS d FROM audit WHERE action LIKE 'booking.%') a`

// stepSQL is money.Step of the currency.
var stepSQL = func() string {
	sql := "CASE currency"
	for code, step := range money.Steps() {
		sql += fmt.Sprintf(" WHEN '%s' THEN %d", code, step)
	}
	return sql + " ELSE 1 END::bigint"
}()

// checks are queries that find breaches of what always holds here: an id and what is wrong with it.
var checks = []struct{ says, sql string }{
	{"I1: booking %s overlaps another held time", `
		SELECT a.booking_id AS id FROM busy a JOIN busy b ON a.worker_id = b.worker_id AND a.held && b.held AND a.lane && b.lane
		WHERE a.live AND b.live AND a.booking_id IS NOT NULL AND b.booking_id IS DISTINCT FROM a.booking_id`},
	{"I1: booking %s does not hold its time with its buffers", `
		SELECT k.id FROM bookings k LEFT JOIN busy b ON b.booking_id = k.id
		WHERE b.booking_id IS NULL OR b.worker_id <> k.worker_id OR b.live <> (k.status IN ('pending', 'confirmed', 'in_progress')) OR b.lane <> '[0,)'
			OR b.held <> tstzrange(k.starts_at - make_interval(mins => k.buffer_before), k.ends_at + make_interval(mins => k.buffer_after))`},
	{"I1: block %s does not hold its time", `
		SELECT k.id FROM blocks k LEFT JOIN busy b ON b.block_id = k.id
		WHERE k.days IS NULL AND (b.block_id IS NULL OR NOT b.live OR b.held <> tstzrange(k.starts_at, k.ends_at)) OR k.days IS NOT NULL AND b.block_id IS NOT NULL`},
	{"the load of worker %s is not what a recount says", `
		WITH counted AS (
			SELECT worker_id, p.period, p.start, count(*) AS bookings, sum(duration_minutes) AS minutes
			FROM bookings CROSS JOIN LATERAL (VALUES ('day', load_day), ('week', date_trunc('week', load_day)::date)) AS p (period, start)
			WHERE status NOT IN ('cancelled', 'expired') GROUP BY 1, 2, 3)
		SELECT DISTINCT worker_id AS id FROM load l FULL JOIN counted c USING (worker_id, period, start)
		WHERE coalesce(l.bookings, 0) <> coalesce(c.bookings, 0) OR coalesce(l.minutes, 0) <> coalesce(c.minutes, 0)`},
	{"the unpaid bookings of client %s are not as many as counted", `
		WITH unpaid AS (
			SELECT client_id, p.worker_id, count(DISTINCT coalesce(series_id, k.id)) AS held
			FROM bookings k CROSS JOIN LATERAL (VALUES (k.worker_id), ('00000000-0000-0000-0000-000000000000'::uuid)) AS p (worker_id)
			WHERE status IN ('pending', 'confirmed') AND paid_at IS NULL GROUP BY 1, 2)
		SELECT DISTINCT client_id AS id FROM holds h FULL JOIN unpaid u USING (client_id, worker_id) WHERE coalesce(h.held, 0) <> coalesce(u.held, 0)`},
	{"series %s does not know how many of its bookings are unpaid", `
		SELECT s.id FROM series s WHERE s.held <> (SELECT count(*) FROM bookings k WHERE k.series_id = s.id AND status IN ('pending', 'confirmed') AND paid_at IS NULL)`},
	{"the account of %s is closed and has bookings", `
		SELECT client_id AS id FROM holds h WHERE closed AND EXISTS (SELECT FROM bookings k WHERE h.client_id IN (k.client_id, k.worker_id) AND status IN ('pending', 'confirmed', 'in_progress'))`},
	{"booking %s has no amount that follows from its rate", `
		SELECT id FROM bookings CROSS JOIN LATERAL (SELECT ` + stepSQL + ` AS step) c WHERE amount_minor <> step * ((rate_minor * duration_minutes + 30 * step) / (60 * step))
			OR duration_minutes <> extract(epoch FROM ends_at - starts_at) / 60`},
	{"I5: the last move of booking %s is not to where it stands", `
		SELECT k.id FROM bookings k LEFT JOIN (` + history + `) m ON m.id = k.id AND m.version = k.version WHERE m.arrived IS DISTINCT FROM k.status`},
	{"I5: the moves of booking %s do not join", `
		SELECT DISTINCT id FROM (
			SELECT id, came, version, lag(arrived, 1, '') OVER w AS before, row_number() OVER w AS n
			FROM (` + history + `) h WINDOW w AS (PARTITION BY id ORDER BY version)) m
		WHERE came <> before OR n <> version`},
	{"I5: booking %s was started, completed or closed as a no-show without being paid", `
		SELECT id FROM bookings WHERE status IN ('in_progress', 'completed', 'no_show') AND paid_at IS NULL`},
}

// Check is a sentence for every breach of I1 and I5, and of the counts and prices that this service keeps.
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
	edges, err := postgres.All[struct {
		ID            uuid.UUID
		Came, Arrived Status
	}](ctx, s.db, `SELECT DISTINCT ON (came, arrived) id, came, arrived FROM (`+history+`) h WHERE came <> arrived`)
	if err != nil {
		return nil, fmt.Errorf("check edges: %w", err)
	}
	for _, e := range edges {
		born := e.Came == "" && (e.Arrived == Pending || e.Arrived == Confirmed)
		if !born && !drawn(e.Came, e.Arrived) {
			found = append(found, fmt.Sprintf("I5: booking %s went from %q to %q, which is no edge", e.ID, e.Came, e.Arrived))
		}
	}
	return found, nil
}
