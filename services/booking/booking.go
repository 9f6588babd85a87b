package booking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

// Booking is one sale of a worker's time. Amounts are minor units of Currency, Duration is in minutes.
type Booking struct {
	ID            uuid.UUID
	WorkerID      uuid.UUID
	ClientID      uuid.UUID
	ProjectID     *uuid.UUID
	SeriesID      *uuid.UUID // of the series that it was made in
	Title         string
	Description   string
	Notes         string
	MeetingURL    string
	Category      string
	Start         time.Time `db:"starts_at"`
	End           time.Time `db:"ends_at"`
	Duration      int       `db:"duration_minutes"`
	Rate          int64     `db:"rate_minor"`
	Amount        int64     `db:"amount_minor"`
	Currency      string
	Status        Status
	Instant       bool
	ExpiresAt     *time.Time
	ConfirmedAt   *time.Time
	PayBy         *time.Time
	PaidAt        *time.Time
	StartedAt     *time.Time
	CompletedAt   *time.Time
	EndedAt       *time.Time // cancelled, expired or closed as a no-show
	Cause         string     // of a cancelled one: client, worker, admin, unpaid or suspended
	Reason        string
	ClientShare   *int64
	WorkerShare   *int64
	Absent        string // client or worker, of a no-show
	SettleAt      *time.Time
	SettledAt     *time.Time
	ContestedAt   *time.Time
	ContestReason string
	EarliestStart time.Time // of all starts it has had
	ProposedBy    string
	ProposedStart *time.Time
	BufferBefore  int
	BufferAfter   int
	LoadDay       Date // the worker's local date of the start, as it was counted
	Version       int64
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

func (b Booking) span() span          { return span{b.Start, b.End} }
func (b Booking) held() span          { return b.span().widen(b.BufferBefore, b.BufferAfter) }
func (b Booking) price() money.Amount { return money.Of(b.Amount, b.Currency) }

// holds says whether b counts towards the unpaid bookings that a client may have.
func (b Booking) holds() bool {
	return b.PaidAt == nil && (b.Status == Pending || b.Status == Confirmed)
}

func (b Booking) facts() event.Booking {
	return event.Booking{BookingID: b.ID, WorkerID: b.WorkerID, ClientID: b.ClientID, Title: b.Title, Category: b.Category,
		Start: b.Start, End: b.End, Amount: b.price(), Version: b.Version}
}

func (b Booking) shares() event.Shares {
	s := event.Shares{Client: money.Of(0, b.Currency), Worker: money.Of(0, b.Currency)}
	if b.ClientShare != nil {
		s.Client.Minor, s.Worker.Minor = *b.ClientShare, *b.WorkerShare
	}
	return s
}

// side is which party the caller is. NotFound for a stranger, as for a booking that does not exist.
func (b Booking) side(by token.Caller) (side, error) {
	switch {
	case by.Role == token.Admin:
		return adminSide, nil
	case by.Role == token.Service:
		return systemSide, nil
	case by.ID == b.ClientID:
		return clientSide, nil
	case by.ID == b.WorkerID:
		return workerSide, nil
	}
	return "", errNoBooking
}

var errNoBooking = errs.New(errs.NotFound, "There is no such booking.")

// Request is what a client wants to book. Rate and Total are what he believes the price to be; empty when he does not say.
type Request struct {
	WorkerID    uuid.UUID
	ProjectID   *uuid.UUID
	Title       string
	Description string
	Start, End  time.Time
	Rate, Total money.Decimal
}

// Book holds the time for by and answers the booking: pending, or confirmed when the worker takes instant bookings. The price is the worker's rate now.
// Conflict: the time is not free, a limit is reached (limit, too_many_holds), or the price is another one (price_changed).
// Invalid: it breaks a rule of the worker's calendar. Forbidden (email_unverified): by has not proven his address. NotFound: no such worker.
func (s *Service) Book(ctx context.Context, by token.Caller, want Request) (Booking, error) {
	if want.WorkerID == by.ID {
		return Booking{}, errs.Field("workerId", "is yourself")
	}
	if !want.End.After(want.Start) {
		return Booking{}, errs.Field("endTime", "is not after startTime")
	}
	read := func(q postgres.Querier) (*workerCalendar, error) {
		return readCalendar(ctx, q, want.WorkerID, by.ID, span{want.Start, want.End}, s.now())
	}
	cal, err := s.calendarFor(ctx, by, want, read)
	if err != nil {
		return Booking{}, err
	}
	b, err := s.draw(cal, by, want)
	if err != nil {
		return Booking{}, err
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		stored, err := s.keep(ctx, tx, cal, b)
		if err != nil || stored {
			return err
		}
		// The calendar has changed since the decision: decide on the new one. It is read in the transaction, because who waits for a
		// second connection while holding one can wait for ever.
		if cal, err = read(tx); err != nil {
			return err
		}
		if b, err = s.draw(cal, by, want); err != nil {
			return err
		}
		if stored, err = s.keep(ctx, tx, cal, b); err == nil && !stored {
			err = errCalendarMoving
		}
		return err
	})
	return b, err
}

