package user

import (
	"context"
	"strings"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

func (s *Service) workerRoutes(r *api.Router) {
	api.List(r, "/api/workers", s.listWorkers, api.Public, api.Heavy, api.Summary("Look for workers who may be booked"))
	api.Get(r, "/api/workers/{id}", s.getWorker, api.Public, api.Summary("A worker's page"))
	api.Put(r, "/api/workers/{id}", s.putWorker, api.For(token.Worker), api.Of(api.Self), api.MaxBody(64<<10), api.Summary("Change the caller's offer; what is not sent stays"))
	api.Get(r, "/api/workers/{id}/offer", s.getOffer, api.For(token.Service), api.Summary("What a booking needs to know, for other services"))
}

func (s *Service) clientRoutes(r *api.Router) {
	api.Get(r, "/api/clients/{id}", s.getClient, api.For(token.Client, token.Worker, token.Admin), api.Of(api.Party, token.Admin), api.Summary("A client's page, for who has shared a booking"))
	api.Put(r, "/api/clients/{id}", s.putClient, api.For(token.Client), api.Of(api.Self), api.MaxBody(64<<10), api.Summary("Change the caller's company; what is not sent stays"))
}

type listWorkersIn struct {
	api.Paging
	Skills   string `query:"skills" maxLength:"400" doc:"names with commas between; all of them are wanted"`
	MinRate  string `query:"minRate" pattern:"^[0-9]{1,9}(\\.[0-9]{1,4})?$" patternDescription:"an amount, such as 75 or 75.50" required:"false" doc:"an hour, in major units of currency"`
	MaxRate  string `query:"maxRate" pattern:"^[0-9]{1,9}(\\.[0-9]{1,4})?$" patternDescription:"an amount, such as 75 or 75.50" required:"false" doc:"an hour, in major units of currency"`
	Currency string `query:"currency" pattern:"^[A-Z]{3}$" patternDescription:"a currency, such as USD" required:"false" doc:"of the rates; USD when rates are compared and it is not said"`
	Country  string `query:"country" pattern:"^[A-Za-z]{2}$" patternDescription:"a country, such as DE" required:"false" doc:"ISO 3166-1"`
	Q        string `query:"q" maxLength:"200" doc:"words of name, title, skills, categories or bio; their beginnings do"`
	Sort     string `query:"sort" enum:"rating,rate,newest" default:"rating"`
}

func (in *listWorkersIn) filter() (WorkerFilter, error) {
	var f faults
	want := WorkerFilter{Text: strings.TrimSpace(in.Q), Country: f.country("country", in.Country), Currency: in.Currency, Sort: Order(in.Sort), Cursor: in.Cursor}
	for name := range strings.SplitSeq(in.Skills, ",") {
		if key := skillKey(f.line("skills", name, 60)); key != "" {
			want.Skills = append(want.Skills, key)
		}
	}
	want.MinRate = f.bound("minRate", in.MinRate, in.Currency)
	want.MaxRate = f.bound("maxRate", in.MaxRate, in.Currency)
	return want, f.err()
}

// bound is a rate to compare with, in minor units; nil when it is not sent.
func (f *faults) bound(field, sent, currency string) *int64 {
	if sent == "" {
		return nil
	}
	if currency == "" {
		currency = defaultCurrency
	}
	a, err := money.Decimal(sent).In(currency)
	switch err {
	case nil:
	case money.ErrCurrency:
		f.add("currency", "must be a currency, such as USD")
	default:
		f.add(field, "is not an amount of the currency")
	}
	return &a.Minor
}

func (s *Service) listWorkers(ctx context.Context, in *listWorkersIn) (api.Page[Worker], error) {
	want, err := in.filter()
	if err != nil {
		return api.Page[Worker]{}, err
	}
	return s.Workers(ctx, want, in.Limit)
}

func (s *Service) getWorker(ctx context.Context, in *Who) (Worker, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Worker{}, err
	}
	return s.Worker(ctx, token.From(ctx), id)
}

type putWorkerIn struct {
	Who
	api.IfMatch
	Body WorkerEdit
}

func (s *Service) putWorker(ctx context.Context, in *putWorkerIn) (_ Worker, err error) {
	id, err := in.user(ctx)
	if err != nil {
		return Worker{}, err
	}
	if in.Body.Version, err = in.Version(in.Body.Version); err != nil {
		return Worker{}, err
	}
	return s.EditWorker(ctx, token.From(ctx), id, in.Body)
}

func (s *Service) getOffer(ctx context.Context, in *Who) (event.WorkerUpdated, error) {
	id, err := in.user(ctx)
	if err != nil {
		return event.WorkerUpdated{}, err
	}
	return s.Offer(ctx, id)
}

func (s *Service) getClient(ctx context.Context, in *Who) (Client, error) {
	id, err := in.user(ctx)
	if err != nil {
		return Client{}, err
	}
	return s.Client(ctx, token.From(ctx), id)
}

type putClientIn struct {
	Who
	api.IfMatch
	Body ClientEdit
}

func (s *Service) putClient(ctx context.Context, in *putClientIn) (_ Client, err error) {
	id, err := in.user(ctx)
	if err != nil {
		return Client{}, err
	}
	if in.Body.Version, err = in.Version(in.Body.Version); err != nil {
		return Client{}, err
	}
	return s.EditClient(ctx, token.From(ctx), id, in.Body)
}
