package booking

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// The codes of a refused time. To others than the worker and admins a listing tells the code only.
const (
	codeInactive = "inactive"      // the worker takes no bookings
	codeLength   = "length"        // no slot has that length
	codeNotice   = "notice"        // past, or sooner than the worker wants to know
	codeHorizon  = "horizon"       // further ahead than the worker plans
	codeOutside  = "outside_hours" // not within the hours, or not a start on their grid
	codeBusy     = "busy"          // a booking or a block is there
	codeLimit    = "limit"         // enough for the day or the week
)

// Lengths that are possible while the worker has named none, in minutes.
const (
	shortest   = 15
	longest    = 24 * 60
	lengthStep = 5
)

// Window is a part of a local day, in minutes from its midnight. End is above Start; over 1440 it lies in the next day.
type Window struct{ Start, End int }

// Rules is what a worker has set for the calendar. Minutes everywhere; zero means none for buffers, notice and limits.
type Rules struct {
	Zone         string
	Weekly       [7][]Window       // by day of the week, 0 is Sunday
	Overrides    map[Date][]Window // instead of the weekly windows of that date; none means closed
	BufferBefore int
	BufferAfter  int
	MinNotice    int
	HorizonDays  int
	SlotStep     int
	SlotLengths  []int // none means any from 15 minutes to 24 hours in steps of 5
	Limits       Limits
}

// Limits is how much the worker takes on by local date of the start and by ISO week; zero means no limit.
type Limits struct{ PerDay, MinutesPerDay, PerWeek, MinutesPerWeek int }

// Recurring is a block that comes back on local dates From to Until, on the days of Days, at the same wall time.
type Recurring struct {
	From   Date
	Until  *Date
	Days   [7]bool
	Window Window
	Reason string
}

// held is a time that is taken: a booking with its buffers, or a block.
type held struct {
	span
	booking       uuid.UUID // zero for a block
	before, after int       // the part of span that is buffers, in minutes
	reason        string    // of a block; a booking's title
	calendar      string    // the name of the worker's other calendar that says so
}

// load is what a day or a week has already.
type load struct{ Bookings, Minutes int }

type period struct {
	kind  string // day or week
	start Date
}

func dayOf(d Date) period  { return period{"day", d} }
func weekOf(d Date) period { return period{"week", d.week()} }

// calendar is all that decides on a worker's time.
type calendar struct {
	Rules
	active    bool
	loc       *time.Location
	held      []held
	recurring []Recurring
	load      map[period]load
}

// decide answers nil when want can be booked at now, and otherwise why not. Listing, booking, rescheduling and explaining all ask it.
func decide(c *calendar, want span, now time.Time) *Refusal {
	// Before the days are worked out, because want may be centuries long.
	if no := c.early(want, now); no != nil {
		return no
	}
	return c.around(want).decide(want, now)
}

// offer is a time that somebody may think of, and why it cannot be booked if it cannot.
type offer struct {
	span
	refusal *Refusal
}

// offers is what decide says of every start of the grid in [within.Start, within.End), those that an override has taken away included.
func (c *calendar) offers(within span, length int, now time.Time) []offer {
	v := c.around(span{within.Start, within.End.Add(minutes(length))})
	var out []offer
	for _, start := range distinct(slices.Concat(v.starts, v.closed)) {
		if start.Before(within.Start) || !start.Before(within.End) {
			continue
		}
		want := span{start, start.Add(minutes(length))}
		out = append(out, offer{want, v.decide(want, now)})
	}
	return out
}

// view is a calendar worked out for a stretch of time.
type view struct {
	*calendar
	open   []span      // merged
	starts []time.Time // of the grid, sorted
	closed []time.Time // starts of the weekly grid that an override takes away
	taken  []held      // sorted by start; held ones and occurrences of recurring blocks
	reach  time.Duration
}

// around works the calendar out for times that lie within s.
func (c *calendar) around(s span) *view {
	v := &view{calendar: c, taken: slices.Clone(c.held)}
	reach := s.widen(c.BufferBefore, c.BufferAfter)
	// A window begins up to two days before the end of it, and a skipped day counts as one.
	first, last := localDate(c.loc, reach.Start)-2, localDate(c.loc, reach.End)+1
	for d := first; d <= last; d++ {
		windows, overridden := c.Overrides[d]
		if !overridden {
			windows = c.Weekly[d.weekday()]
		}
		for _, w := range windows {
			open, starts := c.grid(d, w)
			v.open = append(v.open, open)
			v.starts = append(v.starts, starts...)
		}
		if overridden {
			for _, w := range c.Weekly[d.weekday()] {
				_, starts := c.grid(d, w)
				v.closed = append(v.closed, starts...)
			}
		}
		for _, r := range c.recurring {
			if r.on(d) {
				s, _ := stretch(c.loc, d.at(r.Window.Start), d.at(r.Window.End))
				v.taken = append(v.taken, held{span: s, reason: r.Reason})
			}
		}
	}
	v.open = merge(v.open)
	v.starts = distinct(v.starts)
	v.closed = slices.DeleteFunc(distinct(v.closed), v.isStart)
	v.taken = slices.DeleteFunc(v.taken, func(h held) bool { return h.empty() })
	slices.SortFunc(v.taken, func(a, b held) int { return byStart(a.span, b.span) })
	for _, h := range v.taken {
		v.reach = max(v.reach, h.End.Sub(h.Start))
	}
	return v
}

