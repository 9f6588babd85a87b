package booking_test

import (
	"testing"
	"time"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres/pgtest/interleave"
	"tulifo/platform/soak"
	"tulifo/services/booking"
)

// rush is an hour that several reach for at once.
type rush struct {
	w    *world
	from time.Time
	side int // 0 for the one, 1 for the other
}

// grab is one of those who do: ready brings what it needs, before the rush.
type grab struct {
	name  string
	ready func(rush) apitest.Call
}

func (d rush) hour(from time.Time) apitest.Call {
	return apitest.Call{As: d.w.newClient(), Path: "/api/bookings", Body: d.w.body(from.Format(time.RFC3339), 60)}
}

func (d rush) block(more map[string]any) apitest.Call {
	body := map[string]any{"startTime": d.from.Add(30 * time.Minute), "endTime": d.from.Add(40 * time.Minute)}
	for k, v := range more {
		body[k] = v
	}
	return apitest.Call{As: d.w.Token("worker", d.w.worker), Path: d.w.calendar("/block"), Body: body}
}

var grabs = []grab{
	{"book", func(d rush) apitest.Call { return d.hour(d.from) }},
	{"book half of it", func(d rush) apitest.Call { return d.hour(d.from.Add(30 * time.Minute)) }},
	{"move there", func(d rush) apitest.Call {
		var b booking.Answer
		earlier := d.hour(d.from.Add(time.Duration(-3-2*d.side) * time.Hour))
		earlier.What, earlier.Status = "book to move", 201
		d.w.Call(earlier).Data(&b)
		return apitest.Call{As: earlier.As, Path: "/api/bookings/" + b.ID.String() + "/reschedule", Body: map[string]any{"startTime": d.from}}
	}},
	{"block", func(d rush) apitest.Call { return d.block(nil) }},
	{"block again and again", func(d rush) apitest.Call {
		day := d.from.Format(time.DateOnly)
		return d.block(map[string]any{"recurring": map[string]any{"daysOfWeek": []int{int(d.from.Weekday())}, "until": day}})
	}},
}

// Two reach for one hour, in orders of their SQL statements that are drawn by lot: as if one had come after the other, one gets it and the other hears
// that it is busy. Two blocks may both have it.
func TestOneHourHasOneWinnerInEveryOrder(t *testing.T) {
	r := soak.Rand(t)
	w := start(t)
	weekly := []map[string]any{}
	for d := range 7 {
		weekly = append(weekly, map[string]any{"dayOfWeek": d, "startTime": "00:00", "endTime": "24:00"})
	}
	w.setHours(map[string]any{"timezone": "UTC", "weekly": weekly, "horizonDays": 730})
	stage, ps := interleave.New(t, w.url, 2, w.process)
	hour := w.clock.Now().AddDate(0, 0, 3).Truncate(24 * time.Hour).Add(12 * time.Hour)
	for i, first := range grabs[:3] {
		for _, second := range grabs[i:] {
			won := map[bool]int{}
			stage.Sample(soak.N(2, 40), r, func() interleave.Play {
				hour = hour.AddDate(0, 0, 1)
				calls := []apitest.Call{first.ready(rush{w, hour, 0}), second.ready(rush{w, hour, 1})}
				var got [2]apitest.Answer
				p := interleave.Play{After: func(steps string) {
					yes := [2]bool{got[0].Status < 300, got[1].Status < 300}
					won[yes[0]]++
					if yes[0] == yes[1] || got[0].Status+got[1].Status-409 > 201 {
						t.Errorf("%s × %s: %s and %s after\n%s", first.name, second.name, got[0], got[1], steps)
					}
				}}
				for i := range got {
					p.Acts = append(p.Acts, func() { got[i] = ps[i].Do(calls[i]) })
				}
				return p
			})
			t.Logf("%s × %s: the first won %d times, the second %d", first.name, second.name, won[true], won[false])
		}
	}
}
