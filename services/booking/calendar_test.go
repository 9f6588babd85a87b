package booking_test

import (
	"archive/zip"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tulifo/platform/soak"
	"tulifo/services/booking"
)

// actionable is a sentence for the worker that ends in what to do.
var actionable = regexp.MustCompile(`\. (Set|Ask|Add|Choose|Shorten|Widen|Remove|Change|Move or cancel|Raise)[^.]*\.$`)

// plan is the sheet as decide takes it.
func (s sheet) plan(counts map[string][2]int) *booking.Plan {
	windows := func(list []hoursOn) (out []booking.Window) {
		for _, w := range list {
			out = append(out, booking.Window{Start: w.From, End: w.To})
		}
		return out
	}
	r := booking.Rules{Zone: s.Zone, Overrides: map[booking.Date][]booking.Window{}, BufferBefore: s.Before, BufferAfter: s.After, MinNotice: s.Notice, HorizonDays: s.Days,
		SlotStep: s.Step, SlotLengths: s.Lengths, Limits: booking.Limits{PerDay: s.PerDay, MinutesPerDay: s.MinutesPerDay, PerWeek: s.PerWeek, MinutesPerWeek: s.MinutesPerWeek}}
	for d := range s.Weekly {
		r.Weekly[d] = windows(s.Weekly[d])
	}
	for d, list := range s.Overrides {
		r.Overrides[date(d)] = windows(list)
	}
	c := booking.NewCalendar(r)
	if s.Inactive {
		c.Deactivate()
	}
	loc, _ := time.LoadLocation(s.Zone)
	for _, b := range s.Bookings {
		c.Hold(booking.Span{Start: b.Start, End: b.Start.Add(time.Duration(b.Minutes) * time.Minute)}, b.Before, b.After)
		local := b.Start.In(loc)
		day, week := counts[local.Format(time.DateOnly)], counts[isoWeek(local)]
		c.Load(booking.DayOf(date(local.Format(time.DateOnly))), day[0], day[1])
		c.Load(booking.WeekOf(date(local.Format(time.DateOnly))), week[0], week[1])
	}
	for _, b := range s.Blocks {
		c.Block(booking.Span(b), "")
	}
	for _, w := range s.Routines {
		again := booking.Recurring{From: date(w.First), Days: w.Days, Window: booking.Window{Start: w.Hours.From, End: w.Hours.To}}
		if w.Last != "" {
			last := date(w.Last)
			again.Until = &last
		}
		c.Repeat(again)
	}
	return c
}

// booked is about how many times of a listing are asked for one by one.
const booked = 30

// wrong compares what is listed, what is explained and what can be booked with the truth, and says the first difference.
func (s sheet) wrong(l *timeline) string {
	t := s.workOut(l)
	c := s.plan(t.counts)
	length := time.Duration(s.Length) * time.Minute
	told := map[time.Time]bool{}
	all := c.Explained(booking.Span{Start: s.From, End: s.To}, s.Length, s.Now)
	for i, o := range all {
		told[o.Start] = true
		reasons, no := t.why(o.Start, length), o.Refusal
		// A decision of its own works days out anew, so of long listings it is some that are booked.
		if i%(1+len(all)/booked) == 0 {
			no = booking.Decide(c, booking.Span{Start: o.Start, End: o.Start.Add(length)}, s.Now)
		}
		switch {
		case (o.Refusal == nil) != (no == nil) || no != nil && no.Code != o.Refusal.Code:
			return fmt.Sprintf("%s is explained with %v, but who books it hears %v", o.Start, o.Refusal, no)
		case (o.Refusal == nil) != (len(reasons) == 0):
			return fmt.Sprintf("%s: %v, but against it are %q", o.Start, o.Refusal, reasons)
		case no != nil && !slices.Contains(reasons, no.Code):
			return fmt.Sprintf("%s: %v, but against it are only %q", o.Start, no, reasons)
		case no != nil && !actionable.MatchString(no.Full()):
			return fmt.Sprintf("%s: %q does not say what to do", o.Start, no.Full())
		}
	}
	for i := max(0, t.index(s.From)); t.time(i).Before(s.To); i++ {
		at := t.time(i)
		if !at.Before(s.From) && (t.start[i] || t.removed[i]) != told[at] {
			return fmt.Sprintf("%s is a start of the grid: %t; it is told of: %t", at, !told[at], told[at])
		}
		// What is on no grid can be asked for all the same; a few of those are enough.
		if i%(1+4*booked) == 0 {
			if no := booking.Decide(c, booking.Span{Start: at, End: at.Add(length)}, s.Now); (no == nil) != (len(t.why(at, length)) == 0) {
				return fmt.Sprintf("%s: who books it hears %v, but against it are %q", at, no, t.why(at, length))
			}
			if no := booking.Decide(c, booking.Span{Start: at.Add(time.Second), End: at.Add(time.Second + length)}, s.Now); no == nil {
				return fmt.Sprintf("%s can be booked, a second beside the grid", at.Add(time.Second))
			}
		}
	}
	return ""
}

// zoneNames are all zones that Go knows.
func zoneNames(t testing.TB) (names []string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if _, err := time.LoadLocation(f.Name); err == nil && !f.FileInfo().IsDir() {
			names = append(names, f.Name)
		}
	}
	if len(names) < 500 {
		t.Fatalf("only %d zones", len(names))
	}
	return names
}

