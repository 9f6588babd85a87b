package payment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/money"
	"tulifo/platform/postgres"
)

// Each query answers a sentence for a breach. $1 is the system time.
var checks = []string{
	`SELECT 'I2: ledger transaction ' || key || ' has no transfers.' FROM ledger_transactions l WHERE NOT EXISTS (SELECT FROM transfers t WHERE t.transaction = l.seq)`,
	`SELECT 'I2: the entries of transaction ' || transaction || ' in ' || currency || ' sum to ' || sum(amount) || '.' FROM entries GROUP BY transaction, currency HAVING sum(amount) <> 0`,
	`SELECT 'I2: business key ' || key || ' is used ' || count(*) || ' times.' FROM ledger_transactions GROUP BY key HAVING count(*) > 1`,
	`WITH summed AS (SELECT account, currency, sum(amount) AS balance FROM entries GROUP BY account, currency),
		cached AS (SELECT account, currency, balance::numeric FROM balances UNION ALL SELECT account, currency, sum(amount) FROM rollup GROUP BY account, currency)
		SELECT 'I3: ' || coalesce(s.account, c.account) || ' in ' || coalesce(s.currency, c.currency) || ' is kept as ' || coalesce(c.balance, 0) || ' and its entries sum to ' || coalesce(s.balance, 0) || '.'
		FROM summed s FULL JOIN cached c USING (account, currency) WHERE coalesce(s.balance, 0) <> coalesce(c.balance, 0)`,
	`SELECT 'I3: ' || account || ' is at ' || balance || ' ' || currency || '.' FROM balances WHERE balance < 0 AND account NOT LIKE 'chargeback\_debt:%'`,
	`SELECT 'I4: escrow of booking ' || p.booking_id || ' is ' || coalesce(b.balance, 0) || ' in the ledger and ' || (p.amount - p.released - p.refunded) || ' by its payment.'
		FROM payments p LEFT JOIN balances b ON b.account = 'escrow:' || p.booking_id AND b.currency = p.currency
		WHERE p.completed_at IS NOT NULL AND coalesce(b.balance, 0) <> p.amount - p.released - p.refunded`,
	`SELECT 'I5: payment ' || p.id || ' is ' || p.status || ' and its posting ' || CASE WHEN l.key IS NULL THEN 'is missing.' ELSE 'exists.' END
		FROM payments p LEFT JOIN ledger_transactions l ON l.key = 'payment:' || p.id
		WHERE (p.completed_at IS NULL) <> (l.key IS NULL) OR (p.completed_at IS NULL) <> (p.status IN ('created', 'processing', 'cancelled', 'needs_review'))`,
	`SELECT 'I2: payment ' || id || ' has given ' || fee_taken || ' of ' || released || ' in fees; its rule says ' || ` + feeOf("released") + ` || '.'
		FROM payments WHERE fee_taken <> ` + feeOf("released") + ``,
	`SELECT 'I4: refunds of payment ' || p.id || ' that are done come to ' || p.refund_done || ', which is more than the ' || p.amount || ' paid.' FROM payments p WHERE p.refund_done > p.amount`,
	`WITH owed AS (SELECT currency, sum(rail_amount) AS amount FROM refunds WHERE settled_at IS NULL GROUP BY currency),
		kept AS (SELECT currency, sum(amount) AS amount FROM rollup WHERE account = 'refunds_payable' GROUP BY currency)
		SELECT 'I3: refunds_payable in ' || coalesce(o.currency, k.currency) || ' is ' || coalesce(k.amount, 0) || ' and the refunds that are not done come to ' || coalesce(o.amount, 0) || '.'
		FROM owed o FULL JOIN kept k USING (currency) WHERE coalesce(o.amount, 0) <> coalesce(k.amount, 0)`,
	`WITH owed AS (SELECT currency, sum(amount) AS amount FROM payouts WHERE settled_at IS NULL OR status = 'returning' AND settled_at IS NULL GROUP BY currency),
		kept AS (SELECT currency, sum(amount) AS amount FROM rollup WHERE account = 'payout_clearing' GROUP BY currency)
		SELECT 'I3: payout_clearing in ' || coalesce(o.currency, k.currency) || ' is ' || coalesce(k.amount, 0) || ' and the withdrawals that are not done come to ' || coalesce(o.amount, 0) || '.'
		FROM owed o FULL JOIN kept k USING (currency) WHERE coalesce(o.amount, 0) <> coalesce(k.amount, 0)`,
	`SELECT 'I10: ' || t || ' ' || id || ' has waited for the retry loop since ' || next_try_at || '.' FROM (
		SELECT 'payment' AS t, id::text, next_try_at FROM payments UNION ALL SELECT 'refund', id::text, next_try_at FROM refunds
		UNION ALL SELECT 'payout', id::text, next_try_at FROM payouts UNION ALL SELECT 'payout account', user_id::text, next_try_at FROM payout_accounts
		UNION ALL SELECT 'webhook', id, next_try_at FROM webhook_events UNION ALL SELECT 'chargeback', id, next_try_at FROM chargebacks) AS rows WHERE next_try_at < $1::timestamptz - interval '5 minutes'`,
	`SELECT 'I10: ' || t || ' ' || id || ' is ' || status || ' and nothing will move it.' FROM (
		SELECT 'refund' AS t, id::text, status FROM refunds WHERE status IN ('pending', 'sent') AND next_try_at IS NULL
		UNION ALL SELECT 'payout', id::text, status FROM payouts WHERE status IN ('pending', 'transferred', 'in_transit', 'returning') AND next_try_at IS NULL
		UNION ALL SELECT 'chargeback', id, status FROM chargebacks WHERE status = 'open' AND next_try_at IS NULL
		UNION ALL SELECT 'webhook', id, outcome FROM webhook_events WHERE outcome IN ('received', 'waiting') AND next_try_at IS NULL) AS rows WHERE $1::timestamptz IS NOT NULL`,
}