// grid is the open interval of a window of a local date, and the wall times of its grid that exist.
func (c *calendar) grid(d Date, w Window) (open span, starts []time.Time) {
	open, even := stretch(c.loc, d.at(w.Start), d.at(w.End))
	for m := w.Start; m < w.End; m += c.SlotStep {
		if even {
			starts = append(starts, open.Start.Add(minutes(m-w.Start)))
		} else if t, exists := instant(c.loc, d.at(m)); exists {
			starts = append(starts, t)
		}
	}
	return open, starts
}

func (r Recurring) on(d Date) bool {
	return d >= r.From && (r.Until == nil || d <= *r.Until) && r.Days[d.weekday()]
}

// early is what can be said without looking at any day.
func (c *calendar) early(want span, now time.Time) *Refusal {
	switch {
	case !c.active:
		return refuse(codeInactive, "You take no bookings at the moment. Set your offer active to open this time.")
	case !c.lengthAllowed(want):
		return c.noLength(want)
	case want.Start.Before(now):
		return refuse(codeNotice, "That time is past. Choose a later one.")
	case want.Start.Before(now.Add(minutes(c.MinNotice))):
		return c.tooSoon(now)
	case want.Start.After(c.horizon(now)):
		return c.tooFar(now)
	}
	return nil
}

// horizon is the last start that is planned for: whole days of 24 hours from now.
func (c *calendar) horizon(now time.Time) time.Time { return now.Add(minutes(c.HorizonDays * 1440)) }

func (v *view) decide(want span, now time.Time) *Refusal {
	if no := v.early(want, now); no != nil {
		return no
	}
	if no := v.outside(want); no != nil {
		return no
	}
	if h := v.busy(want.widen(v.BufferBefore, v.BufferAfter)); h != nil {
		return v.clash(want, *h)
	}
	return v.overLimit(want)
}

func (c *calendar) lengthAllowed(want span) bool {
	length := want.End.Sub(want.Start)
	if length <= 0 || length > minutes(longest) || length%time.Minute != 0 {
		return false
	}
	n := int(length / time.Minute)
	if len(c.SlotLengths) == 0 {
		return n >= shortest && n%lengthStep == 0
	}
	return slices.Contains(c.SlotLengths, n)
}

func (v *view) isStart(t time.Time) bool {
	_, found := slices.BinarySearchFunc(v.starts, t, time.Time.Compare)
	return found
}

func (v *view) outside(want span) *Refusal {
	// The first open interval that ends after the start is the only one that can cover it.
	i, _ := slices.BinarySearchFunc(v.open, want.Start, func(s span, t time.Time) int {
		if s.End.After(t) {
			return 1
		}
		return -1
	})
	switch {
	case i == len(v.open) || !v.open[i].covers(want):
		return v.notOpen(want)
	case !v.isStart(want.Start):
		return v.notAStart()
	}
	return nil
}

// busy finds the first thing that is in the way of want, which has its buffers already.
func (v *view) busy(want span) *held {
	i, _ := slices.BinarySearchFunc(v.taken, want.Start.Add(-v.reach), func(h held, t time.Time) int { return h.Start.Compare(t) })
	for _, h := range v.taken[i:] {
		if !h.Start.Before(want.End) {
			return nil
		}
		if h.overlaps(want) {
			return &h
		}
	}
	return nil
}

func (v *view) overLimit(want span) *Refusal {
	d, n := localDate(v.loc, want.Start), want.minutes()
	day, week := dayOf(d), weekOf(d)
	for _, q := range []quota{
		{day, false, v.Limits.PerDay, v.load[day].Bookings, 1},
		{day, true, v.Limits.MinutesPerDay, v.load[day].Minutes, n},
		{week, false, v.Limits.PerWeek, v.load[week].Bookings, 1},
		{week, true, v.Limits.MinutesPerWeek, v.load[week].Minutes, n},
	} {
		if q.max > 0 && q.has+q.plus > q.max {
			return q.full()
		}
	}
	return nil
}

// without is the calendar as if b were not there, for moving b.
func (c *calendar) without(b Booking) *calendar {
	rest := *c
	rest.held = slices.DeleteFunc(slices.Clone(c.held), func(h held) bool { return h.booking == b.ID })
	rest.load = map[period]load{}
	for p, l := range c.load {
		if p == dayOf(b.LoadDay) || p == weekOf(b.LoadDay) {
			l.Bookings, l.Minutes = l.Bookings-1, l.Minutes-b.Duration
		}
		rest.load[p] = l
	}
	return &rest
}

// with is the calendar as if b were booked too.
func (c *calendar) with(b Booking) *calendar {
	more := *c
	more.held = append(slices.Clone(c.held), held{span: b.held(), booking: b.ID, before: b.BufferBefore, after: b.BufferAfter, reason: b.Title})
	more.load = maps.Clone(c.load)
	for _, p := range []period{dayOf(b.LoadDay), weekOf(b.LoadDay)} {
		l := more.load[p]
		more.load[p] = load{l.Bookings + 1, l.Minutes + b.Duration}
	}
	return &more
}

// agreed is the calendar for a time on which both sides agree, so that no notice is needed.
func (c *calendar) agreed() *calendar {
	waived := *c
	waived.MinNotice = 0
	return &waived
}

func distinct(times []time.Time) []time.Time {
	slices.SortFunc(times, time.Time.Compare)
	return slices.CompactFunc(times, time.Time.Equal)
}
