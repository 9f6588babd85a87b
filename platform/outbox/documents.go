package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/docdb"
	"tulifo/platform/postgres"
)

// Collections are what Open of a service's documents is to be given beside the service's own, so that its events stand among them.
func Collections() []docdb.Declared {
	return []docdb.Declared{unsent, handled, parked, deadDocs, places, marks}
}

// unsent are the events that wait for the relay.
var unsent = docdb.NewCollection[unsentEvent]("outbox",
	docdb.Index{Name: "outbox_place", Fields: []string{"place"}},
)

type unsentEvent struct {
	ID          uuid.UUID `json:"id"`
	Place       int64     `json:"place"`
	Type        string    `json:"type"`
	Version     int       `json:"version"`
	OccurredAt  time.Time `json:"occurredAt"`
	Subject     uuid.UUID `json:"subject"`
	Traceparent string    `json:"traceparent"`
	Data        string    `json:"data"` // as text, so that it arrives byte for byte
	Broadcast   bool      `json:"broadcast"`
}

// places are the latest places of subjects. They are system time in microseconds, moved on where clocks disagree: no process ever gives an event of a
// subject a place before one that it has. To write a subject's place is also to come after everybody who did: no two transactions that
// move one place ever see the events of its subject alike.
var places = docdb.NewCollection[place]("outbox_subjects",
	docdb.Index{Name: "outbox_subjects_latest", Fields: []string{"latest"}},
)

type place struct {
	ID     uuid.UUID `json:"id"` // the subject
	Latest int64     `json:"latest"`
}

// forgetPlaces is by how much the clocks of two processes never differ: a subject that was silent for so long may begin anew.
const forgetPlaces = 24 * time.Hour

// marks are the lease of the relays and the count of what they carried.
var marks = docdb.NewCollection[mark]("outbox_relay")

type mark struct {
	ID     string     `json:"id"`
	Holder *uuid.UUID `json:"holder,omitempty"`
	Count  int64      `json:"count"`
}

const carriedMark = "carried"

// documents keep a service's events in collections beside its documents.
type documents struct{ db docdb.DB }

// inTx repeats what lost a race for the same event: then the other has remembered it.
func (d documents) inTx(ctx context.Context, fn func(context.Context, Tx) error) (err error) {
	for range 3 {
		err = d.db.InTx(ctx, func(tx docdb.Tx) error { return fn(docdb.With(ctx, tx), tx) })
		if !docdb.Violates(err, "inbox_pkey") {
			break
		}
	}
	return err
}

func (d documents) lock(*postgres.Session) lock { return newLease(d.db) }

// move answers a place for an event of subject, after all that it has.
func move(ctx context.Context, tx docdb.Tx, subject uuid.UUID) (int64, error) {
	now := time.Now().UnixMicro()
	p, err := places.Upsert(ctx, tx, place{ID: subject, Latest: now}, docdb.Inc("latest", 1))
	if err != nil {
		return 0, fmt.Errorf("find the event's place: %w", err)
	}
	if p.Latest >= now {
		return p.Latest, nil
	}
	if _, err := places.UpdateAll(ctx, tx, docdb.Eq("id", subject), docdb.Set("latest", now)); err != nil {
		return 0, fmt.Errorf("find the event's place: %w", err)
	}
	return now, nil
}

func (d documents) add(ctx context.Context, tx Tx, e bus.Envelope, broadcast bool) error {
	q := tx.(docdb.Tx)
	at, err := move(ctx, q, e.Subject)
	if err != nil {
		return err
	}
	return unsent.Insert(ctx, q, unsentEvent{
		ID: e.ID, Place: at, Type: e.Type, Version: e.Version, OccurredAt: e.OccurredAt.UTC(), Subject: e.Subject, Traceparent: e.Traceparent,
		Data: string(e.Data), Broadcast: broadcast,
	})
}

func (d documents) next(ctx context.Context, done []row) ([]row, error) {
	if err := d.forget(ctx, done); err != nil {
		return nil, err
	}
	page, err := unsent.Find(ctx, d.db, docdb.Query{Sort: docdb.Asc("place"), Limit: chunk})
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(page.Docs))
	for i, u := range page.Docs {
		rows[i] = row{seq: u.Place, broadcast: u.Broadcast, envelope: bus.Envelope{
			ID: u.ID, Type: u.Type, Version: u.Version, OccurredAt: u.OccurredAt.UTC(), Subject: u.Subject, Traceparent: u.Traceparent, Data: json.RawMessage(u.Data),
		}}
	}
	return rows, nil
}

// forget counts what it removes, so that nothing passes told unseen.
func (d documents) forget(ctx context.Context, done []row) error {
	if len(done) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(done))
	for i, w := range done {
		ids[i] = w.envelope.ID
	}
	return d.db.InTx(ctx, func(tx docdb.Tx) error {
		n, err := unsent.DeleteAll(ctx, tx, docdb.In("id", ids...))
		if err != nil || n == 0 {
			return err
		}
		_, err = marks.Upsert(ctx, tx, mark{ID: carriedMark, Count: int64(n)}, docdb.Inc("count", int64(n)))
		return err
	})
}

const uncounted = 1 << 30 // documents are counted up to here

func (d documents) told(ctx context.Context) (int64, error) {
	told, _, err := d.events(ctx)
	return told, err
}

func (d documents) busy(ctx context.Context) (int64, bool, error) {
	told, waiting, err := d.events(ctx)
	if err != nil || waiting > 0 {
		return told, true, err
	}
	n, err := parked.Count(ctx, d.db, inTurn, 1)
	return told, n > 0, err
}

// events are how many were ever told and how many of them wait, seen at one moment.
func (d documents) events(ctx context.Context) (told, waiting int64, err error) {
	before, err := d.carried(ctx)
	for err == nil {
		var n int
		if n, err = unsent.Count(ctx, d.db, docdb.Filter{}, uncounted); err != nil {
			break
		}
		var after int64
		if after, err = d.carried(ctx); err != nil || after == before {
			return after + int64(n), int64(n), err
		}
		before = after
	}
	return 0, 0, err
}

func (d documents) carried(ctx context.Context) (int64, error) {
	page, err := marks.Find(ctx, d.db, docdb.Query{Where: docdb.Eq("id", carriedMark), Limit: 1})
	if err != nil || len(page.Docs) == 0 {
		return 0, err
	}
	return page.Docs[0].Count, nil
}

func (d documents) depths(ctx context.Context) (depths, error) {
	out, err := unsent.Count(ctx, d.db, docdb.Filter{}, uncounted)
	if err != nil {
		return depths{}, err
	}
	waiting, err := parked.Count(ctx, d.db, docdb.Filter{}, uncounted)
	if err != nil {
		return depths{}, err
	}
	dead, err := deadDocs.Count(ctx, d.db, docdb.Filter{}, uncounted)
	return depths{int64(out), int64(waiting), int64(dead)}, err
}

func (d documents) overdue(ctx context.Context, since time.Time) (int64, error) {
	n, err := unsent.Count(ctx, d.db, docdb.Lt("id", firstIDAt(since)), uncounted)
	return int64(n), err
}
