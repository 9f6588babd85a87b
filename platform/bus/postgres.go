package bus

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// Schema is where the Postgres bus keeps its log.
const Schema = "tulifo_bus"

//go:embed migrations/*.sql
var migrations embed.FS

// Migration brings up the tables of the Postgres bus; it must have run before the first Publish or Consume.
var Migration = postgres.Migration{Schema: Schema, FS: migrations}

const (
	pollEvery   = 250 * time.Millisecond // the guarantee when notifications are lost
	notifyGap   = 10 * time.Millisecond  // between two notifications of this process
	wakeChannel = "tulifo_bus_wake"
)

// Options of the Postgres bus.
type Options struct {
	DB      *postgres.DB      // a pool on Schema; the caller closes it after the bus
	Session *postgres.Session // carries notifications and the locks of consumers; the caller closes it after the bus
	Log     *slog.Logger
}

// Postgres is the bus in the database that the services share: a log, and a cursor in it for each consumer. One that is new finds what was
// published in the last day, and before that what some consumer has not handled yet.
type Postgres struct {
	db      *postgres.DB
	session *postgres.Session
	log     *slog.Logger
	origin  string // tells this process' broadcasts from others'

	head  *head
	tell  chan struct{} // other processes are to look at the log
	heard chan string   // broadcasts of other processes, not decoded yet
	ears  *ears

	stop context.CancelFunc
	work sync.WaitGroup
}

var _ Bus = (*Postgres)(nil)

// NewPostgres is the bus over o.DB. A database that is away is no error: the bus waits for it. Close it when nobody publishes or consumes any more.
func NewPostgres(ctx context.Context, o Options) (*Postgres, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this process: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &Postgres{
		db: o.DB, session: o.Session, log: o.Log, origin: id.String(), stop: stop,
		head: newHead(), tell: make(chan struct{}, 1), heard: make(chan string, 4096),
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.ears = newEars(b.log)
	b.work.Go(func() { b.hear(ctx) })
	b.work.Go(func() { b.poll(ctx) })
	b.work.Go(func() { b.notify(ctx) })
	b.work.Go(func() { b.dispatch(ctx) })
	b.work.Go(func() { b.prune(ctx) })
	return b, nil
}

// Close ends the bus' own goroutines; Consume and Listen must have ended before.
func (b *Postgres) Close() {
	b.stop()
	b.work.Wait()
}

const appendLog = `
	WITH moved AS (UPDATE head SET pos = pos + $1 RETURNING pos - $1 AS base),
	stored AS (
		INSERT INTO log (pos, id, type, version, occurred_at, producer, subject, traceparent, data)
		SELECT moved.base + e.n, e.id, e.type, e.version, e.occurred_at, e.producer, e.subject, e.traceparent, e.data::json
		FROM moved, unnest($2::uuid[], $3::text[], $4::int[], $5::timestamptz[], $6::text[], $7::uuid[], $8::text[], $9::text[])
			WITH ORDINALITY AS e (id, type, version, occurred_at, producer, subject, traceparent, data, n))
	SELECT base + $1 FROM moved`

// Publish implements Bus. The batch is stored whole or not at all.
func (b *Postgres) Publish(ctx context.Context, batch []Envelope) error {
	if len(batch) == 0 {
		return nil
	}
	n := len(batch)
	ids, subjects := make([]uuid.UUID, n), make([]uuid.UUID, n)
	types, producers, traces, data := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	versions, times := make([]int32, n), make([]time.Time, n)
	for i, e := range batch {
		ids[i], types[i], versions[i], times[i] = e.ID, e.Type, int32(e.Version), e.OccurredAt
		producers[i], subjects[i], traces[i], data[i] = e.Producer, e.Subject, e.Traceparent, string(e.Data)
	}
	pos, err := postgres.One[int64](ctx, b.db, appendLog, n, ids, types, versions, times, producers, subjects, traces, data)
	if err != nil {
		return fmt.Errorf("publish %d events: %w", n, err)
	}
	b.head.reach(pos)
	select {
	case b.tell <- struct{}{}:
	default:
	}
	return nil
}

// Lag implements Bus.
func (b *Postgres) Lag(ctx context.Context, consumer string) (int64, error) {
	n, err := postgres.One[int64](ctx, b.db, `
		SELECT (SELECT count(*) FROM log l WHERE l.pos > c.pos AND l.type = ANY(c.types)) FROM cursor c WHERE c.consumer = $1`, consumer)
	if errs.KindOf(err) == errs.NotFound {
		return 0, errs.New(errs.NotFound, "Nobody consumes under the name "+consumer+".")
	}
	if err != nil {
		return 0, fmt.Errorf("lag of %s: %w", consumer, err)
	}
	return n, nil
}

// hear listens to the other processes; it comes back to it when the database was away.
func (b *Postgres) hear(ctx context.Context) {
	wake := func(payload string) {
		if pos, err := strconv.ParseInt(payload, 10, 64); err == nil {
			b.head.reach(pos)
		} else {
			b.head.askNow()
		}
	}
	broadcast := func(payload string) {
		if payload == "" {
			return
		}
		select {
		case b.heard <- payload:
		default:
			b.log.Warn("A broadcast was dropped: too many at once.")
		}
	}
	if err := b.session.Listen(ctx, wakeChannel, wake); err != nil && ctx.Err() == nil {
		b.log.Error("The bus does not hear notifications.", "error", err)
	}
	if err := b.session.Listen(ctx, broadcastChannel, broadcast); err != nil && ctx.Err() == nil {
		b.log.Error("The bus does not hear broadcasts.", "error", err)
	}
}

// poll asks for the head of the log, once for all consumers of this process and only while somebody waits for it to move.
func (b *Postgres) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-b.head.asked:
		}
		if !b.head.waited() {
			continue
		}
		// An error is not worth a line here: who reads the log says so.
		if pos, err := postgres.One[int64](ctx, b.db, `SELECT pos FROM head`); err == nil {
			b.head.reach(pos)
		}
	}
}

