package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/outbox"
)

// Kept are the documents of a collection as JSON.
func Kept(ctx context.Context, docs docdb.DB, collection string, where docdb.Filter) ([]string, error) {
	switch collection {
	case "people":
		return kept(ctx, docs, people, where)
	case "preferences":
		return kept(ctx, docs, preferred, where)
	case "notifications":
		return kept(ctx, docs, notifications, where)
	case "deliveries":
		return kept(ctx, docs, deliveries, where)
	case "subscriptions":
		return kept(ctx, docs, subscriptions, where)
	}
	return nil, fmt.Errorf("there is no collection %s", collection)
}

func kept[T any](ctx context.Context, docs docdb.DB, c *docdb.Collection[T], where docdb.Filter) ([]string, error) {
	page, err := c.Find(ctx, docs, docdb.Query{Where: where, Limit: docdb.MaxLimit})
	out := make([]string, len(page.Docs))
	for i, d := range page.Docs {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		out[i] = string(raw)
	}
	return out, err
}

// ChangeDeliveries has all deliveries be as time or a process that died would leave them.
func ChangeDeliveries(ctx context.Context, docs docdb.DB, changes ...docdb.Change) error {
	_, err := deliveries.UpdateAll(ctx, docs, docdb.Filter{}, changes...)
	return err
}

// Words is an event as one of its audiences reads it, for tests of the wording.
func Words(e outbox.Event, as, locale, zone string) (subject string, paragraphs []string, button string, err error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return "", nil, "", err
	}
	w, err := word(table()[e.Type()], raw, as, person{Locale: locale, Timezone: zone})
	return w.subject, w.paragraphs, w.button, err
}

// Readers are whom an event is told, and for whom it is worded.
func Readers(e outbox.Event) map[uuid.UUID]string {
	out := map[uuid.UUID]string{}
	for _, t := range table()[e.Type()].readers(e) {
		out[t.user] = t.as
	}
	return out
}

// Until is when the quiet hours end that now is in.
func Until(q *QuietHours, now time.Time, zone *time.Location) (time.Time, bool) {
	return q.until(now, zone)
}

// Greeting is how somebody of that name is addressed.
func Greeting(name string) string { return greeting(name) }

// UnsubscribeToken is the token under mails to a user.
func (s *Service) UnsubscribeToken(user uuid.UUID, c Category) string {
	return s.unsubscribeToken(user, c)
}
