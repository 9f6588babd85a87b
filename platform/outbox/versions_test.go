package outbox_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
)

// A failed event is tried again by any process of the service; one of an older version, which does not know its type, must leave it alone.
func TestOlderVersionLeavesParkedEventsAlone(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		older := start(t, at)
		var knew atomic.Bool
		on(older, func(context.Context, outbox.Tx, heard) error { knew.Store(true); return nil })
		older.run()
		newer := start(t, at)
		on(newer, func(ctx context.Context, tx outbox.Tx, e told) error { return newer.leave(ctx, tx, e.N) })
		park := func(typ string, due time.Duration) {
			t.Helper()
			e := bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: typ, Version: 1, Producer: "teller", Subject: uuid.New(), Data: json.RawMessage(`{"n":7}`)}
			if err := newer.reader.put(t.Context(), "parked", e, time.Now().Add(due)); err != nil {
				t.Fatal(err)
			}
		}
		park("test.told", 0)
		park("test.heard", 0)
		// They are looked at in order, so the first has been looked at when the second is gone.
		until(t, "the older process handles what it knows", func() bool { return knew.Load() })
		if count(t, newer.reader, "parked") == 0 {
			t.Fatal("the older process dropped what it does not know")
		}
		newer.run()
		until(t, "the newer process handles it", func() bool { return len(newer.effects()) == 1 })
		park("test.gone", -2*time.Hour)
		until(t, "what nobody handles any more is dropped", func() bool { return count(t, newer.reader, "parked") == 0 })
	})
}
