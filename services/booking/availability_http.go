package booking

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/token"
)

func (s *Service) availabilityRoutes(r *api.Router) {
	owner := api.For(token.Worker)
	api.Get(r, "/api/availability/worker/{id}", s.getAvailability, api.Public, api.Summary("What a worker has set."))
	api.Get(r, "/api/availability/worker/{id}/slots", s.getSlots, api.Public, api.Summary("The times that can be booked."))
	api.Put(r, "/api/availability/worker/{id}", s.putAvailability, owner, api.Of(api.Self), api.Summary("Set hours, overrides, buffers, notice, horizon and limits; what is absent stays."))
	api.Post(r, "/api/availability/worker/{id}/block", s.postBlock, owner, api.Of(api.Self), api.Created, api.Once, api.Summary("Close a time, once or again and again."))
	api.List(r, "/api/availability/worker/{id}/blocks", s.getBlocks, api.For(token.Worker, token.Admin), api.Of(api.Self, token.Admin), api.Summary("The worker's blocks, by start."))
	api.Delete(r, "/api/availability/worker/{id}/block/{slotId}", s.deleteBlock, owner, api.Of(api.Self), api.Summary("Open a blocked time again."))
	s.externalRoutes(r)
}

// Clock is a wall time of the form 09:00, from 00:00 to 24:00.
type Clock = string

// Calendar is what a worker has set, on the wire; minutes where no unit is named.
type Calendar struct {
	Timezone     string        `json:"timezone" doc:"IANA"`
	Weekly       []WeeklySlot  `json:"weekly"`
	Overrides    []DateSlots   `json:"overrides"`
	BufferBefore int           `json:"bufferBefore"`
	BufferAfter  int           `json:"bufferAfter"`
	MinNotice    int           `json:"minNotice"`
	HorizonDays  int           `json:"horizonDays"`
	SlotStep     int           `json:"slotStep"`
	SlotLengths  []int         `json:"slotLengths" doc:"none: any from 15 minutes to 24 hours in steps of 5"`
	Limits       CalendarLimit `json:"limits"`
	Version      int64         `json:"version"`
}

// WeeklySlot is a window of every week, by the calendar's wall clock. An endTime not after startTime is on the next day.
type WeeklySlot struct {
	DayOfWeek   int   `json:"dayOfWeek" minimum:"0" maximum:"6" doc:"0 is Sunday"`
	StartTime   Clock `json:"startTime" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time of day, such as 09:00"`
	EndTime     Clock `json:"endTime" pattern:"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" patternDescription:"a time of day, such as 17:30, or 24:00"`
	IsRecurring *bool `json:"isRecurring,omitempty" doc:"always true"`
}

// DateSlots are the windows of one date instead of the weekly ones; none closes it.
type DateSlots struct {
	Date    string     `json:"date" pattern:"^[0-9]{4}-[0-9]{2}-[0-9]{2}$" patternDescription:"a date, such as 2026-03-02"`
	Windows []DaySlots `json:"windows" maxItems:"24"`
}

// DaySlots is a window of a day.
type DaySlots struct {
	StartTime Clock `json:"startTime" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time of day, such as 09:00"`
	EndTime   Clock `json:"endTime" pattern:"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" patternDescription:"a time of day, such as 17:30, or 24:00"`
}

// CalendarLimit is how much a worker takes on; absent means no limit.
type CalendarLimit struct {
	PerDay         int `json:"perDay,omitempty" minimum:"0" maximum:"1000"`
	MinutesPerDay  int `json:"minutesPerDay,omitempty" minimum:"0" maximum:"100000"`
	PerWeek        int `json:"perWeek,omitempty" minimum:"0" maximum:"1000"`
	MinutesPerWeek int `json:"minutesPerWeek,omitempty" minimum:"0" maximum:"100000"`
}

