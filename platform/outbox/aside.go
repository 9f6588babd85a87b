package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

const (
	tries      = 10                     // failures until an event is given up
	retryFirst = 100 * time.Millisecond // after the first failure; the pauses add up to a minute
	retryLast  = 15 * time.Second
	retryPoll  = 2 * time.Second // what another process parked or replayed is seen within it
	retryChunk = 64
	keepInbox  = 30 * 24 * time.Hour
	pruneEvery = time.Hour
)

// remember answers which events are new to this consumer, and which of their subjects are held back by an event that failed.
func remember(ctx context.Context, tx postgres.Tx, events []taken) (fresh, held map[uuid.UUID]bool, err error) {
	ids, subjects := make([]uuid.UUID, len(events)), make([]uuid.UUID, len(events))
	for i, t := range events {
		ids[i], subjects[i] = t.envelope.ID, t.envelope.Subject
	}
	var b pgx.Batch
	// Two statements: the second must see what another process parked while the first waited for it to remember the same event.
	b.Queue(`INSERT INTO inbox (event_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id`, ids)
	b.Queue(`
		SELECT subject FROM parked WHERE subject = ANY($1::uuid[])
		UNION SELECT subject FROM dead_letters WHERE subject = ANY($1::uuid[])`, subjects)
	res := tx.SendBatch(ctx, &b)
	defer func() {
		if closed := res.Close(); err == nil && closed != nil {
			err = fmt.Errorf("remember events: %w", closed)
		}
	}()
	if fresh, err = set(res); err != nil {
		return nil, nil, fmt.Errorf("remember events: %w", err)
	}
	if held, err = set(res); err != nil {
		return nil, nil, fmt.Errorf("look for held subjects: %w", err)
	}
	return fresh, held, nil
}

func set(res pgx.BatchResults) (map[uuid.UUID]bool, error) {
	rows, err := res.Query()
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, err
	}
	m := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m, nil
}

// park has an event wait behind an earlier one of its subject.
func park(tx postgres.Tx, e bus.Envelope) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode envelope: %w", err)
	}
	tx.Later(`INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason) VALUES ($1, $2, $3::text::json, 0, clock_timestamp(), '')`,
		e.ID, e.Subject, string(body))
	return nil
}

// bury sends an event that can never be handled to the dead letters.
func bury(tx postgres.Tx, e bus.Envelope, why error) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode envelope: %w", err)
	}
	tx.Later(`INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason) VALUES (nextval('parked_seq_seq'), $1, $2, $3::text::json, 1, $4)`,
		e.ID, e.Subject, string(body), reason(why))
	return nil
}

// setAside parks an event that failed, so that those of other subjects go on. It is remembered: the bus need not bring it again.
func (in *Inbox) setAside(ctx context.Context, e bus.Envelope, why error) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode envelope: %w", err)
	}
	pause := in.pause(1)
	_, err = in.db.Exec(ctx, `
		WITH fresh AS (INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING event_id)
		INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason)
		SELECT event_id, $2, $3::text::json, 1, clock_timestamp() + $4::interval, $5 FROM fresh`,
		e.ID, e.Subject, string(body), pause, reason(why))
	if err != nil {
		return fmt.Errorf("set event %s aside: %w", e.ID, err)
	}
	in.log.Warn("An event failed and is tried again.", "event", e.ID, "type", e.Type, "error", why, "again_in", pause)
	signal(in.retry)
	return nil
}

// reason is an error as text that a column takes.
func reason(err error) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\uFFFD"), "\x00", "")
	return strings.ToValidUTF8(s[:min(len(s), 2000)], "")
}

// due are the parked events whose time has come and that nothing of their subject is before.
const (
	due   = first + ` AND p.next_try_at <= clock_timestamp()`
	first = `
	FROM parked p WHERE NOT EXISTS (SELECT FROM parked q WHERE q.subject = p.subject AND q.seq < p.seq)
	AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.subject = p.subject)`
)

// running are the inboxes of this process, for Replay: *postgres.DB → *Inbox.
var running sync.Map

// retryLoop tries parked events again. It is safe in many processes: each claims the event it tries.
func (in *Inbox) retryLoop(ctx context.Context) {
	running.Store(in.db, in)
	defer running.CompareAndDelete(in.db, in)
	sleep := time.NewTimer(0)
	defer sleep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sleep.C:
		case <-in.retry:
		}
		wait, err := in.retryAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			in.log.Warn("Parked events could not be tried again.", "error", err)
			wait = retryPoll
		}
		sleep.Reset(wait)
	}
}

// retryAll tries what is due, and what comes to be due by that, and answers how long nothing more is.
func (in *Inbox) retryAll(ctx context.Context) (time.Duration, error) {
	for {
		seqs, err := postgres.All[int64](ctx, in.db, `SELECT p.seq `+due+` ORDER BY p.seq LIMIT $1`, retryChunk)
		if err != nil {
			return 0, err
		}
		if len(seqs) == 0 {
			break
		}
		progress := false
		for _, seq := range seqs {
			tried, err := in.retryOne(ctx, seq)
			if err != nil {
				return 0, err
			}
			progress = progress || tried
		}
		if !progress {
			return retryFirst, nil
		}
	}
	next, err := postgres.One[float64](ctx, in.db, `
		SELECT coalesce(extract(epoch FROM min(p.next_try_at) - clock_timestamp()), 3600)::float8 `+first)
	if err != nil {
		return 0, err
	}
	return max(time.Millisecond, min(retryPoll, time.Duration(next*float64(time.Second)))), nil
}

