package booking

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
)

// Refusal says why a time cannot be booked.
type Refusal struct {
	Code string
	say  func() string // listings make thousands of refusals, and most are never read
}

// Full is the sentence for the worker and admins: what is in the way by the calendar's wall clock, and what would open the time.
func (r *Refusal) Full() string { return r.say() }

func (r *Refusal) String() string { return r.Code + ": " + r.Full() }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{code, func() string { return fmt.Sprintf(format, args...) }}
}

// forClient is the refusal as one who wants to book may read it.
func (r *Refusal) forClient() *errs.Error {
	switch r.Code {
	case codeInactive:
		return errs.Coded(errs.Conflict, r.Code, "The worker takes no bookings at the moment.")
	case codeLength:
		return errs.Coded(errs.Invalid, r.Code, "The worker offers no slots of that length.")
	case codeNotice:
		return errs.Coded(errs.Invalid, r.Code, "That time is past, or too soon for the worker.")
	case codeHorizon:
		return errs.Coded(errs.Invalid, r.Code, "The worker does not plan that far ahead.")
	case codeOutside:
		return errs.Coded(errs.Invalid, r.Code, "The worker does not offer that time.")
	case codeLimit:
		return errs.Coded(errs.Conflict, r.Code, "The worker takes no more bookings on that day or in that week.")
	}
	return errs.Coded(errs.Conflict, codeBusy, "The worker is not free at that time.")
}

func (c *calendar) noLength(want span) *Refusal {
	if len(c.SlotLengths) == 0 {
		return refuse(codeLength, "A slot takes %d minutes to 24 hours, in steps of %d minutes. Ask for such a length, or name your slot lengths.", shortest, lengthStep)
	}
	return refuse(codeLength, "%g minutes is none of your slot lengths, which are %s minutes. Add it to them to offer it.", want.End.Sub(want.Start).Minutes(), numbers(c.SlotLengths))
}

func (c *calendar) tooSoon(now time.Time) *Refusal {
	return &Refusal{codeNotice, func() string {
		return fmt.Sprintf("Notice of %d minutes, set by you, which ends on %s. Shorten it to open this time.", c.MinNotice, c.dateAndTime(now.Add(minutes(c.MinNotice))))
	}}
}

func (c *calendar) tooFar(now time.Time) *Refusal {
	return &Refusal{codeHorizon, func() string {
		return fmt.Sprintf("Horizon of %d days, set by you, which ends on %s. Widen it to open this time.", c.HorizonDays, c.dateAndTime(c.horizon(now)))
	}}
}

// notOpen says what the hours of the day are.
func (v *view) notOpen(want span) *Refusal {
	return &Refusal{codeOutside, func() string {
		d := localDate(v.loc, want.Start)
		windows, overridden := v.Overrides[d]
		if !overridden {
			windows = v.Weekly[d.weekday()]
		}
		day, mend := "on "+time.Weekday(d.weekday()).String()+"s", "Widen them, or set other hours for "+d.String()+", to open this time."
		if overridden {
			day, mend = "on "+d.String(), "Widen the override of that date to open this time."
		}
		switch {
		case len(windows) == 0 && overridden:
			return fmt.Sprintf("Closed on %s, set by you. Remove the override of that date to open it.", d)
		case len(windows) == 0:
			return fmt.Sprintf("Outside your hours: there are none %s. Set some to open this time.", day)
		}
		return fmt.Sprintf("Outside your hours: %s does not lie within %s, your hours %s. %s", v.times(want, d), hoursText(windows), day, mend)
	}}
}

func (c *calendar) notAStart() *Refusal {
	return refuse(codeOutside, "Not one of your starts, which come every %d minutes from the beginning of your hours. Change the slot step or your hours to start here.", c.SlotStep)
}

// clash says that h is in the way of want, or of its buffers.
func (v *view) clash(want span, h held) *Refusal {
	return &Refusal{codeBusy, func() string {
		d := localDate(v.loc, want.Start)
		own := span{h.Start.Add(minutes(h.before)), h.End.Add(-minutes(h.after))}
		what, mend := h.what()+", "+v.times(own, d)+",", h.mend()
		if own.overlaps(want) {
			return fmt.Sprintf("%s blocks it. %s to open this time.", what, mend)
		}
		if h.booking == uuid.Nil {
			return fmt.Sprintf("%s is too close: with its buffers this time takes %s. %s, or shorten your buffers, to open it.",
				what, v.times(want.widen(v.BufferBefore, v.BufferAfter), d), mend)
		}
		return fmt.Sprintf("%s is too close: with its buffers it holds %s, and this time takes %s. %s, or shorten your buffers, to open it.",
			what, v.times(h.span, d), v.times(want.widen(v.BufferBefore, v.BufferAfter), d), mend)
	}}
}

// what is the name of h for the worker.
func (h held) what() string {
	switch {
	case h.booking != uuid.Nil:
		return fmt.Sprintf("The booking %q", h.reason)
	case h.calendar != "":
		return fmt.Sprintf("An event of your calendar %q", h.calendar)
	case h.reason != "":
		return h.reason
	}
	return "A block of yours"
}

func (h held) mend() string {
	switch {
	case h.booking != uuid.Nil:
		return "Move or cancel the booking"
	case h.calendar != "":
		return "Move the event in that calendar"
	}
	return "Remove the block"
}

// quota is a limit of a period, in bookings or minutes: what it may have, what it has, and what want would add.
type quota struct {
	period
	minutes        bool
	max, has, plus int
}

func (q quota) full() *Refusal {
	return &Refusal{codeLimit, func() string {
		what, unit, where := "Daily limit", "", q.start.String()
		if q.kind == "week" {
			what, where = "Weekly limit", "the week of "+where
		}
		if q.minutes {
			unit = " minutes"
		}
		return fmt.Sprintf("%s %d of %d%s, set by you; this would add %d. Raise it, or move a booking out of %s, to open this time.", what, q.has, q.max, unit, q.plus, where)
	}}
}

// times is s by the wall clock of the calendar; a time that is not on d has its date.
func (c *calendar) times(s span, d Date) string {
	return c.timeOn(s.Start, d) + "–" + c.timeOn(s.End, d)
}

func (c *calendar) timeOn(t time.Time, d Date) string {
	switch localDate(c.loc, t) {
	case d:
		return t.In(c.loc).Format("15:04")
	case d + 1:
		if wallAt(c.loc, t) == d.at(1440) {
			return "24:00"
		}
	}
	return c.dateAndTime(t)
}

func (c *calendar) dateAndTime(t time.Time) string { return t.In(c.loc).Format("2006-01-02 15:04") }

func hoursText(windows []Window) string {
	texts := make([]string, len(windows))
	for i, w := range windows {
		texts[i] = clockText(w.Start) + "–" + clockText(w.End)
	}
	return strings.Join(texts, " and ")
}

func numbers(all []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ", "), "[]")
}
