package review

import (
	"context"
	"fmt"
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
	export.Routes(r, "/api/v1/reviews", s.heldBy()...)
	api.Post(r, "/api/v1/reviews", s.create, api.For(token.Client, token.Worker), api.Of(api.Party), api.While("completed"), api.Created, api.Once,
		api.Summary("Review the other side of a completed booking; hidden until both have written or 14 days have passed."))
	api.List(r, "/api/v1/reviews/user/{userId}", s.getList, api.Public, api.Summary("The reviews about a user, newest first."))
	api.Get(r, "/api/v1/reviews/stats/{userId}", s.getStats, api.Public, api.Summary("What a user's ratings come to."))
	api.Get(r, "/api/v1/badges/{userId}", s.getBadges, api.Public, api.Summary("A user's badges."))
}

// Answer is a review on the wire. The booking is named to its parties and admins, the private note to its author and admins.
type Answer struct {
	ID         uuid.UUID  `json:"id"`
	BookingID  *uuid.UUID `json:"bookingId,omitempty"`
	ReviewerID uuid.UUID  `json:"reviewerId"`
	RevieweeID uuid.UUID  `json:"revieweeId"`
	Rating     int        `json:"rating" minimum:"1" maximum:"5"`
	Comment    string     `json:"comment"`
	Category   string     `json:"category"`
	Private    string     `json:"private,omitempty"`
	CreatedAt  time.Time  `json:"createdAt"`
	RevealedAt *time.Time `json:"revealedAt" doc:"null while only its author can read it"`
}

func answer(r Review, by token.Caller) Answer {
	a := Answer{ID: r.ID, ReviewerID: r.ReviewerID, RevieweeID: r.RevieweeID, Rating: r.Rating, Comment: r.Comment, Category: r.Category, CreatedAt: r.CreatedAt, RevealedAt: r.RevealedAt}
	author, admin := by.ID == r.ReviewerID, by.Role == token.Admin
	if author || admin || by.ID == r.RevieweeID {
		a.BookingID = &r.BookingID
	}
	if author || admin {
		a.Private = r.PrivateNote
	}
	return a
}

type createIn struct {
	Body struct {
		BookingID uuid.UUID `json:"bookingId"`
		Rating    int       `json:"rating" minimum:"1" maximum:"5"`
		Comment   string    `json:"comment,omitempty" maxLength:"2000"`
		Category  string    `json:"category,omitempty" maxLength:"60" doc:"default: the booking's"`
		Private   string    `json:"private,omitempty" maxLength:"2000" doc:"a note that only its author and admins can read"`
	}
}

func (s *Service) create(ctx context.Context, in *createIn) (Answer, error) {
	b := &in.Body
	said := Text{BookingID: b.BookingID, Rating: b.Rating}
	for _, f := range []struct {
		name, sent string
		to         *string
	}{{"comment", b.Comment, &said.Comment}, {"category", b.Category, &said.Category}, {"private", b.Private, &said.PrivateNote}} {
		var show bool
		if *f.to, show = text.Lines(f.sent); !show {
			return Answer{}, errs.Field(f.name, "has characters that cannot be shown")
		}
	}
	by := token.From(ctx)
	r, err := s.Write(ctx, by, said)
	if err != nil {
		return Answer{}, err
	}
	return answer(r, by), nil
}

type listIn struct {
	api.Paging
	UserID uuid.UUID `path:"userId"`
	Offset int       `query:"offset" minimum:"0" maximum:"10000" default:"0" doc:"how many to pass over; not with a cursor"`
}

func (s *Service) getList(ctx context.Context, in *listIn) (api.Page[Answer], error) {
	by := token.From(ctx)
	page, err := s.About(ctx, by, in.UserID, Page{in.Limit, in.Cursor, in.Offset})
	out := api.Page[Answer]{Limit: page.Limit, NextCursor: page.NextCursor, Total: page.Total, Offset: page.Offset}
	for _, r := range page.Items {
		out.Items = append(out.Items, answer(r, by))
	}
	return out, err
}

type byUser struct {
	UserID uuid.UUID `path:"userId"`
}

// StatsAnswer is a user's ratings on the wire.
type StatsAnswer struct {
	UserID    uuid.UUID     `json:"userId"`
	Average   money.Decimal `json:"averageRating" doc:"two digits, rounded half up; 0 when there are none"`
	Total     int64         `json:"totalReviews"`
	Breakdown Breakdown     `json:"breakdown"`
}

// Breakdown is how many reviews gave so many stars.
type Breakdown struct {
	One   int64 `json:"1"`
	Two   int64 `json:"2"`
	Three int64 `json:"3"`
	Four  int64 `json:"4"`
	Five  int64 `json:"5"`
}

// average is sum/count with two digits, rounded half up.
func (s Stats) average() money.Decimal {
	if s.Count == 0 {
		return "0.00"
	}
	hundredths := (200*s.Sum + s.Count) / (2 * s.Count)
	return money.Decimal(fmt.Sprintf("%d.%02d", hundredths/100, hundredths%100))
}

func (s *Service) getStats(ctx context.Context, in *byUser) (StatsAnswer, error) {
	st, err := s.Stats(ctx, in.UserID)
	if err != nil {
		return StatsAnswer{}, err
	}
	n := st.Stars
	return StatsAnswer{st.UserID, st.average(), st.Count, Breakdown{n[0], n[1], n[2], n[3], n[4]}}, nil
}

// BadgeAnswer is a badge on the wire.
type BadgeAnswer struct {
	Type        string    `json:"type"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	EarnedAt    time.Time `json:"earnedAt"`
}

func (s *Service) getBadges(ctx context.Context, in *byUser) ([]BadgeAnswer, error) {
	list, err := s.Badges(ctx, in.UserID)
	out := []BadgeAnswer{}
	for _, b := range list {
		out = append(out, BadgeAnswer{b.Type, b.Name, b.Description, b.EarnedAt})
	}
	return out, err
}
