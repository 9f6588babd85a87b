package booking

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

const (
	maxListing = 62 * 24 * time.Hour
	maxBlock   = 366 * 24 * time.Hour
	maxBlocks  = 500 // recurring ones of a worker
)

var errCalendarChanged = errs.Coded(errs.Conflict, "version_conflict", "The calendar has changed meanwhile. Load it again.")

// Availability is what the worker has set, and its version. NotFound: no such worker.
func (s *Service) Availability(ctx context.Context, worker uuid.UUID) (Rules, int64, error) {
	cal, err := s.rulesOf(ctx, worker)
	if err != nil {
		return Rules{}, 0, err
	}
	return cal.Rules, cal.version, nil
}

// rulesOf asks user-service for a worker that no event has told of yet, unless a calendar shows that there is one.
func (s *Service) rulesOf(ctx context.Context, worker uuid.UUID) (*workerCalendar, error) {
	cal, err := readRules(ctx, s.db, worker, s.now())
	if err != nil || cal.known || cal.version > 0 {
		return cal, err
	}
	if err := s.learnWorker(ctx, worker); err != nil {
		return nil, err
	}
	return readRules(ctx, s.db, worker, s.now())
}

// SetAvailability has change work on what the worker has set, and stores the outcome. version is the one that the caller has seen, if he says.
// Conflict (version_conflict): it is another one. Existing bookings stay.
func (s *Service) SetAvailability(ctx context.Context, by token.Caller, worker uuid.UUID, version *int64, change func(*Rules) error) (Rules, int64, error) {
	if by.ID != worker {
		return Rules{}, 0, errNoWorker
	}
	cal, err := s.ownRules(ctx, worker)
	if err != nil {
		return Rules{}, 0, err
	}
	if version != nil && *version != cal.version {
		return Rules{}, 0, errCalendarChanged
	}
	rules := cal.Rules
	if err := change(&rules); err != nil {
		return Rules{}, 0, err
	}
	if err := rules.validate(); err != nil {
		return Rules{}, 0, err
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := writeRules(ctx, tx, worker, rules, cal.version); err != nil {
			return err
		}
		if err := audit.Add(ctx, tx, audit.Entry{Actor: actor(by), Action: "availability.changed", Subject: worker}); err != nil {
			return err
		}
		if rules.Zone != cal.Zone || rules.HorizonDays != cal.HorizonDays {
			if err := readAgain(ctx, tx, worker); err != nil {
				return err
			}
			tx.Committed(func() { timer.Poke("booking") })
		}
		if rules.Zone == cal.Zone {
			return nil
		}
		return s.recount(ctx, tx, worker, rules.Zone, actor(by))
	})
	return rules, cal.version + 1, err
}

// ownRules are those of a worker who may have no offer yet.
func (s *Service) ownRules(ctx context.Context, worker uuid.UUID) (*workerCalendar, error) {
	cal, err := s.rulesOf(ctx, worker)
	if errs.KindOf(err) == errs.NotFound {
		return readRules(ctx, s.db, worker, s.now())
	}
	return cal, err
}

// recount counts bookings by their local dates in another zone. Days and weeks that are over are left as they were.
func (s *Service) recount(ctx context.Context, tx postgres.Tx, worker uuid.UUID, name, actor string) error {
	loc, err := zone(name)
	if err != nil {
		return err
	}
	counted, err := lockCounted(ctx, tx, worker, s.now().AddDate(0, 0, -9))
	if err != nil {
		return err
	}
	for _, b := range counted {
		after := b
		if after.LoadDay = localDate(loc, b.Start); after.LoadDay == b.LoadDay {
			continue
		}
		if after, err = s.save(ctx, tx, b, after, actor); err != nil {
			return err
		}
		// Without limits: what is booked stays booked, on whatever date it falls now.
		takeLoad(tx, after, Limits{})
	}
	return nil
}

// validate tells which rule makes no sense.
func (r *Rules) validate() error {
	if _, err := zone(r.Zone); err != nil {
		return errs.Field("timezone", "is not an IANA time zone")
	}
	for d := range r.Weekly {
		if overlapping(r.Weekly[d]) {
			return errs.Field("weekly", "has windows of one day that overlap")
		}
	}
	for _, windows := range r.Overrides {
		if overlapping(windows) {
			return errs.Field("overrides", "has windows of one date that overlap")
		}
	}
	slices.Sort(r.SlotLengths)
	r.SlotLengths = slices.Compact(r.SlotLengths)
	return nil
}

