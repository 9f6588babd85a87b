package booking

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/export"
	"tulifo/platform/money"
	"tulifo/platform/text"
	"tulifo/platform/token"
)

// Routes declares what the service answers, in platform.md's order.
func (s *Service) Routes(r *api.Router) {
	export.Routes(r, "/api/bookings", s.heldBy()...)
	parties := api.For(token.Client, token.Worker)
	api.Post(r, "/api/bookings", s.create, api.For(token.Client), api.Of(api.NoOne), api.Created, api.Once, api.Summary("Book a worker's time."))
	api.List(r, "/api/bookings", s.getList, api.For(token.Client, token.Worker, token.Admin), api.Of(api.NoOne), api.Summary("The caller's bookings, latest start first."))
	api.Get(r, "/api/bookings/{id}", s.get, api.For(token.Client, token.Worker, token.Admin, token.Service), api.Of(api.Party, token.Admin), api.Summary("One booking."))
	api.Put(r, "/api/bookings/{id}", s.edit, parties, api.Of(api.Party), api.While(editable...), api.Summary("Change title, description, notes or meeting address."))
	api.Post(r, "/api/bookings/{id}/confirm", s.confirm, api.For(token.Worker), api.Of(api.Owner), api.While(confirmStep.from...), api.Once, api.Summary("The worker will come."))
	api.Post(r, "/api/bookings/{id}/cancel", s.cancel, api.For(token.Client, token.Worker, token.Admin), api.Of(api.Party, token.Admin), api.StepUpFor(token.Admin), api.While(cancelStep.from...), api.Once, api.Summary("It will not take place."))
	api.Post(r, "/api/bookings/{id}/start", s.start, parties, api.Of(api.Party), api.While(startStep.from...), api.Once, api.Summary("The work begins."))
	api.Post(r, "/api/bookings/{id}/complete", s.complete, parties, api.Of(api.Party), api.While(completeStep.from...), api.Once, api.Summary("The work is done."))
	api.Post(r, "/api/bookings/{id}/no-show", s.noShow, parties, api.Of(api.Party), api.While(noShowStep.from...), api.Once, api.Summary("The other side did not come."))
	api.Post(r, "/api/bookings/{id}/no-show/contest", s.contest, parties, api.Of(api.Asked), api.While(NoShow), api.Once, api.Summary("Object to having been absent."))
	api.Post(r, "/api/bookings/{id}/reschedule", s.reschedule, parties, api.Of(api.Party), api.While(movable...), api.Once, api.Summary("Move to another start, or propose it when it is near."))
	api.Post(r, "/api/bookings/{id}/reschedule/accept", s.acceptReschedule, parties, api.Of(api.Asked), api.While(movable...), api.Once, api.Summary("Accept the start that the other side proposes."))
	s.seriesRoutes(r)
	api.Post(r, "/api/bookings/calendar", s.newFeed, parties, api.Of(api.NoOne), api.Created, api.Secret, api.Summary("A new secret address of the caller's calendar feed; an older one stops working."))
	api.Delete(r, "/api/bookings/calendar", s.noFeed, parties, api.Of(api.NoOne), api.Summary("Close the caller's calendar feed."))
	// One route for /{id}/ics and /calendar/{token}.ics: net/http holds that the two patterns conflict.
	api.Get(r, "/api/bookings/{id}/{document}", s.document, api.Public, api.Paths("/api/bookings/(?:calendar/[^/]+|[^/]+/ics)"), api.Summary("A booking as a calendar file (…/{id}/ics, for its parties), or a calendar feed (…/calendar/{token}.ics)."))
	s.availabilityRoutes(r)
	s.departureRoutes(r)
}

