// Package docdb keeps the documents of the services whose data is documents: messages, notifications, work sessions, showcases, client files.
//
// A Collection is declared once, with its Go type and its indexes, and reads and writes through a DB or a Tx; which engine stands behind them no service knows.
// Filters and changes are closed types whose values are scalars: nothing that a stranger sends can become an operator.
// A document's id is its field "id", a string or a UUID. Times are kept in UTC and whole microseconds.
package docdb

import (
	"context"
	"errors"

	"tulifo/platform/errs"
)

// Querier runs the operations of collections: a DB, where each is a transaction of its own, or a Tx.
// All operations answer errs.Unavailable when the database is away.
type Querier interface {
	engine() engine
}

// DB is the documents of one service.
type DB interface {
	Querier
	// InTx runs fn in one transaction over any number of collections, or joins the one that ctx carries, and commits when fn answers nil.
	// It may run fn again after a deadlock or a serialisation failure: fn has no other effects.
	InTx(ctx context.Context, fn func(Tx) error) error
	// Ping answers nil when the database can be reached.
	Ping(ctx context.Context) error
	// Close ends the connections, also those of the store it was opened on.
	Close()
}

// Tx is a transaction. After an operation failed in it with anything but errs.NotFound, fn has to return.
type Tx interface {
	Querier
	// Committed has fn run after the commit; it must not block. When the transaction fails, it never runs.
	Committed(fn func())
	// DB is the one that the transaction was begun on; it compares equal to what Open answered.
	DB() DB
	carriedBy(ctx context.Context) context.Context
}

// With is ctx carrying tx, so that an InTx under it joins tx.
func With(ctx context.Context, tx Tx) context.Context { return tx.carriedBy(ctx) }

// Violates says whether err is the refusal of the unique index of that name; the index of ids is called "<collection>_pkey".
func Violates(err error, index string) bool {
	v, ok := errors.AsType[*violation](err)
	return ok && v.index == index
}

// violation is the cause of an errs.Conflict.
type violation struct {
	index string
	cause error
}

func (v *violation) Error() string { return "unique index " + v.index + ": " + v.cause.Error() }
func (v *violation) Unwrap() error { return v.cause }

var (
	errAbsent  = errs.New(errs.NotFound, "There is no such thing.")
	errChanged = errs.New(errs.Conflict, "It has changed meanwhile. Look at it again.")
)

// engine is what a database has to do for collections. Raw documents are in the engine's own encoding.
// Errors are errs.Conflict caused by a *violation, errs.Unavailable, errs.Invalid for text it cannot keep, or unexpected.
type engine interface {
	// insert stores docs and answers how many it stored. With absent, those whose id is taken are left as they are.
	insert(ctx context.Context, c *schema, docs []record, absent bool) (int, error)
	// upsert stores doc, or makes the changes to the one with its id; without changes doc replaces it.
	upsert(ctx context.Context, c *schema, doc record, changes []change) ([]byte, error)
	// find answers up to limit documents in order.
	find(ctx context.Context, c *schema, where Filter, order order, limit int) ([][]byte, error)
	// update changes the document with the id if when holds; doc is nil when it did not, and there says whether a document has the id.
	update(ctx context.Context, c *schema, id string, when Filter, changes []change) (doc []byte, there bool, err error)
	// updateFirst changes the first document in order; doc is nil when there is none.
	updateFirst(ctx context.Context, c *schema, where Filter, order order, changes []change) (doc []byte, err error)
	updateAll(ctx context.Context, c *schema, where Filter, changes []change) (int, error)
	// remove deletes up to limit documents; all when it is 0.
	remove(ctx context.Context, c *schema, where Filter, limit int) (int, error)
	// count stops counting at most.
	count(ctx context.Context, c *schema, where Filter, most int) (int, error)
	decode(c *schema, doc []byte, into any) error
}

// record is a document on its way to the engine.
type record struct {
	id  string
	doc any
}
