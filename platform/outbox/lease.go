package outbox

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/pause"
)

const (
	leaseTime = 2 * time.Second        // a lease that was not renewed for so long is another's to take
	leaseEnd  = leaseTime * 3 / 4      // its holder counts on it for no longer
	renewal   = leaseTime / 4          // between two renewals
	takeover  = 500 * time.Millisecond // a lease that was given back has a new holder after at most this
	leaseMark = "lease"
)

// lease is leadership among processes that share documents. Its holder counts it up; whoever sees it stand still for its time by his own
// watch takes it, so no clock is compared with another's.
//
// A process that was stopped for long and goes on may act as holder for a moment although another is. A relay may: each hands over every
// event of a subject from the first that the bus may not have, and none is forgotten before the bus has it, so however two of them interleave, events come to
// the bus for the first time in their order, and consumers know repetitions.
type lease struct {
	db     docdb.DB
	holder uuid.UUID
	seen   int64     // what it counted when it was last seen to move
	moved  time.Time // when that was
}

func newLease(db docdb.DB) *lease { return &lease{db: db, holder: uuid.New()} }

func (l *lease) lead(ctx context.Context, fn func(context.Context) error) error {
	for {
		// What fn or the store complains of is theirs to log; the lease is asked for again either way.
		_ = l.once(ctx, fn)
		if err := pause.For(ctx, takeover/2+rand.N(takeover/2)); err != nil {
			return err
		}
	}
}

func (l *lease) once(ctx context.Context, fn func(context.Context) error) error {
	asked := time.Now()
	taken, err := l.take(ctx)
	if err != nil || !taken {
		return err
	}
	defer l.giveBack(ctx)
	ctx, cancel := context.WithCancel(ctx)
	over := time.AfterFunc(leaseEnd-time.Since(asked), cancel)
	var renewing sync.WaitGroup
	renewing.Go(func() { l.renew(ctx, cancel, over) })
	defer func() {
		cancel()
		renewing.Wait()
		over.Stop()
	}()
	return fn(ctx)
}

// giveBack need not succeed: a lease that is not given back runs out.
func (l *lease) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime)
	defer cancel()
	_, _ = marks.UpdateAll(ctx, l.db, l.mine(), docdb.Unset("holder"), docdb.Inc("count", 1))
}

func (l *lease) mine() docdb.Filter {
	return docdb.And(docdb.Eq("id", leaseMark), docdb.Eq("holder", l.holder))
}

// renew counts the lease up until ctx ends; cancel ends it when the lease is lost.
func (l *lease) renew(ctx context.Context, cancel func(), over *time.Timer) {
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		n, err := marks.UpdateAll(ctx, l.db, l.mine(), docdb.Inc("count", 1))
		if err == nil && n == 0 {
			cancel()
			return
		}
		// One that came too late does not undo the end.
		if left := leaseEnd - time.Since(asked); err == nil && left > 0 && ctx.Err() == nil {
			over.Reset(left)
		}
	}
}

// take tries once to become the holder.
func (l *lease) take(ctx context.Context) (bool, error) {
	asked := time.Now()
	m, err := marks.Get(ctx, l.db, leaseMark)
	if errs.KindOf(err) == errs.NotFound {
		return marks.InsertIfAbsent(ctx, l.db, mark{ID: leaseMark, Holder: &l.holder, Count: 1})
	}
	if err != nil {
		return false, err
	}
	if m.Holder != nil && (m.Count != l.seen || l.moved.IsZero()) {
		l.seen, l.moved = m.Count, time.Now()
		return false, nil
	}
	if m.Holder != nil && asked.Sub(l.moved) < leaseTime {
		return false, nil
	}
	n, err := marks.UpdateAll(ctx, l.db, docdb.And(docdb.Eq("id", leaseMark), docdb.Eq("count", m.Count)), docdb.Set("holder", l.holder), docdb.Inc("count", 1))
	return n == 1, err
}