// Answer is a booking on the wire: minutes, major units, UTC.
type Answer struct {
	ID          uuid.UUID     `json:"id"`
	WorkerID    uuid.UUID     `json:"workerId"`
	ClientID    uuid.UUID     `json:"clientId"`
	ProjectID   *uuid.UUID    `json:"projectId"`
	SeriesID    *uuid.UUID    `json:"seriesId" doc:"of the series that it was made in"`
	Title       string        `json:"title"`
	Description string        `json:"description"`
	Start       time.Time     `json:"startTime"`
	End         time.Time     `json:"endTime"`
	Duration    int           `json:"duration" doc:"minutes"`
	Rate        money.Decimal `json:"hourlyRate"`
	Amount      money.Decimal `json:"totalAmount"`
	Currency    string        `json:"currency"`
	Category    string        `json:"category" doc:"of the worker's offer, for the fee; may be empty"`
	Status      Status        `json:"status" enum:"pending,confirmed,in_progress,completed,cancelled,expired,no_show"`
	MeetingURL  string        `json:"meetingUrl"`
	Notes       string        `json:"notes"`
	Paid        bool          `json:"paid"`
	ExpiresAt   *time.Time    `json:"expiresAt" doc:"of a pending booking"`
	PayBy       *time.Time    `json:"payBy" doc:"of a confirmed booking that is not paid"`
	ConfirmedAt *time.Time    `json:"confirmedAt"`
	StartedAt   *time.Time    `json:"startedAt"`
	CompletedAt *time.Time    `json:"completedAt"`
	EndedAt     *time.Time    `json:"endedAt" doc:"when it was cancelled, expired or closed as a no-show"`
	Cause       string        `json:"cancelledBy,omitempty" doc:"client, worker, admin, unpaid or suspended"`
	Reason      string        `json:"cancelReason,omitempty"`
	Shares      *Shares       `json:"shares,omitempty" doc:"who gets what of the price that was paid"`
	NoShow      *Absence      `json:"noShow,omitempty"`
	Proposal    *Proposal     `json:"reschedule,omitempty"`
	Version     int64         `json:"version"`
	CreatedAt   time.Time     `json:"createdAt"`
	UpdatedAt   time.Time     `json:"updatedAt"`
}

// Shares are the parts of the price, in major units; the platform's fee comes off the worker's.
type Shares struct {
	Client money.Decimal `json:"client"`
	Worker money.Decimal `json:"worker"`
}

// Absence is who is said not to have come.
type Absence struct {
	Absent    string     `json:"absent" enum:"client,worker"`
	SettleAt  time.Time  `json:"settleAt"`
	Contested *time.Time `json:"contestedAt"`
}

// Proposal is another time that one side proposes.
type Proposal struct {
	By    string    `json:"by" enum:"client,worker"`
	Start time.Time `json:"startTime"`
	End   time.Time `json:"endTime"`
}

func answer(b Booking) Answer {
	a := Answer{ID: b.ID, WorkerID: b.WorkerID, ClientID: b.ClientID, ProjectID: b.ProjectID, SeriesID: b.SeriesID, Title: b.Title, Description: b.Description,
		Start: b.Start, End: b.End, Duration: b.Duration, Rate: money.Of(b.Rate, b.Currency).Decimal(), Amount: b.price().Decimal(), Currency: b.Currency, Category: b.Category,
		Status: b.Status, MeetingURL: b.MeetingURL, Notes: b.Notes, Paid: b.PaidAt != nil, ExpiresAt: b.ExpiresAt, ConfirmedAt: b.ConfirmedAt,
		StartedAt: b.StartedAt, CompletedAt: b.CompletedAt, EndedAt: b.EndedAt, Cause: b.Cause, Reason: b.Reason, Version: b.Version, CreatedAt: b.CreatedAt, UpdatedAt: b.UpdatedAt}
	if b.Status != Pending {
		a.ExpiresAt = nil
	}
	if b.Status == Confirmed && b.PaidAt == nil {
		a.PayBy = b.PayBy
	}
	if b.ClientShare != nil && b.PaidAt != nil {
		s := b.shares()
		a.Shares = &Shares{s.Client.Decimal(), s.Worker.Decimal()}
	}
	if b.SettleAt != nil {
		a.NoShow = &Absence{b.Absent, *b.SettleAt, b.ContestedAt}
	}
	if b.ProposedStart != nil && (b.Status == Pending || b.Status == Confirmed) {
		a.Proposal = &Proposal{b.ProposedBy, *b.ProposedStart, b.ProposedStart.Add(minutes(b.Duration))}
	}
	return a
}

func answered(b Booking, err error) (Answer, error) {
	if err != nil {
		return Answer{}, err
	}
	return answer(b), nil
}

