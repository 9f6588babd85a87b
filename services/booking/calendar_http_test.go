package booking_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/soak"
	"tulifo/services/booking"
)

// seller is one worker of the world with a random calendar, and the sheet that says the same.
type seller struct {
	*world
	r    *rand.Rand
	id   uuid.UUID
	as   string
	made []booking.Answer // as sheet.Bookings
	of   []string         // tokens of who made them
	sheet
}

const secret = "a private matter"

func (w *world) seller(r *rand.Rand, s sheet) *seller {
	v := &seller{world: w, r: r, id: uuid.New(), sheet: s}
	v.as = w.Token("worker", v.id)
	w.near.know(func(n *neighbours) {
		n.offers[v.id] = event.WorkerUpdated{WorkerID: v.id, Title: "Engineer", Rate: money.Of(8000, "USD"), Categories: []string{"engineering"}, Timezone: "UTC", Active: true, Version: 1}
	})
	// What is generated is bent to what can come about here: it is a certain time, and bookings come later.
	v.Now, v.Inactive, v.Bookings, v.Days = w.clock.Now(), false, nil, pick(r, 30, 60, 60, 730)
	v.put()
	for i := range v.Blocks {
		b := &v.Blocks[i]
		w.Call(apitest.Call{What: "block", As: v.as, Path: v.path("/block"), Body: map[string]any{"startTime": b.Start, "endTime": b.End, "reason": secret}, Status: 201})
	}
	loc, _ := time.LoadLocation(s.Zone)
	for i := range v.Routines {
		a := &v.Routines[i]
		a.First = "2026-02-03" // no clock changes within days of it
		at := func(m int) time.Time { return time.Date(2026, 2, 3, m/60, m%60, 0, 0, loc) }
		again := map[string]any{"daysOfWeek": slices.DeleteFunc([]int{0, 1, 2, 3, 4, 5, 6}, func(d int) bool { return !a.Days[d] })}
		if a.Last != "" {
			again["until"] = a.Last
		}
		if a.Days == [7]bool{} {
			again["daysOfWeek"], a.Days[3] = []int{3}, true
		}
		w.Call(apitest.Call{What: "block again", As: v.as, Path: v.path("/block"), Body: map[string]any{"startTime": at(a.Hours.From), "endTime": at(a.Hours.To), "reason": secret, "recurring": again}, Status: 201})
	}
	return v
}

func (v *seller) path(rest string) string { return "/api/availability/worker/" + v.id.String() + rest }

// put sends all that the sheet says of the rules.
func (v *seller) put() {
	clock := func(m int) string {
		if m > 1440 {
			m -= 1440
		}
		return fmt.Sprintf("%02d:%02d", m/60, m%60)
	}
	weekly, overrides := []map[string]any{}, []map[string]any{}
	for d, windows := range v.Weekly {
		for _, h := range windows {
			weekly = append(weekly, map[string]any{"dayOfWeek": d, "startTime": clock(h.From), "endTime": clock(h.To)})
		}
	}
	for d, windows := range v.Overrides {
		list := []map[string]any{}
		for _, h := range windows {
			list = append(list, map[string]any{"startTime": clock(h.From), "endTime": clock(h.To)})
		}
		overrides = append(overrides, map[string]any{"date": d, "windows": list})
	}
	v.Call(apitest.Call{What: "set the calendar", As: v.as, Method: "PUT", Path: v.path(""), Status: 200, Body: map[string]any{
		"timezone": v.Zone, "weekly": weekly, "overrides": overrides, "bufferBefore": v.Before, "bufferAfter": v.After, "minNotice": v.Notice, "horizonDays": v.Days, "slotStep": v.Step,
		"slotLengths": v.Lengths, "limits": map[string]any{"perDay": v.PerDay, "minutesPerDay": v.MinutesPerDay, "perWeek": v.PerWeek, "minutesPerWeek": v.MinutesPerWeek}}})
}

func (v *seller) truth() *truth {
	from, to := v.reach()
	return v.workOut(walk(v.Zone, from, to))
}

// slots are the times told to who asks, free and refused.
func (v *seller) slots(as string) (list []booking.Slot, raw string) {
	v.t.Helper()
	a := v.Call(apitest.Call{What: "slots", As: as, Status: 200,
		Path: v.path(fmt.Sprintf("/slots?explain=true&duration=%d&from=%s&to=%s", v.Length, v.From.Format(time.RFC3339), v.To.Format(time.RFC3339)))})
	a.Data(&list)
	return list, string(a.Body)
}

