package booking

import (
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
)

const MaxListing = maxListing

type (
	Plan   = calendar
	Span   = span
	Period = period
)

var (
	Decide = decide
	DayOf  = dayOf
	WeekOf = weekOf
)

func NewCalendar(r Rules) *Plan {
	loc, err := zone(r.Zone)
	if err != nil {
		panic(err)
	}
	return &calendar{Rules: r, active: true, loc: loc, load: map[period]load{}}
}

func (c *calendar) Booked(s Span) { c.Hold(s, c.BufferBefore, c.BufferAfter) }

// Hold is a booking that was made with other buffers.
func (c *calendar) Hold(s Span, before, after int) {
	c.held = append(c.held, held{span: s.widen(before, after), booking: uuid.New(), before: before, after: after, reason: "Calm the cluster"})
}

// Told is a time of a listing; Refusal is nil when it is free.
type Told struct {
	Start   time.Time
	Refusal *Refusal
}

func (c *calendar) Explained(within Span, length int, now time.Time) (all []Told) {
	for _, o := range c.offers(within, length, now) {
		all = append(all, Told{o.Start, o.refusal})
	}
	return all
}

func (c *calendar) Block(s Span, reason string) {
	c.held = append(c.held, held{span: s, reason: reason})
}

func (c *calendar) Repeat(r Recurring) { c.recurring = append(c.recurring, r) }

func (c *calendar) Load(p Period, bookings, minutes int) { c.load[p] = load{bookings, minutes} }

func (c *calendar) Deactivate() { c.active = false }

func (c *calendar) Listed(within Span, length int, now time.Time) []time.Time {
	var out []time.Time
	for _, o := range c.offers(within, length, now) {
		if o.refusal == nil {
			out = append(out, o.Start)
		}
	}
	return out
}

func InstantOn(loc *time.Location, d Date, minute int) (time.Time, bool) {
	return instant(loc, d.at(minute))
}

// BusyTimes are the times at which a calendar of somebody else's says busy, as start and end.
func BusyTimes(body []byte, loc *time.Location, within Span, skip func(string) bool) ([]Span, error) {
	f, err := readICS(body, within.End)
	if err != nil {
		return nil, err
	}
	return f.busy(loc, within, skip)
}

// Within is the stretch that a listing of free times is asked for.
func Within(from, to, date, tz string, now time.Time) (Span, error) {
	loc, err := zone(tz)
	if err != nil {
		return Span{}, errs.Field("tz", "is not an IANA time zone")
	}
	in := slotsIn{From: from, To: to, Date: date}
	return in.within(loc, now)
}