type createIn struct {
	Body struct {
		WorkerID    uuid.UUID     `json:"workerId"`
		ProjectID   *uuid.UUID    `json:"projectId,omitempty"`
		Title       string        `json:"title" minLength:"3" maxLength:"120"`
		Description string        `json:"description,omitempty" maxLength:"5000"`
		Start       time.Time     `json:"startTime"`
		End         time.Time     `json:"endTime"`
		Rate        money.Decimal `json:"hourlyRate,omitempty" doc:"accepted only if it is the worker's"`
		Total       money.Decimal `json:"totalAmount,omitempty" doc:"the price that the client saw; another one is refused with price_changed"`
	}
}

func (s *Service) create(ctx context.Context, in *createIn) (Answer, error) {
	b := &in.Body
	if err := sane("startTime", b.Start, b.End); err != nil {
		return Answer{}, err
	}
	title, err := typed("title", b.Title, 3)
	if err != nil {
		return Answer{}, err
	}
	description, err := typed("description", b.Description, 0)
	if err != nil {
		return Answer{}, err
	}
	return answered(s.Book(ctx, token.From(ctx), Request{b.WorkerID, b.ProjectID, title, description, b.Start, b.End, b.Rate, b.Total}))
}

type listIn struct {
	api.Paging
	Status string `query:"status" enum:"pending,confirmed,in_progress,completed,cancelled,expired,no_show"`
	From   string `query:"from" doc:"only what ends after it" maxLength:"40"`
	To     string `query:"to" doc:"only what starts before it" maxLength:"40"`
	Series string `query:"seriesId" doc:"only those of the series" maxLength:"36"`
	Role   string `query:"role" enum:"client,worker" doc:"the side that the caller is on; his own role unless said"`
}

func (s *Service) getList(ctx context.Context, in *listIn) (api.Page[Answer], error) {
	from, err := moment("from", in.From, time.UTC)
	if err != nil {
		return api.Page[Answer]{}, err
	}
	to, err := moment("to", in.To, time.UTC)
	if err != nil {
		return api.Page[Answer]{}, err
	}
	f := Filter{Role: in.Role, Status: in.Status, From: from, To: to}
	if in.Series != "" {
		if f.Series, err = uuid.Parse(in.Series); err != nil || f.Series == uuid.Nil {
			return api.Page[Answer]{}, errs.Field("seriesId", "must be a UUID")
		}
	}
	page, err := s.Bookings(ctx, token.From(ctx), f, in.Paging)
	out := api.Page[Answer]{Limit: page.Limit, NextCursor: page.NextCursor}
	for _, b := range page.Items {
		out.Items = append(out.Items, answer(b))
	}
	return out, err
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

func (s *Service) get(ctx context.Context, in *byID) (Answer, error) {
	return answered(s.Booking(ctx, token.From(ctx), in.ID))
}

type editIn struct {
	ID uuid.UUID `path:"id"`
	api.IfMatch
	Body struct {
		Title       api.Optional[string] `json:"title" required:"false" maxLength:"120"`
		Description api.Optional[string] `json:"description" required:"false" maxLength:"5000"`
		Notes       api.Optional[string] `json:"notes" required:"false" maxLength:"5000"`
		MeetingURL  api.Optional[string] `json:"meetingUrl" required:"false" maxLength:"500"`
		Version     *int64               `json:"version,omitempty" doc:"the one that was seen; another one is refused"`
	}
}

func (s *Service) edit(ctx context.Context, in *editIn) (Answer, error) {
	version, err := in.Version(in.Body.Version)
	if err != nil {
		return Answer{}, err
	}
	e := Edit{Version: version}
	for _, f := range []struct {
		name string
		sent api.Optional[string]
		to   **string
		min  int
		max  int
	}{
		{"title", in.Body.Title, &e.Title, 3, 120}, {"description", in.Body.Description, &e.Description, 0, 5000},
		{"notes", in.Body.Notes, &e.Notes, 0, 5000}, {"meetingUrl", in.Body.MeetingURL, &e.MeetingURL, 0, 500},
	} {
		if !f.sent.Sent {
			continue
		}
		v, err := typed(f.name, f.sent.Value, f.min)
		if err != nil {
			return Answer{}, err
		}
		if len([]rune(v)) > f.max {
			return Answer{}, errs.Field(f.name, "is too long")
		}
		*f.to = &v
	}
	if e.MeetingURL != nil && *e.MeetingURL != "" && !secure(*e.MeetingURL) {
		return Answer{}, errs.Field("meetingUrl", "is not an https address")
	}
	return answered(again(func() (Booking, error) { return s.Edit(ctx, token.From(ctx), in.ID, e) }))
}

// agreeIn is the input of who agrees to a time.
type agreeIn struct {
	ID   uuid.UUID `path:"id"`
	Body *struct {
		Start *time.Time `json:"startTime,omitempty" doc:"the start that was seen; another one is refused"`
	} `required:"false"`
}

func (in *agreeIn) start() *time.Time {
	if in.Body == nil {
		return nil
	}
	return in.Body.Start
}

func (s *Service) confirm(ctx context.Context, in *agreeIn) (Answer, error) {
	return answered(s.Confirm(ctx, token.From(ctx), in.ID, in.start()))
}

type cancelIn struct {
	ID   uuid.UUID `path:"id"`
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	} `required:"false"`
}

