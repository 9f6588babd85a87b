package bus_test

import (
	"context"
	"testing"
	"time"

	"tulifo/platform/bus"
	"tulifo/platform/postgres/pgtest"
)

// Old and new versions run side by side while a service is brought up to date: what the old one does not want must still reach the new one.
func TestOlderVersionPassesOverNothing(t *testing.T) {
	b, _, _ := process(t, pgtest.Database(t, bus.Migration))
	had := map[int]map[string]int{}
	round := 0
	consume := func(types []string, last bus.Envelope) {
		round++
		had[round] = map[string]int{}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := b.Consume(ctx, "reader", types, 2, func(_ context.Context, batch []bus.Envelope) error {
			for _, e := range batch {
				had[round][e.ID.String()]++
				if e.ID == last.ID {
					cancel()
				}
			}
			return nil
		})
		if err != nil || ctx.Err() == context.DeadlineExceeded {
			t.Fatalf("round %d: %v, %v", round, err, ctx.Err())
		}
	}
	publish := func(all ...bus.Envelope) {
		if err := b.Publish(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	older, newer := []string{"a.told"}, []string{"a.told", "b.told"}
	all := []bus.Envelope{event("a.told", 0), event("b.told", 1), event("a.told", 2), event("b.told", 3), event("a.told", 4), event("b.told", 5), event("a.told", 6)}
	publish(all[:3]...)
	consume(older, all[2])
	consume(newer, all[2])
	if had[2][all[1].ID.String()] == 0 {
		t.Error("what the older version passed over before is lost")
	}
	publish(all[3:5]...)
	consume(older, all[4])
	publish(all[5:]...)
	consume(newer, all[6])
	for _, i := range []int{3, 5} {
		if had[4][all[i].ID.String()] == 0 {
			t.Errorf("event %d, which the older version passed over, is lost", i)
		}
	}
	publish(event("a.told", 7))
	last := event("a.told", 8)
	publish(last)
	consume(newer, last)
	if len(had[5]) != 2 {
		t.Errorf("the same version got %d events again", len(had[5])-2)
	}
}
