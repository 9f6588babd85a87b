package booking_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
	"tulifo/platform/clock"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres/pgtest"
	"tulifo/services/booking"
)

// BenchmarkBook books hours of many workers, and of one, from a client each, over the service's router.
func BenchmarkBook(b *testing.B) {
	for _, workers := range []int{1, 200} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			db := pgtest.Open(b, pgtest.Database(b, booking.Migration(), outbox.Migration(schema), api.Migration(schema), audit.Migration(schema)), schema)
			keys := apitest.Keys(b)
			now := at(b, "2026-03-02T07:00:00Z")
			service := booking.New(db, clock.NewVirtual(now), peer.New("booking", keys, nil, nil), nil, booking.DefaultConfig())
			s := apitest.New(b, apitest.Options{Service: "booking", Register: service.Routes, DB: db, Keys: keys})
			ids := make([]uuid.UUID, workers)
			for i := range ids {
				ids[i] = uuid.New()
				for _, sql := range []string{
					`INSERT INTO workers (worker_id, rate_minor, currency, category, timezone, instant, active, version) VALUES ($1, 8000, 'USD', '', 'UTC', false, true, 1)`,
					`INSERT INTO calendars (worker_id, timezone, buffer_before, buffer_after, min_notice, horizon_days, slot_step, slot_lengths, per_day, minutes_per_day, per_week, minutes_per_week, version)
						VALUES ($1, 'UTC', 0, 0, 0, 7300, 15, '{}', 0, 0, 0, 0, 1)`,
					`INSERT INTO weekly_rules (worker_id, day_of_week, start_minute, end_minute) SELECT $1, d, 0, 1440 FROM generate_series(0, 6) d`,
				} {
					if _, err := db.Exec(b.Context(), sql, ids[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
			var n atomic.Int64
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(n.Add(1))
					client := uuid.New()
					if _, err := db.Exec(b.Context(), `INSERT INTO people (user_id, verified) VALUES ($1, true)`, client); err != nil {
						b.Error(err)
					}
					start := now.Add(time.Duration(i/workers) * 15 * time.Minute)
					a := s.Do(apitest.Call{As: s.Token("client", client), Path: "/api/bookings", Body: map[string]any{"workerId": ids[i%workers], "title": "Tea", "startTime": start, "endTime": start.Add(15 * time.Minute)}})
					if a.Status != 201 {
						b.Errorf("%s", a)
					}
				}
			})
		})
	}
}

// BenchmarkMonth lists the free starts of 30 days of a worker who is open day and night, over the service's router.
func BenchmarkMonth(b *testing.B) {
	db := pgtest.Open(b, pgtest.Database(b, booking.Migration(), outbox.Migration(schema), api.Migration(schema), audit.Migration(schema)), schema)
	keys := apitest.Keys(b)
	now := at(b, "2026-03-02T07:00:00Z")
	service := booking.New(db, clock.NewVirtual(now), peer.New("booking", keys, nil, nil), nil, booking.DefaultConfig())
	s := apitest.New(b, apitest.Options{Service: "booking", Register: service.Routes, DB: db, Keys: keys})
	worker := uuid.New()
	for _, sql := range []string{
		`INSERT INTO workers (worker_id, rate_minor, currency, category, timezone, instant, active, version) VALUES ($1, 8000, 'USD', '', 'UTC', false, true, 1)`,
		`INSERT INTO calendars (worker_id, timezone, buffer_before, buffer_after, min_notice, horizon_days, slot_step, slot_lengths, per_day, minutes_per_day, per_week, minutes_per_week, version)
			VALUES ($1, 'UTC', 0, 0, 0, 7300, 30, '{}', 0, 0, 0, 0, 1)`,
		`INSERT INTO weekly_rules (worker_id, day_of_week, start_minute, end_minute) SELECT $1, d, 0, 1440 FROM generate_series(0, 6) d`,
	} {
		if _, err := db.Exec(b.Context(), sql, worker); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		a := s.Do(apitest.Call{Path: "/api/availability/worker/" + worker.String() + "/slots?from=2026-03-03T00:00:00Z&to=2026-04-02T00:00:00Z&duration=60&tz=UTC"})
		if a.Status != 200 {
			b.Fatalf("%s", a)
		}
	}
}