func overlapping(windows []Window) bool {
	slices.SortFunc(windows, func(a, b Window) int { return a.Start - b.Start })
	for i := 1; i < len(windows); i++ {
		if windows[i].Start < windows[i-1].End {
			return true
		}
	}
	return false
}

func windowsJSON(windows []Window) string {
	list := make([][2]int, len(windows))
	for i, w := range windows {
		list[i] = [2]int{w.Start, w.End}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return "[]"
	}
	return string(raw)
}

// Slots asks what can be booked with a worker.
type Slots struct {
	Worker  uuid.UUID
	Within  span
	Minutes int  // 0: the worker's shortest length, or an hour
	Explain bool // refused times too, with their reasons
}

// zoneOf is the zone of the worker's calendar, else the worker's own, else UTC.
func (s *Service) zoneOf(ctx context.Context, worker uuid.UUID) (string, error) {
	return postgres.One[string](ctx, s.db, `SELECT coalesce((SELECT timezone FROM calendars WHERE worker_id = $1),
		(SELECT nullif(timezone, '') FROM workers WHERE worker_id = $1), 'UTC')`, worker)
}

// Offers are the times of a worker. NotFound: no such worker. Invalid: more than 62 days.
func (s *Service) Offers(ctx context.Context, ask Slots) ([]offer, error) {
	now := s.now()
	if ask.Within.End.Sub(ask.Within.Start) > maxListing {
		return nil, errs.Field("to", "is more than 62 days after from")
	}
	within := ask.Within.widen(0, longest) // as long as the last one may take
	cal, err := readCalendar(ctx, s.db, ask.Worker, uuid.Nil, within, now)
	if err != nil {
		return nil, err
	}
	if !cal.active {
		// The word of an offer made a moment ago may still be on its way. When its owner cannot say, what is known counts.
		if err := s.learnWorker(ctx, ask.Worker); err != nil && !cal.known && cal.version == 0 {
			return nil, err
		}
		if cal, err = readCalendar(ctx, s.db, ask.Worker, uuid.Nil, within, now); err != nil {
			return nil, err
		}
	}
	length := ask.Minutes
	if length == 0 {
		length = 60
		if len(cal.SlotLengths) > 0 {
			length = cal.SlotLengths[0]
		}
	}
	offers := cal.offers(ask.Within, length, now)
	if !ask.Explain {
		offers = slices.DeleteFunc(offers, func(o offer) bool { return o.refusal != nil })
	}
	return offers, nil
}

// Block is a time at which the worker takes no bookings: once, or again and again by the wall clock of the calendar's zone.
type Block struct {
	ID          uuid.UUID
	WorkerID    uuid.UUID
	Start       time.Time `db:"starts_at"`
	End         time.Time `db:"ends_at"`
	Reason      string
	Days        []bool // by day of the week, 0 is Sunday; nil for a one-off block
	FirstDate   *Date
	UntilDate   *Date
	StartMinute *int
	EndMinute   *int
	CreatedAt   time.Time
}

func (b Block) recurring() Recurring {
	return Recurring{From: *b.FirstDate, Until: b.UntilDate, Days: [7]bool(b.Days), Window: Window{*b.StartMinute, *b.EndMinute}, Reason: b.Reason}
}

// Repeat says on which days a block comes back, and until when if not for ever.
type Repeat struct {
	Days  []int
	Until *Date
}

// Block closes a time of the caller's calendar. Conflict: a live booking is in the way; the message and details name it.
func (s *Service) Block(ctx context.Context, by token.Caller, worker uuid.UUID, at span, reason string, repeat *Repeat) (Block, error) {
	if by.ID != worker {
		return Block{}, errNoWorker
	}
	switch length := at.End.Sub(at.Start); {
	case length <= 0:
		return Block{}, errs.Field("endTime", "is not after startTime")
	case length > maxBlock:
		return Block{}, errs.Field("endTime", "is more than a year after startTime")
	case repeat == nil && !at.End.After(s.now()):
		return Block{}, errs.Field("endTime", "is past")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Block{}, fmt.Errorf("make a block id: %w", err)
	}
	b := Block{ID: id, WorkerID: worker, Start: at.Start.UTC().Truncate(time.Microsecond), End: at.End.UTC().Truncate(time.Microsecond), Reason: reason, CreatedAt: s.now()}
	if repeat != nil {
		return s.blockAgain(ctx, b, *repeat)
	}
	return b, s.blockOnce(ctx, b)
}