// ask books a time as a client whom nobody knows yet.
func (v *seller) ask(start time.Time, minutes int) (a apitest.Answer, as string) {
	as = v.newClient()
	return v.Do(apitest.Call{As: as, Path: "/api/bookings", Body: map[string]any{"workerId": v.id, "title": secret, "startTime": start, "endTime": start.Add(time.Duration(minutes) * time.Minute)}}), as
}

// fill makes a few bookings, and then other buffers, so that those of a booking are not those of the calendar.
func (v *seller) fill() {
	wanted := v.Length
	for range v.r.IntN(4) {
		v.Length = pick(v.r, 15, 30, 60)
		if len(v.Lengths) > 0 {
			v.Length = pick(v.r, v.Lengths...)
		}
		list, _ := v.slots("")
		list = slices.DeleteFunc(list, func(s booking.Slot) bool { return !s.IsAvailable })
		if len(list) == 0 {
			break
		}
		start := pick(v.r, list...).Start
		a, as := v.ask(start, v.Length)
		if a.Status != 201 {
			v.t.Fatalf("%s is listed, booking it answers %s\n%s", start, a, v.sheet)
		}
		var b booking.Answer
		a.Data(&b)
		v.made, v.of = append(v.made, b), append(v.of, as)
		v.Bookings = append(v.Bookings, stay{b.Start, b.Duration, v.Before, v.After})
	}
	v.Length, v.Before, v.After = wanted, pick(v.r, v.Before, 0, 10), pick(v.r, v.After, 0, 15)
	v.put()
}

// told compares what everybody is told with the truth.
func (v *seller) told() []booking.Slot {
	v.t.Helper()
	t := v.truth()
	own, raw := v.slots(v.as)
	admins, _ := v.slots(v.asAdmin)
	clients, clientRaw := v.slots(v.asClient)
	anyones, anyoneRaw := v.slots("")
	if strings.Contains(clientRaw+anyoneRaw, secret) || strings.Contains(clientRaw+anyoneRaw, "explanation") {
		v.t.Fatalf("others are told the worker's secrets: %s", clientRaw)
	}
	if len(clients) != len(own) || len(admins) != len(own) || len(anyones) != len(own) {
		v.t.Fatalf("%d times for the worker, %d for a client, %d for an admin, %d for anybody\n%s", len(own), len(clients), len(admins), len(anyones), v.sheet)
	}
	told := map[time.Time]bool{}
	for i, s := range own {
		told[s.Start] = true
		reasons := t.why(s.Start, time.Duration(v.Length)*time.Minute)
		switch {
		case s.IsAvailable != (len(reasons) == 0) || !s.IsAvailable && !slices.Contains(reasons, s.Reason):
			v.t.Fatalf("%s: %+v, but against it are %q\n%s", s.Start, s, reasons, v.sheet)
		case !s.IsAvailable && !actionable.MatchString(s.Explanation):
			v.t.Fatalf("%s: %q does not say what to do", s.Start, s.Explanation)
		case admins[i] != s || clients[i].Reason != s.Reason || clients[i].IsAvailable != s.IsAvailable || clients[i] != anyones[i]:
			v.t.Fatalf("the worker is told %+v, an admin %+v, a client %+v, anybody %+v", s, admins[i], clients[i], anyones[i])
		}
	}
	for i := max(0, t.index(v.From)); t.time(i).Before(v.To); i++ {
		if at := t.time(i); !at.Before(v.From) && (t.start[i] || t.removed[i]) != told[at] {
			v.t.Fatalf("%s is a start of the grid: %t; it is told of: %t\n%s\n%s", at, !told[at], told[at], v.sheet, raw)
		}
	}
	return own
}