// calendarFor reads what decides, and asks the owners of what the local copies do not say.
func (s *Service) calendarFor(ctx context.Context, by token.Caller, want Request, read func(postgres.Querier) (*workerCalendar, error)) (*workerCalendar, error) {
	cal, err := read(s.db)
	if err != nil {
		return nil, err
	}
	if !cal.known || cal.doubtful(want) {
		if err := s.learnWorker(ctx, want.WorkerID); err != nil {
			return nil, err
		}
		if cal, err = read(s.db); err != nil {
			return nil, err
		}
	}
	if !cal.verified {
		return cal, s.learnVerified(ctx, by.ID)
	}
	return cal, nil
}

// doubtful tells that the copy of the worker's offer refuses what the client wants: he may have seen a newer one.
func (c *workerCalendar) doubtful(want Request) bool {
	_, err := c.price(want, span{want.Start, want.End}.minutes())
	return !c.active || err != nil
}

// draw decides and answers the booking as it would be.
func (s *Service) draw(cal *workerCalendar, by token.Caller, want Request) (Booking, error) {
	if no := decide(&cal.calendar, span{want.Start.UTC(), want.End.UTC()}, s.now()); no != nil {
		return Booking{}, no.forClient()
	}
	return s.make(cal, by, want)
}

// make is the booking of a time that can be booked.
func (s *Service) make(cal *workerCalendar, by token.Caller, want Request) (Booking, error) {
	now, at := s.now(), span{want.Start.UTC(), want.End.UTC()}
	if cal.holdsWithWorker >= maxHoldsWithWorker || cal.holdsInAll >= maxHoldsInAll {
		return Booking{}, errTooManyHolds
	}
	price, err := cal.price(want, at.minutes())
	if err != nil {
		return Booking{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Booking{}, fmt.Errorf("make a booking id: %w", err)
	}
	b := Booking{ID: id, WorkerID: want.WorkerID, ClientID: by.ID, ProjectID: want.ProjectID, Title: want.Title, Description: want.Description, Category: cal.category,
		Start: at.Start, End: at.End, Duration: at.minutes(), Rate: cal.rate.Minor, Amount: price.Minor, Currency: price.Currency,
		Status: Pending, Instant: cal.instant, EarliestStart: at.Start, BufferBefore: cal.BufferBefore, BufferAfter: cal.BufferAfter,
		LoadDay: localDate(cal.loc, at.Start), Version: 1, CreatedAt: now, UpdatedAt: now}
	if cal.instant {
		return b.confirmed(s.config, now), nil
	}
	return b.deadlines(s.config), nil
}

// price is the worker's rate for that many minutes, if that is what the client believes.
func (c *workerCalendar) price(want Request, minutes int) (money.Amount, error) {
	if want.Rate != "" {
		switch rate, err := want.Rate.In(c.rate.Currency); {
		case errors.Is(err, money.ErrDigits):
			return money.Amount{}, errs.Field("hourlyRate", err.Error())
		case err != nil || rate != c.rate:
			return money.Amount{}, errs.Field("hourlyRate", "is not the worker's rate")
		}
	}
	price, err := c.rate.For(int64(minutes))
	if err != nil || price.Minor <= 0 {
		return money.Amount{}, errs.Field("endTime", "makes a price that cannot be paid")
	}
	if want.Total != "" {
		switch total, err := want.Total.In(price.Currency); {
		case errors.Is(err, money.ErrDigits), errors.Is(err, money.ErrRange):
			return money.Amount{}, errs.Field("totalAmount", err.Error())
		case err != nil || total != price:
			return money.Amount{}, errs.Coded(errs.Conflict, "price_changed", "The price is "+price.String()+" now.").
				With("totalAmount", string(price.Decimal())).With("currency", price.Currency)
		}
	}
	return price, nil
}

// keep stores bookings and tells of them; false when the calendar is no longer the one that was decided on, and then none is stored.
func (s *Service) keep(ctx context.Context, tx postgres.Tx, cal *workerCalendar, bookings ...Booking) (bool, error) {
	// Held times that nobody answered in time are free, whether or not the timer has been there.
	if err := s.expireOverdue(ctx, tx, cal.overdue); err != nil {
		return false, err
	}
	if stored, err := insert(ctx, tx, cal, s.config, bookings...); err != nil || !stored {
		return false, err
	}
	for i, b := range bookings {
		if err := s.tellMade(ctx, tx, b, part(bookings, i)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// tellMade remembers and tells that b was made; part says which of a series it is.
func (s *Service) tellMade(ctx context.Context, tx postgres.Tx, b Booking, part *event.Series) error {
	if err := remember(ctx, tx, Booking{}, b, b.ClientID.String()); err != nil {
		return err
	}
	s.count(tx, b.Status)
	tx.Committed(func() { timer.Poke("booking") })
	told := createdEvent
	if b.Status == Confirmed {
		told = confirmedEvent
	}
	return outbox.Add(s.telling(ctx), tx, b.ID, partOf(told(b), part))
}

func createdEvent(b Booking) outbox.Event {
	return event.BookingCreated{Booking: b.facts(), ExpiresAt: *b.ExpiresAt}
}

func (s *Service) expireOverdue(ctx context.Context, tx postgres.Tx, overdue []uuid.UUID) error {
	if len(overdue) == 0 {
		return nil
	}
	late, err := lockPending(ctx, tx, overdue)
	if err != nil {
		return err
	}
	return s.expire(ctx, tx, late...)
}

// count has the metric follow once tx has committed.
func (s *Service) count(tx postgres.Tx, status Status) {
	tx.Committed(func() { s.moved.WithLabelValues(string(status)).Inc() })
}

// telling is ctx with the business clock for events.
func (s *Service) telling(ctx context.Context) context.Context { return outbox.WithClock(ctx, s.clock) }

// Booking is the booking of that id, for its parties, admins and services. NotFound for everybody else.
func (s *Service) Booking(ctx context.Context, by token.Caller, id uuid.UUID) (Booking, error) {
	b, err := find(ctx, s.db, id)
	if err != nil {
		return Booking{}, err
	}
	if _, err := b.side(by); err != nil {
		return Booking{}, err
	}
	return b, nil
}

// Filter narrows a list of bookings; zero values do not. From and To bound the time in which they take place.
type Filter struct {
	Role     string // client or worker: which side the caller is on
	Status   string
	From, To time.Time
	Series   uuid.UUID
}

// Bookings are those of the caller, or for an admin everybody's, latest start first.
func (s *Service) Bookings(ctx context.Context, by token.Caller, f Filter, p api.Paging) (api.Page[Booking], error) {
	var after struct {
		start time.Time
		id    uuid.UUID
	}
	if p.Cursor != "" {
		if err := api.DecodeCursor(p.Cursor, &after.start, &after.id); err != nil {
			return api.Page[Booking]{}, err
		}
	}
	if f.Role == "" && by.Role != token.Admin {
		f.Role = by.Role
	}
	list, err := list(ctx, s.db, by.ID, f, after.start, after.id, p.Limit+1)
	return api.Slice(list, p.Limit, func(b Booking) string { return api.EncodeCursor(b.Start, b.ID) }), err
}

// Edit is what the parties may change at any time; nil leaves a field as it is.
type Edit struct {
	Title, Description, Notes, MeetingURL *string
	Version                               *int64 // refuse when the booking has another one
}

// Edit changes what the booking says of itself. Conflict: it has changed meanwhile, or has ended without taking place.
func (s *Service) Edit(ctx context.Context, by token.Caller, id uuid.UUID, e Edit) (Booking, error) {
	before, err := s.Booking(ctx, by, id)
	if err != nil {
		return Booking{}, err
	}
	if e.Version != nil && *e.Version != before.Version {
		return Booking{}, errChanged
	}
	if !slices.Contains(editable, before.Status) {
		return Booking{}, errs.New(errs.Conflict, "The booking is "+before.Status.words()+", so it can no longer be edited.")
	}
	after := before
	for _, f := range []struct{ to, from *string }{
		{&after.Title, e.Title}, {&after.Description, e.Description}, {&after.Notes, e.Notes}, {&after.MeetingURL, e.MeetingURL},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		var err error
		after, err = s.save(ctx, tx, before, after, actor(by))
		return err
	})
	return after, err
}

func actor(by token.Caller) string { return by.String() }