// notify tells the other processes that the log has grown, at most once in notifyGap. It is a transaction of its own, and one that
// waits for no disk, because a notification holds a lock of the whole database until it is committed.
func (b *Postgres) notify(ctx context.Context) {
	gap := time.NewTimer(notifyGap)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.tell:
		}
		_, err := b.db.Exec(ctx, `SELECT pg_notify($1, $2) FROM set_config('synchronous_commit', 'off', true)`, wakeChannel, strconv.FormatInt(b.head.at(), 10))
		if err != nil && ctx.Err() == nil {
			b.log.Debug("Other processes were not told of new events; they poll.", "error", err)
		}
		gap.Reset(notifyGap)
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
		}
	}
}

const (
	pruneEvery = 10 * time.Minute
	pruneChunk = 10_000
)

// prune drops what every consumer has handled and what is older than a day, and broadcasts older than a minute.
func (b *Postgres) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := b.Prune(ctx, 24*time.Hour); err != nil && ctx.Err() == nil {
			b.log.Warn("The log was not pruned.", "error", err)
		}
	}
}

// Prune drops the events that every consumer has handled and that are older than keep, by the machine's time. The bus does it by itself
// with a day.
func (b *Postgres) Prune(ctx context.Context, keep time.Duration) error {
	if _, err := b.db.Exec(ctx, `DELETE FROM broadcast WHERE stored_at < clock_timestamp() - interval '1 minute'`); err != nil {
		return fmt.Errorf("prune broadcasts: %w", err)
	}
	for {
		tag, err := b.db.Exec(ctx, `
			DELETE FROM log WHERE pos IN (
				SELECT pos FROM log WHERE pos <= (SELECT min(pos) FROM cursor) ORDER BY pos LIMIT $1)
			AND stored_at < clock_timestamp() - $2::interval`, pruneChunk, keep)
		if err != nil {
			return fmt.Errorf("prune the log: %w", err)
		}
		if tag.RowsAffected() < pruneChunk {
			return nil
		}
	}
}