func (in *cancelIn) reason() (string, error) {
	if in.Body == nil {
		return "", nil
	}
	return typed("reason", in.Body.Reason, 0)
}

// again decides once more when the booking has changed since it was read: the word of its payment may have come in between, and who does this does
// not mean one version of it. Agreeing to a time is never repeated: by then it may be another time.
func again[T any](do func() (T, error)) (out T, err error) {
	for range 3 {
		if out, err = do(); !errors.Is(err, errChanged) {
			break
		}
	}
	return out, err
}

func (s *Service) cancel(ctx context.Context, in *cancelIn) (Answer, error) {
	reason, err := in.reason()
	if err != nil {
		return Answer{}, err
	}
	return answered(again(func() (Booking, error) { return s.Cancel(ctx, token.From(ctx), in.ID, reason) }))
}

func (s *Service) start(ctx context.Context, in *byID) (Answer, error) {
	return answered(again(func() (Booking, error) { return s.Start(ctx, token.From(ctx), in.ID) }))
}

func (s *Service) complete(ctx context.Context, in *byID) (Answer, error) {
	return answered(again(func() (Booking, error) { return s.Complete(ctx, token.From(ctx), in.ID) }))
}

func (s *Service) noShow(ctx context.Context, in *byID) (Answer, error) {
	return answered(again(func() (Booking, error) { return s.ReportNoShow(ctx, token.From(ctx), in.ID) }))
}

type contestIn struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Reason string `json:"reason" minLength:"3" maxLength:"1000"`
	}
}

func (s *Service) contest(ctx context.Context, in *contestIn) (Answer, error) {
	reason, err := typed("reason", in.Body.Reason, 3)
	if err != nil {
		return Answer{}, err
	}
	return answered(s.ContestNoShow(ctx, token.From(ctx), in.ID, reason))
}

type rescheduleIn struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Start time.Time `json:"startTime"`
	}
}

func (s *Service) reschedule(ctx context.Context, in *rescheduleIn) (Answer, error) {
	if err := sane("startTime", in.Body.Start); err != nil {
		return Answer{}, err
	}
	return answered(again(func() (Booking, error) { return s.Reschedule(ctx, token.From(ctx), in.ID, in.Body.Start) }))
}

func (s *Service) acceptReschedule(ctx context.Context, in *agreeIn) (Answer, error) {
	return answered(s.AcceptReschedule(ctx, token.From(ctx), in.ID, in.start()))
}

// typed is a text, without the space around it. Invalid: characters that cannot be shown, or fewer than min of them.
func typed(field, sent string, min int) (string, error) {
	v, show := text.Lines(sent)
	switch {
	case len([]rune(v)) < min:
		return "", errs.Field(field, "is too short")
	case !show:
		return "", errs.Field(field, "has characters that cannot be shown")
	}
	return v, nil
}

func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil
}

// moment reads an RFC 3339 time, or a date as its midnight in loc; zero when v is empty.
func moment(field, v string, loc *time.Location) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		d, err := ParseDate(v)
		if err != nil {
			return time.Time{}, errs.Field(field, "is neither a date nor an RFC 3339 time")
		}
		t, _ = instant(loc, d.at(0))
	}
	return t.UTC(), sane(field, t)
}

// sane refuses times that no calendar needs and that some representation of a time cannot hold.
func sane(field string, times ...time.Time) error {
	for _, t := range times {
		if t.Year() < 1970 || t.Year() > 9000 {
			return errs.Field(field, "is out of range")
		}
	}
	return nil
}
