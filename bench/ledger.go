package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// benchmark runs a Go benchmark of a package on the installation's Postgres and answers one of its figures.
func (b *bench) benchmark(ctx context.Context, pkg, name, times, unit string) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "-benchtime", times, pkg)
	cmd.Env = append(os.Environ(), "TULIFO_TEST_POSTGRES_URL="+b.database.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s of %s: %w: %s", name, pkg, err, out)
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		for i := range f {
			if f[i] == unit && i > 0 && strings.HasPrefix(f[0], "Benchmark") {
				return strconv.ParseFloat(f[i-1], 64)
			}
		}
	}
	return 0, fmt.Errorf("%s of %s does not say %s: %s", name, pkg, unit, out)
}

// ledger is the consumer that posts releases, beside a transfer from a hot account as it is mostly written.
func ledger(ctx context.Context, b *bench) ([]finding, error) {
	p, err := inTurns(min(b.pairs, 4), func() (float64, error) {
		return b.benchmark(ctx, "./services/payment", "BenchmarkReleases", "8000x", "transfers/s")
	}, func() (float64, error) { return b.pgbench(ctx, "transfer", 4) })
	if err != nil {
		return nil, err
	}
	return []finding{{Job: "ledger: transfers posted by the consumer, fee and audit row included", Ours: perSecond(p.ours), Opponent: "naive hot transfer, pgbench " + perSecond(p.theirs), Ratio: p.spread(), Target: "≥ 10 ×", Met: p.ratio >= 10,
		Bound: "the CPU of Postgres: a payment's new state, which enters each of its indexes again, then the ledger's rows and their indexes, and the balances, locked in one order; the bus, JSON and the audit row are the lesser part"}}, nil
}

// release is a client giving held money free over HTTP, beside the naive transfer, of one worker and of many.
func release(ctx context.Context, b *bench) ([]finding, error) {
	const perTurn = 1500
	pairs := min(b.pairs, 4)
	turn := func(workers int) func() (float64, error) {
		return func() (float64, error) {
			client, ids, err := b.heldMoney(ctx, perTurn, workers)
			if err != nil {
				return 0, err
			}
			signed := b.token(client, "client")
			took, err := closed(ctx, perTurn, 16, func(i int) call {
				return call{method: http.MethodPost, url: b.at(8000, "/api/v1/escrow/"+ids[i].String()+"/release"), token: signed, key: uuid.NewString(), body: []byte("{}"), want: http.StatusOK}
			})
			if err == nil {
				err = b.drained(ctx)
			}
			return perTurn / took.Seconds(), err
		}
	}
	naive, err := inTurns(pairs, turn(1), func() (float64, error) { return b.pgbench(ctx, "transfer", 4) })
	if err != nil {
		return nil, err
	}
	cold, err := inTurns(pairs, turn(1), turn(perTurn))
	if err != nil {
		return nil, err
	}
	return []finding{
		{Job: "releases of one worker's money over HTTP", Ours: perSecond(naive.ours), Opponent: "naive hot transfer, pgbench " + perSecond(naive.theirs), Ratio: naive.spread(), Target: "≥ 2 ×", Met: naive.ratio >= 2, Bound: "CPU: HTTP, state, move, outbox, audit and stored answer against four bare statements; the ledger posts and the notices are made at the same time on the same cores, which is more than half of it"},
		{Job: "releases: one worker beside as many workers as releases", Ours: perSecond(cold.ours), Opponent: "many " + perSecond(cold.theirs), Ratio: cold.spread(), Target: "≥ 0.9 ×", Met: cold.ratio >= 0.9, Bound: "a release locks its own account's row only; the ledger posts after it, in batches"},
	}, nil
}

// heldMoney puts n paid bookings of a client with some workers into the books of escrow and payment, and answers the escrow accounts.
func (b *bench) heldMoney(ctx context.Context, n, workers int) (client uuid.UUID, ids []uuid.UUID, err error) {
	client = uuid.New()
	var booking, worker, payment []uuid.UUID
	pool := make([]uuid.UUID, workers)
	for i := range pool {
		pool[i] = uuid.New()
	}
	for i := range n {
		ids, booking, payment, worker = append(ids, uuid.New()), append(booking, uuid.New()), append(payment, uuid.New()), append(worker, pool[i%workers])
	}
	now := time.Now().UTC()
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO tulifo_escrow.bookings (booking_id, starts_at, version) SELECT b, $2, 1 FROM unnest($1::uuid[]) b`, []any{booking, now.Add(-time.Hour)}},
		{`INSERT INTO tulifo_escrow.escrow_accounts (id, booking_id, client_id, worker_id, payment_id, held_amount, released_amount, refunded_amount, currency, status, holds, freeze_reason, auto_release_enabled, divide_cause, worker_share, version, created_at, updated_at)
			SELECT i, b, $5, w, p, 8000, 0, 0, 'USD', 'active', '{}', '', true, '', 0, 1, $6, $6 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[]) AS t (i, b, w, p)`, []any{ids, booking, worker, payment, client, now}},
		{`INSERT INTO tulifo_payment.payments (id, booking_id, client_id, worker_id, title, amount, currency, fee_basis_points, status, pay_by, created_at, ends_at, completed_at)
			SELECT p, b, $4, w, 'Work', 8000, 'USD', 1000, 'completed', $5, $5, $5, $5 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS t (p, b, w)`, []any{payment, booking, worker, client, now}},
		{`INSERT INTO tulifo_payment.balances (account, currency, balance) SELECT 'escrow:' || b, 'USD', 8000 FROM unnest($1::uuid[]) b`, []any{booking}},
	} {
		if err := b.exec(ctx, s.sql, s.args...); err != nil {
			return client, nil, err
		}
	}
	return client, ids, nil
}

// drained waits until every release is posted.
func (b *bench) drained(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var left int
		err := b.db.QueryRow(ctx, `SELECT count(*) FROM tulifo_escrow.escrow_accounts a JOIN tulifo_payment.payments p ON p.id = a.payment_id WHERE a.released_amount <> p.released`).Scan(&left)
		if err == nil && left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d releases are not posted", left), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