func calendarAnswer(r Rules, version int64, err error) (Calendar, error) {
	if err != nil {
		return Calendar{}, err
	}
	always := true
	a := Calendar{Timezone: r.Zone, BufferBefore: r.BufferBefore, BufferAfter: r.BufferAfter, MinNotice: r.MinNotice, HorizonDays: r.HorizonDays,
		SlotStep: r.SlotStep, SlotLengths: r.SlotLengths, Limits: CalendarLimit(r.Limits), Version: version}
	for d, windows := range r.Weekly {
		for _, w := range windows {
			a.Weekly = append(a.Weekly, WeeklySlot{d, clockText(w.Start), clockText(w.End), &always})
		}
	}
	for d, windows := range r.Overrides {
		o := DateSlots{Date: d.String(), Windows: []DaySlots{}}
		for _, w := range windows {
			o.Windows = append(o.Windows, DaySlots{clockText(w.Start), clockText(w.End)})
		}
		a.Overrides = append(a.Overrides, o)
	}
	slices.SortFunc(a.Overrides, func(x, y DateSlots) int { return strings.Compare(x.Date, y.Date) })
	return a, nil
}

func clockText(minute int) Clock {
	if minute > 1440 {
		minute -= 1440
	}
	return fmt.Sprintf("%02d:%02d", minute/60, minute%60)
}

// window reads two wall times whose form has been checked.
func window(start, end Clock) Window {
	w := Window{clockMinute(start), clockMinute(end)}
	if w.End <= w.Start {
		w.End += 1440
	}
	return w
}

func clockMinute(c Clock) int {
	h, m, _ := strings.Cut(c, ":")
	hours, _ := strconv.Atoi(h)
	rest, _ := strconv.Atoi(m)
	return hours*60 + rest
}

type workerIn struct {
	Worker string `path:"id" maxLength:"36" doc:"the worker's id, or me"`
}

func (s *Service) getAvailability(ctx context.Context, in *workerIn) (Calendar, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return Calendar{}, err
	}
	rules, version, err := s.Availability(ctx, worker)
	return calendarAnswer(rules, version, err)
}

type availabilityIn struct {
	Worker string `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	api.IfMatch
	Body struct {
		Timezone     *string                     `json:"timezone,omitempty" maxLength:"64"`
		Weekly       *[]WeeklySlot               `json:"weekly,omitempty" maxItems:"100"`
		Overrides    *[]DateSlots                `json:"overrides,omitempty" maxItems:"400"`
		BufferBefore *int                        `json:"bufferBefore,omitempty" minimum:"0" maximum:"480"`
		BufferAfter  *int                        `json:"bufferAfter,omitempty" minimum:"0" maximum:"480"`
		MinNotice    *int                        `json:"minNotice,omitempty" minimum:"0" maximum:"43200"`
		HorizonDays  *int                        `json:"horizonDays,omitempty" minimum:"1" maximum:"730"`
		SlotStep     *int                        `json:"slotStep,omitempty" minimum:"5" maximum:"1440"`
		SlotLengths  api.Optional[[]int]         `json:"slotLengths" required:"false"`
		Limits       api.Optional[CalendarLimit] `json:"limits" required:"false"`
		Version      *int64                      `json:"version,omitempty" doc:"the one that was seen; another one is refused"`
	}
}

func (s *Service) putAvailability(ctx context.Context, in *availabilityIn) (Calendar, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return Calendar{}, err
	}
	version, err := in.Version(in.Body.Version)
	if err != nil {
		return Calendar{}, err
	}
	rules, now, err := s.SetAvailability(ctx, token.From(ctx), worker, version, in.apply)
	return calendarAnswer(rules, now, err)
}

// apply puts what was sent into r.
func (in *availabilityIn) apply(r *Rules) error {
	b := &in.Body
	for _, f := range []struct{ sent, to *int }{
		{b.BufferBefore, &r.BufferBefore}, {b.BufferAfter, &r.BufferAfter}, {b.MinNotice, &r.MinNotice}, {b.HorizonDays, &r.HorizonDays}, {b.SlotStep, &r.SlotStep},
	} {
		if f.sent != nil {
			*f.to = *f.sent
		}
	}
	if b.Timezone != nil {
		r.Zone = *b.Timezone
	}
	if b.Weekly != nil {
		r.Weekly = [7][]Window{}
		for _, w := range *b.Weekly {
			r.Weekly[w.DayOfWeek] = append(r.Weekly[w.DayOfWeek], window(w.StartTime, w.EndTime))
		}
	}
	if b.Limits.Sent {
		r.Limits = Limits(b.Limits.Value)
	}
	if b.SlotLengths.Sent {
		r.SlotLengths = []int{}
		for _, n := range b.SlotLengths.Value {
			if n < lengthStep || n > longest || len(b.SlotLengths.Value) > 50 {
				return errs.Field("slotLengths", "are 5 to 1440 minutes, 50 at most")
			}
			r.SlotLengths = append(r.SlotLengths, n)
		}
	}
	if b.Overrides == nil {
		return nil
	}
	r.Overrides = map[Date][]Window{}
	for _, o := range *b.Overrides {
		d, err := ParseDate(o.Date)
		if err != nil || sane("date", d.time()) != nil {
			return errs.Field("overrides", "has a date that does not exist")
		}
		if _, twice := r.Overrides[d]; twice {
			return errs.Field("overrides", "has a date twice")
		}
		r.Overrides[d] = nil
		for _, w := range o.Windows {
			r.Overrides[d] = append(r.Overrides[d], window(w.StartTime, w.EndTime))
		}
	}
	return nil
}

type slotsIn struct {
	Worker   string `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	From     string `query:"from" maxLength:"40" doc:"RFC 3339, or a date in tz"`
	To       string `query:"to" maxLength:"40" doc:"RFC 3339, or a date in tz, which is included; at most 62 days after from"`
	Date     string `query:"date" maxLength:"10" doc:"instead of from and to: one date in tz"`
	Duration int    `query:"duration" minimum:"0" maximum:"1440" doc:"minutes; the worker's shortest length, or an hour, unless said"`
	Zone     string `query:"tz" maxLength:"64" doc:"IANA zone of dates and labels; the calendar's unless said"`
	Explain  bool   `query:"explain" doc:"refused times too, with their reasons"`
}

