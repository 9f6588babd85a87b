package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// booked puts bookings of one client with one worker into the database, an hour each, one after the other, and answers whose they are.
func (b *bench) booked(ctx context.Context, n int) (worker, client uuid.UUID, err error) {
	worker, client = uuid.New(), uuid.New()
	if err := b.offers(ctx, worker); err != nil {
		return worker, client, err
	}
	err = b.exec(ctx, `WITH made AS (
			INSERT INTO tulifo_booking.bookings (id, worker_id, client_id, title, description, notes, meeting_url, category, starts_at, ends_at, duration_minutes, rate_minor, amount_minor, currency, status, instant,
				confirmed_at, paid_at, cause, reason, absent, contest_reason, earliest_start, proposed_by, buffer_before, buffer_after, load_day, version, created_at, updated_at)
			SELECT gen_random_uuid(), $1, $2, 'Work', '', '', '', '', at, at + interval '1 hour', 60, 8000, 8000, 'USD', 'confirmed', false, now(), now(), '', '', '', '', at, '', 0, 0, at::date, 1, now(), now()
			FROM (SELECT date_trunc('hour', now()) + (i - $3::int / 2) * interval '2 hours' AS at FROM generate_series(1, $3::int) i) AS t
			RETURNING id, worker_id, starts_at, ends_at)
		INSERT INTO tulifo_booking.busy (worker_id, lane, held, live, booking_id) SELECT worker_id, '[0,)', tstzrange(starts_at, ends_at), true, id FROM made`, worker, client, n)
	if err == nil {
		err = b.exec(ctx, `ANALYZE tulifo_booking.bookings, tulifo_booking.busy`)
	}
	return worker, client, err
}

// offers makes a worker who is open day and night, as the events of other services would have told booking.
func (b *bench) offers(ctx context.Context, worker uuid.UUID) error {
	for _, sql := range []string{
		`INSERT INTO tulifo_booking.workers (worker_id, rate_minor, currency, category, timezone, instant, active, version) VALUES ($1, 8000, 'USD', '', 'UTC', false, true, 1)`,
		`INSERT INTO tulifo_booking.calendars (worker_id, timezone, buffer_before, buffer_after, min_notice, horizon_days, slot_step, slot_lengths, per_day, minutes_per_day, per_week, minutes_per_week, version)
			VALUES ($1, 'UTC', 0, 0, 0, 7300, 30, '{}', 0, 0, 0, 0, 1)`,
		`INSERT INTO tulifo_booking.weekly_rules (worker_id, day_of_week, start_minute, end_minute) SELECT $1, d, 0, 1440 FROM generate_series(0, 6) d`,
	} {
		if err := b.exec(ctx, sql, worker); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) idsOf(ctx context.Context, client uuid.UUID, limit int) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := b.db.QueryRow(ctx, `SELECT array_agg(id) FROM (SELECT id FROM tulifo_booking.bookings WHERE client_id = $1 LIMIT $2) AS few`, client, limit).Scan(&ids)
	return ids, err
}

// readByID is one booking of the caller's, through the gateway, beside Express.
func readByID(ctx context.Context, b *bench) ([]finding, error) {
	_, client, err := b.booked(ctx, 1000)
	if err != nil {
		return nil, err
	}
	ids, err := b.idsOf(ctx, client, 1000)
	if err != nil {
		return nil, err
	}
	express, err := b.express(ctx, expressPort)
	if err != nil {
		return nil, err
	}
	defer express.stop()
	postmaster, err := b.postmaster()
	if err != nil {
		return nil, err
	}
	signed := b.token(client, "client")
	read := func(origin string) func(int) call {
		return func(i int) call {
			return call{method: http.MethodGet, url: origin + "/api/bookings/" + ids[i%len(ids)].String(), token: signed, want: http.StatusOK}
		}
	}
	const calls = 6000
	turn := func(spent func() time.Duration, origin string, database *[]float64) func() (float64, error) {
		return func() (float64, error) {
			before := cpuOfTree(postmaster)
			us, err := perCall(ctx, calls, 8, spent, read(origin))
			*database = append(*database, float64((cpuOfTree(postmaster)-before).Microseconds())/calls)
			return us, err
		}
	}
	var ours, theirs []float64 // of Postgres
	p, err := inTurns(b.pairs, turn(b.appCPU, b.at(8000, ""), &ours), turn(func() time.Duration { return cpu(express.pid()) }, local(expressPort, ""), &theirs))
	if err != nil {
		return nil, err
	}
	database := compared(ours, theirs)
	return []finding{
		{Job: "read a booking by id, gateway included: CPU of the app", Ours: micro(p.ours), Opponent: "Express " + micro(p.theirs), Ratio: p.spread(), Target: "≤ 0.25 ×", Met: p.ratio <= 0.25, Bound: "HTTP twice, the token, reading from Postgres, JSON"},
		{Job: "read a booking by id: CPU of Postgres", Ours: micro(database.ours), Opponent: "Express " + micro(database.theirs), Ratio: database.spread(), Target: "≤ 1.05 ×", Met: database.ratio <= 1.05, Bound: "one prepared statement each; ours reads more columns"},
	}, nil
}

