package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

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
	events   store
	bus      bus.Bus
	producer string
	lock     lock
	wrong    error // of the wiring; Run answers it
	log      *slog.Logger

	leading atomic.Bool
	wake    chan struct{} // this process leads and something was committed
	away    chan struct{} // another process leads and something was committed here
}

// NewRelay is the relay of the outbox in db; producer is the service's name. Its leader holds a lock of session, where db is Postgres, and a
// lease among the documents else: session may be nil then.
func NewRelay(db DB, b bus.Bus, producer string, session *postgres.Session, log *slog.Logger) *Relay {
	if log == nil {
		log = slog.Default()
	}
	r := &Relay{bus: b, producer: producer, log: log.With("relay", producer), wake: make(chan struct{}, 1), away: make(chan struct{}, 1)}
	if r.events, r.wrong = storeOf(db); r.wrong == nil {
		r.lock = r.events.lock(session)
	}
	return r
}

var relays sync.Map // of this process: *Relay → nil

// poke tells the relay of events that something was committed.
func poke(events store) {
	relays.Range(func(k, _ any) bool {
		if r := k.(*Relay); r.events != events {
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
	if r.wrong != nil {
		return r.wrong
	}
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
	err := r.lock.lead(ctx, r.lead)
	work.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

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
	if r.wrong != nil {
		return r.wrong
	}
	if err := r.lock.once(ctx, r.drain); err != nil {
		return fmt.Errorf("last pass of relay %s: %w", r.producer, err)
	}
	return nil
}

// drain carries what is there, chunk by chunk, until nothing is left.
func (r *Relay) drain(ctx context.Context) error {
	rows, err := r.next(ctx, nil)
	for err == nil && len(rows) > 0 {
		var done []row
		if done, err = r.carry(ctx, rows); len(done) > 0 {
			var more error
			if rows, more = r.next(ctx, done); err == nil {
				err = more
			}
		}
	}
	return err
}

// carry hands rows to the bus, broadcasts last, and answers those that it has.
func (r *Relay) carry(ctx context.Context, rows []row) (done []row, err error) {
	slices.SortStableFunc(rows, func(a, b row) int {
		switch {
		case a.broadcast == b.broadcast:
			return 0
		case b.broadcast:
			return -1
		}
		return 1
	})
	var events []bus.Envelope
	for _, w := range rows {
		if w.broadcast {
			break
		}
		events = append(events, w.envelope)
	}
	if len(events) > 0 {
		crash.Before(ctx, r.producer, crash.Publish, "")
		if err := r.bus.Publish(ctx, events); err != nil {
			return nil, err
		}
		crash.After(ctx, r.producer, crash.Publish, "")
	}
	for n := len(events); n < len(rows); n++ {
		if err := r.bus.Broadcast(ctx, rows[n].envelope); err != nil {
			return rows[:n], err
		}
	}
	return rows, nil
}

// next forgets what the bus has and answers what is to be carried next. What was handed over is forgotten also when ctx has ended meanwhile.
func (r *Relay) next(ctx context.Context, done []row) ([]row, error) {
	if len(done) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
	}
	rows, err := r.events.next(ctx, done)
	for i := range rows {
		rows[i].envelope.Producer = r.producer
	}
	return rows, err
}
