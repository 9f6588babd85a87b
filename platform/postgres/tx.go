package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tulifo/platform/crash"
	"tulifo/platform/pause"
)

const (
	begin    = "begin isolation level read committed"
	attempts = 4 // the first and three repetitions
)

// Tx is a transaction that is open while fn of InTx runs. It is for one goroutine. It knows no savepoints: after a statement has failed, nothing can be committed.
type Tx interface {
	Querier // the first call carries BEGIN
	// First queues a statement that travels with BEGIN, before the first other one; its error is that one's.
	First(sql string, args ...any)
	// Later queues a statement that travels with COMMIT; its error is InTx's.
	Later(sql string, args ...any)
	// Last queues a statement that goes between those of Later and COMMIT: for a row that many transactions change, so that it is locked as short
	// as can be. Of its error say makes InTx's.
	Last(say func(error) error, sql string, args ...any)
	// Committed has fn run after COMMIT; it must not block. When the transaction fails, it never runs.
	Committed(fn func())
	// DB is the pool that the transaction was begun on.
	DB() *DB
}

// InTx runs fn in one READ COMMITTED transaction, or joins the one in ctx; commits on nil. Unavailable: the database is away; when that happens during COMMIT, it is not known whether it was done.
// It retries fn up to 3 times on deadlock or serialisation failure: fn has no other effects.
// A joined fn's Later and Committed go to the outer transaction, and so does its failure.
func (db *DB) InTx(ctx context.Context, fn func(Tx) error) error {
	if outer, ok := db.joined(ctx); ok {
		return outer.note(fn(outer))
	}
	if outer, ok := ctx.Value(offerKey{}).(*tx); ok && outer.db == db && !outer.over {
		if w, ok := ctx.Value(watchKey{}).(*atomic.Int32); ok {
			w.Add(1)
			defer w.Add(-1)
		}
		if outer.failure != nil {
			return outer.note(fn(outer))
		}
		return retried(ctx, func() error { return outer.begunBy(fn) })
	}
	return retried(ctx, func() error { return db.once(ctx, fn) })
}

// retried runs try again when the database says that it may well succeed then.
func retried(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if !repeatable(err) || n == attempts {
			return err
		}
		if pause.For(ctx, time.Duration(n)*(2*time.Millisecond+rand.N(8*time.Millisecond))) != nil {
			return err
		}
	}
}

func (db *DB) once(ctx context.Context, fn func(Tx) error) error {
	t := &tx{db: db, ctx: ctx}
	if w, ok := ctx.Value(watchKey{}).(*atomic.Int32); ok {
		w.Add(1)
		defer w.Add(-1)
	}
	defer t.end()
	err := fn(t)
	if repeatable(t.failure) {
		// fn may have put its own words in place of the deadlock.
		err = t.failure
	}
	if err == nil {
		err = t.commit()
	}
	t.end()
	if err != nil {
		return err
	}
	for _, fn := range t.committed {
		fn()
	}
	return nil
}

// begunBy runs the fn that begins an offered transaction. What it queued is taken back when it fails, so that, as in a transaction of its own,
// the asker may go on and try something else.
func (t *tx) begunBy(fn func(Tx) error) error {
	later, last, committed := len(t.later.QueuedQueries), len(t.last), len(t.committed)
	err := fn(t)
	if repeatable(t.failure) {
		// fn may have put its own words in place of the deadlock.
		err = t.failure
	}
	if err = cmp.Or(err, t.failure); err != nil {
		t.release()
		t.begun, t.failure = false, nil
		t.later.QueuedQueries, t.last, t.committed = t.later.QueuedQueries[:later], t.last[:last], t.committed[:committed]
	}
	return err
}

type tx struct {
	db        *DB
	ctx       context.Context // InTx's: COMMIT belongs to it
	conn      *pgxpool.Conn   // nil before the first statement
	begun     bool
	over      bool
	failure   error  // the first of a statement
	open      func() // closes what fn has left open
	first     pgx.Batch
	later     pgx.Batch
	last      []lastOne
	committed []func()
}

// lastOne is a statement of Last.
type lastOne struct {
	say  func(error) error
	sql  string
	args []any
}

func (t *tx) First(sql string, args ...any) {
	if t.begun {
		t.note(errors.New("postgres: First comes after the first statement"))
		return
	}
	t.first.Queue(sql, args...)
}

func (t *tx) Later(sql string, args ...any) { t.later.Queue(sql, args...) }

func (t *tx) Last(say func(error) error, sql string, args ...any) {
	t.last = append(t.last, lastOne{say, sql, args})
}

func (t *tx) Committed(fn func()) { t.committed = append(t.committed, fn) }

func (t *tx) note(err error) error {
	if err != nil && t.failure == nil {
		t.failure = err
	}
	return err
}

func (t *tx) DB() *DB { return t.db }

// send is a batch whose results begin at the caller's first statement; BEGIN goes before it when it has not gone yet.
func (t *tx) send(ctx context.Context, b *pgx.Batch) (*results, error) {
	if t.over {
		return nil, errors.New("postgres: the transaction is over")
	}
	if t.begun {
		return t.results(ctx, t.conn.Conn().SendBatch(ctx, b)), nil
	}
	if t.failure != nil {
		return nil, fmt.Errorf("postgres: the transaction has failed: %w", t.failure)
	}
	if t.conn == nil {
		conn, err := t.db.acquire(ctx)
		if err != nil {
			return nil, t.note(err)
		}
		t.conn = conn
	}
	lead := &pgx.Batch{}
	lead.Queue(begin)
	for _, q := range t.first.QueuedQueries {
		// Anew each time: pgx keeps in a queued statement what it was prepared as, which may be gone after a failure.
		lead.Queue(q.SQL, q.Arguments...)
	}
	lead.QueuedQueries = append(lead.QueuedQueries, b.QueuedQueries...)
	r := t.results(ctx, t.conn.Conn().SendBatch(ctx, lead))
	for range 1 + len(t.first.QueuedQueries) {
		if _, err := r.Exec(); err != nil {
			r.Close()
			return nil, err
		}
	}
	t.begun = true
	return r, nil
}