// Slot is a time on the wire. Reason is a code; Explanation is for the worker and admins.
type Slot struct {
	Start       time.Time `json:"startTime"`
	End         time.Time `json:"endTime"`
	Local       string    `json:"local" doc:"startTime by the wall clock of tz, with its offset"`
	IsAvailable bool      `json:"isAvailable"`
	Reason      string    `json:"reason,omitempty"`
	Explanation string    `json:"explanation,omitempty"`
}

// SlotList writes itself: a month of free times is over a thousand of them.
type SlotList []Slot

// MarshalJSON writes what encoding/json would, without looking at each field's type again.
func (list SlotList) MarshalJSON() ([]byte, error) {
	out := append(make([]byte, 0, 2+160*len(list)), '[')
	for i, s := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = s.Start.UTC().AppendFormat(append(out, `{"startTime":"`...), time.RFC3339Nano)
		out = s.End.UTC().AppendFormat(append(out, `","endTime":"`...), time.RFC3339Nano)
		out = append(append(append(out, `","local":"`...), s.Local...), `","isAvailable":`...)
		out = strconv.AppendBool(out, s.IsAvailable)
		if s.Reason != "" {
			out = append(append(append(out, `,"reason":"`...), s.Reason...), '"')
		}
		if s.Explanation != "" {
			text, err := json.Marshal(s.Explanation)
			if err != nil {
				return nil, err
			}
			out = append(append(out, `,"explanation":`...), text...)
		}
		out = append(out, '}')
	}
	return append(out, ']'), nil
}

func (s *Service) getSlots(ctx context.Context, in *slotsIn) (SlotList, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return nil, err
	}
	name := in.Zone
	if name == "" {
		if name, err = s.zoneOf(ctx, worker); err != nil {
			return nil, err
		}
	}
	loc, err := zone(name)
	if err != nil {
		return nil, errs.Field("tz", "is not an IANA time zone")
	}
	within, err := in.within(loc, s.now())
	if err != nil {
		return nil, err
	}
	offers, err := s.Offers(ctx, Slots{worker, within, in.Duration, in.Explain})
	by := token.From(ctx)
	out := make(SlotList, 0, len(offers))
	for _, o := range offers {
		slot := Slot{Start: o.Start, End: o.End, Local: o.Start.In(loc).Format(time.RFC3339), IsAvailable: o.refusal == nil}
		if o.refusal != nil {
			slot.Reason = o.refusal.Code
			if by.ID == worker || by.Is(token.Admin) {
				slot.Explanation = o.refusal.Full()
			}
		}
		out = append(out, slot)
	}
	return out, err
}

