package booking_test

import (
	"fmt"
	"slices"
	"time"
)

// This file imports nothing of ours: it says in its own words what a calendar offers. It walks through time minute by minute, asks the zone at each of
// them what the clock on the wall shows, and derives from that alone what is open, what is a start and what is taken.

// sheet is a calendar, and what is asked of it. Minutes where no unit is named; windows are minutes of a local day.
type sheet struct {
	Zone                                           string
	Inactive                                       bool
	Weekly                                         [7][]hoursOn         // 0 is Sunday
	Overrides                                      map[string][]hoursOn // by date
	Before, After, Notice, Days, Step              int
	Lengths                                        []int
	PerDay, MinutesPerDay, PerWeek, MinutesPerWeek int
	Bookings                                       []stay
	Blocks                                         []closure
	Routines                                       []routine
	Now, From, To                                  time.Time
	Length                                         int
}

type hoursOn struct{ From, To int }

type stay struct {
	Start         time.Time
	Minutes       int
	Before, After int
}

type closure struct{ Start, End time.Time }

// routine closes the same hours on days of the week, from one date to another.
type routine struct {
	First, Last string // Last may be empty: for ever
	Days        [7]bool
	Hours       hoursOn
}

// timeline is every minute of a stretch and what the wall shows at it.
type timeline struct {
	loc   *time.Location
	lo    int64   // Unix minute of the first
	wall  []int64 // local minutes since 1970-01-01 00:00
	least int64
	first []int32 // index of the first minute that shows wall time least+i; -1: none does
}

func walk(zone string, from, to time.Time) *timeline {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	l := &timeline{loc: loc, lo: from.Unix() / 60}
	for u := l.lo; u*60 < to.Unix(); u++ {
		_, offset := time.Unix(u*60, 0).In(loc).Zone()
		l.wall = append(l.wall, (u*60+int64(offset))/60)
	}
	l.least = slices.Min(l.wall)
	l.first = slices.Repeat([]int32{-1}, int(slices.Max(l.wall)-l.least)+1)
	for i, w := range l.wall {
		if l.first[w-l.least] < 0 {
			l.first[w-l.least] = int32(i)
		}
	}
	return l
}

// shown is the first minute that shows w.
func (l *timeline) shown(w int64) (int, bool) {
	if w < l.least || w >= l.least+int64(len(l.first)) || l.first[w-l.least] < 0 {
		return 0, false
	}
	return int(l.first[w-l.least]), true
}

// instant is the first minute that shows w, or the first after the gap that swallows w.
func (l *timeline) instant(w int64) int {
	if i, ok := l.shown(w); ok {
		return i
	}
	for i, shows := range l.wall {
		if shows > w {
			return i
		}
	}
	return len(l.wall)
}

// dates are the local dates of the stretch, as days since 1970.
func (l *timeline) dates() (first, last int64) {
	return l.least/1440 - 2, (l.least+int64(len(l.first)))/1440 + 1
}

func day(d int64) time.Time      { return time.Unix(d*86400, 0).UTC() }
func dayText(d int64) string     { return day(d).Format(time.DateOnly) }
func isoWeek(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, " ", w) }

// truth is a sheet worked out minute by minute.
type truth struct {
	sheet
	*timeline
	open, start, removed, taken []bool
	counts                      map[string][2]int // bookings and minutes, by date and by ISO week
}

// reach is how much of the time around what is asked bears on it.
func (s sheet) reach() (from, to time.Time) { return s.From.AddDate(0, 0, -3), s.To.AddDate(0, 0, 4) }

