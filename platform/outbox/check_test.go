package outbox_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/outbox"
	"tulifo/platform/postgres/pgtest"
)

func TestCheckTellsWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, outbox.Migration("tulifo_check")), t.Context()
	finds := func(running bool, want ...string) {
		t.Helper()
		found, err := outbox.Check(ctx, db, running)
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
	tell := func(id string) {
		t.Helper()
		_, err := db.Exec(ctx, `INSERT INTO outbox (id, type, version, occurred_at, subject, traceparent, data, broadcast) VALUES ($1, 'a.told', 1, clock_timestamp(), $2, '', '{}', false)`, uuid.MustParse(id), uuid.New())
		if err != nil {
			t.Fatal(err)
		}
	}
	finds(true)
	tell(uuid.Must(uuid.NewV7()).String())
	finds(true) // it may take a moment
	tell("01957a3e-7c00-7000-8000-000000000001")
	finds(true, "1 committed events")
	finds(false) // nobody carries them while the platform does not run
	_, err := db.Exec(ctx, `INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason) VALUES (1, $1, $2, '{"type":"a.told"}', 10, 'no such row')`, uuid.New(), uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	finds(false, "1 a.told were given up (no such row)")
}
