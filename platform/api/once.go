package api

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"tulifo/platform/crash"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migration is the table of idempotency keys in a service's schema.
func Migration(schema string) postgres.Migration {
	return postgres.Migration{Schema: schema, FS: migrations, Table: "goose_api"}
}

// once runs the handler so that requests with one key have one effect and one answer, byte for byte.
//
// The claim of the key travels with the first statement of the handler's transaction and the stored answer with COMMIT, so both cost no
// round trip. A twin that runs at the same time waits on the claim; then it finds the stored answer. A repetition may be refused by what its
// first run did, so a refusal looks for a stored answer before it is given. Only what succeeded is stored: an error rolls the claim back
// with everything else, and the request may be tried again.
func (r *Router) once(ctx context.Context, key string, handle func(context.Context) (reply, error)) *answer {
	k, _ := ctx.Value(keyKey{}).(onceKey)
	caller := token.From(ctx).String()
	var a reply
	crash.Before(ctx, r.o.Service, crash.Answer, "")
	err := r.o.DB.InTx(ctx, func(tx postgres.Tx) error {
		tx.First(`INSERT INTO idempotency_keys (caller, route, key, body_hash) VALUES ($1, $2, $3, $4)`, caller, k.route, key, k.hash)
		var err error
		if a, err = handle(postgres.Watch(postgres.Offer(ctx, tx))); err != nil {
			return err
		}
		header, err := json.Marshal(a.header)
		if err != nil {
			return err
		}
		tx.Later(`UPDATE idempotency_keys SET status = $4, header = $5, answer = $6 WHERE caller = $1 AND route = $2 AND key = $3`,
			caller, k.route, key, a.status, header, a.body)
		return nil
	})
	if err == nil {
		crash.After(ctx, r.o.Service, crash.Answer, "")
		return a.answer()
	}
	kept, lookup := r.stored(ctx, caller, k)
	if errs.KindOf(lookup) == errs.NotFound {
		return r.refuse(ctx, err)
	}
	if lookup != nil {
		return r.refuse(ctx, lookup)
	}
	return kept.answer()
}

func (r *Router) stored(ctx context.Context, caller string, k onceKey) (reply, error) {
	row, err := postgres.One[struct {
		Status int
		Header []byte
		Answer []byte
		Same   bool
	}](ctx, r.o.DB, `SELECT status, header, answer, body_hash = $4 AS same FROM idempotency_keys WHERE caller = $1 AND route = $2 AND key = $3`,
		caller, k.route, k.key, k.hash)
	if err != nil {
		return reply{}, err
	}
	if !row.Same {
		return reply{}, errs.Coded(errs.Invalid, "idempotency_key_reused", "This Idempotency-Key was used with another body.")
	}
	a := reply{status: row.Status, body: row.Answer}
	return a, json.Unmarshal(row.Header, &a.header)
}

// CheckKeys answers a sentence when a key was kept without its answer (I11): then a repetition could not be given the bytes of the first.
func CheckKeys(ctx context.Context, db *postgres.DB) ([]string, error) {
	n, err := postgres.One[int64](ctx, db, `SELECT count(*) FROM idempotency_keys WHERE answer IS NULL`)
	if err != nil || n == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("I11: %d idempotency keys were kept without their answer.", n)}, nil
}

// PruneKeys forgets the keys of a schema that are older than age; schemas that move money never call it.
func PruneKeys(ctx context.Context, db *postgres.DB, age time.Duration) error {
	_, err := db.Exec(ctx, `DELETE FROM idempotency_keys WHERE created_at < $1`, time.Now().Add(-age))
	return err
}
