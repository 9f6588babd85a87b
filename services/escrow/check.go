package escrow

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/money"
	"tulifo/platform/postgres"
)

// checks are queries that answer a sentence for every breach.
var checks = []string{
	`SELECT 'I4: escrow account ' || a.id || ' says that ' || a.released_amount || ' were released and ' || a.refunded_amount || ' refunded; its moves say '
			|| coalesce(m.released, 0) || ' and ' || coalesce(m.refunded, 0) || '.'
		FROM escrow_accounts a LEFT JOIN (SELECT escrow_id, coalesce(sum(amount) FILTER (WHERE kind = 'release'), 0) AS released, coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded
			FROM moves GROUP BY escrow_id) m ON m.escrow_id = a.id
		WHERE a.released_amount <> coalesce(m.released, 0) OR a.refunded_amount <> coalesce(m.refunded, 0)`,
	`SELECT 'I4: the moves of escrow account ' || id || ' do not join at ' || remaining || '.' FROM (
			SELECT a.id, m.remaining, m.amount, lag(m.remaining, 1, a.held_amount) OVER (PARTITION BY a.id ORDER BY m.remaining DESC) AS before
			FROM escrow_accounts a JOIN moves m ON m.escrow_id = a.id) j WHERE before - amount <> remaining`,
	`SELECT 'I4: escrow account ' || escrow_id || ' has ' || count(*) || ' last moves.' FROM moves WHERE remaining = 0 GROUP BY escrow_id HAVING count(*) > 1`,
	`SELECT 'I5: escrow account ' || id || ' is ' || status || ' and is due at ' || coalesce(due_at::text, 'no time') || '.' FROM escrow_accounts
		WHERE due_at IS DISTINCT FROM CASE WHEN status IN ('active', 'partially_released') THEN coalesce(divide_at, CASE WHEN auto_release_enabled THEN auto_release_at END) END`,
	`SELECT 'I10: the directive ' || d.kind || ' of booking ' || d.booking_id || ' was not applied to its account.'
		FROM directives d JOIN escrow_accounts a ON a.booking_id = d.booking_id WHERE d.applied_at IS NULL`,
	`SELECT 'I12: move ' || m.id || ' of escrow account ' || m.escrow_id || ' has ' || count(u.detail) || ' audit rows.'
		FROM moves m LEFT JOIN audit u ON u.subject = m.escrow_id AND u.detail::jsonb ->> 'move' = m.id::text GROUP BY m.id, m.escrow_id HAVING count(u.detail) <> 1`,
}

// Check is a sentence for every breach of I4, I5, I10 and I12 that escrow can see; what is held is compared with payment's ledger. Payment and
// escrow agree once all events are consumed, so it is asked of a platform at rest.
func (s *Service) Check(ctx context.Context) ([]string, error) {
	var found []string
	for i, sql := range checks {
		more, err := postgres.All[string](ctx, s.db, sql+` LIMIT 100`)
		if err != nil {
			return nil, fmt.Errorf("check %d: %w", i+1, err)
		}
		found = append(found, more...)
	}
	more, err := s.compareLedger(ctx)
	return append(found, more...), err
}

// compareLedger finds bookings of which the ledger holds another amount than escrow.
func (s *Service) compareLedger(ctx context.Context) ([]string, error) {
	ledger, err := s.askLedger(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT booking_id, held_amount - released_amount - refunded_amount, currency FROM escrow_accounts`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var booking uuid.UUID
		var remaining int64
		var currency string
		if err := rows.Scan(&booking, &remaining, &currency); err != nil {
			return nil, err
		}
		held := ledger[booking]
		if held.Remaining != remaining || remaining > 0 && held.Currency != currency {
			found = append(found, fmt.Sprintf("I4: escrow of booking %s holds %s; the ledger holds %s.", booking, money.Of(remaining, currency), money.Of(held.Remaining, held.Currency)))
		}
		delete(ledger, booking)
	}
	for booking, held := range ledger {
		if held.Remaining != 0 {
			found = append(found, fmt.Sprintf("I4: the ledger holds %s of booking %s, and escrow has no account for it.", money.Of(held.Remaining, held.Currency), booking))
		}
	}
	return found, rows.Err()
}

const (
	gaugeAge   = 15 * time.Second
	gaugeBound = time.Second
)

// gauges asks the database at most once in gaugeAge, for at most gaugeBound; between, and when it does not answer, it shows the last answer.
type gauges struct {
	db       *postgres.DB
	held     *prometheus.Desc
	accounts *prometheus.Desc

	mu    sync.Mutex
	at    time.Time
	last  []reading
	money map[string]int64 // held, by every currency that was seen, so that none vanishes when it comes to 0
}

type reading struct {
	Status   string
	Currency string
	Accounts int64
	Held     int64
}

func newGauges(db *postgres.DB) *gauges {
	return &gauges{db: db, money: map[string]int64{"USD": 0},
		held:     prometheus.NewDesc("tulifo_escrow_held", "Money held for workers, in major units.", []string{"currency"}, nil),
		accounts: prometheus.NewDesc("tulifo_escrow_accounts", "Escrow accounts that hold money, by status.", []string{"status"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.held; ch <- g.accounts }

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) > gaugeAge {
		g.at = time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), gaugeBound)
		defer cancel()
		rows, err := postgres.All[reading](ctx, g.db, `SELECT status, currency, count(*) AS accounts, sum(held_amount - released_amount - refunded_amount)::bigint AS held
			FROM escrow_accounts WHERE status IN ('active', 'partially_released', 'frozen') GROUP BY status, currency`)
		if err == nil {
			g.last = rows
		}
	}
	for currency := range g.money {
		g.money[currency] = 0
	}
	accounts := map[string]int64{string(Active): 0, string(PartiallyReleased): 0, string(Frozen): 0}
	for _, r := range g.last {
		g.money[r.Currency] += r.Held
		accounts[r.Status] += r.Accounts
	}
	for currency, minor := range g.money {
		digits, err := money.Digits(currency)
		if err != nil {
			continue
		}
		major := float64(minor)
		for range digits {
			major /= 10
		}
		ch <- prometheus.MustNewConstMetric(g.held, prometheus.GaugeValue, major, currency)
	}
	for status, n := range accounts {
		ch <- prometheus.MustNewConstMetric(g.accounts, prometheus.GaugeValue, float64(n), status)
	}
}
