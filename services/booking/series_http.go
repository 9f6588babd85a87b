package booking

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

func (s *Service) seriesRoutes(r *api.Router) {
	api.Post(r, "/api/bookings/series", s.createSeries, api.For(token.Client), api.Of(api.NoOne), api.Created, api.Once, api.Summary("Book a worker's time again and again, at the same wall time."))
	api.Post(r, "/api/bookings/series/{id}/confirm", s.confirmSeries, api.For(token.Worker), api.Of(api.Owner), api.Once, api.Summary("The worker will come to all of a series that wait for an answer."))
	api.Post(r, "/api/bookings/series/{id}/cancel", s.cancelSeries, api.For(token.Client, token.Worker, token.Admin), api.Of(api.Party, token.Admin), api.StepUpFor(token.Admin), api.Once, api.Summary("What is to come of a series will not take place."))
}

// SeriesAnswer is a series on the wire.
type SeriesAnswer struct {
	ID       uuid.UUID       `json:"id"`
	Bookings []Answer        `json:"bookings" doc:"by start"`
	Refused  []RefusedAnswer `json:"refused" doc:"what was not to be had, with mode fit"`
}

// RefusedAnswer is a start that was not to be had.
type RefusedAnswer struct {
	Start   time.Time `json:"startTime"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
}

func seriesAnswered(x Series, err error) (SeriesAnswer, error) {
	if err != nil {
		return SeriesAnswer{}, err
	}
	a := SeriesAnswer{ID: x.ID}
	for _, b := range x.Bookings {
		a.Bookings = append(a.Bookings, answer(b))
	}
	for _, r := range x.Refused {
		a.Refused = append(a.Refused, RefusedAnswer(r))
	}
	return a, nil
}

type seriesIn struct {
	Body struct {
		WorkerID    uuid.UUID     `json:"workerId"`
		ProjectID   *uuid.UUID    `json:"projectId,omitempty"`
		Title       string        `json:"title" minLength:"3" maxLength:"120"`
		Description string        `json:"description,omitempty" maxLength:"5000"`
		Start       time.Time     `json:"startTime" doc:"of the first one"`
		End         time.Time     `json:"endTime" doc:"of the first one; all last as long"`
		Weeks       int           `json:"weeks,omitempty" minimum:"2" maximum:"26" doc:"every week at the same wall time in the worker's calendar"`
		Dates       []string      `json:"dates,omitempty" minItems:"2" maxItems:"26" doc:"instead of weeks: the dates in the worker's calendar, that of startTime first"`
		Mode        string        `json:"mode" enum:"all,fit" doc:"all or nothing, or what fits"`
		Rate        money.Decimal `json:"hourlyRate,omitempty" doc:"accepted only if it is the worker's"`
	}
}

func (s *Service) createSeries(ctx context.Context, in *seriesIn) (SeriesAnswer, error) {
	b := &in.Body
	if err := sane("startTime", b.Start, b.End); err != nil {
		return SeriesAnswer{}, err
	}
	title, err := typed("title", b.Title, 3)
	if err != nil {
		return SeriesAnswer{}, err
	}
	description, err := typed("description", b.Description, 0)
	if err != nil {
		return SeriesAnswer{}, err
	}
	want := SeriesRequest{Request: Request{WorkerID: b.WorkerID, ProjectID: b.ProjectID, Title: title, Description: description, Start: b.Start, End: b.End, Rate: b.Rate}, Weeks: b.Weeks, All: b.Mode == "all"}
	for _, text := range b.Dates {
		d, err := ParseDate(text)
		if err != nil || sane("dates", d.time()) != nil {
			return SeriesAnswer{}, errs.Field("dates", "has one that is not a date like 2026-03-02")
		}
		want.Dates = append(want.Dates, d)
	}
	return seriesAnswered(s.BookSeries(ctx, token.From(ctx), want))
}

type confirmSeriesIn struct {
	ID   uuid.UUID `path:"id"`
	Body *struct {
		Starts []time.Time `json:"startTimes,omitempty" maxItems:"26" doc:"the starts that were seen; others are refused"`
	} `required:"false"`
}

func (s *Service) confirmSeries(ctx context.Context, in *confirmSeriesIn) (SeriesAnswer, error) {
	var seen []time.Time
	if in.Body != nil {
		seen = in.Body.Starts
	}
	return seriesAnswered(s.ConfirmSeries(ctx, token.From(ctx), in.ID, seen))
}

func (s *Service) cancelSeries(ctx context.Context, in *cancelIn) (SeriesAnswer, error) {
	reason, err := in.reason()
	if err != nil {
		return SeriesAnswer{}, err
	}
	return seriesAnswered(again(func() (Series, error) { return s.CancelSeries(ctx, token.From(ctx), in.ID, reason) }))
}
