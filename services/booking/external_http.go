package booking

import (
	"context"
	"net/url"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/token"
)

func (s *Service) externalRoutes(r *api.Router) {
	owner := api.For(token.Worker)
	api.Post(r, "/api/availability/worker/{id}/calendars", s.postExternal, owner, api.Of(api.Self), api.Created, api.Once, api.Deadline(15*time.Second),
		api.Summary("Take the events of another calendar (iCalendar) as busy times; it is read at once and then every 15 minutes."))
	api.Get(r, "/api/availability/worker/{id}/calendars", s.getExternals, owner, api.Of(api.Self), api.Summary("The worker's other calendars, and whether they can be read."))
	api.Post(r, "/api/availability/worker/{id}/calendars/{calendarId}/refresh", s.refreshExternal, owner, api.Of(api.Owner), api.Deadline(15*time.Second),
		api.Summary("Read another calendar now; once a minute."))
	api.Delete(r, "/api/availability/worker/{id}/calendars/{calendarId}", s.deleteExternal, owner, api.Of(api.Owner), api.Summary("Forget another calendar and its busy times."))
}

// ExternalCalendar is a calendar of somebody else's on the wire. Its address is a secret: only the host is shown.
type ExternalCalendar struct {
	ID           uuid.UUID  `json:"id"`
	Name         string     `json:"name"`
	Host         string     `json:"host"`
	Status       string     `json:"status" enum:"ok,failing" doc:"failing: it cannot be read, and what is known of it is as of lastFetchedAt"`
	Error        string     `json:"error,omitempty" doc:"why it cannot be read"`
	FailingSince *time.Time `json:"failingSince,omitempty"`
	Events       int        `json:"events" doc:"in the calendar"`
	FetchedAt    time.Time  `json:"lastFetchedAt"`
	NextFetchAt  time.Time  `json:"nextFetchAt"`
	CreatedAt    time.Time  `json:"createdAt"`
}

func external(e External, err error) (ExternalCalendar, error) {
	if err != nil {
		return ExternalCalendar{}, err
	}
	a := ExternalCalendar{ID: e.ID, Name: e.Name, Status: "ok", Error: e.Error, FailingSince: e.FailingSince, Events: e.Events, FetchedAt: e.FetchedAt, NextFetchAt: e.NextTryAt, CreatedAt: e.CreatedAt}
	if e.FailingSince != nil {
		a.Status = "failing"
	}
	if u, err := url.Parse(e.URL); err == nil {
		a.Host = u.Hostname()
	}
	return a, nil
}

type externalIn struct {
	Worker string `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	Body   struct {
		URL  string `json:"url" minLength:"1" maxLength:"2000" doc:"http, https or webcal; never shown again"`
		Name string `json:"name,omitempty" maxLength:"80" doc:"the host unless said"`
	}
}

func (s *Service) postExternal(ctx context.Context, in *externalIn) (ExternalCalendar, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return ExternalCalendar{}, err
	}
	name, err := typed("name", in.Body.Name, 0)
	if err != nil {
		return ExternalCalendar{}, err
	}
	if name == "" {
		if u, err := url.Parse(in.Body.URL); err == nil {
			name = u.Hostname()
		}
	}
	return external(s.AddExternal(ctx, token.From(ctx), worker, in.Body.URL, name))
}

func (s *Service) getExternals(ctx context.Context, in *workerIn) ([]ExternalCalendar, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return nil, err
	}
	list, err := s.Externals(ctx, token.From(ctx), worker)
	out := make([]ExternalCalendar, 0, len(list))
	for _, e := range list {
		a, _ := external(e, nil)
		out = append(out, a)
	}
	return out, err
}

type externalIDIn struct {
	Worker   string    `path:"id" maxLength:"36" doc:"the worker's id, or me"`
	Calendar uuid.UUID `path:"calendarId"`
}

func (s *Service) refreshExternal(ctx context.Context, in *externalIDIn) (ExternalCalendar, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return ExternalCalendar{}, err
	}
	return external(s.RefreshExternal(ctx, token.From(ctx), worker, in.Calendar))
}

func (s *Service) deleteExternal(ctx context.Context, in *externalIDIn) (api.Nothing, error) {
	worker, err := api.Who(ctx, in.Worker)
	if err != nil {
		return api.Nothing{}, err
	}
	return api.Nothing{}, s.RemoveExternal(ctx, token.From(ctx), worker, in.Calendar)
}
