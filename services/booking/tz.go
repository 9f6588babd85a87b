package booking

import (
	"fmt"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // zones must be known on a machine without its own zone files
)

// Date is a calendar date without a zone, as days since 1970-01-01. Its text form is 2026-03-02.
type Date int32

// ParseDate reads a date of the form 2026-03-02.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("parse date: %w", err)
	}
	return Date(floorDiv(t.Unix(), 86400)), nil
}

func (d Date) String() string { return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly) }

// MarshalText writes the date as 2026-03-02.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a date of the form 2026-03-02.
func (d *Date) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDate(string(text))
	return err
}

// weekday is 0 for Sunday.
func (d Date) weekday() int { return int(((int64(d)+4)%7 + 7) % 7) }

// week is the Monday of the date's ISO week.
func (d Date) week() Date { return d - Date((d.weekday()+6)%7) }

func (d Date) at(minute int) wall { return wall(int64(d)*1440 + int64(minute)) }

// time is midnight UTC of the date, as Postgres takes a date.
func (d Date) time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

func dateOf(t time.Time) Date { return Date(floorDiv(t.Unix(), 86400)) }

// wall is what a clock on the wall shows, in minutes since 1970-01-01 00:00 there.
type wall int64

func localDate(loc *time.Location, t time.Time) Date {
	_, offset := t.In(loc).Zone()
	return Date(floorDiv(t.Unix()+int64(offset), 86400))
}

// wallAt is the wall time at t, cut to the minute.
func wallAt(loc *time.Location, t time.Time) wall {
	_, offset := t.In(loc).Zone()
	return wall(floorDiv(t.Unix()+int64(offset), 60))
}

// instant is when the wall clock first shows w, or, when a change of the zone skips w, the first instant after the gap.
// exists says whether w is shown at all. It never goes back when w goes on.
//
// Neither time.Date nor Postgres' AT TIME ZONE promises that: both choose differently between zones.
func instant(loc *time.Location, w wall) (t time.Time, exists bool) {
	target := int64(w) * 60
	// No zone is more than 15 hours from UTC, so the clock has not shown w at this instant yet.
	at := time.Unix(target-26*3600, 0).In(loc)
	for {
		start, end := at.ZoneBounds()
		_, offset := at.Zone()
		candidate := target - int64(offset)
		switch {
		case !start.IsZero() && candidate < start.Unix():
			return start.UTC(), false
		case end.IsZero() || candidate < end.Unix():
			return time.Unix(candidate, 0).UTC(), true
		}
		at = end
	}
}

// stretch is the interval of two wall times, and whether no change of the zone falls into it or on its end, where a gap may begin that swallows wall
// times before the second.
func stretch(loc *time.Location, from, to wall) (s span, even bool) {
	start, exists := instant(loc, from)
	end, _ := instant(loc, to)
	_, change := start.In(loc).ZoneBounds()
	return span{start, end}, exists && (change.IsZero() || change.After(end))
}

// span is a half-open interval of time, in UTC.
type span struct{ Start, End time.Time }

func (s span) empty() bool          { return !s.Start.Before(s.End) }
func (s span) overlaps(o span) bool { return s.Start.Before(o.End) && o.Start.Before(s.End) }
func (s span) covers(o span) bool   { return !o.Start.Before(s.Start) && !o.End.After(s.End) }
func (s span) minutes() int         { return int(s.End.Sub(s.Start) / time.Minute) }
func (s span) widen(a, b int) span  { return span{s.Start.Add(-minutes(a)), s.End.Add(minutes(b))} }
func minutes(n int) time.Duration   { return time.Duration(n) * time.Minute }
func byStart(a, b span) int         { return a.Start.Compare(b.Start) }
func floorDiv(a, b int64) (q int64) {
	if q = a / b; a%b < 0 {
		q--
	}
	return q
}

// merge is the union of the spans, as sorted spans that neither overlap nor touch.
func merge(spans []span) []span {
	slices.SortFunc(spans, byStart)
	var out []span
	for _, s := range spans {
		if s.empty() {
			continue
		}
		if n := len(out); n > 0 && !s.Start.After(out[n-1].End) {
			if s.End.After(out[n-1].End) {
				out[n-1].End = s.End
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

var zones sync.Map // name → *time.Location; only real zones get in, so it is bounded by their number

// zone is the IANA zone of that name. Local and the empty name are refused: they mean the server's.
func zone(name string) (*time.Location, error) {
	if loc, ok := zones.Load(name); ok {
		return loc.(*time.Location), nil
	}
	if name == "" || name == "Local" || len(name) > 64 {
		return nil, fmt.Errorf("zone %.64q is unknown", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("load zone: %w", err)
	}
	zones.Store(name, loc)
	return loc, nil
}
