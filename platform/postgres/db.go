// Package postgres gives a service its tables: a pool on its own schema, transactions in few round trips, migrations, and an embedded server for machines that have none.
//
// A statement that fails because the database is away is errs.Unavailable, one that ran out of time is errs.Timeout; every other error of the database keeps its *pgconn.PgError.
// Times come back in UTC, uuid.UUID is the uuid type.
package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
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

// Querier runs statements: a DB does each on its own, a Tx in its transaction. Every call is one round trip.
type Querier interface {
	// Query is for SELECT and RETURNING; One and All are the short forms. The rows must be read to the end or closed.
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	// SendBatch sends many statements at once; the results must be closed.
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// DB is the lazy pool of one service. As a Querier it joins the transaction that ctx carries (see With), else every statement commits by itself.
type DB struct{}

// Open is a pool that connects when it is first used, so a database that is away is no error here. Malformed URL: error.
func Open(ctx context.Context, c Config) (*DB, error) { panic("unwritten") }

// Close waits for the connections in use and closes all.
func (db *DB) Close() { panic("unwritten") }

// Ping asks the database for an answer within two seconds.
func (db *DB) Ping(ctx context.Context) error { panic("unwritten") }

// Schema is the schema that unqualified names are looked up in.
func (db *DB) Schema() string { panic("unwritten") }

// Stats are the pool's counters.
func (db *DB) Stats() *pgxpool.Stat { panic("unwritten") }

// Trips is the number of round trips made so far; a batch is one.
func (db *DB) Trips() int64 { panic("unwritten") }

// Query implements Querier.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	panic("unwritten")
}

// Exec implements Querier.
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	panic("unwritten")
}

// SendBatch implements Querier.
func (db *DB) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults { panic("unwritten") }

// One runs a query that answers exactly one row: a struct by column names, or a single value when T is a scalar, a time, a UUID or a sql.Scanner. NotFound: no row.
func One[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	panic("unwritten")
}

// All is One for any number of rows; none is an empty slice, not nil.
func All[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	panic("unwritten")
}
