package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/bus"
	"tulifo/platform/crash"
	"tulifo/platform/postgres"
)

const (
	pollEvery = 250 * time.Millisecond // the guarantee when no poke comes
	wakeGap   = 10 * time.Millisecond  // between two pokes across processes
	chunk     = 256                    // events to the bus at a time
	firstGap  = 50 * time.Millisecond  // before the next try after an error
	lastGap   = time.Second            // the longest such pause
	grace     = 5 * time.Second        // for forgetting what was handed over, when the process is told to stop
	waiting   = "outbox.waiting"       // broadcast: the leading relay of the producer is to look
)

// Relay carries a service's committed events to the bus. It runs in every process of the service; one of them does the work.
// It hands the bus one batch at a time, in the order of the outbox, and forgets an event once the bus has it for good.
type Relay struct {
	db       *postgres.DB
	bus      bus.Bus
	producer string
	session  *postgres.Session
	log      *slog.Logger

	leading atomic.Bool
	wake    chan struct{} // this process leads and something was committed
	away    chan struct{} // another process leads and something was committed here
}

// NewRelay is the relay of the outbox in db's schema; producer is the service's name.
func NewRelay(db *postgres.DB, b bus.Bus, producer string, session *postgres.Session, log *slog.Logger) *Relay {
	if log == nil {
		log = slog.Default()
	}
	return &Relay{
		db: db, bus: b, producer: producer, session: session, log: log.With("relay", producer),
		wake: make(chan struct{}, 1), away: make(chan struct{}, 1),
	}
}

var relays sync.Map // of this process: *Relay → nil

// poke tells the relay of db that something was committed.
func poke(db *postgres.DB) {
	relays.Range(func(k, _ any) bool {
		if r := k.(*Relay); r.db != db {
			return true
		} else if r.leading.Load() {
			signal(r.wake)
		} else {
			signal(r.away)
		}
		return true
	})
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run carries events until ctx ends, and then answers nil.
func (r *Relay) Run(ctx context.Context) error {
	relays.Store(r, nil)
	defer relays.Delete(r)
	var work sync.WaitGroup
	work.Go(func() { r.forward(ctx) })
	work.Go(func() {
		err := r.bus.Listen(ctx, []string{waiting}, func(e bus.Envelope) {
			if e.Producer == r.producer {
				signal(r.wake)
			}
		})
		if err != nil && ctx.Err() == nil {
			r.log.Error("The relay does not hear other processes; it polls.", "error", err)
		}
	})
	err := r.session.Lead(ctx, r.lock(), r.lead)
	work.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *Relay) lock() string { return r.db.Schema() + "/outbox" }

// forward pokes the leading relay in another process.
func (r *Relay) forward(ctx context.Context) {
	gap := time.NewTimer(wakeGap)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.away:
		}
		id, err := uuid.NewV7()
		if err == nil {
			err = r.bus.Broadcast(ctx, bus.Envelope{ID: id, Type: waiting, Version: 1, OccurredAt: time.Now().UTC(), Producer: r.producer, Data: json.RawMessage(`{}`)})
		}
		if err != nil && ctx.Err() == nil {
			r.log.Debug("The leading relay was not told of new events; it polls.", "error", err)
		}
		gap.Reset(wakeGap)
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
		}
	}
}

// lead does the work while this process holds the lock.
func (r *Relay) lead(ctx context.Context) error {
	r.leading.Store(true)
	defer r.leading.Store(false)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for failures := 0; ; {
		err := r.drain(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			failures = 0
			select {
			case <-ctx.Done():
				return nil
			case <-r.wake:
			case <-tick.C:
			}
			continue
		}
		gap := backoff(firstGap, lastGap, failures)
		failures++
		r.log.Warn("The relay failed and tries again.", "error", err, "failures", failures, "again_in", gap)
		pause.Reset(gap)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// backoff is the pause after so many failures before the last one.
func backoff(first, last time.Duration, failures int) time.Duration {
	return min(first<<min(failures, 20), last)
}

// Flush is the last pass at shutdown, after Run has ended: what is committed by now goes to the bus, by this process or by the one that
// took the work over.
func (r *Relay) Flush(ctx context.Context) error {
	held, ok, err := r.session.Lock(ctx, r.lock())
	if err != nil {
		return fmt.Errorf("last pass of relay %s: %w", r.producer, err)
	}
	if !ok {
		return nil
	}
	defer held.Unlock()
	if err := r.drain(ctx); err != nil {
		return fmt.Errorf("last pass of relay %s: %w", r.producer, err)
	}
	return nil
}

// row is one event in the outbox.
type row struct {
	seq       int64
	broadcast bool
	envelope  bus.Envelope
}

// drain carries what is there, chunk by chunk, until nothing is left.
func (r *Relay) drain(ctx context.Context) error {
	rows, err := r.next(ctx, nil)
	for err == nil && len(rows) > 0 {
		var done []int64
		if done, err = r.carry(ctx, rows); len(done) > 0 {
			var more error
			if rows, more = r.next(ctx, done); err == nil {
				err = more
			}
		}
	}
	return err
}

// carry hands rows to the bus and answers those that it has.
func (r *Relay) carry(ctx context.Context, rows []row) (done []int64, err error) {
	var events []bus.Envelope
	for _, w := range rows {
		if !w.broadcast {
			events = append(events, w.envelope)
			done = append(done, w.seq)
		}
	}
	if len(events) > 0 {
		crash.Before(ctx, r.producer, crash.Publish, "")
		if err := r.bus.Publish(ctx, events); err != nil {
			return nil, err
		}
		crash.After(ctx, r.producer, crash.Publish, "")
	}
	for _, w := range rows {
		if w.broadcast {
			if err := r.bus.Broadcast(ctx, w.envelope); err != nil {
				return done, err
			}
			done = append(done, w.seq)
		}
	}
	return done, nil
}

// forget waits for no disk: what is lost of it comes to the bus a second time, and consumers know it.
const forget = `DELETE FROM outbox USING set_config('synchronous_commit', 'off', true) WHERE seq = ANY($1)`

// next forgets what the bus has and answers what is to be carried next, in one round trip. What was handed over is forgotten also when ctx
// has ended meanwhile.
func (r *Relay) next(ctx context.Context, done []int64) (rows []row, err error) {
	var b pgx.Batch
	if len(done) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		b.Queue(forget, done)
	}
	b.Queue(`
		SELECT seq, broadcast, id, type, version, occurred_at, subject, traceparent, data::text
		FROM outbox ORDER BY seq LIMIT $1`, chunk)
	res := r.db.SendBatch(ctx, &b)
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
		w := row{envelope: bus.Envelope{Producer: r.producer}}
		e := &w.envelope
		if err := read.Scan(&w.seq, &w.broadcast, &e.ID, &e.Type, &e.Version, &e.OccurredAt, &e.Subject, &e.Traceparent, (*[]byte)(&e.Data)); err != nil {
			return nil, err
		}
		e.OccurredAt = e.OccurredAt.UTC()
		rows = append(rows, w)
	}
	return rows, read.Err()
}