// workOut tells the truth about s; l has to cover its reach.
func (s sheet) workOut(l *timeline) *truth {
	n := len(l.wall)
	t := &truth{s, l, make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n), map[string][2]int{}}
	first, last := l.dates()
	for d := first; d <= last; d++ {
		usual := s.Weekly[day(d).Weekday()]
		windows, overridden := s.Overrides[dayText(d)]
		if !overridden {
			windows = usual
		}
		for _, w := range windows {
			mark(t.open, l.instant(d*1440+int64(w.From)), l.instant(d*1440+int64(w.To)))
			t.grid(t.start, d, w)
		}
		if overridden {
			for _, w := range usual {
				t.grid(t.removed, d, w)
			}
		}
		for _, r := range s.Routines {
			if r.Days[day(d).Weekday()] && dayText(d) >= r.First && (r.Last == "" || dayText(d) <= r.Last) {
				mark(t.taken, l.instant(d*1440+int64(r.Hours.From)), l.instant(d*1440+int64(r.Hours.To)))
			}
		}
	}
	for _, b := range s.Blocks {
		mark(t.taken, t.index(b.Start), t.index(b.End.Add(time.Minute-time.Nanosecond)))
	}
	for _, b := range s.Bookings {
		end := b.Start.Add(time.Duration(b.Minutes) * time.Minute)
		mark(t.taken, t.index(b.Start)-b.Before, t.index(end)+b.After)
		date := b.Start.In(l.loc)
		for _, period := range []string{date.Format(time.DateOnly), isoWeek(date)} {
			c := t.counts[period]
			t.counts[period] = [2]int{c[0] + 1, c[1] + b.Minutes}
		}
	}
	return t
}

func mark(minutes []bool, from, to int) {
	for i := max(from, 0); i < min(to, len(minutes)); i++ {
		minutes[i] = true
	}
}

func (t *truth) grid(into []bool, d int64, w hoursOn) {
	for m := w.From; m < w.To; m += t.Step {
		if i, ok := t.shown(d*1440 + int64(m)); ok {
			into[i] = true
		}
	}
}

func (t *truth) index(at time.Time) int   { return int(at.Unix()/60 - t.lo) }
func (t *truth) time(index int) time.Time { return time.Unix((t.lo+int64(index))*60, 0).UTC() }

// why are all the reasons against a time; none when it can be booked.
func (t *truth) why(start time.Time, length time.Duration) (reasons []string) {
	against := func(code string, is bool) {
		if is {
			reasons = append(reasons, code)
		}
	}
	minutes := int(length / time.Minute)
	allowed := minutes >= 15 && minutes <= 1440 && minutes%5 == 0
	if len(t.Lengths) > 0 {
		allowed = slices.Contains(t.Lengths, minutes)
	}
	against("inactive", t.Inactive)
	against("length", !allowed || length%time.Minute != 0)
	against("notice", start.Before(t.Now.Add(time.Duration(t.Notice)*time.Minute)))
	against("horizon", start.Sub(t.Now) > time.Duration(t.Days)*24*time.Hour)
	i := t.index(start)
	against("outside_hours", start.Unix()%60 != 0 || start.Nanosecond() != 0 || !t.start[i] || slices.Contains(t.open[i:i+minutes], false))
	against("busy", slices.Contains(t.taken[i-t.Before:i+minutes+t.After], true))
	date := start.In(t.loc)
	today, thisWeek := t.counts[date.Format(time.DateOnly)], t.counts[isoWeek(date)]
	against("limit", t.PerDay > 0 && today[0]+1 > t.PerDay || t.MinutesPerDay > 0 && today[1]+minutes > t.MinutesPerDay ||
		t.PerWeek > 0 && thisWeek[0]+1 > t.PerWeek || t.MinutesPerWeek > 0 && thisWeek[1]+minutes > t.MinutesPerWeek)
	return reasons
}

// change is a change of a zone's offset, in seconds, at a minute of Unix time.
type change struct {
	zone          string
	at            time.Time
	before, after int
}

// changesOf are the changes of a zone's clock in those years.
func changesOf(zone string, from, to int) (all []change) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	offset := func(unix int64) int {
		_, o := time.Unix(unix, 0).In(loc).Zone()
		return o
	}
	end := time.Date(to+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	const stride = 6 * 3600
	u := time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for was := offset(u); u < end; u += stride {
		if offset(u+stride) == was {
			continue
		}
		for m := u; m < u+stride; m += 60 {
			if is := offset(m + 60); is != was {
				all = append(all, change{zone, time.Unix(m+60, 0).UTC(), was, is})
				was = is
			}
		}
	}
	return all
}