// within is the stretch that was asked for: a date, from and to, or the seven days from now on.
func (in *slotsIn) within(loc *time.Location, now time.Time) (span, error) {
	if in.Date != "" {
		d, err := ParseDate(in.Date)
		if err != nil || sane("date", d.time()) != nil {
			return span{}, errs.Field("date", "is not a date like 2026-03-02")
		}
		day, _ := stretch(loc, d.at(0), d.at(1440))
		return day, nil
	}
	from, err := moment("from", in.From, loc)
	if err != nil {
		return span{}, err
	}
	to, err := moment("to", in.To, loc)
	if err != nil {
		return span{}, err
	}
	if d, err := ParseDate(in.To); err == nil {
		to, _ = instant(loc, d.at(1440))
	}
	if from.IsZero() {
		from = now
	}
	if to.IsZero() {
		to = from.AddDate(0, 0, 7)
	}
	if !from.Before(to) {
		return span{}, errs.Field("to", "is not after from")
	}
	return span{from, to}, nil
}

type blockIn struct {
	Worker string `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	Body   struct {
		Start     time.Time `json:"startTime"`
		End       time.Time `json:"endTime"`
		Reason    string    `json:"reason,omitempty" maxLength:"200" doc:"never shown to others"`
		Recurring *struct {
			Days  []int   `json:"daysOfWeek" minItems:"1" maxItems:"7" doc:"0 is Sunday"`
			Until *string `json:"until,omitempty" doc:"the last date; for ever unless said"`
		} `json:"recurring,omitempty" doc:"on these days at the same wall time, from the date of startTime on"`
	}
}

// BlockedSlot is a block on the wire; of a recurring one, startTime and endTime are the first.
type BlockedSlot struct {
	ID        uuid.UUID  `json:"id"`
	Start     time.Time  `json:"startTime"`
	End       time.Time  `json:"endTime"`
	Reason    string     `json:"reason"`
	Recurring *Recurrent `json:"recurring,omitempty"`
}

// Recurrent says when a block comes back.
type Recurrent struct {
	Days  []int   `json:"daysOfWeek"`
	Until *string `json:"until,omitempty"`
}

func blocked(b Block) BlockedSlot {
	a := BlockedSlot{ID: b.ID, Start: b.Start, End: b.End, Reason: b.Reason}
	if b.Days != nil {
		a.Recurring = &Recurrent{}
		if b.UntilDate != nil {
			until := b.UntilDate.String()
			a.Recurring.Until = &until
		}
		for d, on := range b.Days {
			if on {
				a.Recurring.Days = append(a.Recurring.Days, d)
			}
		}
	}
	return a
}

func (s *Service) postBlock(ctx context.Context, in *blockIn) (BlockedSlot, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return BlockedSlot{}, err
	}
	if err := sane("startTime", in.Body.Start, in.Body.End); err != nil {
		return BlockedSlot{}, err
	}
	reason, err := typed("reason", in.Body.Reason, 0)
	if err != nil {
		return BlockedSlot{}, err
	}
	var repeat *Repeat
	if r := in.Body.Recurring; r != nil {
		repeat = &Repeat{Days: r.Days}
		if slices.ContainsFunc(r.Days, func(d int) bool { return d < 0 || d > 6 }) {
			return BlockedSlot{}, errs.Field("recurring.daysOfWeek", "are 0 (Sunday) to 6")
		}
		if r.Until != nil {
			d, err := ParseDate(*r.Until)
			if err != nil || sane("until", d.time()) != nil {
				return BlockedSlot{}, errs.Field("recurring.until", "is not a date like 2026-03-02")
			}
			repeat.Until = &d
		}
	}
	b, err := s.Block(ctx, token.From(ctx), worker, span{in.Body.Start, in.Body.End}, reason, repeat)
	return blocked(b), err
}

type blocksIn struct {
	Worker string `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	api.Paging
}

func (s *Service) getBlocks(ctx context.Context, in *blocksIn) (api.Page[BlockedSlot], error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return api.Page[BlockedSlot]{}, err
	}
	page, err := s.Blocks(ctx, token.From(ctx), worker, in.Paging)
	out := api.Page[BlockedSlot]{Limit: page.Limit, NextCursor: page.NextCursor}
	for _, b := range page.Items {
		out.Items = append(out.Items, blocked(b))
	}
	return out, err
}

type unblockIn struct {
	Worker string    `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	Slot   uuid.UUID `path:"slotId"`
}

func (s *Service) deleteBlock(ctx context.Context, in *unblockIn) (api.Nothing, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return api.Nothing{}, err
	}
	return api.Nothing{}, s.Unblock(ctx, token.From(ctx), worker, in.Slot)
}
