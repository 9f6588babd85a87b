package review

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

// hiddenFor is how long a review waits for the other side's.
const hiddenFor = 14 * 24 * time.Hour

// Review is what one side of a booking wrote about the other.
type Review struct {
	ID          uuid.UUID
	BookingID   uuid.UUID
	ReviewerID  uuid.UUID
	RevieweeID  uuid.UUID
	Rating      int // 1 to 5
	Comment     string
	Category    string
	PrivateNote string // for its author and admins
	CreatedAt   time.Time
	RevealedAt  *time.Time // nil while it is hidden
	DueAt       *time.Time // when it is revealed by itself
}

func (r Review) facts() event.Review {
	return event.Review{ReviewID: r.ID, BookingID: r.BookingID, ReviewerID: r.ReviewerID, RevieweeID: r.RevieweeID}
}

// Text is what somebody writes.
type Text struct {
	BookingID   uuid.UUID
	Rating      int
	Comment     string
	Category    string // empty: the booking's
	PrivateNote string
}

var errTwice = errs.Coded(errs.Conflict, "already_reviewed", "You have reviewed this booking already.")

// Write stores what the caller says about the other side of a booking; when the other side has written too, both are revealed. NotFound: no
// such booking, or the caller took no part. Conflict: it is not completed (not_completed), or the caller has written already (already_reviewed).
func (s *Service) Write(ctx context.Context, by token.Caller, text Text) (Review, error) {
	known, err := findEngagement(ctx, s.db, text.BookingID, by.ID)
	if err != nil {
		return Review{}, err
	}
	e := known.engagement()
	if !known.Known {
		if e, err = s.askBooking(ctx, by, text.BookingID); err != nil {
			return Review{}, err
		}
	}
	about, err := e.other(by.ID)
	if err != nil {
		return Review{}, err
	}
	if known.Written {
		return Review{}, errTwice
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Review{}, err
	}
	now := s.now()
	due := now.Add(hiddenFor)
	r := Review{ID: id, BookingID: e.BookingID, ReviewerID: by.ID, RevieweeID: about, Rating: text.Rating, Comment: text.Comment, Category: text.Category,
		PrivateNote: text.PrivateNote, CreatedAt: now, DueAt: &due}
	if r.Category == "" {
		r.Category = e.Category
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		ctx := outbox.At(ctx, now)
		both, err := enter(ctx, tx, e, r)
		if err != nil {
			return err
		}
		if err := outbox.Add(ctx, tx, r.BookingID, event.ReviewCreated{Review: r.facts()}); err != nil {
			return err
		}
		tx.Committed(func() { timer.Poke("review") })
		if len(both) < 2 {
			return nil
		}
		r.RevealedAt, r.DueAt = &now, nil
		return s.reveal(ctx, tx, both, now)
	})
	return r, err
}

// reveal lets everybody read those of the reviews that are hidden still, and counts them. Users are taken in the order of their ids, so that two
// pairs cannot wait for each other.
func (s *Service) reveal(ctx context.Context, tx postgres.Tx, rs []Review, at time.Time) error {
	slices.SortFunc(rs, func(a, b Review) int { return slices.Compare(a.RevieweeID[:], b.RevieweeID[:]) })
	for _, r := range rs {
		c, ok, err := count(ctx, tx, r, at)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := outbox.Add(ctx, tx, r.BookingID, event.ReviewRevealed{Review: r.facts(), Rating: r.Rating, Sum: c.Sum, Count: c.Count, Version: c.Version}); err != nil {
			return err
		}
		if err := award(ctx, tx, c, at); err != nil {
			return err
		}
	}
	return nil
}

// award gives and takes badges so that the user has exactly those that the ratings earn.
func award(ctx context.Context, tx postgres.Tx, c counted, at time.Time) error {
	for _, b := range badges {
		has, earns := slices.Contains(c.badges, b.kind), b.earned(c.Count, c.Sum)
		switch {
		case earns && !has:
			tx.Later(`INSERT INTO user_badges (user_id, badge_type, name, description, earned_at) VALUES ($1, $2, $3, $4, $5)`, c.UserID, b.kind, b.name, b.description, at)
			if err := outbox.Add(ctx, tx, c.UserID, event.BadgeAwarded{UserID: c.UserID, Badge: b.kind, Name: b.name}); err != nil {
				return err
			}
		case has && !earns:
			tx.Later(`DELETE FROM user_badges WHERE user_id = $1 AND badge_type = $2`, c.UserID, b.kind)
			if err := outbox.Add(ctx, tx, c.UserID, event.BadgeRevoked{UserID: c.UserID, Badge: b.kind, Name: b.name}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Page says which reviews: by cursor, or by offset when there is no cursor.
type Page struct {
	Limit  int
	Cursor string
	Offset int
}

// About is a page of the reviews about a user, the newest first: the revealed ones, and what the caller has written himself though it is hidden.
func (s *Service) About(ctx context.Context, by token.Caller, user uuid.UUID, p Page) (api.Page[Review], error) {
	var before *time.Time
	var id uuid.UUID
	if p.Cursor != "" {
		if p.Offset > 0 {
			return api.Page[Review]{}, errs.Field("offset", "cannot be used with a cursor")
		}
		before = &time.Time{}
		if err := api.DecodeCursor(p.Cursor, before, &id); err != nil {
			return api.Page[Review]{}, err
		}
	}
	rows, err := list(ctx, s.db, user, by.ID, before, id, p.Offset, p.Limit+1)
	if err != nil {
		return api.Page[Review]{}, err
	}
	page := api.Slice(rows, p.Limit, func(r Review) string { return api.EncodeCursor(r.CreatedAt, r.ID) })
	total, err := statsOf(ctx, s.db, user)
	page.Total = &total.Count
	if p.Cursor == "" {
		page.Offset = &p.Offset
	}
	return page, err
}

// Stats are what the revealed ratings of a user come to; zero when there are none.
func (s *Service) Stats(ctx context.Context, user uuid.UUID) (Stats, error) {
	return statsOf(ctx, s.db, user)
}

// Badges are those that a user has, the first earned first.
func (s *Service) Badges(ctx context.Context, user uuid.UUID) ([]Badge, error) {
	return badgesOf(ctx, s.db, user)
}
