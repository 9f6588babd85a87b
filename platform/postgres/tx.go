package postgres

import "context"

// Tx is a transaction that is open while fn of InTx runs. It is for one goroutine.
type Tx interface {
	Querier // the first call carries BEGIN
	// Later queues a statement that travels with COMMIT; its error is InTx's.
	Later(sql string, args ...any)
	// Committed has fn run after COMMIT; it must not block. When the transaction fails, it never runs.
	Committed(fn func())
	// DB is the pool that the transaction was begun on.
	DB() *DB
}

// InTx runs fn in one READ COMMITTED transaction, or joins the one in ctx; commits on nil. Unavailable: the database is away; after that it is unknown whether a commit happened.
// It retries fn up to 3 times on deadlock or serialisation failure: fn has no other effects.
// A joined fn's Later and Committed go to the outer transaction, and its error must be returned by the outer fn too.
func (db *DB) InTx(ctx context.Context, fn func(Tx) error) error { panic("unwritten") }

// With is ctx carrying tx, so that InTx and the DB's own statements under it join tx.
func With(ctx context.Context, tx Tx) context.Context { panic("unwritten") }

// FromContext is the transaction that ctx carries.
func FromContext(ctx context.Context) (Tx, bool) { panic("unwritten") }

// Watch is ctx under which InsideTx also knows of transactions whose fn was not given a context of its own.
func Watch(ctx context.Context) context.Context { panic("unwritten") }

// InsideTx tells whether a transaction is open in ctx, so that calls over a network can refuse to be made in one.
func InsideTx(ctx context.Context) bool { panic("unwritten") }

// Violates tells whether err comes from the constraint of that name.
func Violates(err error, constraint string) bool { panic("unwritten") }