type parkedEvent struct {
	Seq      int64
	Attempts int
	Envelope string
	Left     bool // nobody has tried it for an hour
}

// retryOne tries one parked event; false: another process has it, or it is for one of another version that handles its type.
func (in *Inbox) retryOne(ctx context.Context, seq int64) (bool, error) {
	var p parkedEvent
	var e bus.Envelope
	var bad bool
	err := in.db.InTx(ctx, func(tx postgres.Tx) (err error) {
		p, bad = parkedEvent{}, false
		p, err = postgres.One[parkedEvent](ctx, tx, `SELECT p.seq, p.attempts, p.envelope::text AS envelope,
			p.next_try_at < clock_timestamp() - interval '1 hour' AS "left" `+due+` AND p.seq = $1 FOR UPDATE OF p SKIP LOCKED`, seq)
		if errs.KindOf(err) == errs.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(p.Envelope), &e); err != nil {
			bad = true
			return fmt.Errorf("the envelope is not understood: %w", err)
		}
		t, ok := in.decode(e)
		if !ok && !p.Left {
			p = parkedEvent{}
			return nil
		}
		tx.Later(`DELETE FROM parked WHERE seq = $1`, seq)
		if !ok {
			in.log.Warn("An event that nothing handles any more was dropped.", "event", e.ID, "type", e.Type)
			return nil
		}
		if t.bad != nil {
			bad = true
			return t.bad
		}
		s := step{handler: t.handler, envelopes: []bus.Envelope{e}, values: []any{t.value}}
		return s.run(postgres.With(ctx, tx), tx)
	})
	if err == nil || ctx.Err() != nil || p.Seq == 0 {
		return p.Seq != 0, err
	}
	return true, in.failedAgain(ctx, p, e, err, bad)
}

func (in *Inbox) failedAgain(ctx context.Context, p parkedEvent, e bus.Envelope, why error, bad bool) error {
	failures := p.Attempts + 1
	if bad || failures >= tries {
		_, err := in.db.Exec(ctx, `
			WITH gone AS (DELETE FROM parked WHERE seq = $1 AND attempts = $2 RETURNING seq, event_id, subject, envelope)
			INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason)
			SELECT seq, event_id, subject, envelope, $3, $4 FROM gone`, p.Seq, p.Attempts, failures, reason(why))
		if err == nil {
			in.log.Error("An event was given up and went to the dead letters.", "event", e.ID, "type", e.Type, "failures", failures, "error", why)
		}
		return err
	}
	pause := in.pause(failures)
	_, err := in.db.Exec(ctx, `
		UPDATE parked SET attempts = $3, next_try_at = clock_timestamp() + $4::interval, reason = $5 WHERE seq = $1 AND attempts = $2`,
		p.Seq, p.Attempts, failures, pause, reason(why))
	if err == nil {
		in.log.Warn("An event failed and is tried again.", "event", e.ID, "type", e.Type, "error", why, "failures", failures, "again_in", pause)
	}
	return err
}

// Replay has the dead letters of the consumer whose schema db is on tried again, in order and followed by those parked behind them, and
// answers how many there were. The running Inbox takes them up within seconds. Call it once what made them fail is mended.
func Replay(ctx context.Context, db *postgres.DB, consumer string) (int, error) {
	tag, err := db.Exec(ctx, `
		WITH back AS (DELETE FROM dead_letters RETURNING seq, event_id, subject, envelope)
		INSERT INTO parked (seq, event_id, subject, envelope, attempts, next_try_at, reason)
		SELECT seq, event_id, subject, envelope, 0, clock_timestamp(), '' FROM back`)
	if err != nil {
		return 0, fmt.Errorf("replay the dead letters of %s: %w", consumer, err)
	}
	if in, ok := running.Load(db); ok {
		signal(in.(*Inbox).retry)
	}
	return int(tag.RowsAffected()), nil
}

// pruneLoop forgets events that no bus brings any more.
func (in *Inbox) pruneLoop(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := in.prune(ctx, keepInbox); err != nil && ctx.Err() == nil {
			in.log.Warn("The inbox was not pruned.", "error", err)
		}
	}
}

func (in *Inbox) prune(ctx context.Context, keep time.Duration) error {
	_, err := in.db.Exec(ctx, `DELETE FROM inbox WHERE event_id < $1 AND at < clock_timestamp() - $2::interval`, firstIDAt(time.Now().Add(-keep)), keep)
	return err
}

// firstIDAt is below every event id made from t on: an id is 48 bits of milliseconds and then random.
func firstIDAt(t time.Time) (id uuid.UUID) {
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}