// Changes of other kinds than those of 2024 to 2030: a day is skipped; midnight is; a minute after midnight.
var oddChanges = []struct {
	zone     string
	from, to int
}{{"Pacific/Apia", 2011, 2012}, {"America/Sao_Paulo", 2018, 2018}, {"America/St_Johns", 2010, 2010}, {"Asia/Pyongyang", 2015, 2018}, {"America/Caracas", 2007, 2016}, {"Antarctica/Casey", 2020, 2023}}

var changes struct {
	once       sync.Once
	all, kinds []change
	zones      []string
}

// everyChange are the changes of all zones from 2024 to 2030, and a few odd ones. Of those that look alike on the wall, kinds has the first.
func everyChange(t testing.TB) (all, kinds []change, zones []string) {
	c := &changes
	c.once.Do(func() {
		c.zones = zoneNames(t)
		seen := map[string]bool{}
		add := func(list []change) {
			for _, one := range list {
				c.all = append(c.all, one)
				if kind := fmt.Sprint(one.before, one.after, (one.at.Unix()+int64(one.before))%86400); !seen[kind] {
					seen[kind] = true
					c.kinds = append(c.kinds, one)
				}
			}
		}
		for _, name := range c.zones {
			add(changesOf(name, 2024, 2030))
		}
		for _, o := range oddChanges {
			add(changesOf(o.zone, o.from, o.to))
		}
	})
	return c.all, c.kinds, c.zones
}

// around are windows around a change: minutes of the local day at which the clock jumps from one time to another.
func (c change) around() []hoursOn {
	jump := (int(c.at.Unix()) + c.before) / 60 % 1440
	land := (int(c.at.Unix()) + c.after) / 60 % 1440
	size := max(c.after-c.before, c.before-c.after) / 60 % 1440
	shapes := []hoursOn{
		{540, 1020}, {0, 1440}, {0, 2880 - 1440}, {1080, 1440}, {1320, 1560}, {1410, 1470}, // ordinary, all day, until 24:00, over midnight
		{jump, jump + size}, {land, land + size}, {jump - size, jump}, {jump - 75, jump + 135}, {jump - 7, land + 7}, // the gap, the repeat, across it
		{jump + size/4, jump + size*3/4}, {land + size/4, land + size*3/4}, {jump - size/2, jump + size/2}, // within it, and half in it
		{jump, jump + 1440}, {land - 30, land + 600}, {jump + 1, jump + 61},
	}
	out := map[hoursOn]bool{}
	for _, w := range shapes {
		if w.From < 0 {
			w.From, w.To = w.From+1440, w.To+1440
		}
		w.From, w.To = w.From%1440, w.From%1440+w.To-w.From
		if w.To > w.From && w.To <= w.From+1440 {
			out[w] = true
		}
	}
	return slices.SortedFunc(maps.Keys(out), func(a, b hoursOn) int { return (a.From-b.From)*10000 + a.To - b.To })
}

func TestEveryZoneAndChangeOfItsClockIsToldAsTheMinutesTell(t *testing.T) {
	all, kinds, zones := everyChange(t)
	t.Logf("%d changes of %d kinds in %d zones", len(all), len(kinds), len(zones))
	if !soak.On() {
		all = kinds
	}
	compared := 0
	for _, c := range all {
		s := sheet{Zone: c.zone, Days: 60, Now: c.at.AddDate(0, 0, -10), From: c.at.Add(-15 * time.Hour), To: c.at.Add(15 * time.Hour)}
		from, to := s.reach()
		l := walk(c.zone, from, to)
		for _, w := range c.around() {
			for d := range s.Weekly {
				s.Weekly[d] = []hoursOn{w}
			}
			for range soak.N(1, 3) { // each window with other steps and lengths than the one before
				s.Step, s.Length = []int{5, 15, 30, 60}[compared%4], []int{15, 60, 180}[compared%3]
				compared++
				if says := s.wrong(l); says != "" {
					t.Fatalf("%s, %s from %d to %d s: %s\n%s", c.zone, c.at, c.before, c.after, says, s)
				}
			}
		}
	}
	t.Logf("%d calendars around %d changes", compared, len(all))
}

// randomSheets are calendars around changes of a clock, most kinds as often as the common ones, and at other times.
func randomSheets(t *testing.T, r *rand.Rand) func() sheet {
	all, kinds, names := everyChange(t)
	return func() sheet {
		switch r.IntN(4) {
		case 0:
			return randomSheet(r, pick(r, names...), time.Unix(1704067200+r.Int64N(7*365*86400), 0))
		case 1:
			c := pick(r, all...)
			return randomSheet(r, c.zone, c.at)
		}
		c := pick(r, kinds...)
		return randomSheet(r, c.zone, c.at)
	}
}

func TestRandomCalendarsListedIsBookableIsExplained(t *testing.T) {
	next := randomSheets(t, soak.Rand(t))
	wrong := func(s sheet) string {
		from, to := s.reach()
		return s.wrong(walk(s.Zone, from, to))
	}
	codes := map[string]int{}
	for n := range soak.N(300, 100_000) {
		s := next()
		if wrong(s) != "" {
			least, says := s.shrink(wrong)
			t.Fatalf("calendar %d: %s\n%s", n, says, least)
		}
		for _, o := range s.plan(nil).Explained(booking.Span{Start: s.From, End: s.To}, s.Length, s.Now) {
			if o.Refusal == nil {
				codes["free"]++
			} else {
				codes[o.Refusal.Code]++
			}
		}
	}
	t.Logf("%v", codes)
	for _, code := range []string{"free", "inactive", "length", "notice", "horizon", "outside_hours", "busy"} {
		if codes[code] == 0 {
			t.Errorf("no calendar had a time that is %s", code)
		}
	}
}
