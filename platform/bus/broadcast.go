package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

const (
	broadcastChannel = "tulifo_bus_broadcast"
	longest          = 7900 // of a notification, in bytes; Postgres takes 7,999
)

// Broadcast implements Bus. This process hears it at once, whatever the database does.
func (b *Postgres) Broadcast(ctx context.Context, e Envelope) error {
	b.ears.deliver(e)
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode broadcast %s: %w", e.Type, err)
	}
	// A payload is the sender, then the envelope or, after #, the id of its row.
	sql, args := `SELECT pg_notify($1, $2)`, []any{broadcastChannel, b.origin + string(body)}
	if len(body)+len(b.origin) > longest {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("broadcast %s: %w", e.Type, err)
		}
		sql = `WITH stored AS (INSERT INTO broadcast (id, envelope) VALUES ($3, $4::text::json)) SELECT pg_notify($1, $2)`
		args = []any{broadcastChannel, b.origin + "#" + id.String(), id, string(body)}
	}
	if _, err := b.db.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("broadcast %s: %w", e.Type, err)
	}
	return nil
}

// Listen implements Bus.
func (b *Postgres) Listen(ctx context.Context, types []string, fn func(Envelope)) error {
	b.ears.listen(ctx, types, fn)
	return nil
}

// dispatch decodes what other processes broadcast, in order, away from the session, which must not wait for a query.
func (b *Postgres) dispatch(ctx context.Context) {
	for {
		var payload string
		select {
		case <-ctx.Done():
			return
		case payload = <-b.heard:
		}
		if len(payload) < len(b.origin) || payload[:len(b.origin)] == b.origin {
			continue
		}
		body := payload[len(b.origin):]
		if row, long := strings.CutPrefix(body, "#"); long {
			var err error
			if body, err = postgres.One[string](ctx, b.db, `SELECT envelope::text FROM broadcast WHERE id = $1`, row); err != nil {
				b.log.Warn("A long broadcast was missed.", "error", err)
				continue
			}
		}
		var e Envelope
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			b.log.Warn("A broadcast was not understood.", "error", err)
			continue
		}
		b.ears.deliver(e)
	}
}
