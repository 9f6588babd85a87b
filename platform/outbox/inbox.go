package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/crash"
)

const (
	singleMax = 64  // events in one transaction
	batchMax  = 200 // the same when the inbox has a handler of batches
)

// Inbox is what one service hears: its handlers, and the memory of what they have handled, beside the service's own data.
type Inbox struct {
	events   store
	service  string
	log      *slog.Logger
	handlers map[string]handler
	hearers  hearers
	wrong    error         // of the wiring; Run answers it
	retry    chan struct{} // something is parked, or was replayed
	pause    func(failures int) time.Duration
}

// NewInbox is the inbox of a service, which is also the consumer's name on the bus. Handlers are added before Run.
func NewInbox(db DB, service string, log *slog.Logger) *Inbox {
	if log == nil {
		log = slog.Default()
	}
	events, err := storeOf(db)
	return &Inbox{
		events: events, wrong: err, service: service, log: log.With("consumer", service),
		handlers: map[string]handler{}, retry: make(chan struct{}, 1),
		pause: func(failures int) time.Duration { return backoff(retryFirst, retryLast, failures-1) },
	}
}

func (in *Inbox) add(typ string, h handler) {
	if _, taken := in.handlers[typ]; taken {
		in.wrong = errors.Join(in.wrong, fmt.Errorf("inbox %s: two handlers for %s", in.service, typ))
	}
	if _, rows := in.events.(tables); h.sql && !rows && in.events != nil {
		in.wrong = errors.Join(in.wrong, fmt.Errorf("inbox %s: the handler for %s works on rows, and the service's data are documents", in.service, typ))
	}
	in.handlers[typ] = h
}

// Types are the event types that the inbox has handlers for, sorted; broadcasts are not among them.
func (in *Inbox) Types() []string { return slices.Sorted(maps.Keys(in.handlers)) }

// Run takes events from the bus until ctx ends, and then answers nil. The handler that runs just then may finish.
// It runs in every process of the service; one of them is served.
func (in *Inbox) Run(ctx context.Context, b bus.Bus) error {
	if in.wrong != nil {
		return in.wrong
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	var mu sync.Mutex
	var failed error
	run := func(loop func() error) {
		work.Go(func() {
			if err := loop(); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
				stop()
			}
		})
	}
	if len(in.handlers) > 0 {
		most := singleMax
		for _, h := range in.handlers {
			if h.batch {
				most = batchMax
			}
		}
		run(func() error { return b.Consume(ctx, in.service, in.Types(), most, in.take) })
		run(func() error { in.retryLoop(ctx); return nil })
	}
	run(func() error { in.pruneLoop(ctx); return nil })
	if types := in.hearers.types(); len(types) > 0 {
		forget := in.hearers.run(ctx, in.log)
		defer forget()
		run(func() error { return b.Listen(ctx, types, in.hearers.hear) })
	}
	<-ctx.Done()
	work.Wait()
	return failed
}

// taken is an event that the bus brought, decoded; bad says why it never can be.
type taken struct {
	envelope bus.Envelope
	handler  handler
	value    any
	bad      error
}

func (in *Inbox) decode(e bus.Envelope) (taken, bool) {
	h, ok := in.handlers[e.Type]
	if !ok {
		return taken{}, false
	}
	t := taken{envelope: e, handler: h}
	if e.Version > h.version {
		t.bad = newer(e, h.version)
	} else {
		t.value, t.bad = h.decode(e.Data)
	}
	return t, true
}

// take handles a batch of the bus: in one transaction when all goes well, else one by one, setting aside what fails. An error means that the
// database is away or the process stops; the bus then brings the batch again.
func (in *Inbox) take(ctx context.Context, envelopes []bus.Envelope) error {
	events := make([]taken, 0, len(envelopes))
	for _, e := range envelopes {
		if t, ok := in.decode(e); ok {
			events = append(events, t)
		}
	}
	if len(events) == 0 {
		return nil
	}
	err := in.handle(ctx, events)
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, t := range events {
		if len(events) > 1 {
			err = in.handle(ctx, []taken{t})
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		if aside := in.setAside(ctx, t.envelope, err); aside != nil {
			return errors.Join(err, aside)
		}
	}
	return nil
}

// handle takes events in one transaction that remembers them.
func (in *Inbox) handle(ctx context.Context, events []taken) error {
	ctx = crash.Because(ctx, events[0].envelope.Type)
	crash.Before(ctx, in.service, crash.Handle, "")
	err := in.events.inTx(ctx, func(ctx context.Context, tx Tx) error {
		fresh, held, err := in.events.remember(ctx, tx, events)
		if err != nil {
			return err
		}
		var todo []taken
		for _, t := range events {
			id, subject := t.envelope.ID, t.envelope.Subject
			switch {
			case !fresh[id]:
				continue
			case held[subject]:
				err = in.events.park(ctx, tx, t.envelope)
			case t.bad != nil:
				held[subject] = true
				err = in.events.bury(ctx, tx, t.envelope, reason(t.bad))
				in.log.Error("An event is not understood and went to the dead letters.", "event", id, "type", t.envelope.Type, "error", t.bad)
			default:
				todo = append(todo, t)
			}
			if err != nil {
				return err
			}
			delete(fresh, id)
		}
		for _, step := range plan(todo) {
			if err := step.run(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		crash.After(ctx, in.service, crash.Handle, "")
	}
	return err
}

// step is one call of a handler.
type step struct {
	handler   handler
	envelopes []bus.Envelope
	values    []any
}

// plan groups events for handlers of batches, without changing the order within a subject.
func plan(events []taken) []*step {
	steps := make([]*step, 0, len(events))
	open := map[string]int{}      // type → the step that takes more of it
	latest := map[uuid.UUID]int{} // subject → its latest step
	for _, t := range events {
		e := t.envelope
		at, ok := open[e.Type]
		if !ok || latest[e.Subject] > at || len(steps[at].values) == batchMax {
			at = len(steps)
			steps = append(steps, &step{handler: t.handler})
			if t.handler.batch {
				open[e.Type] = at
			}
		}
		steps[at].envelopes = append(steps[at].envelopes, e)
		steps[at].values = append(steps[at].values, t.value)
		latest[e.Subject] = at
	}
	return steps
}

func (s *step) run(ctx context.Context, tx Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler of %s panicked: %v\n%s", s.envelopes[0].Type, p, debug.Stack())
		}
	}()
	if err := s.handler.run(handling(ctx, s.envelopes), tx, s.values); err != nil {
		return fmt.Errorf("handle %s: %w", s.envelopes[0].Type, err)
	}
	return nil
}