// slots is a month of free starts of one worker with bookings in it, beside Express going day by day.
func slots(ctx context.Context, b *bench) ([]finding, error) {
	worker, _, err := b.booked(ctx, 200)
	if err != nil {
		return nil, err
	}
	express, err := b.express(ctx, expressPort)
	if err != nil {
		return nil, err
	}
	defer express.stop()
	path := month(worker)
	ask := func(origin string) func(int) call {
		return func(int) call { return call{method: http.MethodGet, url: origin + path, want: http.StatusOK} }
	}
	free, err := sameSlots(ctx, ask(b.at(8000, ""))(0), ask(local(expressPort, ""))(0))
	if err != nil {
		return nil, err
	}
	p, err := inTurns(b.pairs, func() (float64, error) { return perCall(ctx, 400, 4, b.appCPU, ask(b.at(8000, ""))) },
		func() (float64, error) {
			return perCall(ctx, 100, 4, func() time.Duration { return cpu(express.pid()) }, ask(local(expressPort, "")))
		})
	if err != nil {
		return nil, err
	}
	return []finding{{Job: "free starts of 30 days: CPU of the app", Ours: micro(p.ours), Opponent: "Express, a day at a time " + micro(p.theirs), Ratio: p.spread(), Target: "≤ 0.33 ×", Met: p.ratio <= 0.33,
		Bound: fmt.Sprintf("reading from Postgres, deciding, and %d free starts as JSON", free)}}, nil
}

// month is the address of the free starts of a worker in the 30 days from tomorrow on.
func month(worker uuid.UUID) string {
	from := time.Now().UTC().AddDate(0, 0, 1).Truncate(24 * time.Hour)
	return "/api/availability/worker/" + worker.String() + "/slots?duration=60&tz=UTC&from=" + from.Format(time.RFC3339) + "&to=" + from.AddDate(0, 0, 30).Format(time.RFC3339)
}

// sameSlots makes sure that what theirs says is free is free by ours too, and answers how many starts are by ours.
func sameSlots(ctx context.Context, ours, theirs call) (int, error) {
	client := newClient(1)
	defer client.CloseIdleConnections()
	var starts [2][]time.Time
	for i, k := range []call{ours, theirs} {
		answer, err := must(ctx, client, k)
		if err != nil {
			return 0, err
		}
		var got struct {
			Data []struct {
				StartTime   time.Time
				IsAvailable bool
			}
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			return 0, err
		}
		for _, s := range got.Data {
			if s.IsAvailable {
				starts[i] = append(starts[i], s.StartTime)
			}
		}
	}
	if len(starts[1]) == 0 {
		return 0, errors.New("by the reference no start is free")
	}
	// Those of 23:30 are ours alone: an hour from then on ends on a day that the other does not look at.
	known := map[time.Time]bool{}
	for _, s := range starts[0] {
		known[s] = true
	}
	for _, s := range starts[1] {
		if !known[s] {
			return 0, fmt.Errorf("the reference says that %s is free, the platform does not", s)
		}
	}
	return len(starts[0]), nil
}
