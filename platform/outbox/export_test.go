package outbox

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/docdb"
)

// PauseOf sets the pause after so many failures, so that a test need not wait a minute until an event is given up.
func (in *Inbox) PauseOf(pause func(failures int) time.Duration) { in.pause = pause }

// Prune forgets events older than keep.
func (in *Inbox) Prune(ctx context.Context, keep time.Duration) error {
	return in.events.prune(ctx, keep)
}

// Keep adds e to the outbox of documents, parks it after one failure due at a time, or gives it up, as where says.
func Keep(ctx context.Context, docs docdb.DB, where string, e bus.Envelope, at time.Time) error {
	d := documents{docs}
	return d.inTx(ctx, func(ctx context.Context, tx Tx) error {
		switch where {
		case "outbox":
			return d.add(ctx, tx, e, false)
		case "dead_letters":
			return d.bury(ctx, tx, e, "no such row")
		}
		body, err := encode(e)
		if err != nil {
			return err
		}
		at = at.UTC().Truncate(time.Microsecond)
		return parked.Insert(ctx, tx.(docdb.Tx), parkedDoc{ID: e.ID, Subject: e.Subject, Envelope: body, Attempts: 1, NextTryAt: &at, Reason: "failed once"})
	})
}

// Count counts the documents of a collection of the outbox.
func Count(ctx context.Context, docs docdb.DB, collection string) (int, error) {
	all := docdb.Filter{}
	switch collection {
	case "outbox":
		return unsent.Count(ctx, docs, all, uncounted)
	case "inbox":
		return handled.Count(ctx, docs, all, uncounted)
	case "parked":
		return parked.Count(ctx, docs, all, uncounted)
	case "dead_letters":
		return deadDocs.Count(ctx, docs, all, uncounted)
	}
	return places.Count(ctx, docs, all, uncounted)
}

// Old leaves handled events and silent subjects in documents, all of long ago.
func Old(ctx context.Context, docs docdb.DB, events, subjects int) error {
	at := system().Add(-2 * keepInbox)
	err := fill(ctx, docs, handled, events, func() handledEvent { return handledEvent{uuid.New(), at} })
	if err != nil {
		return err
	}
	return fill(ctx, docs, places, subjects, func() place { return place{ID: uuid.New(), Latest: at.UnixMicro()} })
}

func fill[T any](ctx context.Context, docs docdb.DB, c *docdb.Collection[T], n int, one func() T) error {
	for n > 0 {
		some := make([]T, min(n, docdb.MaxLimit))
		for i := range some {
			some[i] = one()
		}
		if err := c.Insert(ctx, docs, some...); err != nil {
			return err
		}
		n -= len(some)
	}
	return nil
}

// Letter is a dead letter as tests see it.
type Letter struct {
	Attempts int
	Reason   string
}

// Letters are the dead letters among documents in the order that they were parked.
func Letters(ctx context.Context, docs docdb.DB) (all []Letter, err error) {
	page, err := deadDocs.Find(ctx, docs, docdb.Query{Limit: docdb.MaxLimit})
	for _, d := range page.Docs {
		all = append(all, Letter{d.Attempts, d.Reason})
	}
	return all, err
}

// Drain carries what is there, whoever holds the lock.
func (r *Relay) Drain(ctx context.Context) error { return r.drain(ctx) }

// Ahead adds e as a process would whose clock shows at.
func Ahead(ctx context.Context, docs docdb.DB, e bus.Envelope, at time.Time) error {
	if _, err := places.Upsert(ctx, docs, place{ID: e.Subject, Latest: at.UnixMicro()}); err != nil {
		return err
	}
	return unsent.Insert(ctx, docs, unsentEvent{ID: e.ID, Place: at.UnixMicro(), Type: e.Type, Version: e.Version, OccurredAt: e.OccurredAt, Subject: e.Subject, Data: string(e.Data)})
}

// Lead and Once run fn under a lease of their own.
func Lead(ctx context.Context, docs docdb.DB, fn func(context.Context) error) error {
	return newLease(docs).lead(ctx, fn)
}

// Once is Lead without waiting.
func Once(ctx context.Context, docs docdb.DB, fn func(context.Context) error) error {
	return newLease(docs).once(ctx, fn)
}
