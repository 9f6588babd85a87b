package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// scripts are what pgbench runs, in schema bench.
var scripts = map[string]string{
	// The time of one worker, with nothing but the constraint to hold it.
	"exclude": `\set n random(1, 2000000000)
INSERT INTO bench.busy (worker, held) SELECT 1, tstzrange(t, t + interval '15 minutes') FROM (SELECT '2000-01-01'::timestamptz + :n * interval '15 minutes' AS t) x ON CONFLICT DO NOTHING;
`,
	// The same, as it is mostly written: lock the worker, look, insert.
	"forupdate": `\set n random(1, 2000000000)
BEGIN;
SELECT id FROM bench.workers WHERE id = 1 FOR UPDATE;
SELECT count(*) FROM bench.naive WHERE worker = 1 AND starts < '2000-01-01'::timestamptz + (:n + 1) * interval '15 minutes' AND ends > '2000-01-01'::timestamptz + :n * interval '15 minutes' AND starts > '2000-01-01'::timestamptz + (:n - 96) * interval '15 minutes';
INSERT INTO bench.naive (worker, starts, ends) VALUES (1, '2000-01-01'::timestamptz + :n * interval '15 minutes', '2000-01-01'::timestamptz + (:n + 1) * interval '15 minutes');
COMMIT;
`,
	// A transfer from a hot account in six statements.
	"transfer": `\set other random(2, 100000)
BEGIN;
UPDATE bench.accounts SET balance = balance - 1 WHERE id = 1;
UPDATE bench.accounts SET balance = balance + 1 WHERE id = :other;
INSERT INTO bench.entries (account, amount) VALUES (1, -1);
INSERT INTO bench.entries (account, amount) VALUES (:other, 1);
COMMIT;
`,
}

const benchSchema = `
	CREATE SCHEMA IF NOT EXISTS bench;
	CREATE TABLE IF NOT EXISTS bench.workers (id int PRIMARY KEY);
	CREATE TABLE IF NOT EXISTS bench.busy (worker int NOT NULL, held tstzrange NOT NULL, EXCLUDE USING gist (worker WITH =, held WITH &&));
	CREATE TABLE IF NOT EXISTS bench.naive (worker int NOT NULL, starts timestamptz NOT NULL, ends timestamptz NOT NULL);
	CREATE INDEX IF NOT EXISTS naive_starts ON bench.naive (worker, starts);
	CREATE TABLE IF NOT EXISTS bench.accounts (id int PRIMARY KEY, balance bigint NOT NULL);
	CREATE TABLE IF NOT EXISTS bench.entries (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO bench.workers VALUES (1) ON CONFLICT DO NOTHING;
	INSERT INTO bench.accounts SELECT i, 0 FROM generate_series(1, 100000) i ON CONFLICT DO NOTHING`

// pgbench answers the transactions a second of a script at 8 clients.
func (b *bench) pgbench(ctx context.Context, script string, seconds int) (float64, error) {
	if err := b.exec(ctx, benchSchema); err != nil {
		return 0, err
	}
	file := b.path(script + ".sql")
	if err := os.WriteFile(file, []byte(scripts[script]), 0o644); err != nil {
		return 0, err
	}
	program, err := pgbenchProgram()
	if err != nil {
		return 0, err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "-n", "-M", "prepared", "-c", "8", "-j", "1", "-T", strconv.Itoa(seconds), "-f", file)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), b.libpq()...), &out, &said
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("pgbench %s: %w: %s", script, err, said.String())
	}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "tps = "); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, errors.New("pgbench did not say how fast it was")
}

func pgbenchProgram() (string, error) {
	if p, err := exec.LookPath("pgbench"); err == nil {
		return p, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err != nil || len(found) == 0 {
		return "", errors.New("pgbench was not found: install it (Debian: apt-get install postgresql-contrib)")
	}
	return slices.Max(found), nil
}

// hotBooking is everybody booking one worker over HTTP, beside what the database alone can do.
func hotBooking(ctx context.Context, b *bench) ([]finding, error) {
	const perTurn = 1500
	worker := uuid.New()
	if err := b.offers(ctx, worker); err != nil {
		return nil, err
	}
	pairs := min(b.pairs, 4)
	clients := make([]uuid.UUID, perTurn*pairs*2)
	for i := range clients {
		clients[i] = uuid.New()
	}
	if err := b.exec(ctx, `INSERT INTO tulifo_booking.people (user_id, verified) SELECT c, true FROM unnest($1::uuid[]) c`, clients); err != nil {
		return nil, err
	}
	begin := time.Now().UTC().AddDate(0, 0, 2).Truncate(24 * time.Hour)
	made, failed := 0, error(nil)
	ours := func() (float64, error) {
		first := made
		made += perTurn
		calls := make([]call, perTurn)
		for i := range calls {
			start := begin.Add(time.Duration(first+i) * 30 * time.Minute)
			body, err := json.Marshal(map[string]any{"workerId": worker, "title": "Work", "startTime": start, "endTime": start.Add(30 * time.Minute)})
			failed = errors.Join(failed, err)
			calls[i] = call{method: http.MethodPost, url: b.at(8000, "/api/bookings"), token: b.token(clients[first+i], "client"), key: uuid.NewString(), body: body, want: http.StatusCreated}
		}
		took, err := closed(ctx, perTurn, 16, func(i int) call { return calls[i] })
		return perTurn / took.Seconds(), errors.Join(err, failed)
	}
	bare, err := inTurns(pairs, ours, func() (float64, error) { return b.pgbench(ctx, "exclude", 4) })
	if err != nil {
		return nil, err
	}
	locked, err := inTurns(pairs, ours, func() (float64, error) { return b.pgbench(ctx, "forupdate", 4) })
	if err != nil {
		return nil, err
	}
	bound := "CPU: HTTP, the deciding read, booking, busy time, counters, outbox, audit and stored answer, and about as much again for the notices that follow, all on the cores of the load; then the disk, until which the worker's counters are held from the last statement on; against "
	return []finding{
		{Job: "bookings of one worker over HTTP, beside a bare insert under EXCLUDE", Ours: perSecond(bare.ours), Opponent: "pgbench " + perSecond(bare.theirs), Ratio: bare.spread(), Target: "≥ 0.6 ×", Met: bare.ratio >= 0.6, Bound: bound + "one insert"},
		{Job: "bookings of one worker over HTTP, beside SELECT … FOR UPDATE", Ours: perSecond(locked.ours), Opponent: "pgbench " + perSecond(locked.theirs), Ratio: locked.spread(), Target: "≥ 4 ×", Met: locked.ratio >= 4, Bound: bound + "one read and one insert under a lock"},
	}, nil
}

func perSecond(n float64) string { return fmt.Sprintf("%.0f/s", n) }
