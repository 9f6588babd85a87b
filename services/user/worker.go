package user

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Worker is a worker's page, as everybody sees it.
type Worker struct {
	ID             uuid.UUID         `json:"id"`
	Name           string            `json:"name"`
	Title          string            `json:"title"`
	Bio            string            `json:"bio"`
	HourlyRate     *money.Decimal    `json:"hourlyRate" doc:"null while there is none"`
	Currency       string            `json:"currency"`
	Skills         []event.Skill     `json:"skills"`
	Categories     []string          `json:"categories"`
	Languages      []string          `json:"languages"`
	InstantBooking bool              `json:"instantBooking"`
	Available      bool              `json:"available" doc:"takes work"`
	Active         bool              `json:"active" doc:"may be booked: takes work and has a rate"`
	Experience     string            `json:"experience"`
	Location       Place             `json:"location"`
	Timezone       string            `json:"timezone"`
	AvatarURL      string            `json:"avatarUrl" doc:"below the platform's origin; empty without a picture"`
	Portfolio      []PortfolioItem   `json:"portfolio"`
	SocialLinks    map[string]string `json:"socialLinks"`
	AverageRating  float64           `json:"averageRating" doc:"two digits; 0 without reviews"`
	TotalReviews   int64             `json:"totalReviews"`
	Badges         []Badge           `json:"badges"`
	MemberSince    time.Time         `json:"memberSince"`
	Version        int64             `json:"version"`

	rank int64 // the average exactly, for the cursor
	rate int64
}

// ResponseHeaders carry the version as an ETag.
func (w Worker) ResponseHeaders() http.Header { return etag(w.Version) }

func (p person) worker() Worker {
	w := Worker{
		ID: p.UserID, Name: p.Name, Title: p.Title, Bio: p.Bio, Currency: p.Currency, Skills: p.Skills, Categories: p.Categories, Languages: p.Languages,
		InstantBooking: p.InstantBooking, Available: p.Available, Active: p.bookable(), Experience: p.Experience, Location: Place{p.City, p.Country},
		Timezone: p.Timezone, AvatarURL: p.avatarURL(), Portfolio: p.Portfolio, SocialLinks: p.SocialLinks, AverageRating: p.AverageRating,
		TotalReviews: p.TotalReviews, Badges: p.Badges, MemberSince: p.CreatedAt, Version: p.OfferVersion, rank: p.Rank, rate: p.RateMinor,
	}
	if p.RateMinor > 0 {
		rate := money.Of(p.RateMinor, p.Currency).Decimal()
		w.HourlyRate = &rate
	}
	return w
}

// WorkerEdit changes an offer: what is absent stays, null clears.
type WorkerEdit struct {
	Title          api.Optional[string]        `json:"title" required:"false"`
	HourlyRate     api.Optional[money.Decimal] `json:"hourlyRate" required:"false" doc:"null takes the offer off"`
	Currency       api.Optional[string]        `json:"currency" required:"false" doc:"of the rate, which is sent with it"`
	Skills         api.Optional[[]event.Skill] `json:"skills" required:"false"`
	Categories     api.Optional[[]string]      `json:"categories" required:"false"`
	Languages      api.Optional[[]string]      `json:"languages" required:"false"`
	InstantBooking api.Optional[bool]          `json:"instantBooking" required:"false"`
	Available      api.Optional[bool]          `json:"available" required:"false"`
	Version        *int64                      `json:"version,omitempty" doc:"the one that was changed; If-Match says the same"`
}

// defaultCurrency is that of rates that do not say theirs.
const defaultCurrency = "USD"

var (
	errNoWorker   = errs.New(errs.NotFound, "There is no such worker.")
	errUnverified = errs.Coded(errs.Forbidden, "email_unverified", "Prove your e-mail address first: the link is in the mail that we sent you. Then your rate can be published.")
)

// Worker is a worker's page. NotFound: there is none, or the account is suspended.
func (s *Service) Worker(ctx context.Context, by token.Caller, id uuid.UUID) (Worker, error) {
	p, err := s.page(ctx, by, id)
	if errs.KindOf(err) == errs.NotFound || err == nil && (p.Role != token.Worker || p.Status != active) {
		return Worker{}, errNoWorker
	}
	return p.worker(), err
}

