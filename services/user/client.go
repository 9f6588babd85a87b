package user

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Client is a client's page, as the client and those see it who have shared a booking.
type Client struct {
	ID            uuid.UUID `json:"id"`
	Name          string    `json:"name"`
	Company       string    `json:"company"`
	Industry      string    `json:"industry"`
	Size          string    `json:"size" doc:"people in the company; empty when it is not said"`
	Location      Place     `json:"location"`
	Timezone      string    `json:"timezone"`
	AvatarURL     string    `json:"avatarUrl" doc:"below the platform's origin; empty without a picture"`
	AverageRating float64   `json:"averageRating" doc:"two digits; 0 without reviews"`
	TotalReviews  int64     `json:"totalReviews"`
	Badges        []Badge   `json:"badges"`
	MemberSince   time.Time `json:"memberSince"`
	Version       int64     `json:"version"`
}

// ResponseHeaders carry the version as an ETag.
func (c Client) ResponseHeaders() http.Header { return etag(c.Version) }

func (p person) client() Client {
	return Client{
		ID: p.UserID, Name: p.Name, Company: p.Company, Industry: p.Industry, Size: p.Size, Location: Place{p.City, p.Country}, Timezone: p.Timezone,
		AvatarURL: p.avatarURL(), AverageRating: p.AverageRating, TotalReviews: p.TotalReviews, Badges: p.Badges, MemberSince: p.CreatedAt, Version: p.ClientVersion,
	}
}

// sizes of companies.
var sizes = []string{"", "1", "2-10", "11-50", "51-200", "201-1000", "1000+"}

// ClientEdit changes what a client says of the company: what is absent stays, null clears.
type ClientEdit struct {
	Company  api.Optional[string] `json:"company" required:"false"`
	Industry api.Optional[string] `json:"industry" required:"false"`
	Size     api.Optional[string] `json:"size" required:"false" doc:"1, 2-10, 11-50, 51-200, 201-1000 or 1000+"`
	Version  *int64               `json:"version,omitempty" doc:"the one that was changed; If-Match says the same"`
}

var errNoClient = errs.New(errs.NotFound, "There is no such client.")

// Client is a client's page, for the client, workers who have shared a booking, and admins. NotFound: there is none, or by is somebody else.
func (s *Service) Client(ctx context.Context, by token.Caller, id uuid.UUID) (Client, error) {
	p, err := s.page(ctx, by, id)
	if errs.KindOf(err) == errs.NotFound {
		return Client{}, errNoClient
	}
	if err != nil {
		return Client{}, err
	}
	sees := by.ID == id || by.Is(token.Admin)
	if !sees && by.Is(token.Worker) {
		if sees, err = haveMet(ctx, s.db, id, by.ID); err != nil {
			return Client{}, err
		}
	}
	if !sees || p.Role != token.Client || p.Status == deleted {
		return Client{}, errNoClient
	}
	return p.client(), nil
}

// EditClient changes the caller's own company. NotFound: it is not the caller's. Conflict: it is not the version that was changed.
// Invalid: a field is not acceptable; Details says which.
func (s *Service) EditClient(ctx context.Context, by token.Caller, id uuid.UUID, e ClientEdit) (Client, error) {
	if by.ID != id || by.Role != token.Client {
		return Client{}, errNoClient
	}
	p, err := s.edit(ctx, id, func(_ postgres.Tx, p *person) error {
		if p.Role != token.Client {
			return errNoClient
		}
		if err := current(e.Version, p.ClientVersion); err != nil {
			return err
		}
		return e.apply(&p.company)
	})
	return p.client(), err
}

func (e ClientEdit) apply(c *company) error {
	var f faults
	if e.Company.Sent {
		c.Company = f.line("company", e.Company.Value, maxName)
	}
	if e.Industry.Sent {
		c.Industry = f.line("industry", e.Industry.Value, maxName)
	}
	if e.Size.Sent {
		if c.Size = e.Size.Value; !slices.Contains(sizes, c.Size) {
			f.add("size", "must be one of "+strings.Join(sizes[1:], ", "))
		}
	}
	return f.err()
}
