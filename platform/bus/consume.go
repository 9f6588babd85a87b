package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/crash"
)

const (
	firstGap = 50 * time.Millisecond // before the next try after an error
	lastGap  = time.Second           // the longest such pause
	grace    = 5 * time.Second       // for the batch being handled when the process is told to stop
	tidyGap  = 30 * time.Second      // between two notes of a cursor that only passed over others' events
)

// Consume implements Bus.
func (b *Postgres) Consume(ctx context.Context, consumer string, types []string, max int, fn func(context.Context, []Envelope) error) error {
	if max < 1 || len(types) == 0 {
		return fmt.Errorf("consume %s: it wants %d types, %d at a time", consumer, len(types), max)
	}
	err := b.session.Lead(ctx, Schema+"/consumer/"+consumer, func(lead context.Context) error {
		work, done := finishing(ctx, lead)
		defer done()
		c := &reader{bus: b, name: consumer, types: types, max: max, fn: fn}
		c.run(lead, work)
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// finishing is a context for the work under lead that outlives the end of stop by grace, so that a batch is finished at shutdown, but not
// the loss of lead, after which another process works.
func finishing(stop, lead context.Context) (context.Context, func()) {
	work, cancel := context.WithCancel(context.WithoutCancel(lead))
	forget := context.AfterFunc(lead, func() {
		if stop.Err() == nil {
			cancel()
			return
		}
		late := time.AfterFunc(grace, cancel)
		context.AfterFunc(work, func() { late.Stop() })
	})
	return work, func() { forget(); cancel() }
}

// reader serves one consumer while this process holds its lock.
type reader struct {
	bus   *Postgres
	name  string
	types []string
	max   int
	fn    func(context.Context, []Envelope) error

	pos    int64     // read and handled up to here
	noted  int64     // what the cursor's row says
	tidied time.Time // when it was last written
}

func (r *reader) run(lead, work context.Context) {
	if !r.retry(lead, "start", func() error { return r.declare(lead) }) {
		return
	}
	defer func() {
		if r.pos > r.noted {
			if err := r.note(work); err != nil {
				r.bus.log.Warn("The cursor was not noted; its last events come again.", "consumer", r.name, "error", err)
			}
		}
	}()
	for lead.Err() == nil {
		var batch []Envelope
		var last int64
		if !r.retry(lead, "read", func() (err error) { batch, last, err = r.read(lead); return err }) {
			return
		}
		if len(batch) == 0 {
			r.pos = last
			if r.pos > r.noted && time.Since(r.tidied) > tidyGap {
				r.retry(lead, "note", func() error { return r.note(lead) })
			}
			r.bus.head.wait(lead, r.pos)
			continue
		}
		if !r.retry(lead, "handle", func() error { return handle(work, r.fn, batch) }) {
			return
		}
		r.pos = last
	}
}

// retry does step until it succeeds, with backoff; false: lead has ended.
func (r *reader) retry(lead context.Context, what string, step func() error) bool {
	return retry(lead, r.bus.log.With("consumer", r.name, "at", what), step)
}

func retry(lead context.Context, log *slog.Logger, step func() error) bool {
	for failures := 0; ; failures++ {
		err := step()
		if err == nil {
			return true
		}
		if lead.Err() != nil {
			return false
		}
		gap := min(firstGap<<min(failures, 10), lastGap)
		log.Warn("A consumer failed and tries again.", "error", err, "failures", failures+1, "again_in", gap)
		t := time.NewTimer(gap)
		select {
		case <-lead.Done():
			t.Stop()
			return false
		case <-t.C:
		}
	}
}

func handle(ctx context.Context, fn func(context.Context, []Envelope) error, batch []Envelope) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(ctx, batch)
}

// declare makes the consumer known, with the types it wants now, and finds where it stopped. For types that it did not want until now it
// begins where the first of them stands, because a process of an older version may have read past them meanwhile.
func (r *reader) declare(ctx context.Context) error {
	rows, err := r.bus.db.Query(ctx, `
		INSERT INTO cursor (consumer, types) VALUES ($1, $2)
		ON CONFLICT (consumer) DO UPDATE SET types = excluded.types,
			pos = CASE WHEN cursor.types @> excluded.types THEN cursor.pos ELSE least(cursor.pos, (
				SELECT min(l.pos) - 1 FROM log l WHERE l.type = ANY(excluded.types) AND l.type <> ALL(cursor.types))) END
		RETURNING pos`, r.name, r.types)
	if err != nil {
		return err
	}
	r.pos, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	r.noted = r.pos
	return err
}

// The cursor may be lost with the machine: its last events then come again, and are remembered by who took them.
const noteCursor = `
	UPDATE cursor SET pos = $2 FROM set_config('synchronous_commit', 'off', true) WHERE consumer = $1 AND pos < $2`

func (r *reader) note(ctx context.Context) error {
	pos := r.pos
	if _, err := r.bus.db.Exec(ctx, noteCursor, r.name, pos); err != nil {
		return err
	}
	r.noted, r.tidied = pos, time.Now()
	return nil
}

// read answers the next events and the position up to which there are no others, and notes what was handled before, in one round trip.
func (r *reader) read(ctx context.Context) (events []Envelope, last int64, err error) {
	var b pgx.Batch
	pos, handled := r.pos, r.noted
	if pos > handled {
		crash.Before(ctx, r.name, crash.Ack, "")
		b.Queue(noteCursor, r.name, pos)
	}
	// The head first: everything up to it is then visible to the second query.
	var head int64
	b.Queue(`SELECT pos FROM head`)
	b.Queue(`
		SELECT pos, id, type, version, occurred_at, producer, subject, traceparent, data::text FROM log
		WHERE pos > $1 AND type = ANY($2) ORDER BY pos LIMIT $3`, pos, r.types, r.max)
	res := r.bus.db.SendBatch(ctx, &b)
	defer func() {
		if closed := res.Close(); err == nil {
			err = closed
		}
		if err == nil && pos > handled {
			crash.After(ctx, r.name, crash.Ack, "")
			r.noted, r.tidied = pos, time.Now()
		}
	}()
	if pos > handled {
		if _, err := res.Exec(); err != nil {
			return nil, 0, err
		}
	}
	if err := res.QueryRow().Scan(&head); err != nil {
		return nil, 0, err
	}
	rows, err := res.Query()
	if err != nil {
		return nil, 0, err
	}
	events, last, err = envelopes(rows)
	if err != nil {
		return nil, 0, err
	}
	if len(events) < r.max {
		last = max(last, head, pos)
	}
	return events, last, nil
}

func envelopes(rows pgx.Rows) (events []Envelope, last int64, err error) {
	defer rows.Close()
	for rows.Next() {
		var e Envelope
		var id, subject uuid.UUID
		var data []byte
		if err := rows.Scan(&last, &id, &e.Type, &e.Version, &e.OccurredAt, &e.Producer, &subject, &e.Traceparent, &data); err != nil {
			return nil, 0, err
		}
		e.ID, e.Subject, e.OccurredAt, e.Data = id, subject, e.OccurredAt.UTC(), json.RawMessage(data)
		events = append(events, e)
	}
	return events, last, rows.Err()
}