// page is find for strangers and known for the user, so that nobody makes us ask auth about ids that somebody made up.
func (s *Service) page(ctx context.Context, by token.Caller, id uuid.UUID) (person, error) {
	if by.ID == id {
		return s.known(ctx, id)
	}
	return find(ctx, s.db, id)
}

// EditWorker changes the caller's own offer, and tells of it. NotFound: it is not the caller's. Conflict: it is not the version that was changed.
// Invalid: a field is not acceptable; Details says which. Forbidden (email_unverified): a rate publishes the offer, and the address is not proven.
func (s *Service) EditWorker(ctx context.Context, by token.Caller, id uuid.UUID, e WorkerEdit) (Worker, error) {
	if by.ID != id || by.Role != token.Worker {
		return Worker{}, errNoWorker
	}
	change := func(_ postgres.Tx, p *person) error {
		if p.Role != token.Worker {
			return errNoWorker
		}
		if e.publishes() && !p.EmailVerified {
			return errUnverified
		}
		if err := current(e.Version, p.OfferVersion); err != nil {
			return err
		}
		return e.apply(p)
	}
	p, err := s.edit(ctx, id, change)
	if errors.Is(err, errUnverified) {
		// Only auth may say no: the news of the proof may still be on its way.
		if err = s.learnProof(ctx, id); err == nil {
			p, err = s.edit(ctx, id, change)
		}
	}
	return p.worker(), err
}

// publishes says whether the change puts the offer where clients find it.
func (e WorkerEdit) publishes() bool { return e.HourlyRate.Sent && !e.HourlyRate.Null }

func (e WorkerEdit) apply(p *person) error {
	var f faults
	if e.Title.Sent {
		p.Title = f.line("title", e.Title.Value, maxName)
	}
	e.applyRate(&f, p)
	if e.Skills.Sent {
		p.Skills = f.skills("skills", e.Skills.Value)
	}
	if e.Categories.Sent {
		p.Categories = f.categories("categories", e.Categories.Value)
	}
	if e.Languages.Sent {
		p.Languages = f.languages("languages", e.Languages.Value)
	}
	e.InstantBooking.Set(&p.InstantBooking)
	e.Available.Set(&p.Available)
	return f.err()
}

func (e WorkerEdit) applyRate(f *faults, p *person) {
	currency := p.Currency
	if e.Currency.Sent {
		currency = e.Currency.Value
	}
	switch {
	case e.HourlyRate.Sent && !e.HourlyRate.Null:
		p.RateMinor = f.rate("hourlyRate", e.HourlyRate.Value, currency)
	case e.HourlyRate.Null:
		p.RateMinor = 0
	case currency != p.Currency && p.RateMinor > 0:
		f.add("hourlyRate", "must be sent with another currency")
	}
	if _, err := money.Digits(currency); err != nil || len(currency) != 3 {
		f.add("currency", "must be a currency, such as USD")
	}
	p.Currency = currency
}

// Offer is what other services need to know of a worker. NotFound: there is no such worker.
func (s *Service) Offer(ctx context.Context, id uuid.UUID) (event.WorkerUpdated, error) {
	p, err := s.known(ctx, id)
	if err == nil && p.OfferVersion == 0 {
		err = errNoUser
	}
	if errs.KindOf(err) == errs.NotFound {
		return event.WorkerUpdated{}, errNoWorker
	}
	return p.workerUpdated(), err
}

// Workers are those who may be booked and fit. Malformed: the cursor belongs to another order.
func (s *Service) Workers(ctx context.Context, want WorkerFilter, limit int) (api.Page[Worker], error) {
	want.Sort = cmp.Or(want.Sort, ByRating)
	if want.Sort == ByRate || want.MinRate != nil || want.MaxRate != nil {
		// Rates of two currencies cannot be compared.
		want.Currency = cmp.Or(want.Currency, defaultCurrency)
	}
	if want.Text != "" && lookup(want.Text) == "" {
		return api.Page[Worker]{Limit: limit}, nil
	}
	found, err := workers(ctx, s.db, want, limit+1)
	out := make([]Worker, len(found))
	for i, p := range found {
		out[i] = p.worker()
	}
	return api.Slice(out, limit, func(w Worker) string { return want.Sort.after(w) }), err
}
