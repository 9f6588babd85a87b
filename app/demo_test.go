package app

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/postgres"
)

// TestDemoIsReproducible lives two small demos of one seed: they tell the same story, every invariant holds after each, and a third on top
// is refused.
func TestDemoIsReproducible(t *testing.T) {
	small := demoSize{past: 12 * 24 * time.Hour, workers: 12, clients: 6, deals: 14, stars: 4}
	var stories [2]string
	for i := range stories {
		v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
		p := startPlatform(t, v)
		if err := p.machine.seed(t.Context(), v, 7, small); err != nil {
			t.Fatal(err)
		}
		p.intact(t)
		stories[i] = p.story(t)
		if i == 0 {
			if err := p.machine.seed(t.Context(), v, 7, small); err == nil || !strings.Contains(err.Error(), "empty") {
				t.Errorf("a demo on top of another: %v", err)
			}
		}
	}
	if stories[0] != stories[1] {
		t.Errorf("one seed told two stories:\n%s\n\n%s", stories[0], stories[1])
	}
	for _, status := range []string{"completed", "cancelled", "confirmed", "pending"} {
		if !strings.Contains(stories[0], status) {
			t.Errorf("no booking is %s:\n%s", status, stories[0])
		}
	}
}

// story is what became of every booking, without the ids.
func (p *platform) story(t *testing.T) string {
	t.Helper()
	i := slices.IndexFunc(p.machine.node.rooms, func(r *room) bool { return r.name == "booking" })
	lines, err := postgres.All[struct {
		Title, Status string
		StartTime     time.Time
		TotalAmount   int64
	}](t.Context(), p.machine.node.rooms[i].db, `SELECT title, status, starts_at AS start_time, amount_minor AS total_amount FROM bookings`)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(lines, func(a, b struct {
		Title, Status string
		StartTime     time.Time
		TotalAmount   int64
	}) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), strings.Compare(a.Title, b.Title), cmp.Compare(a.TotalAmount, b.TotalAmount))
	})
	var out strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&out, "%s %s %s %d\n", l.StartTime.Format(time.RFC3339), l.Title, l.Status, l.TotalAmount)
	}
	return out.String()
}
