package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/docdb"
	"tulifo/platform/postgres"
)

// DB is where a service keeps its data, and its events beside them: a *postgres.DB, whose schema has the tables of Migration, or a docdb.DB
// that was opened with Collections too. One on the Postgres engine goes by its *postgres.DB: its events are in the tables.
type DB interface {
	Ping(ctx context.Context) error
}

// store is the events of one service, in tables or among documents. Two of one DB are equal.
type store interface {
	// inTx runs fn in one transaction, which its context carries.
	inTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// lock is held by one relay at a time.
	lock(session *postgres.Session) lock

	// add has e wait for the relay.
	add(ctx context.Context, tx Tx, e bus.Envelope, broadcast bool) error
	// next forgets what was done and answers up to chunk events that wait, those of one subject in the order that they were told.
	next(ctx context.Context, done []row) ([]row, error)
	// told is how many events were ever added, and busy whether one waits for the relay or for another try.
	told(ctx context.Context) (int64, error)
	busy(ctx context.Context) (told int64, busy bool, err error)
	depths(ctx context.Context) (depths, error)
	// overdue is how many events have waited for the relay since before the system time.
	overdue(ctx context.Context, since time.Time) (int64, error)

	// remember answers which events are new to this consumer, and which of their subjects are held back by an event that failed.
	remember(ctx context.Context, tx Tx, events []taken) (fresh, held map[uuid.UUID]bool, err error)
	// park has an event wait behind an earlier one of its subject.
	park(ctx context.Context, tx Tx, e bus.Envelope) error
	// bury sends an event that can never be handled to the dead letters.
	bury(ctx context.Context, tx Tx, e bus.Envelope, reason string) error
	// setAside parks an event that failed, unless it is remembered, and remembers it.
	setAside(ctx context.Context, e bus.Envelope, pause time.Duration, reason string) error
	// due are up to retryChunk parked events whose time has come and that nothing of their subject is before; their ids are enough.
	due(ctx context.Context) ([]parkedEvent, error)
	// wait is how long nothing more is due; an hour and more when nothing is parked.
	wait(ctx context.Context) (time.Duration, error)
	// claim answers the event while it is due and no other process tries it.
	claim(ctx context.Context, tx Tx, p parkedEvent) (parkedEvent, bool, error)
	// unpark forgets a claimed event: it is handled in tx.
	unpark(ctx context.Context, tx Tx, p parkedEvent) error
	// again has a claimed event that failed wait for its next try, and giveUp sends it to the dead letters.
	again(ctx context.Context, p parkedEvent, failures int, pause time.Duration, reason string) error
	giveUp(ctx context.Context, p parkedEvent, failures int, reason string) error
	// replay has every dead letter tried again, before what is parked behind it.
	replay(ctx context.Context) (int, error)
	dead(ctx context.Context) ([]deadLetters, error)
	// held are the parked events and the dead letters, each after what it waits for; hold has them be these.
	held(ctx context.Context) ([]heldEvent, error)
	hold(ctx context.Context, all []heldEvent) error
	// prune forgets handled events that are older than keep.
	prune(ctx context.Context, keep time.Duration) error
}

// row is one event that waits for the relay.
type row struct {
	seq       int64 // its place, as the store counts
	broadcast bool
	envelope  bus.Envelope
}

// parkedEvent is an event that waits for another try.
type parkedEvent struct {
	ID, Subject uuid.UUID
	Attempts    int
	Envelope    string
	Left        bool // nobody has tried it for an hour
}

// heldEvent is a parked event or a dead letter on its way to another store.
type heldEvent struct {
	ID, Subject      uuid.UUID
	Envelope, Reason string
	Attempts         int
	Dead             bool
}

// deadLetters are those of one type.
type deadLetters struct {
	Type, Reason string
	Events       int64
}

type depths struct{ Outbox, Parked, Dead int64 }

// lock is leadership among the processes of a service.
type lock interface {
	// lead runs fn while this process holds the lock, again and again until ctx ends. fn's context ends when the lock is lost.
	lead(ctx context.Context, fn func(context.Context) error) error
	// once runs fn under the lock unless another process holds it.
	once(ctx context.Context, fn func(context.Context) error) error
}

func storeOf(db DB) (store, error) {
	switch db := db.(type) {
	case *postgres.DB:
		return tables{db}, nil
	case docdb.DB:
		return documents{db}, nil
	}
	return nil, fmt.Errorf("outbox: a %T keeps no events", db)
}

// within finds the store that tx writes to, and the transaction that it takes: the Postgres transaction below documents that are there.
func within(tx Tx) (store, Tx, error) {
	switch tx := tx.(type) {
	case postgres.Tx:
		return tables{tx.DB()}, tx, nil
	case docdb.Tx:
		if sql, ok := docdb.SQL(tx); ok {
			return tables{sql.DB()}, sql, nil
		}
		return documents{tx.DB()}, tx, nil
	}
	return nil, nil, fmt.Errorf("outbox: %T is not a transaction that events can be added to", tx)
}
