package booking_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// String is the sheet as a failing test shows it.
func (s sheet) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomSheet is any calendar that somebody may set, with what it holds around a time, in that zone.
func randomSheet(r *rand.Rand, zone string, around time.Time) sheet {
	mid := around.UTC().Truncate(24 * time.Hour)
	at := func(days, unit int) time.Time { // a multiple of unit minutes within so many days
		return mid.Add(time.Duration(r.IntN(2*days*1440/unit)-days*1440/unit) * time.Duration(unit) * time.Minute)
	}
	s := sheet{Zone: zone, Inactive: r.IntN(50) == 0, Overrides: map[string][]hoursOn{},
		Before: pick(r, 0, 0, 0, 10, 45, 480), After: pick(r, 0, 0, 0, 15, 7, 480), Notice: pick(r, 0, 0, 0, 90, 1440, 4000),
		Days: pick(r, 1, 3, 60, 60, 60, 730), Step: pick(r, 5, 10, 15, 20, 25, 30, 30, 45, 60, 90, 1440), Length: pick(r, 15, 30, 30, 60, 60, 95, 240, 1440, 1, 17, 7)}
	from := at(2, 1)
	s.From, s.To = from, from.Add(time.Duration(1+r.IntN(3*1440))*time.Minute)
	s.Now = from.Add(time.Duration(r.IntN(3*86400)-2*86400) * time.Second)
	if r.IntN(4) == 0 {
		s.Lengths = []int{pick(r, 5, 30, 50), 60, pick(r, 90, 95, 240)}
	}
	for d := range s.Weekly {
		s.Weekly[d] = randomHours(r)
	}
	for range pick(r, 0, 0, 1, 2) {
		s.Overrides[mid.AddDate(0, 0, r.IntN(5)-2).Format(time.DateOnly)] = randomHours(r)
	}
	limit := func(from ...int) int {
		if r.IntN(3) > 0 {
			return 0
		}
		return pick(r, from...)
	}
	s.PerDay, s.MinutesPerDay, s.PerWeek, s.MinutesPerWeek = limit(1, 2, 3), limit(60, 120, 200), limit(1, 3, 5), limit(60, 240, 500)
	for range r.IntN(5) {
		s.Bookings = append(s.Bookings, stay{at(3, pick(r, 5, 15)), pick(r, 15, 30, 60, 95, 240), pick(r, 0, 0, 10, 480), pick(r, 0, 0, 15)})
	}
	for range r.IntN(3) {
		start := at(3, pick(r, 5, 30)).Add(time.Duration(pick(r, 0, 0, 0, 20_000_000)) * time.Microsecond)
		s.Blocks = append(s.Blocks, closure{start, start.Add(pick(r, 10*time.Minute, time.Hour, 90*time.Second, 30*time.Hour, 400*time.Hour))})
	}
	for range r.IntN(3) {
		h := hoursOn{From: r.IntN(288) * 5}
		h.To = h.From + 5*(1+r.IntN(pick(r, 12, 48, 288)))
		w := routine{First: mid.AddDate(0, 0, r.IntN(20)-18).Format(time.DateOnly), Hours: h}
		if r.IntN(2) == 0 {
			w.Last = mid.AddDate(0, 0, r.IntN(6)-2).Format(time.DateOnly)
		}
		for d := range w.Days {
			w.Days[d] = r.IntN(3) == 0
		}
		s.Routines = append(s.Routines, w)
	}
	return s
}

// randomHours are windows of one day that do not overlap.
func randomHours(r *rand.Rand) (windows []hoursOn) {
	for range pick(r, 0, 1, 1, 2, 3) {
		unit := pick(r, 60, 30, 15, 5, 1)
		w := hoursOn{From: r.IntN(1440/unit) * unit}
		w.To = w.From + (1+r.IntN(1440/unit))*unit
		if r.IntN(8) == 0 {
			w = hoursOn{0, 1440}
		}
		if r.IntN(8) == 0 {
			w.To = max(w.From+1, 1440)
		}
		if !slices.ContainsFunc(windows, func(o hoursOn) bool { return w.From < o.To && o.From < w.To }) {
			windows = append(windows, w)
		}
	}
	return windows
}

// shrink makes a sheet on which wrong complains as simple as it can.
func (s sheet) shrink(wrong func(sheet) string) (sheet, string) {
	complaint := wrong(s)
	for again := true; again; {
		again = false
		for _, simpler := range s.simpler() {
			if says := wrong(simpler); says != "" {
				s, complaint, again = simpler, says, true
				break
			}
		}
	}
	return s, complaint
}

// simpler are sheets with one thing less.
func (s sheet) simpler() (all []sheet) {
	with := func(change func(*sheet)) {
		less := s
		less.Overrides = maps.Clone(s.Overrides)
		change(&less)
		if less.String() != s.String() {
			all = append(all, less)
		}
	}
	for d := range s.Weekly {
		with(func(l *sheet) { l.Weekly[d] = nil })
		for i := range s.Weekly[d] {
			with(func(l *sheet) { l.Weekly[d] = without(s.Weekly[d], i) })
		}
	}
	for date, windows := range s.Overrides {
		with(func(l *sheet) { delete(l.Overrides, date) })
		for i := range windows {
			with(func(l *sheet) { l.Overrides[date] = without(windows, i) })
		}
	}
	for i := range s.Bookings {
		with(func(l *sheet) { l.Bookings = without(s.Bookings, i) })
	}
	for i := range s.Blocks {
		with(func(l *sheet) { l.Blocks = without(s.Blocks, i) })
	}
	for i := range s.Routines {
		with(func(l *sheet) { l.Routines = without(s.Routines, i) })
	}
	for _, field := range []func(*sheet) *int{
		func(l *sheet) *int { return &l.Before }, func(l *sheet) *int { return &l.After }, func(l *sheet) *int { return &l.Notice },
		func(l *sheet) *int { return &l.PerDay }, func(l *sheet) *int { return &l.MinutesPerDay }, func(l *sheet) *int { return &l.PerWeek }, func(l *sheet) *int { return &l.MinutesPerWeek },
	} {
		with(func(l *sheet) { *field(l) = 0 })
	}
	with(func(l *sheet) { l.Inactive = false })
	with(func(l *sheet) { l.Lengths = nil })
	with(func(l *sheet) { l.Days = 730 })
	with(func(l *sheet) { l.Now = l.From.AddDate(0, 0, -1) })
	if half := s.To.Sub(s.From) / 2 / time.Minute * time.Minute; half > 0 {
		with(func(l *sheet) { l.To = l.From.Add(half) })
		with(func(l *sheet) { l.From = l.From.Add(half) })
	}
	return all
}

func without[T any](all []T, i int) []T { return slices.Delete(slices.Clone(all), i, i+1) }
