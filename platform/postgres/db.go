// Package postgres gives a service its tables: a pool on its own schema, transactions in few round trips, migrations, and an embedded server for machines that have none.
//
// A statement that fails because the database is away or full, or in a deadlock, is errs.Unavailable, one that ran out of time is errs.Timeout, one with a value that
// Postgres cannot keep is errs.Invalid; every error of the database keeps its *pgconn.PgError.
// Times come back in UTC, uuid.UUID is the uuid type.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tulifo/platform/errs"
)

const (
	dialTimeout      = 5 * time.Second
	acquireTimeout   = 5 * time.Second // a full pool answers Unavailable before the route's deadline does
	pingTimeout      = 2 * time.Second
	statementTimeout = 15 * time.Second
	abandonedTimeout = time.Minute // a transaction that its client forgot gives its locks back
	// A server that starts spends a process on each connection that it refuses: asked by every request, it would take many times as long.
	refusalRest = 50 * time.Millisecond
)

// Config says which database and schema a service uses.
type Config struct {
	URL      string
	Schema   string          // search_path is Schema, then public
	MaxConns int             // 0 means 10
	MinConns int             // kept open when idle
	Pooled   bool            // behind a transaction pooler: no startup parameters, no prepared statements; the role sets search_path
	Tracer   pgx.QueryTracer // may also trace batches; nil traces nothing
}

// DB is the lazy pool of one service. As a Querier it joins the transaction that ctx carries (see With), else every statement commits by itself.
type DB struct {
	pool   *pgxpool.Pool
	schema string
	trips  trips
	away   atomic.Pointer[refusal] // the last attempt to connect that failed
}

type refusal struct {
	at  time.Time
	err error
}

// errResting is the end of an acquire that would have to connect too soon after a refusal.
var errResting = errors.New("the database has just refused a connection")

// Open is a pool that connects when it is first used, so a database that is away is no error here; a malformed URL is.
func Open(ctx context.Context, c Config) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	db := &DB{schema: c.Schema}
	cfg.MaxConns = int32(c.MaxConns)
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 10
	}
	cfg.MinConns = int32(c.MinConns)
	cfg.MaxConnIdleTime = 30 * time.Second
	cfg.HealthCheckPeriod = 10 * time.Second
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.PingTimeout = pingTimeout
	cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
		if last := db.away.Load(); last != nil && time.Since(last.at) < refusalRest {
			return errResting
		}
		return nil
	}
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerTypes(conn.TypeMap())
		return nil
	}
	cfg.ConnConfig.ConnectTimeout = dialTimeout
	cfg.ConnConfig.Tracer = &db.trips
	if c.Tracer != nil {
		cfg.ConnConfig.Tracer = multitracer.New(&db.trips, c.Tracer)
	}
	if c.Pooled {
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	} else {
		p := cfg.ConnConfig.RuntimeParams
		p["timezone"] = "UTC"
		p["statement_timeout"] = millis(statementTimeout)
		p["idle_in_transaction_session_timeout"] = millis(abandonedTimeout)
		if c.Schema != "" {
			p["search_path"] = searchPath(c.Schema)
			p["application_name"] = c.Schema
		}
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	return db, nil
}

func millis(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

func searchPath(schema string) string { return pgx.Identifier{schema}.Sanitize() + ", public" }

// Close waits for the connections in use and closes all.
func (db *DB) Close() { db.pool.Close() }

// Ping asks the database for an answer within two seconds.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := db.acquire(ctx)
	if err != nil {
		return unreachable(err)
	}
	defer conn.Release()
	if err := conn.Ping(ctx); err != nil {
		return unreachable(err)
	}
	return nil
}

// Schema is the schema that unqualified names are looked up in.
func (db *DB) Schema() string { return db.schema }

// Stats are the pool's counters.
func (db *DB) Stats() *pgxpool.Stat { return db.pool.Stat() }

// Trips is the number of round trips made so far; a batch is one.
func (db *DB) Trips() int64 { return db.trips.n.Load() }

func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	conn, err := db.pool.Acquire(bounded)
	if _, refused := errors.AsType[*pgconn.ConnectError](err); refused {
		db.away.Store(&refusal{time.Now(), err})
	}
	switch {
	case errors.Is(err, errResting):
		return nil, unreachable(db.away.Load().err)
	case err == nil:
		return conn, nil
	case ctx.Err() == nil && bounded.Err() != nil:
		return nil, errs.New(errs.Unavailable, "Too much is going on at the moment. Try again shortly.").Because(fmt.Errorf("no connection within %v: %w", acquireTimeout, err))
	}
	return nil, mapped(ctx, err)
}

// Query implements Querier.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if tx, ok := db.joined(ctx); ok {
		return tx.Query(ctx, sql, args...)
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return failed(err)
	}
	in, _ := conn.Conn().Query(ctx, sql, args...)
	return (&rows{Rows: in, ctx: ctx, done: func(err error) error { conn.Release(); return err }}).checked()
}

// Exec implements Querier.
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if tx, ok := db.joined(ctx); ok {
		return tx.Exec(ctx, sql, args...)
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Release()
	tag, err := conn.Conn().Exec(ctx, sql, args...)
	return tag, mapped(ctx, err)
}

// SendBatch implements Querier. The statements of a batch succeed or fail together.
func (db *DB) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if tx, ok := db.joined(ctx); ok {
		return tx.SendBatch(ctx, b)
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return &results{BatchResults: conn.Conn().SendBatch(ctx, b), ctx: ctx, done: func(error) { conn.Release() }}
}

// trips counts what is sent and waited for. Preparing a statement, once in a connection's life, is not counted.
type trips struct{ n atomic.Int64 }

func (t *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.n.Add(1)
	return ctx
}

func (t *trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (t *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	t.n.Add(1)
	return ctx
}

func (t *trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (t *trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
