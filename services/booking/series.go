package booking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	minSeries   = 2
	maxSeries   = 26
	seriesReach = 400 * 24 * time.Hour // from its first start to its last
	seriesTries = 4
)

// errNotFree is told with what is wrong with each start.
var errNotFree = errs.Coded(errs.Conflict, "not_all_free", "Not all of these times can be booked, so none was.")

// SeriesRequest is what a client wants to book several times, by the wall clock of the worker's calendar: Start and End are the first time. It comes
// back every week for Weeks weeks, or on Dates, which name the first one's too. All: all of them or none; otherwise those that can be booked.
type SeriesRequest struct {
	Request
	Weeks int
	Dates []Date
	All   bool
}

// Series is bookings that were made, confirmed or cancelled at once, by start, and the starts that were not to be had.
type Series struct {
	ID       uuid.UUID
	Bookings []Booking
	Refused  []RefusedStart
}

// RefusedStart is a start of a series that cannot be booked, and why.
type RefusedStart struct {
	Start         time.Time
	Code, Message string
}

// BookSeries makes a booking of each start, as Book would, in one transaction. The unpaid ones of a series count as one of those that a client may
// have, and he has one such series with a worker at a time. Conflict: not_all_free, with the reason for each start, when one of all, or every one, is refused; or as Book.
func (s *Service) BookSeries(ctx context.Context, by token.Caller, want SeriesRequest) (Series, error) {
	if want.WorkerID == by.ID {
		return Series{}, errs.Field("workerId", "is yourself")
	}
	reach, err := want.reach()
	if err != nil {
		return Series{}, err
	}
	var made Series
	for range seriesTries {
		read := func(q postgres.Querier) (*workerCalendar, error) {
			return queryCalendar(ctx, q, want.WorkerID, by.ID, reach, dateOf(reach.Start)-8, dateOf(reach.End)+8, s.now())
		}
		cal, err := s.calendarFor(ctx, by, want.Request, read)
		if err != nil {
			return Series{}, err
		}
		if made, err = s.drawSeries(cal, by, want); err != nil {
			return Series{}, err
		}
		if len(made.Bookings) == 0 || want.All && len(made.Refused) > 0 {
			return Series{}, made.notFree()
		}
		err = s.db.InTx(ctx, func(tx postgres.Tx) error {
			stored, err := s.keep(ctx, tx, cal, made.Bookings...)
			if err == nil && !stored {
				err = errCalendarMoving
			}
			return err
		})
		// Somebody was faster, or the calendar has changed: what is left is decided anew.
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Conflict || e.Code == errTooManyHolds.Code {
			return made, err
		}
	}
	return Series{}, errCalendarMoving
}

// reach is the stretch in which the series lies in whatever zone, with room for buffers. Invalid: it is no series.
func (want SeriesRequest) reach() (span, error) {
	length := want.End.Sub(want.Start)
	switch {
	case length <= 0:
		return span{}, errs.Field("endTime", "is not after startTime")
	case length > minutes(longest):
		return span{}, errs.Field("endTime", "is more than a day after startTime")
	case !want.Start.Truncate(time.Minute).Equal(want.Start):
		return span{}, errs.Field("startTime", "is not a full minute")
	case (want.Weeks == 0) == (len(want.Dates) == 0):
		return span{}, errs.Field("weeks", "is needed, or dates, and not both")
	}
	last := want.Start.AddDate(0, 0, 7*want.Weeks)
	if want.Weeks == 0 {
		slices.Sort(want.Dates)
		if len(want.Dates) != len(slices.Compact(slices.Clone(want.Dates))) {
			return span{}, errs.Field("dates", "has a date twice")
		}
		last = want.Dates[len(want.Dates)-1].time()
	}
	if n := max(want.Weeks, len(want.Dates)); n < minSeries || n > maxSeries {
		return span{}, errs.Field("weeks", fmt.Sprintf("are %d to %d, and so are dates", minSeries, maxSeries))
	}
	if last.Sub(want.Start) > seriesReach {
		return span{}, errs.Field("dates", "reach more than 400 days ahead")
	}
	return span{want.Start.Add(-72 * time.Hour), last.Add(72*time.Hour + length)}, nil
}

// starts are the first times of the series by the calendar's wall clock; one that a change of the zone skips does not exist.
func (want SeriesRequest) starts(loc *time.Location) (starts []time.Time, skipped []bool, err error) {
	day, clock := localDate(loc, want.Start), wallAt(loc, want.Start)
	clock -= day.at(0)
	days := want.Dates
	if want.Weeks > 0 {
		days = nil
		for n := range want.Weeks {
			days = append(days, day+Date(7*n))
		}
	} else if days[0] != day {
		return nil, nil, errs.Field("dates", "do not begin with the date of startTime in the worker's calendar")
	}
	for i, d := range days {
		t, exists := instant(loc, d.at(int(clock)))
		if i == 0 {
			t, exists = want.Start.UTC(), true
		}
		starts, skipped = append(starts, t), append(skipped, !exists)
	}
	return starts, skipped, nil
}

