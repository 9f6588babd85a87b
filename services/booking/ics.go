package booking

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	ical "github.com/arran4/golang-ical"
	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	feedPast   = 30 * 24 * time.Hour
	feedFuture = 400 * 24 * time.Hour
	feedEvents = 1000
)

// Feed is the secret address under which a calendar program finds its owner's bookings.
type Feed struct {
	URL string `json:"url"`
}

// NewFeed makes a new address for the caller's feed; the one before stops working. Only its hash is kept.
func (s *Service) NewFeed(ctx context.Context, by token.Caller) (Feed, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	name := base64.RawURLEncoding.EncodeToString(secret)
	_, err := s.db.Exec(ctx, `INSERT INTO calendar_tokens (user_id, hash, created_at) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, created_at = excluded.created_at`, by.ID, feedHash(name), s.now())
	return Feed{strings.TrimRight(s.config.PublicURL, "/") + "/api/bookings/calendar/" + name + ".ics"}, err
}

// CloseFeed has the caller's address stop working.
func (s *Service) CloseFeed(ctx context.Context, by token.Caller) error {
	_, err := s.db.Exec(ctx, `DELETE FROM calendar_tokens WHERE user_id = $1`, by.ID)
	return err
}

func feedHash(name string) []byte {
	h := sha256.Sum256([]byte(name))
	return h[:]
}

// feed is the calendar of whoever owns the address: what takes place or took place from a month back to a year ahead.
func (s *Service) feed(ctx context.Context, name string) (api.File, error) {
	now := s.now()
	rows, err := postgres.All[Booking](ctx, s.db, `SELECT `+columns+` FROM bookings
		WHERE (worker_id = (SELECT user_id FROM calendar_tokens WHERE hash = $1) OR client_id = (SELECT user_id FROM calendar_tokens WHERE hash = $1))
			AND ends_at > $2 AND starts_at < $3 AND status IN ('pending', 'confirmed', 'in_progress', 'completed')
		ORDER BY starts_at, id LIMIT $4`, feedHash(name), now.Add(-feedPast), now.Add(feedFuture), feedEvents)
	if err != nil {
		return api.File{}, err
	}
	if len(rows) == 0 {
		if _, err := postgres.One[uuid.UUID](ctx, s.db, `SELECT user_id FROM calendar_tokens WHERE hash = $1`, feedHash(name)); err != nil {
			return api.File{}, errs.New(errs.NotFound, "There is nothing at this path.")
		}
	}
	return calendarFile("tulifo.ics", rows), nil
}

func calendarFile(name string, bookings []Booking) api.File {
	cal := ical.NewCalendarFor("Tulifo")
	cal.SetMethod(ical.MethodPublish)
	cal.SetXWRCalName("Tulifo")
	for _, b := range bookings {
		e := cal.AddEvent(b.ID.String() + uidSuffix)
		e.SetDtStampTime(b.UpdatedAt)
		e.SetCreatedTime(b.CreatedAt)
		e.SetModifiedAt(b.UpdatedAt)
		e.SetStartAt(b.Start)
		e.SetEndAt(b.End)
		e.SetSummary(b.Title)
		e.SetSequence(int(b.Version))
		e.SetStatus(eventStatus(b.Status))
		if b.Description != "" {
			e.SetDescription(b.Description)
		}
		if b.MeetingURL != "" {
			e.SetURL(b.MeetingURL)
		}
	}
	return api.File{ContentType: "text/calendar; charset=utf-8", Name: name, Body: []byte(cal.Serialize(ical.WithNewLineWindows))}
}

const uidSuffix = "@tulifo"

// bookingOf is the booking whose event has that uid in our calendars.
func bookingOf(uid string) (uuid.UUID, bool) {
	name, ours := strings.CutSuffix(uid, uidSuffix)
	id, err := uuid.Parse(name)
	return id, ours && err == nil
}

func eventStatus(s Status) ical.ObjectStatus {
	switch s {
	case Pending:
		return ical.ObjectStatusTentative
	case Cancelled, Expired, NoShow:
		return ical.ObjectStatusCancelled
	}
	return ical.ObjectStatusConfirmed
}

type nothing struct{}

func (s *Service) newFeed(ctx context.Context, _ *nothing) (Feed, error) {
	return s.NewFeed(ctx, token.From(ctx))
}

func (s *Service) noFeed(ctx context.Context, _ *nothing) (api.Nothing, error) {
	return api.Nothing{}, s.CloseFeed(ctx, token.From(ctx))
}

type documentIn struct {
	ID       string `path:"id" maxLength:"36" doc:"a booking's id, or calendar"`
	Document string `path:"document" maxLength:"60" doc:"ics, or the feed's secret name with .ics"`
}

func (s *Service) document(ctx context.Context, in *documentIn) (api.File, error) {
	if in.ID == "calendar" {
		return s.feed(ctx, strings.TrimSuffix(in.Document, ".ics"))
	}
	by := token.From(ctx)
	switch {
	case by.Role == "":
		return api.File{}, errs.New(errs.Unauthorized, "Sign in first.")
	case !by.Is(token.Client, token.Worker, token.Admin):
		return api.File{}, errs.New(errs.Forbidden, "Your role does not allow this.")
	}
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return api.File{}, errs.Field("id", "must be a UUID")
	}
	b, err := s.Booking(ctx, by, id)
	if err != nil {
		return api.File{}, err
	}
	return calendarFile("booking.ics", []Booking{b}), nil
}
