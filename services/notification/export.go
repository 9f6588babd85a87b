package notification

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/export"
)

// heldBy is what the service holds about a person. The keys of a browser that may be pushed to are secrets and stay here.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "person", Rows: documents(s, people, "id", func(p person) any { return p })},
		{Name: "preferences", Rows: documents(s, preferred, "id", func(p preferences) any { return p })},
		{Name: "notifications", Rows: documents(s, notifications, "userId", func(n notification) any { return n.Notification })},
		{Name: "mails", Rows: documents(s, deliveries, "userId", func(d delivery) any {
			return map[string]any{"type": d.Type, "occurred": d.Occurred, "status": d.Status}
		})},
		{Name: "browsers", Rows: documents(s, subscriptions, "userId", func(b subscription) any {
			return map[string]any{"endpoint": b.Endpoint, "createdAt": b.CreatedAt}
		})},
	}
}

// documents reads those of a collection whose field is the person, as shown makes them.
func documents[T any](s *Service, from *docdb.Collection[T], field string, shown func(T) any) export.Rows {
	return func(ctx context.Context, who uuid.UUID, after string, limit int) ([]json.RawMessage, string, error) {
		found, err := from.Find(ctx, s.docs, docdb.Query{Where: docdb.Eq(field, who), Sort: docdb.Asc("id"), After: after, Limit: limit})
		if err != nil {
			return nil, "", err
		}
		out := make([]json.RawMessage, len(found.Docs))
		for i, d := range found.Docs {
			if out[i], err = json.Marshal(shown(d)); err != nil {
				return nil, "", err
			}
		}
		return out, found.Next, nil
	}
}