// Check answers a sentence for every breach of I2 to I5 and I10 that payment can see. What is held at escrow is compared by escrow, which asks us.
func (s *Service) Check(ctx context.Context) ([]string, error) {
	var breaches []string
	now := time.Now().UTC()
	for i, sql := range checks {
		args := []any{}
		if i >= len(checks)-2 {
			args = append(args, now)
		}
		found, err := postgres.All[string](ctx, s.db, sql+` LIMIT 20`, args...)
		if err != nil {
			return nil, fmt.Errorf("check %d: %w", i+1, err)
		}
		breaches = append(breaches, found...)
	}
	return breaches, nil
}

const (
	gaugeAge   = 15 * time.Second
	gaugeBound = time.Second
)

// Collectors are payment's own series: money held, payments by status, and how long the oldest webhook has waited.
func (s *Service) Collectors() []prometheus.Collector { return []prometheus.Collector{s.gauges} }

// gauges asks the database at most once in gaugeAge, for at most gaugeBound; between, and when it does not answer, it shows the last answer.
type gauges struct {
	db       *postgres.DB
	held     *prometheus.Desc
	payments *prometheus.Desc
	lag      *prometheus.Desc
	disputed *prometheus.Desc
	differs  *prometheus.Desc

	mu    sync.Mutex
	at    time.Time
	last  []reading
	money map[string]float64 // held, by every currency that was seen, so that none vanishes when it comes to 0
}

type reading struct {
	Name  string
	Label string
	Value float64
}

func newGauges(db *postgres.DB) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &gauges{db: db, money: map[string]float64{"USD": 0},
		held:     desc("tulifo_payment_held", "Money held for bookings, in major units.", "currency"),
		payments: desc("tulifo_payment_payments", "Payments that wait: asked for, processing; payments, refunds and payouts for review.", "status"),
		disputed: desc("tulifo_payment_chargebacks_open", "Chargebacks that no bank has decided: each wants an answer at Stripe."),
		differs:  desc("tulifo_payment_reconciliation_differences", "In how many things the books and Stripe differ by the latest report; -1 when it failed."),
		lag:      desc("tulifo_payment_webhook_lag_seconds", "How long the oldest webhook that could not be applied has waited."),
	}
}

func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.held
	ch <- g.payments
	ch <- g.lag
	ch <- g.disputed
	ch <- g.differs
}

func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) > gaugeAge {
		g.at = time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), gaugeBound)
		defer cancel()
		rows, err := postgres.All[reading](ctx, g.db, `
			SELECT 'held' AS name, currency AS label, sum(amount - released - refunded)::float8 AS value FROM payments
				WHERE completed_at IS NOT NULL AND released + refunded < amount GROUP BY currency
			UNION ALL SELECT 'payments', status, count(*) FROM payments WHERE status IN ('created', 'processing') GROUP BY status
			UNION ALL SELECT 'payments', 'needs_review', (SELECT count(*) FROM payments WHERE review <> '' AND resolution = '')
				+ (SELECT count(*) FROM refunds WHERE status = 'needs_review' AND resolution = '') + (SELECT count(*) FROM payouts WHERE status = 'needs_review' AND resolution = '')
			UNION ALL SELECT 'chargebacks', '', count(*) FROM chargebacks WHERE status = 'open'
			UNION ALL SELECT 'differences', '', coalesce((SELECT CASE status WHEN 'failed' THEN -1 ELSE differences END FROM reconciliations WHERE status <> 'running' ORDER BY id DESC LIMIT 1), 0)
			UNION ALL SELECT 'lag', '', coalesce(extract(epoch FROM $1::timestamptz - min(received_at)), 0) FROM webhook_events WHERE next_try_at IS NOT NULL AND outcome IN ('received', 'waiting')`,
			g.at.UTC())
		if err == nil {
			g.last = rows
		}
	}
	for currency := range g.money {
		g.money[currency] = 0
	}
	payments := map[string]float64{string(Created): 0, string(Processing): 0, string(NeedsReview): 0}
	for _, r := range g.last {
		switch r.Name {
		case "held":
			digits, err := money.Digits(r.Label)
			if err != nil {
				continue
			}
			for range digits {
				r.Value /= 10
			}
			g.money[r.Label] = r.Value
		case "payments":
			payments[r.Label] = r.Value
		case "chargebacks":
			ch <- prometheus.MustNewConstMetric(g.disputed, prometheus.GaugeValue, r.Value)
		case "differences":
			ch <- prometheus.MustNewConstMetric(g.differs, prometheus.GaugeValue, r.Value)
		case "lag":
			ch <- prometheus.MustNewConstMetric(g.lag, prometheus.GaugeValue, r.Value)
		}
	}
	for currency, held := range g.money {
		ch <- prometheus.MustNewConstMetric(g.held, prometheus.GaugeValue, held, currency)
	}
	for status, n := range payments {
		ch <- prometheus.MustNewConstMetric(g.payments, prometheus.GaugeValue, n, status)
	}
}
