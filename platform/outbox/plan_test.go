package outbox

import (
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tulifo/platform/bus"
)

// However events of batching and single handlers are mixed, no event is dropped and none overtakes one of its subject.
func TestPlanKeepsTheOrderOfEachSubject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 600).Draw(t, "events")
		subjects := []uuid.UUID{{1}, {2}, {3}, {4}}
		types := []string{"batch.a", "batch.b", "single.c"}
		var events []taken
		for i := range n {
			typ := rapid.SampledFrom(types).Draw(t, "type")
			events = append(events, taken{
				envelope: bus.Envelope{Type: typ, Subject: rapid.SampledFrom(subjects).Draw(t, "subject")},
				handler:  handler{batch: typ != "single.c"},
				value:    i,
			})
		}
		latest := map[uuid.UUID]int{}
		count := 0
		for _, s := range plan(events) {
			if max := map[bool]int{true: batchMax, false: 1}[s.handler.batch]; len(s.values) == 0 || len(s.values) > max {
				t.Fatalf("a step of %d events", len(s.values))
			}
			for i, v := range s.values {
				e := s.envelopes[i]
				if e.Type != s.envelopes[0].Type || e.Type != events[v.(int)].envelope.Type {
					t.Fatal("types are mixed")
				}
				if v.(int)+1 <= latest[e.Subject] {
					t.Fatalf("event %d of a subject comes after event %d", v, latest[e.Subject]-1)
				}
				latest[e.Subject] = v.(int) + 1
				count++
			}
		}
		if count != n {
			t.Fatalf("%d of %d events are planned", count, n)
		}
	})
}
