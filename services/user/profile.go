package user

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Location is where somebody lives, as they see it themselves.
type Location struct {
	City    string   `json:"city"`
	Country string   `json:"country" doc:"two letters of ISO 3166-1, or empty"`
	Lat     *float64 `json:"lat"`
	Lon     *float64 `json:"lon"`
}

// Place is where somebody lives, as others see it.
type Place struct {
	City    string `json:"city"`
	Country string `json:"country" doc:"two letters of ISO 3166-1, or empty"`
}

// PortfolioItem is a piece of work that somebody shows.
type PortfolioItem struct {
	Title       string `json:"title" maxLength:"120"`
	URL         string `json:"url,omitempty" maxLength:"2048"`
	Description string `json:"description,omitempty" maxLength:"1000"`
}

// Badge is an achievement.
type Badge struct {
	Badge string `json:"badge"`
	Name  string `json:"name"`
}

// Profile is a user as the user and admins see it.
type Profile struct {
	ID             uuid.UUID         `json:"id"`
	Email          string            `json:"email"`
	EmailVerified  bool              `json:"emailVerified"`
	Name           string            `json:"name"`
	Role           string            `json:"role"`
	Status         string            `json:"status" enum:"active,suspended"`
	Bio            string            `json:"bio"`
	Skills         []event.Skill     `json:"skills"`
	Experience     string            `json:"experience"`
	Location       Location          `json:"location"`
	Timezone       string            `json:"timezone"`
	Locale         string            `json:"locale"`
	AvatarURL      string            `json:"avatarUrl" doc:"below the platform's origin; empty without a picture"`
	Portfolio      []PortfolioItem   `json:"portfolio"`
	SocialLinks    map[string]string `json:"socialLinks"`
	AverageRating  float64           `json:"averageRating" doc:"two digits; 0 without reviews"`
	TotalReviews   int64             `json:"totalReviews"`
	ReviewsWaiting int64             `json:"reviewsWaiting" doc:"reviews about the user that cannot be read yet: both sides write, or 14 days pass"`
	Badges         []Badge           `json:"badges"`
	Version        int64             `json:"version"`
	CreatedAt      time.Time         `json:"createdAt"`
	UpdatedAt      time.Time         `json:"updatedAt"`
}

// ResponseHeaders carry the version as an ETag.
func (p Profile) ResponseHeaders() http.Header { return etag(p.Version) }

func etag(version int64) http.Header {
	return http.Header{"Etag": {`"` + strconv.FormatInt(version, 10) + `"`}, "Cache-Control": {"no-cache"}}
}

func (p person) seenByOwner() Profile {
	return Profile{
		ID: p.UserID, Email: p.Email, EmailVerified: p.EmailVerified, Name: p.Name, Role: p.Role, Status: p.Status, Bio: p.Bio, Skills: p.Skills,
		Experience: p.Experience, Location: Location{p.City, p.Country, p.Lat, p.Lon}, Timezone: p.Timezone, Locale: p.Locale, AvatarURL: p.avatarURL(),
		Portfolio: p.Portfolio, SocialLinks: p.SocialLinks, AverageRating: p.AverageRating, TotalReviews: p.TotalReviews, ReviewsWaiting: p.ReviewsWaiting,
		Badges: p.Badges, Version: p.Version, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
}

// Card is how a user is addressed and shown by other services.
type Card struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Timezone  string    `json:"timezone"`
	Locale    string    `json:"locale"`
	Country   string    `json:"country"`
	AvatarURL string    `json:"avatarUrl"`
}

// LocationEdit changes parts of a location; null clears them. lat and lon go together.
type LocationEdit struct {
	City    api.Optional[string]  `json:"city" required:"false"`
	Country api.Optional[string]  `json:"country" required:"false"`
	Lat     api.Optional[float64] `json:"lat" required:"false"`
	Lon     api.Optional[float64] `json:"lon" required:"false"`
}

// ProfileEdit changes a profile: what is absent stays, null clears.
type ProfileEdit struct {
	Name        api.Optional[string]            `json:"name" required:"false"`
	Bio         api.Optional[string]            `json:"bio" required:"false"`
	Skills      api.Optional[[]event.Skill]     `json:"skills" required:"false"`
	Experience  api.Optional[string]            `json:"experience" required:"false"`
	Location    api.Optional[LocationEdit]      `json:"location" required:"false"`
	Timezone    api.Optional[string]            `json:"timezone" required:"false"`
	Locale      api.Optional[string]            `json:"locale" required:"false"`
	Portfolio   api.Optional[[]PortfolioItem]   `json:"portfolio" required:"false"`
	SocialLinks api.Optional[map[string]string] `json:"socialLinks" required:"false"`
	Version     *int64                          `json:"version,omitempty" doc:"the one that was changed; If-Match says the same"`
}

// Profile is a user for the user or an admin. NotFound: there is none, or by is somebody else.
func (s *Service) Profile(ctx context.Context, by token.Caller, id uuid.UUID) (Profile, error) {
	if err := own(by, id); err != nil {
		return Profile{}, err
	}
	p, err := s.known(ctx, id)
	return p.seenByOwner(), err
}

// own lets in the user and admins. NotFound: by is somebody else, who shall not learn whether there is such a user.
func own(by token.Caller, id uuid.UUID) error {
	if by.ID == id && id != uuid.Nil || by.Is(token.Admin) {
		return nil
	}
	return errNoUser
}