// drawSeries decides on each start, those before it taken as booked.
func (s *Service) drawSeries(cal *workerCalendar, by token.Caller, want SeriesRequest) (Series, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Series{}, fmt.Errorf("make a series id: %w", err)
	}
	starts, skipped, err := want.starts(cal.loc)
	if err != nil {
		return Series{}, err
	}
	out, length, now := Series{ID: id}, want.End.Sub(want.Start), s.now()
	rest := *cal
	for i, start := range starts {
		one := want.Request
		one.Start, one.End = start, start.Add(length)
		no := decide(&rest.calendar, span{one.Start, one.End}, now)
		if skipped[i] {
			no = refuse(codeOutside, "The clocks skip that time.")
		}
		if no != nil {
			why := no.forClient()
			out.Refused = append(out.Refused, RefusedStart{start, why.Code, why.Message})
			continue
		}
		b, err := s.make(&rest, by, one)
		if err != nil {
			return Series{}, err
		}
		b.SeriesID = &id
		out.Bookings = append(out.Bookings, b)
		rest.calendar = *rest.with(b)
	}
	return out, nil
}

// part is which of the bookings of a series the i-th is; nil when it is the only one.
func part(bookings []Booking, i int) *event.Series {
	if len(bookings) < 2 {
		return nil
	}
	return &event.Series{SeriesID: *bookings[i].SeriesID, N: i + 1, Of: len(bookings)}
}

func (x Series) notFree() error {
	err := errNotFree
	for _, r := range x.Refused {
		err = err.With(r.Start.Format(time.RFC3339), r.Code+": "+r.Message)
	}
	return err
}

// CancelSeries cancels those of a series that have not begun and can be cancelled, each by the policy as Cancel would. Conflict: there is none.
// NotFound: there is no such series of the caller's.
func (s *Service) CancelSeries(ctx context.Context, by token.Caller, id uuid.UUID, reason string) (Series, error) {
	return s.changeSeries(ctx, by, id, cancelStep, func(b Booking, as side, now time.Time) (Booking, error) {
		return s.cancelledBy(ctx, b, as, reason, now)
	}, cancelledEvent)
}

// ConfirmSeries is the worker's word that she will come to all of a series that wait for it. seen are the starts that she agrees to, if she says.
// Conflict: none waits, or other starts do by now (changed). NotFound: there is no such series of the caller's.
func (s *Service) ConfirmSeries(ctx context.Context, by token.Caller, id uuid.UUID, seen []time.Time) (Series, error) {
	return s.changeSeries(ctx, by, id, confirmStep, func(b Booking, _ side, now time.Time) (Booking, error) {
		if len(seen) > 0 && !slices.ContainsFunc(seen, b.Start.Equal) {
			return b, errChanged
		}
		return b.confirmed(s.config, now), nil
	}, confirmedEvent)
}

// changeSeries takes those of a series along a step that can be, in one transaction.
func (s *Service) changeSeries(ctx context.Context, by token.Caller, id uuid.UUID, st step, move func(Booking, side, time.Time) (Booking, error), told func(Booking) outbox.Event) (Series, error) {
	all, err := findSeries(ctx, s.db, id)
	if err != nil {
		return Series{}, err
	}
	if len(all) == 0 {
		return Series{}, errNoSeries
	}
	as, err := all[0].side(by)
	if err != nil {
		return Series{}, errNoSeries
	}
	out, now := Series{ID: id}, s.now()
	var changes []change
	for _, b := range all {
		if b.overdue(now) || !b.Start.After(now) || st.allows(b, as) != nil {
			continue
		}
		after, err := move(b, as, now)
		if err != nil {
			return Series{}, err
		}
		changes = append(changes, change{b, after})
	}
	if len(changes) == 0 {
		return Series{}, errs.New(errs.Conflict, "No booking of the series can be "+st.verb+" any more.")
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		// All of them before the row of the series, which whoever moves one of them locks after it.
		if err := lockBookings(ctx, tx, changes); err != nil {
			return err
		}
		if out.Bookings, err = s.saveAll(ctx, tx, changes, actor(by)); err != nil {
			return err
		}
		for i, b := range out.Bookings {
			if err := outbox.Add(s.telling(ctx), tx, b.ID, partOf(told(b), part(out.Bookings, i))); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// partOf is the event as one of several that one act made.
func partOf(e outbox.Event, part *event.Series) outbox.Event {
	switch e := e.(type) {
	case event.BookingCreated:
		e.Series = part
		return e
	case event.BookingConfirmed:
		e.Series = part
		return e
	case event.BookingCancelled:
		e.Series = part
		return e
	}
	return e
}
