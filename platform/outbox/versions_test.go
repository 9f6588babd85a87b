package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// A failed event is tried again by any process of the service; one of an older version, which does not know its type, must leave it alone.
func TestOlderVersionLeavesParkedEventsAlone(t *testing.T) {
	t.Parallel()
	url := database(t)
	older := start(t, url)
	outbox.On(older.in, func(context.Context, postgres.Tx, heard) error { return nil })
	older.run()
	newer := start(t, url)
	outbox.On(newer.in, func(ctx context.Context, tx postgres.Tx, e told) error { return leave(ctx, tx, e.N) })
	park := func(typ string, due time.Duration) {
		t.Helper()
		_, err := newer.reader.Exec(t.Context(), `INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason)
			VALUES ($1::uuid, $2::uuid, json_build_object('id', $1::uuid, 'type', $3::text, 'version', 1, 'occurredAt', '2026-03-09T09:00:00Z', 'producer', 'teller',
				'subject', $2::uuid, 'data', json_build_object('n', 7)), 1, clock_timestamp() + $4::interval, 'failed once')`, uuid.Must(uuid.NewV7()), uuid.New(), typ, due)
		if err != nil {
			t.Fatal(err)
		}
	}
	park("test.told", 0)
	park("test.heard", 0)
	// They are looked at in order, so the first has been looked at when the second is gone.
	until(t, "the older process handles what it knows", func() bool { return count(t, newer.reader, "parked WHERE envelope->>'type' = 'test.heard'") == 0 })
	if count(t, newer.reader, "parked") != 1 {
		t.Fatal("the older process dropped what it does not know")
	}
	newer.run()
	until(t, "the newer process handles it", func() bool { return len(newer.effects()) == 1 })
	park("test.gone", -2*time.Hour)
	until(t, "what nobody handles any more is dropped", func() bool { return count(t, newer.reader, "parked") == 0 })
}
