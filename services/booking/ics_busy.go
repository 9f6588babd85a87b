package booking

import (
	"time"

	"github.com/teambition/rrule-go"
)

// busy is when the calendar's events keep somebody busy within a stretch of time: merged, cut to it. Times without a zone are read in loc; events
// whose uid skip knows are left out. An icsError says what is wrong.
func (f *icsFile) busy(loc *time.Location, within span, skip func(uid string) bool) (_ []span, err error) {
	defer unreadable(&err)
	w := icsWork{loc: loc, within: within, deadline: time.Now().Add(maxICSWork)} // the machine's time: it bounds work
	replaced := map[string]*exclusions{}
	for _, e := range f.events {
		if e.replaces == nil {
			continue
		}
		if replaced[e.uid] == nil {
			replaced[e.uid] = newExclusions()
		}
		replaced[e.uid].add(*e.replaces, loc)
	}
	for _, e := range f.events {
		if e.free || skip(e.uid) {
			continue
		}
		if err := w.expand(e, replaced[e.uid]); err != nil {
			return nil, err
		}
	}
	return merge(w.out), nil
}

// exclusions are occurrences that do not take place when the rule says.
type exclusions struct {
	instants map[int64]bool // Unix seconds
	dates    map[Date]bool
}

func newExclusions() *exclusions { return &exclusions{map[int64]bool{}, map[Date]bool{}} }

func (x *exclusions) add(t icsTime, loc *time.Location) {
	if t.date {
		x.dates[dateOf(t.wall)] = true
		return
	}
	x.instants[t.at(loc).Unix()] = true
}

// has says whether the occurrence at a wall time is left out.
func (x *exclusions) has(t icsTime, loc *time.Location) bool {
	return x != nil && (x.dates[dateOf(t.wall)] || x.instants[t.at(loc).Unix()])
}

// icsWork is one reading of a calendar's occurrences and its bounds.
type icsWork struct {
	loc      *time.Location
	within   span
	deadline time.Time
	steps    int
	out      []span
}

func (w *icsWork) expand(e icsEvent, replaced *exclusions) error {
	out := newExclusions()
	for _, t := range e.exdates {
		out.add(t, w.loc)
	}
	if e.replaces != nil {
		replaced = nil // it is one of them
	}
	add := func(t icsTime, length icsLength) error {
		if out.has(t, w.loc) || replaced.has(t, w.loc) {
			return nil
		}
		return w.add(t, length)
	}
	if err := add(e.start, e.length); err != nil {
		return err
	}
	for _, p := range e.rdates {
		length := e.length
		if p.length != nil {
			length = *p.length
		}
		if err := add(p.start, length); err != nil {
			return err
		}
	}
	if e.rule == nil {
		return nil
	}
	return w.repeat(e, func(wall time.Time) error {
		return add(icsTime{wall: wall, loc: e.start.loc, date: e.start.date}, e.length)
	})
}

// repeat calls fn with the readings of the wall clock at which the rule comes back within the stretch.
func (w *icsWork) repeat(e icsEvent, fn func(wall time.Time) error) error {
	// A day on each side is more than any zone is from UTC.
	first := w.within.Start.Add(-48*time.Hour - e.length.atMost())
	last := w.within.End.Add(48 * time.Hour)
	if e.start.wall.After(last) {
		return nil
	}
	option := from(*e.rule, e.start.wall, first)
	// A rule that never comes true is followed to the year 9999. The calendar is the same every 400 years, so it is followed from as late as can be.
	cycles := max(0, (9990-last.Year())/400*400)
	option.Dtstart = option.Dtstart.AddDate(cycles, 0, 0)
	if !option.Until.IsZero() {
		option.Until = option.Until.AddDate(min(cycles, 9990-option.Until.Year()), 0, 0)
	}
	rule, err := rrule.NewRRule(*option)
	if err != nil {
		return errICSRule
	}
	for next := rule.Iterator(); ; {
		if w.steps++; w.steps > maxICSSteps || time.Now().After(w.deadline) {
			return errICSTooMuch
		}
		wall, ok := next()
		if wall = wall.AddDate(-cycles, 0, 0); !ok || wall.After(last) {
			return nil
		}
		if wall.Before(first) || wall.Equal(e.start.wall) {
			continue
		}
		if err := fn(wall); err != nil {
			return err
		}
	}
}

// from is the rule as it begins at start; one without a count begins as late before first as it can, in the same rhythm.
func from(rule rrule.ROption, start, first time.Time) *rrule.ROption {
	rule.Dtstart = start
	ahead := first.Sub(start)
	if rule.Count > 0 || ahead <= 0 {
		return &rule
	}
	step := max(1, rule.Interval)
	bare := len(rule.Byweekno)+len(rule.Byyearday)+len(rule.Bymonthday)+len(rule.Byweekday)+len(rule.Byeaster) == 0
	days := int(ahead / (24 * time.Hour))
	switch rule.Freq {
	case rrule.DAILY:
		rule.Dtstart = start.AddDate(0, 0, days/step*step)
	case rrule.WEEKLY:
		rule.Dtstart = start.AddDate(0, 0, max(0, days/(7*step)-1)*7*step)
	case rrule.MONTHLY:
		months := max(0, (first.Year()-start.Year())*12+int(first.Month())-int(start.Month())-step) / step * step
		if months == 0 {
			return &rule
		}
		if bare {
			rule.Bymonthday = []int{start.Day()}
		}
		rule.Dtstart = start.AddDate(0, 0, 1-start.Day()).AddDate(0, months, 0)
	case rrule.YEARLY:
		years := max(0, first.Year()-start.Year()-step) / step * step
		if years == 0 {
			return &rule
		}
		if bare {
			rule.Bymonthday = []int{start.Day()}
			if len(rule.Bymonth) == 0 {
				rule.Bymonth = []int{int(start.Month())}
			}
		}
		rule.Dtstart = time.Date(start.Year()+years, 1, 1, start.Hour(), start.Minute(), start.Second(), 0, time.UTC)
	}
	return &rule
}

// add keeps what of an occurrence lies within the stretch.
func (w *icsWork) add(t icsTime, length icsLength) error {
	s := span{t.at(w.loc), icsTime{t.wall.AddDate(0, 0, length.days), t.loc, t.date}.at(w.loc).Add(length.rest)}
	if s.Start.Before(w.within.Start) {
		s.Start = w.within.Start
	}
	if s.End.After(w.within.End) {
		s.End = w.within.End
	}
	if s.empty() {
		return nil
	}
	if len(w.out) >= maxICSOccurrences {
		return errICSTooMuch
	}
	w.out = append(w.out, s)
	return nil
}

// atMost is as far back as an occurrence is looked for that reaches into the stretch: a century at most.
func (l icsLength) atMost() time.Duration {
	const century = 36525
	return time.Duration(min(l.days, century)+1)*24*time.Hour + min(max(0, l.rest), century*24*time.Hour)
}

// at is when the wall clock shows t. RFC 5545, 3.3.5: the first time when it shows it twice; by the offset before the gap when it never does.
func (t icsTime) at(floating *time.Location) time.Time {
	loc := t.loc
	if loc == nil {
		loc = floating
	}
	if loc == time.UTC {
		return t.wall
	}
	minute := t.wall.Truncate(time.Minute)
	at, exists := instant(loc, wall(floorDiv(minute.Unix(), 60)))
	if !exists {
		_, offset := at.Add(-time.Second).In(loc).Zone()
		at = minute.Add(-time.Duration(offset) * time.Second)
	}
	return at.Add(t.wall.Sub(minute))
}
