package notification

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

// Notification is one message in the app, in words.
type Notification struct {
	ID        uuid.UUID  `json:"id"`
	Type      string     `json:"type"` // of the event
	Category  Category   `json:"category"`
	Title     string     `json:"title"`
	Body      string     `json:"body"`
	Link      string     `json:"link"` // path of the page that it is about
	CreatedAt time.Time  `json:"createdAt"`
	ReadAt    *time.Time `json:"readAt,omitempty"`
}

const (
	keptFor   = 365 * 24 * time.Hour
	countMost = 1000 // unread messages are counted up to here
)

// notification is the event in words for one reader.
func (r rule) notification(raw json.RawMessage, t to, who person, event uuid.UUID, at time.Time) (notification, error) {
	w, err := word(r, raw, t.as, who)
	if err != nil {
		return notification{}, err
	}
	page, err := r.page(raw)
	if err != nil {
		return notification{}, err
	}
	return notification{
		Notification: Notification{ID: keyOf(event, t.user, InApp), Type: r.event, Category: r.category, Title: w.subject, Body: w.paragraphs[0], Link: page, CreatedAt: at.UTC()},
		UserID:       t.user, ExpiresAt: at.UTC().Add(keptFor),
	}, nil
}

// Notifications are a page of the user's, the newest first. With unread, only those not read yet, and their total, where 1,000 stands for more.
// Malformed: the cursor is not one of this list.
func (s *Service) Notifications(ctx context.Context, user uuid.UUID, unread bool, after string, limit int) (api.Page[Notification], error) {
	where := docdb.Eq("userId", user)
	if unread {
		where = docdb.And(where, docdb.Missing("readAt"))
	}
	found, err := notifications.Find(ctx, s.docs, docdb.Query{Where: where, Sort: docdb.Desc("createdAt"), After: after, Limit: limit})
	if err != nil {
		return api.Page[Notification]{}, err
	}
	page := api.Page[Notification]{Limit: limit, NextCursor: found.Next}
	for _, n := range found.Docs {
		page.Items = append(page.Items, n.Notification)
	}
	if unread {
		n, err := notifications.Count(ctx, s.docs, where, countMost)
		if err != nil {
			return page, err
		}
		total := int64(n)
		page.Total = &total
	}
	return page, nil
}

// Read notes that the user has read the message, and answers it; the first time counts. NotFound: the user has no such message.
func (s *Service) Read(ctx context.Context, user, id uuid.UUID) (Notification, error) {
	n, err := notifications.Update(ctx, s.docs, id, docdb.And(docdb.Eq("userId", user), docdb.Missing("readAt")), docdb.Set("readAt", s.clock.Now()))
	if errs.KindOf(err) == errs.Conflict {
		n, err = notifications.FindOne(ctx, s.docs, docdb.And(docdb.Eq("id", id), docdb.Eq("userId", user)))
	}
	if errors.Is(err, errs.New(errs.NotFound, "")) {
		err = errs.New(errs.NotFound, "You have no such notification.")
	}
	return n.Notification, err
}

// ReadAll is how many messages ReadAll has noted as read.
type ReadAll struct {
	Read int `json:"read"`
}

// ReadAll notes that the user has read every message that is there.
func (s *Service) ReadAll(ctx context.Context, user uuid.UUID) (ReadAll, error) {
	n, err := notifications.UpdateAll(ctx, s.docs, docdb.And(docdb.Eq("userId", user), docdb.Missing("readAt")), docdb.Set("readAt", s.clock.Now()))
	return ReadAll{n}, err
}
