// Package audit keeps, for every service, who did what: one row for each privileged, money or state action, written with its fact.
//
// A row is inserted plain in the transaction of the fact, so it exists if and only if the fact does, and costs no round trip of its own.
// A sealer chains committed rows by hash, in batches: each hash covers the row and the hash before it, so that no row can be changed, moved
// or taken out of the middle afterwards without Verify seeing it. A chain tip inside the fact's transaction would make all of them queue.
// Rows never carry passwords, tokens, secrets or card numbers.
package audit

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"tulifo/platform/obs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migration brings the table of the audit log into the schema of a service, beside the service's own.
func Migration(schema string) postgres.Migration {
	return postgres.Migration{Schema: schema, FS: migrations, Table: "audit_version"}
}

// Entry is one action.
type Entry struct {
	Actor   string            // who; empty means the caller in the context: a user's id, service:<name> or anonymous
	Action  string            // what, such as "user.suspended"
	Subject uuid.UUID         // to whom or what; nil when it is not known
	Detail  map[string]string // what else matters, such as a reason; no secrets
}

// Add writes the entries, in their order, if and only if tx commits. It costs no round trip of its own, and many cost one statement.
func Add(ctx context.Context, tx postgres.Tx, entries ...Entry) error {
	var actors, actions, details []string
	var subjects []uuid.UUID
	for _, e := range entries {
		if e.Actor == "" {
			e.Actor = token.From(ctx).String()
		}
		detail := []byte("{}")
		if len(e.Detail) > 0 {
			var err error
			if detail, err = json.Marshal(e.Detail); err != nil {
				return fmt.Errorf("encode the detail of audit row %s: %w", e.Action, err)
			}
		}
		actors, actions, subjects, details = append(actors, e.Actor), append(actions, e.Action), append(subjects, e.Subject), append(details, string(detail))
	}
	switch request := obs.RequestID(ctx); len(entries) {
	case 0:
		return nil
	case 1:
		tx.Later(`INSERT INTO audit (actor, action, subject, detail, request_id) VALUES ($1, $2, $3, $4, $5)`, actors[0], actions[0], subjects[0], details[0], request)
	default:
		tx.Later(`INSERT INTO audit (actor, action, subject, detail, request_id)
			SELECT a, b, s, d, $5 FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[]) WITH ORDINALITY AS e (a, b, s, d, n) ORDER BY n`, actors, actions, subjects, details, request)
	}
	db := tx.DB()
	tx.Committed(func() { poke(db) })
	return nil
}

var sealers sync.Map // *postgres.DB → chan struct{} of its sealer in this process

func poke(db *postgres.DB) {
	if wake, ok := sealers.Load(db); ok {
		select {
		case wake.(chan struct{}) <- struct{}{}:
		default:
		}
	}
}