// some are up to n of the times, in any order.
func (v *seller) some(n int, from []booking.Slot, free bool) []booking.Slot {
	list := slices.DeleteFunc(slices.Clone(from), func(s booking.Slot) bool { return s.IsAvailable != free })
	v.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// booked books times that are listed and times that are refused, and expects what the listing said.
func (v *seller) booked(told []booking.Slot) (free, refused int) {
	v.t.Helper()
	for _, s := range append(v.some(4, told, true), v.some(5, told, false)...) {
		a, as := v.ask(s.Start, v.Length)
		if (a.Status == 201) != s.IsAvailable || !s.IsAvailable && (a.Code() != s.Reason || a.Status != 409 && a.Status != 422) || strings.Contains(string(a.Body), secret) && a.Status != 201 {
			v.t.Fatalf("%s is told as %+v, booking it answers %s\n%s", s.Start, s, a, v.sheet)
		}
		if a.Status != 201 {
			refused++
			continue
		}
		free++
		var b booking.Answer
		a.Data(&b)
		v.do(as, b, "cancel", 200)
	}
	beside := v.From.Add(time.Duration(v.r.Int64N(int64(v.To.Sub(v.From)/time.Second))) * time.Second)
	if a, _ := v.ask(beside, v.Length); a.Status == 201 && len(v.truth().why(beside, time.Duration(v.Length)*time.Minute)) > 0 {
		v.t.Fatalf("%s is not offered, and booked: %s\n%s", beside, a, v.sheet)
	} else if a.Status == 201 {
		var b booking.Answer
		a.Data(&b)
		v.Bookings = append(v.Bookings, stay{b.Start, b.Duration, v.Before, v.After})
	}
	return free, refused
}

// moved moves a booking to random starts of the grid: it can go where it could be booked if it were not there.
func (v *seller) moved() (free, refused int) {
	v.t.Helper()
	for i, b := range v.made {
		before := v.sheet
		v.sheet.Bookings = without(before.Bookings, i)
		t := v.truth()
		var starts []time.Time
		for k := max(0, t.index(v.From)); t.time(k).Before(v.To); k++ {
			if t.start[k] && !t.time(k).Equal(b.Start) && !t.time(k).Before(v.From) {
				starts = append(starts, t.time(k))
			}
		}
		v.sheet = before
		if len(starts) == 0 {
			continue
		}
		to := pick(v.r, starts...)
		reasons := t.why(to, time.Duration(b.Duration)*time.Minute)
		a := v.Do(apitest.Call{As: v.of[i], Path: "/api/bookings/" + b.ID.String() + "/reschedule", Body: map[string]any{"startTime": to}})
		if (a.Status == 200) != (len(reasons) == 0) || a.Status != 200 && !slices.Contains(reasons, a.Code()) {
			v.t.Fatalf("moving %s to %s answers %s, but against it are %q\n%s", b.Start, to, a, reasons, v.sheet)
		}
		if a.Status != 200 {
			refused++
			continue
		}
		free++
		v.Bookings[i] = stay{to, b.Duration, v.Before, v.After}
		v.made[i].Start = to
	}
	return free, refused
}

func TestRandomCalendarsOverHTTPListedIsBookableIsExplained(t *testing.T) {
	r := soak.Rand(t)
	var mu sync.Mutex
	counts := map[string]int{}
	t.Cleanup(func() {
		t.Logf("%v", counts)
		for _, what := range []string{"booked", "refused", "moved", "", "busy", "outside_hours", "limit"} {
			if counts[what] == 0 {
				t.Errorf("%q never came about", what)
			}
		}
	})
	for n := range soak.N(2, 27) {
		r := rand.New(rand.NewPCG(r.Uint64(), 0))
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := start(t)
			for range 15 {
				came := w.randomCalendar(r)
				mu.Lock()
				for what, n := range came {
					counts[what] += n
				}
				mu.Unlock()
			}
		})
	}
}

// randomCalendar says how often what came about with one more seller.
func (w *world) randomCalendar(r *rand.Rand) map[string]int {
	w.t.Helper()
	all, _, zones := everyChange(w.t)
	// Far enough from now that no move needs the other side.
	soon := slices.DeleteFunc(slices.Clone(all), func(c change) bool {
		return c.at.Before(w.clock.Now().AddDate(0, 0, 9)) || c.at.After(w.clock.Now().AddDate(0, 0, 60))
	})
	c := pick(r, soon...)
	if r.IntN(4) == 0 {
		c = change{zone: pick(r, zones...), at: w.clock.Now().AddDate(0, 0, 9+r.IntN(50))}
	}
	s := randomSheet(r, c.zone, c.at)
	if len(s.Weekly[2])+len(s.Weekly[4]) == 0 {
		s.Weekly[2], s.Weekly[4], s.Weekly[6] = []hoursOn{{540, 1020}}, []hoursOn{{1320, 1560}}, []hoursOn{{0, 1440}}
	}
	came := map[string]int{}
	v := w.seller(r, s)
	v.fill()
	told := v.told()
	came["booked"], came["refused"] = v.booked(told)
	came["moved"], came["not moved"] = v.moved()
	for _, s := range v.told() {
		came[s.Reason]++
	}
	if w.t.Failed() {
		w.t.Fatalf("with %s", v.sheet)
	}
	return came
}
