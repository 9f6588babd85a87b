package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// tables keep a service's events in its schema, beside its rows.
type tables struct{ db *postgres.DB }

func (t tables) inTx(ctx context.Context, fn func(context.Context, Tx) error) error {
	return t.db.InTx(ctx, func(tx postgres.Tx) error { return fn(postgres.With(ctx, tx), tx) })
}

func (t tables) lock(session *postgres.Session) lock {
	return sessionLock{session, t.db.Schema() + "/outbox"}
}

// sessionLock is an advisory lock of the process's session.
type sessionLock struct {
	session *postgres.Session
	key     string
}

func (l sessionLock) lead(ctx context.Context, fn func(context.Context) error) error {
	return l.session.Lead(ctx, l.key, fn)
}

func (l sessionLock) once(ctx context.Context, fn func(context.Context) error) error {
	held, ok, err := l.session.Lock(ctx, l.key)
	if err != nil || !ok {
		return err
	}
	defer held.Unlock()
	return fn(ctx)
}

func (t tables) add(_ context.Context, tx Tx, e bus.Envelope, broadcast bool) error {
	tx.(postgres.Tx).Later(`INSERT INTO outbox (id, type, version, occurred_at, subject, traceparent, data, broadcast) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		e.ID, e.Type, e.Version, e.OccurredAt, e.Subject, e.Traceparent, string(e.Data), broadcast)
	return nil
}

// forget waits for no disk: what is lost of it comes to the bus a second time, and consumers know it.
const forget = `DELETE FROM outbox USING set_config('synchronous_commit', 'off', true) WHERE seq = ANY($1)`

// next is one round trip.
func (t tables) next(ctx context.Context, done []row) (rows []row, err error) {
	var b pgx.Batch
	if len(done) > 0 {
		seqs := make([]int64, len(done))
		for i, w := range done {
			seqs[i] = w.seq
		}
		b.Queue(forget, seqs)
	}
	b.Queue(`
		SELECT seq, broadcast, id, type, version, occurred_at, subject, traceparent, data::text
		FROM outbox ORDER BY seq LIMIT $1`, chunk)
	res := t.db.SendBatch(ctx, &b)
	defer func() {
		if closed := res.Close(); err == nil {
			err = closed
		}
	}()
	if len(done) > 0 {
		if _, err := res.Exec(); err != nil {
			return nil, err
		}
	}
	read, err := res.Query()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	for read.Next() {
		var w row
		e := &w.envelope
		if err := read.Scan(&w.seq, &w.broadcast, &e.ID, &e.Type, &e.Version, &e.OccurredAt, &e.Subject, &e.Traceparent, (*[]byte)(&e.Data)); err != nil {
			return nil, err
		}
		e.OccurredAt = e.OccurredAt.UTC()
		rows = append(rows, w)
	}
	return rows, read.Err()
}

// everTold counts the events of transactions that are open or failed too.
const everTold = `SELECT last_value + is_called::int FROM outbox_seq_seq`

func (t tables) told(ctx context.Context) (int64, error) {
	return postgres.One[int64](ctx, t.db, everTold)
}

func (t tables) busy(ctx context.Context) (int64, bool, error) {
	s, err := postgres.One[struct {
		Told int64
		Busy bool
	}](ctx, t.db, `
		SELECT (`+everTold+`) AS told,
			EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM parked p WHERE NOT EXISTS (SELECT FROM dead_letters d WHERE d.subject = p.subject)) AS busy`)
	return s.Told, s.Busy, err
}

func (t tables) depths(ctx context.Context) (depths, error) {
	return postgres.One[depths](ctx, t.db, `
		SELECT (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM parked) AS parked, (SELECT count(*) FROM dead_letters) AS dead`)
}

func (t tables) overdue(ctx context.Context, since time.Time) (int64, error) {
	return postgres.One[int64](ctx, t.db, `SELECT count(*) FROM outbox WHERE id < $1`, firstIDAt(since))
}

func (t tables) remember(ctx context.Context, tx Tx, events []taken) (fresh, held map[uuid.UUID]bool, err error) {
	ids, subjects := make([]uuid.UUID, len(events)), make([]uuid.UUID, len(events))
	for i, e := range events {
		ids[i], subjects[i] = e.envelope.ID, e.envelope.Subject
	}
	var b pgx.Batch
	// Two statements: the second must see what another process parked while the first waited for it to remember the same event.
	b.Queue(`INSERT INTO inbox (event_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id`, ids)
	b.Queue(`
		SELECT subject FROM parked WHERE subject = ANY($1::uuid[])
		UNION SELECT subject FROM dead_letters WHERE subject = ANY($1::uuid[])`, subjects)
	res := tx.(postgres.Tx).SendBatch(ctx, &b)
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

func (t tables) park(_ context.Context, tx Tx, e bus.Envelope) error {
	body, err := encode(e)
	if err != nil {
		return err
	}
	tx.(postgres.Tx).Later(`INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason) VALUES ($1, $2, $3::text::json, 0, clock_timestamp(), '')`,
		e.ID, e.Subject, body)
	return nil
}

func (t tables) bury(_ context.Context, tx Tx, e bus.Envelope, reason string) error {
	body, err := encode(e)
	if err != nil {
		return err
	}
	tx.(postgres.Tx).Later(`INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason) VALUES (nextval('parked_seq_seq'), $1, $2, $3::text::json, 1, $4)`,
		e.ID, e.Subject, body, reason)
	return nil
}

func (t tables) setAside(ctx context.Context, e bus.Envelope, pause time.Duration, reason string) error {
	body, err := encode(e)
	if err != nil {
		return err
	}
	_, err = t.db.Exec(ctx, `
		WITH fresh AS (INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING event_id)
		INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason)
		SELECT event_id, $2, $3::text::json, 1, clock_timestamp() + $4::interval, $5 FROM fresh`,
		e.ID, e.Subject, body, pause, reason)
	return err
}

// firstDue are the parked events whose time has come and that nothing of their subject is before.
const (
	firstDue = first + ` AND p.next_try_at <= clock_timestamp()`
	first    = `
	FROM parked p WHERE NOT EXISTS (SELECT FROM parked q WHERE q.subject = p.subject AND q.seq < p.seq)
	AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.subject = p.subject)`
)

func (t tables) due(ctx context.Context) ([]parkedEvent, error) {
	return postgres.All[parkedEvent](ctx, t.db, `
		SELECT p.event_id AS id, p.subject, p.attempts, '' AS envelope, false AS "left" `+firstDue+` ORDER BY p.seq LIMIT $1`, retryChunk)
}

func (t tables) wait(ctx context.Context) (time.Duration, error) {
	next, err := postgres.One[float64](ctx, t.db, `
		SELECT coalesce(extract(epoch FROM min(p.next_try_at) - clock_timestamp()), 3600)::float8 `+first)
	return time.Duration(next * float64(time.Second)), err
}

func (t tables) claim(ctx context.Context, tx Tx, p parkedEvent) (parkedEvent, bool, error) {
	p, err := postgres.One[parkedEvent](ctx, tx.(postgres.Tx), `SELECT p.event_id AS id, p.subject, p.attempts, p.envelope::text AS envelope,
		p.next_try_at < clock_timestamp() - interval '1 hour' AS "left" `+firstDue+` AND p.event_id = $1 FOR UPDATE OF p SKIP LOCKED`, p.ID)
	if errs.KindOf(err) == errs.NotFound {
		return p, false, nil
	}
	return p, err == nil, err
}

func (t tables) unpark(_ context.Context, tx Tx, p parkedEvent) error {
	tx.(postgres.Tx).Later(`DELETE FROM parked WHERE event_id = $1`, p.ID)
	return nil
}

func (t tables) again(ctx context.Context, p parkedEvent, failures int, pause time.Duration, reason string) error {
	_, err := t.db.Exec(ctx, `
		UPDATE parked SET attempts = $3, next_try_at = clock_timestamp() + $4::interval, reason = $5 WHERE event_id = $1 AND attempts = $2`,
		p.ID, p.Attempts, failures, pause, reason)
	return err
}

func (t tables) giveUp(ctx context.Context, p parkedEvent, failures int, reason string) error {
	_, err := t.db.Exec(ctx, `
		WITH gone AS (DELETE FROM parked WHERE event_id = $1 AND attempts = $2 RETURNING seq, event_id, subject, envelope)
		INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason)
		SELECT seq, event_id, subject, envelope, $3, $4 FROM gone`, p.ID, p.Attempts, failures, reason)
	return err
}

func (t tables) replay(ctx context.Context) (int, error) {
	tag, err := t.db.Exec(ctx, `
		WITH back AS (DELETE FROM dead_letters RETURNING seq, event_id, subject, envelope)
		INSERT INTO parked (seq, event_id, subject, envelope, attempts, next_try_at, reason)
		SELECT seq, event_id, subject, envelope, 0, clock_timestamp(), '' FROM back`)
	return int(tag.RowsAffected()), err
}

func (t tables) dead(ctx context.Context) ([]deadLetters, error) {
	return postgres.All[deadLetters](ctx, t.db, `SELECT envelope->>'type' AS type, min(reason) AS reason, count(*) AS events FROM dead_letters GROUP BY 1 ORDER BY 1`)
}

func (t tables) held(ctx context.Context) ([]heldEvent, error) {
	return postgres.All[heldEvent](ctx, t.db, `
		SELECT id, subject, envelope, reason, attempts, dead FROM (
			SELECT seq, event_id AS id, subject, envelope::text, reason, attempts, false AS dead FROM parked
			UNION ALL SELECT seq, event_id, subject, envelope::text, reason, attempts, true FROM dead_letters) h ORDER BY seq`)
}

func (t tables) hold(ctx context.Context, all []heldEvent) error {
	return t.db.InTx(ctx, func(tx postgres.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM parked`); err != nil {
			return err
		}
		tx.Later(`DELETE FROM dead_letters`)
		for _, h := range all {
			if h.Dead {
				tx.Later(`INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason) VALUES (nextval('parked_seq_seq'), $1, $2, $3::text::json, $4, $5)`,
					h.ID, h.Subject, h.Envelope, h.Attempts, h.Reason)
			} else {
				tx.Later(`INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason) VALUES ($1, $2, $3::text::json, $4, clock_timestamp(), $5)`,
					h.ID, h.Subject, h.Envelope, h.Attempts, h.Reason)
			}
		}
		return nil
	})
}

func (t tables) prune(ctx context.Context, keep time.Duration) error {
	_, err := t.db.Exec(ctx, `DELETE FROM inbox WHERE event_id < $1 AND at < clock_timestamp() - $2::interval`, firstIDAt(time.Now().Add(-keep)), keep)
	return err
}

func encode(e bus.Envelope) (string, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encode envelope: %w", err)
	}
	return string(body), nil
}
