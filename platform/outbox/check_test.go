package outbox_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
)

func TestCheckTellsWhatWasNotDelivered(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		db, ctx := at.open(t, readerSchema), t.Context()
		finds := func(running bool, want ...string) {
			t.Helper()
			found, err := outbox.Check(ctx, db.db(), running)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != len(want) {
				t.Fatalf("found %q, want %q", found, want)
			}
			for i := range want {
				if !strings.Contains(found[i], want[i]) {
					t.Errorf("found %q, want %q", found[i], want[i])
				}
			}
		}
		put := func(where, id string) {
			t.Helper()
			e := bus.Envelope{ID: uuid.MustParse(id), Type: "a.told", Version: 1, Subject: uuid.New(), Data: json.RawMessage(`{}`)}
			if err := db.put(ctx, where, e, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		finds(true)
		put("outbox", uuid.Must(uuid.NewV7()).String())
		finds(true) // it may take a moment
		put("outbox", "01957a3e-7c00-7000-8000-000000000001")
		finds(true, "1 committed events")
		finds(false) // nobody carries them while the platform does not run
		put("dead_letters", uuid.Must(uuid.NewV7()).String())
		finds(false, "1 a.told were given up (no such row)")
	})
}
