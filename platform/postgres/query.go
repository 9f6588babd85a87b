package postgres

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"tulifo/platform/errs"
)

// Querier runs statements: a DB does each on its own, a Tx in its transaction. Every call is one round trip.
type Querier interface {
	// Query is for SELECT and RETURNING; One and All are the short forms. The rows must be read to the end or closed; they are never nil, so an error may also be taken from them.
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	// SendBatch sends many statements at once; the results must be closed.
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// One runs a query that answers one row: a struct by its column names, or a single value when T is a scalar, a time, a UUID or a sql.Scanner. NotFound: no row.
func One[T any](ctx context.Context, q Querier, query string, args ...any) (T, error) {
	rows, _ := q.Query(ctx, query, args...)
	v, err := pgx.CollectExactlyOneRow(rows, scan[T]())
	if errors.Is(err, pgx.ErrNoRows) {
		return v, errs.New(errs.NotFound, "That does not exist.").Because(err)
	}
	return v, mapped(ctx, err)
}

// All is One for any number of rows; none is an empty slice, not nil.
func All[T any](ctx context.Context, q Querier, query string, args ...any) ([]T, error) {
	rows, _ := q.Query(ctx, query, args...)
	vs, err := pgx.CollectRows(rows, scan[T]())
	return vs, mapped(ctx, err)
}

// Queue adds a query to b, and has take called with each of its rows, read as All reads them, when the results of b are closed. What take was
// given counts only if closing them answers no error.
func Queue[T any](b *pgx.Batch, take func(T), query string, args ...any) {
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		vs, err := pgx.CollectRows(rows, scan[T]())
		for _, v := range vs {
			take(v)
		}
		return err
	})
}

// scan reads a row into T: by name into a struct, else the only column.
func scan[T any]() pgx.RowToFunc[T] {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return pgx.RowTo[T]
	}
	switch any(new(T)).(type) {
	case sql.Scanner, pgtype.RangeScanner:
		return pgx.RowTo[T]
	}
	return pgx.RowToStructByName[T]
}

// rows maps errors, and runs done when the last row was read or Close called; what done answers is the error of the rows.
type rows struct {
	pgx.Rows
	ctx  context.Context
	done func(error) error
	err  error
}

// checked answers the error at once when the query has failed already.
func (r *rows) checked() (pgx.Rows, error) {
	if r.Rows.Err() != nil {
		r.Close()
	}
	return r, r.err
}

func (r *rows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

func (r *rows) Close() {
	if r.done == nil {
		return
	}
	r.Rows.Close()
	done := r.done
	r.done = nil
	r.err = mapped(r.ctx, done(r.Rows.Err()))
}

func (r *rows) Err() error {
	if r.err != nil {
		return r.err
	}
	return mapped(r.ctx, r.Rows.Err())
}

// failed is the rows of a query that was not sent.
func failed(err error) (pgx.Rows, error) { return noRows{err}, err }

type noRows struct{ err error }

func (noRows) Close()                                       {}
func (r noRows) Err() error                                 { return r.err }
func (noRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (noRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (noRows) Next() bool                                   { return false }
func (r noRows) Scan(...any) error                          { return r.err }
func (r noRows) Values() ([]any, error)                     { return nil, r.err }
func (noRows) RawValues() [][]byte                          { return nil }
func (noRows) Conn() *pgx.Conn                              { return nil }
func (noRows) TypeMap() *pgtype.Map                         { return nil }

// results maps errors and runs done when it is closed.
type results struct {
	pgx.BatchResults
	ctx  context.Context
	done func(error)
}

func (r *results) Exec() (pgconn.CommandTag, error) {
	tag, err := r.BatchResults.Exec()
	return tag, mapped(r.ctx, err)
}

func (r *results) Query() (pgx.Rows, error) {
	in, err := r.BatchResults.Query()
	if err != nil {
		return failed(mapped(r.ctx, err))
	}
	return (&rows{Rows: in, ctx: r.ctx, done: func(err error) error { return err }}).checked()
}

func (r *results) QueryRow() pgx.Row { return row{r.BatchResults.QueryRow(), r.ctx} }

func (r *results) Close() error {
	err := mapped(r.ctx, r.BatchResults.Close())
	if r.done != nil {
		r.done(err)
		r.done = nil
	}
	return err
}

type row struct {
	pgx.Row
	ctx context.Context
}

func (r row) Scan(dest ...any) error { return mapped(r.ctx, r.Row.Scan(dest...)) }
