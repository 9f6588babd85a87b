// Package outbox lets a service tell others what has happened, and hear them, without ever losing a fact or taking it twice.
//
// Add writes the event in the transaction of its fact; a Relay carries it to the bus after commit; an Inbox runs the handlers of a consuming
// service in a transaction that remembers the event. Always: an event is delivered if and only if its fact committed; it has one effect per
// consumer; events of one subject take effect in the order they were told. One that keeps failing is set aside with its reason, later ones
// of its subject wait behind it, and all others go on.
package outbox

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/obs"
	"tulifo/platform/postgres"
)

// Event is a plain struct that travels as JSON. Fields may be added at any time. A change that an old consumer would misread takes a higher
// version: the event then also has Version() int; 1 without it.
type Event interface{ Type() string } // "booking.created"

// Tx is the transaction of the fact: a postgres.Tx or a docdb.Tx.
type Tx interface {
	Committed(fn func())
}

//go:embed migrations/*.sql
var migrations embed.FS

// Migration brings the tables of outbox and inbox into the schema of a service, beside the service's own.
func Migration(schema string) postgres.Migration {
	return postgres.Migration{Schema: schema, FS: migrations, Table: "outbox_version"}
}

type clockKey struct{}

// WithClock is ctx under which events are stamped with c's time; without it they carry the system's.
func WithClock(ctx context.Context, c clock.Clock) context.Context {
	return context.WithValue(ctx, clockKey{}, c.Now)
}

// At is ctx under which events are stamped as having occurred at t.
func At(ctx context.Context, t time.Time) context.Context {
	return context.WithValue(ctx, clockKey{}, func() time.Time { return t.UTC().Truncate(time.Microsecond) })
}

func occurredAt(ctx context.Context) time.Time {
	if now, ok := ctx.Value(clockKey{}).(func() time.Time); ok {
		return now()
	}
	return clock.System.Now()
}

// Add publishes e about subject if and only if tx commits: at least once, in order per subject. In Postgres it costs no round trip of its own. Events of
// one subject keep their order when their transactions follow each other, as those do that move the same row.
func Add(ctx context.Context, tx Tx, subject uuid.UUID, e Event) error {
	return add(ctx, tx, subject, e, false)
}

// AddBroadcast has e reach every process that runs just then, if tx commits: at once in this one, within a second in the others.
// It is not kept for who is away.
func AddBroadcast(ctx context.Context, tx Tx, subject uuid.UUID, e Event) error {
	return add(ctx, tx, subject, e, true)
}

func add(ctx context.Context, tx Tx, subject uuid.UUID, e Event, broadcast bool) error {
	events, tx, err := within(tx)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an event id: %w", err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.Type(), err)
	}
	env := bus.Envelope{ID: id, Type: e.Type(), Version: version(e), OccurredAt: occurredAt(ctx), Subject: subject, Traceparent: obs.Traceparent(ctx), Data: data}
	if err := events.add(ctx, tx, env, broadcast); err != nil {
		return fmt.Errorf("add event %s: %w", e.Type(), err)
	}
	tx.Committed(func() {
		if broadcast {
			announce(env)
		}
		poke(events)
	})
	return nil
}

func version(e Event) int {
	if v, ok := e.(interface{ Version() int }); ok {
		return v.Version()
	}
	return 1
}