// EditProfile changes a profile for the user or an admin, and tells of it. NotFound: there is none, or by is somebody else.
// Conflict: it is not the version that was changed. Invalid: a field is not acceptable; Details says which.
func (s *Service) EditProfile(ctx context.Context, by token.Caller, id uuid.UUID, e ProfileEdit) (Profile, error) {
	if err := own(by, id); err != nil {
		return Profile{}, err
	}
	p, err := s.edit(ctx, id, func(tx postgres.Tx, p *person) error {
		if err := current(e.Version, p.Version); err != nil {
			return err
		}
		if err := e.apply(&p.profile); err != nil {
			return err
		}
		return byAdmin(ctx, tx, by, id, "profile.edited", nil)
	})
	return p.seenByOwner(), err
}

// byAdmin leaves an audit row when by acts on somebody else.
func byAdmin(ctx context.Context, tx postgres.Tx, by token.Caller, id uuid.UUID, action string, detail map[string]string) error {
	if by.ID == id {
		return nil
	}
	return audit.Add(ctx, tx, audit.Entry{Actor: by.String(), Action: action, Subject: id, Detail: detail})
}

func (e ProfileEdit) apply(p *profile) error {
	var f faults
	if e.Name.Sent {
		p.Name = f.name("name", e.Name.Value)
	}
	if e.Bio.Sent {
		p.Bio = f.text("bio", e.Bio.Value, maxText)
	}
	if e.Skills.Sent {
		p.Skills = f.skills("skills", e.Skills.Value)
	}
	if e.Experience.Sent {
		p.Experience = f.text("experience", e.Experience.Value, maxText)
	}
	if e.Location.Sent {
		e.Location.Value.apply(&f, e.Location.Null, p)
	}
	if e.Timezone.Sent {
		p.Timezone = f.timezone("timezone", orElse(e.Timezone, "UTC"))
	}
	if e.Locale.Sent {
		p.Locale = f.locale("locale", orElse(e.Locale, "en"))
	}
	if e.Portfolio.Sent {
		p.Portfolio = f.portfolio("portfolio", e.Portfolio.Value)
	}
	if e.SocialLinks.Sent {
		p.SocialLinks = f.links("socialLinks", e.SocialLinks.Value)
	}
	return f.err()
}

func orElse(o api.Optional[string], cleared string) string {
	if o.Null {
		return cleared
	}
	return o.Value
}

func (e LocationEdit) apply(f *faults, clear bool, p *profile) {
	if clear {
		p.City, p.Country, p.Lat, p.Lon = "", "", nil, nil
	}
	if e.City.Sent {
		p.City = f.line("location.city", e.City.Value, maxName)
	}
	if e.Country.Sent {
		p.Country = f.country("location.country", e.Country.Value)
	}
	p.Lat = coordinate(f, "location.lat", e.Lat, p.Lat, 90)
	p.Lon = coordinate(f, "location.lon", e.Lon, p.Lon, 180)
	if (p.Lat == nil) != (p.Lon == nil) {
		f.add("location", "must have both lat and lon, or neither")
	}
}

func coordinate(f *faults, field string, o api.Optional[float64], was *float64, most float64) *float64 {
	if !o.Sent {
		return was
	}
	if o.Null {
		return nil
	}
	if o.Value < -most || o.Value > most {
		f.add(field, "must be degrees on the globe")
	}
	return &o.Value
}

// Card is how a user is addressed, for other services. NotFound: there is no such user.
func (s *Service) Card(ctx context.Context, id uuid.UUID) (Card, error) {
	p, err := s.known(ctx, id)
	return Card{p.UserID, p.Name, p.Role, p.Timezone, p.Locale, p.Country, p.avatarURL()}, err
}

// Users are those an admin looks for, the newest first, after the one that since and after name.
func (s *Service) Users(ctx context.Context, want UserFilter, limit int) (api.Page[Profile], error) {
	found, err := users(ctx, s.db, want, limit+1)
	out := make([]Profile, len(found))
	for i, p := range found {
		out[i] = p.seenByOwner()
	}
	return api.Slice(out, limit, func(p Profile) string { return api.EncodeCursor(p.CreatedAt, p.ID) }), err
}

// SetStatus has auth suspend or reinstate a user. by is an admin. NotFound: there is no such user. Conflict: by would act on themselves.
// Invalid: a suspension without a reason.
func (s *Service) SetStatus(ctx context.Context, by token.Caller, id uuid.UUID, status, reason string) (Profile, error) {
	if by.ID == id {
		return Profile{}, errs.New(errs.Conflict, "Nobody changes the status of their own account. Ask another admin.")
	}
	var f faults
	reason = f.line("reason", reason, 500)
	if status == suspended && reason == "" {
		f.add("reason", "must say why")
	}
	if err := f.err(); err != nil {
		return Profile{}, err
	}
	if err := s.turn(ctx, by, id, status, reason); err != nil {
		return Profile{}, err
	}
	// auth has done it and will tell of it; here it shows at once.
	p, err := s.edit(ctx, id, func(tx postgres.Tx, p *person) error {
		p.Status = status
		return byAdmin(ctx, tx, by, id, "user.status_set", map[string]string{"status": status, "reason": reason})
	})
	return p.seenByOwner(), err
}