func (t *tx) results(ctx context.Context, in pgx.BatchResults) *results {
	r := &results{BatchResults: in, ctx: ctx, done: func(err error) { t.open = nil; t.note(err) }}
	t.open = func() { r.Close() }
	return r
}

// Query implements Querier.
func (t *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if t.begun && !t.over {
		in, _ := t.conn.Conn().Query(ctx, sql, args...)
		return t.rows(ctx, in, func(err error) error { return err })
	}
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	r, err := t.send(ctx, b)
	if err != nil {
		return failed(err)
	}
	in, _ := r.BatchResults.Query()
	return t.rows(ctx, in, func(err error) error { return cmp.Or(err, r.Close()) })
}

func (t *tx) rows(ctx context.Context, in pgx.Rows, done func(error) error) (pgx.Rows, error) {
	w := &rows{Rows: in, ctx: ctx, done: func(err error) error {
		err = done(err)
		t.open = nil
		return t.note(mapped(ctx, err))
	}}
	t.open = w.Close
	return w.checked()
}

// Exec implements Querier.
func (t *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if t.begun && !t.over {
		tag, err := t.conn.Conn().Exec(ctx, sql, args...)
		return tag, t.note(mapped(ctx, err))
	}
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	r, err := t.send(ctx, b)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := r.Exec()
	return tag, cmp.Or(err, r.Close())
}

// SendBatch implements Querier.
func (t *tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	r, err := t.send(ctx, b)
	if err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return r
}

func (t *tx) commit() error {
	if t.open != nil {
		t.open()
	}
	if t.failure != nil {
		return t.failure
	}
	later := len(t.later.QueuedQueries)
	if !t.begun && later == 0 && len(t.last) == 0 && len(t.first.QueuedQueries) == 0 {
		return nil
	}
	for _, l := range t.last {
		t.later.Queue(l.sql, l.args...)
	}
	t.later.Queue("commit")
	crash.Before(t.ctx, t.db.schema, crash.Commit, "")
	r, err := t.send(t.ctx, &t.later)
	if err != nil {
		return err
	}
	var tag pgconn.CommandTag
	for n := range later + len(t.last) + 1 {
		if tag, err = r.Exec(); err == nil {
			continue
		}
		if i := n - later; i >= 0 && i < len(t.last) && !repeatable(err) {
			err = t.last[i].say(err)
		}
		break
	}
	if err = cmp.Or(err, r.Close()); err != nil {
		return err
	}
	if tag.String() != "COMMIT" {
		return fmt.Errorf("postgres: COMMIT was answered by %s", tag)
	}
	crash.After(t.ctx, t.db.schema, crash.Commit, "")
	return nil
}

func (t *tx) end() {
	t.over = true
	t.release()
}

// release gives the connection back, with no transaction open on it: the pool throws it away otherwise.
func (t *tx) release() {
	if t.conn == nil {
		return
	}
	if t.open != nil {
		t.open()
	}
	if conn := t.conn.Conn(); !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), pingTimeout)
		defer cancel()
		// When it fails, Release sees the state and closes the connection, which rolls back as well.
		_, _ = conn.Exec(ctx, "rollback")
	}
	t.conn.Release()
	t.conn = nil
}

type (
	txKey    struct{}
	offerKey struct{}
	watchKey struct{}
)

// Offer is ctx under which InTx joins tx, while the DB's own statements commit by themselves until the first InTx has begun it, and join it
// from then on: what decides is read before the transaction begins, a refusal never opens one, and what was written is seen afterwards.
func Offer(ctx context.Context, tx Tx) context.Context {
	return context.WithValue(ctx, offerKey{}, tx)
}

// With is ctx carrying tx, so that InTx and the DB's own statements under it join tx.
func With(ctx context.Context, tx Tx) context.Context { return context.WithValue(ctx, txKey{}, tx) }

// FromContext is the open transaction that ctx carries.
func FromContext(ctx context.Context) (Tx, bool) {
	t, ok := ctx.Value(txKey{}).(*tx)
	if !ok || t.over {
		return nil, false
	}
	return t, true
}

// joined is the transaction in ctx, if it is one of this pool.
func (db *DB) joined(ctx context.Context) (*tx, bool) {
	if t, ok := ctx.Value(txKey{}).(*tx); ok && t.db == db && !t.over {
		return t, true
	}
	// One that holds a connection and asks for a second starves the pool.
	t, ok := ctx.Value(offerKey{}).(*tx)
	return t, ok && t.db == db && t.begun && !t.over && t.failure == nil
}

// Watch is ctx under which InsideTx also sees transactions whose fn kept using the context it closed over, as fn of InTx does.
func Watch(ctx context.Context) context.Context {
	return context.WithValue(ctx, watchKey{}, new(atomic.Int32))
}

// InsideTx tells whether a transaction is open in ctx, so that calls over a network can refuse to be made in one.
func InsideTx(ctx context.Context) bool {
	if _, ok := FromContext(ctx); ok {
		return true
	}
	if t, ok := ctx.Value(offerKey{}).(*tx); ok && t.begun && !t.over {
		return true
	}
	w, ok := ctx.Value(watchKey{}).(*atomic.Int32)
	return ok && w.Load() > 0
}