func (s *Service) blockOnce(ctx context.Context, b Block) error {
	overdue, err := s.inTheWay(ctx, s.db, b)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := s.expireOverdue(ctx, tx, overdue); err != nil {
			return err
		}
		free, err := insertBlock(ctx, tx, b)
		if err != nil || free {
			return err
		}
		if _, err := s.inTheWay(ctx, tx, b); err != nil {
			return err
		}
		return errTaken
	})
}

// inTheWay names the first live booking in the block's time; the overdue ones, which are free already, are answered.
func (s *Service) inTheWay(ctx context.Context, q postgres.Querier, b Block) (overdue []uuid.UUID, err error) {
	live, err := liveWithin(ctx, q, b.WorkerID, span{b.Start, b.End})
	if err != nil {
		return nil, err
	}
	for _, k := range live {
		if !k.overdue(s.now()) {
			return nil, bookedThere(k)
		}
		overdue = append(overdue, k.ID)
	}
	return overdue, nil
}

func bookedThere(b Booking) error {
	return errs.Coded(errs.Conflict, codeBusy, fmt.Sprintf("The booking %q from %s is in the way. Move or cancel it first.", b.Title, b.Start.Format("2006-01-02 15:04 UTC"))).
		With("bookingId", b.ID.String())
}

func (s *Service) blockAgain(ctx context.Context, b Block, repeat Repeat) (Block, error) {
	cal, err := s.ownRules(ctx, b.WorkerID)
	if err != nil {
		return Block{}, err
	}
	if len(cal.recurring) >= maxBlocks {
		return Block{}, errs.New(errs.Conflict, "There are too many recurring blocks already.")
	}
	first := localDate(cal.loc, b.Start)
	start := int(wallAt(cal.loc, b.Start) - first.at(0))
	end := int(wallAt(cal.loc, b.End) - first.at(0))
	if end <= start || end > start+1440 {
		return Block{}, errs.Field("endTime", "is more than a day after startTime, which a recurring block cannot be")
	}
	b.Days, b.FirstDate, b.UntilDate, b.StartMinute, b.EndMinute = make([]bool, 7), &first, repeat.Until, &start, &end
	for _, d := range repeat.Days {
		b.Days[d] = true
	}
	return b, s.db.InTx(ctx, func(tx postgres.Tx) error {
		// After this, whoever books decides on the calendar with the block or has to decide again.
		if err := bumpVersion(ctx, tx, b.WorkerID, cal.Zone); err != nil {
			return err
		}
		live, err := liveWithin(ctx, tx, b.WorkerID, span{s.now(), s.now().AddDate(3, 0, 0)})
		if err != nil {
			return err
		}
		for _, k := range live {
			probe := calendar{Rules: Rules{SlotStep: defaultStep}, loc: cal.loc, recurring: []Recurring{b.recurring()}}
			if !k.overdue(s.now()) && probe.around(k.held()).busy(k.held()) != nil {
				return bookedThere(k)
			}
		}
		_, err = insertBlock(ctx, tx, b)
		return err
	})
}

// Blocks are the worker's own, by start.
func (s *Service) Blocks(ctx context.Context, by token.Caller, worker uuid.UUID, p api.Paging) (api.Page[Block], error) {
	if by.ID != worker && !by.Is(token.Admin) {
		return api.Page[Block]{}, errNoWorker
	}
	var after struct {
		start time.Time
		id    uuid.UUID
	}
	if p.Cursor != "" {
		if err := api.DecodeCursor(p.Cursor, &after.start, &after.id); err != nil {
			return api.Page[Block]{}, err
		}
	}
	list, err := listBlocks(ctx, s.db, worker, after.start, after.id, p.Limit+1)
	return api.Slice(list, p.Limit, func(b Block) string { return api.EncodeCursor(b.Start, b.ID) }), err
}

// Unblock opens the time again. NotFound: no such block of the caller.
func (s *Service) Unblock(ctx context.Context, by token.Caller, worker, id uuid.UUID) error {
	if by.ID != worker {
		return errNoWorker
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error { return deleteBlock(ctx, tx, worker, id) })
}
