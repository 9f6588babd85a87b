package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"tulifo/platform/crash"
)

// prefetch is how many messages the broker hands out at once. What a dead consumer had goes back to the head of its queue, but behind what
// came back before: the order holds because each consumer takes all of it, and so this must be the same in every process and never less
// than it was.
const prefetch = 256

// Consume implements Bus.
func (b *RabbitMQ) Consume(ctx context.Context, consumer string, types []string, max int, fn func(context.Context, []Envelope) error) error {
	if max < 1 || len(types) == 0 {
		return fmt.Errorf("consume %s: it wants %d types, %d at a time", consumer, len(types), max)
	}
	b.learn(consumer, types)
	r := &subscriber{bus: b, name: consumer, types: types, max: max, fn: fn, log: b.log.With("consumer", consumer)}
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for failures := 0; ; failures++ {
		began := time.Now()
		err := r.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > lastGap {
			failures = 0
		}
		gap := min(firstGap<<min(failures, 10), lastGap)
		r.log.Warn("A consumer lost the broker and comes back.", "error", err, "again_in", gap)
		pause.Reset(gap)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// subscriber is one Consume.
type subscriber struct {
	bus   *RabbitMQ
	name  string
	types []string
	max   int
	fn    func(context.Context, []Envelope) error
	log   *slog.Logger
}

// attached is a subscriber on a channel of its own.
type attached struct {
	consumer string
	channel  *amqp.Channel
	queue    chan amqp.Delivery // has room for all that the broker hands out at once
	gone     chan struct{}      // closed when the broker hands out nothing any more

	calls  sync.Mutex // one question to the broker at a time
	probe  string     // a queue to ask for the number of deliveries
	probes int64
	acked  atomic.Int64
}

// serve takes what the broker hands out until ctx ends or the channel is lost.
func (r *subscriber) serve(ctx context.Context) error {
	a, err := r.attach(ctx)
	if err != nil {
		return err
	}
	defer r.bus.detach(a)
	lead, lost := context.WithCancel(ctx)
	defer lost()
	r.bus.work.Go(func() {
		select {
		case <-a.gone:
			lost()
		case <-lead.Done():
		}
	})
	work, done := finishing(ctx, lead)
	defer done()
	served := make(chan struct{})
	r.bus.work.Go(func() { r.remindUntil(lead, served, a) })
	for first := true; ; first = false {
		deliveries := a.next(lead, r.max)
		if len(deliveries) == 0 {
			return amqp.ErrClosed
		}
		if first {
			// Whoever was served before has put by all that it had not wanted, and until this channel is lost nobody else puts anything by.
			close(served)
			if err := r.takeUp(lead, work); err != nil {
				return err
			}
		}
		batch, unwanted := r.sort(deliveries)
		if len(unwanted) > 0 {
			if err := r.putBy(work, unwanted); err != nil {
				return err
			}
		}
		if len(batch) > 0 && !retry(lead, r.log, func() error { return handle(work, r.fn, batch) }) {
			return amqp.ErrClosed
		}
		crash.Before(work, r.name, crash.Ack, "")
		if err := a.channel.Ack(deliveries[len(deliveries)-1].DeliveryTag, true); err != nil {
			return err
		}
		a.acked.Add(int64(len(deliveries)))
		crash.After(work, r.name, crash.Ack, "")
	}
}

// sort tells what the consumer wants from what another version of it may want. A reminder has done its work by coming.
func (r *subscriber) sort(deliveries []amqp.Delivery) (batch []Envelope, unwanted []amqp.Delivery) {
	for _, d := range deliveries {
		if d.Type == laterTook {
			continue
		}
		switch e, err := unwire(d.Body); {
		case err != nil:
			r.log.Error("What is no event was dropped from a queue.", "error", err, "type", d.Type, "message", d.MessageId)
		case slices.Contains(r.types, e.Type):
			batch = append(batch, e)
		default:
			unwanted = append(unwanted, d)
		}
	}
	return batch, unwanted
}

// next waits for deliveries, at most max of them; none: lead has ended.
func (a *attached) next(lead context.Context, max int) (some []amqp.Delivery) {
	if lead.Err() != nil {
		return nil
	}
	select {
	case <-lead.Done():
		return nil
	case d := <-a.queue:
		some = append(some, d)
	}
	for len(some) < max {
		select {
		case d := <-a.queue:
			some = append(some, d)
		default:
			return some
		}
	}
	return some
}

// attach declares the queue and subscribes to it.
func (r *subscriber) attach(ctx context.Context) (*attached, error) {
	conn, err := r.bus.in.open(ctx)
	if err != nil {
		return nil, err
	}
	return within(ctx, func() (*attached, error) {
		ch, err := conn.Channel()
		if err != nil {
			return nil, err
		}
		a := &attached{consumer: r.name, channel: ch, queue: make(chan amqp.Delivery, prefetch), gone: make(chan struct{})}
		r.bus.mu.Lock()
		r.bus.readers[a] = struct{}{}
		r.bus.mu.Unlock()
		err = a.subscribe(r.types)
		if err == nil {
			err = r.bus.remind(ctx, a)
		}
		if err != nil {
			r.bus.detach(a)
			return nil, err
		}
		return a, nil
	}, r.bus.detach)
}

func (a *attached) subscribe(types []string) error {
	a.calls.Lock()
	defer a.calls.Unlock()
	ch := a.channel
	if err := declareExchanges(ch); err != nil {
		return err
	}
	if err := declareQueue(ch, a.consumer, types); err != nil {
		return err
	}
	probe, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return fmt.Errorf("declare a queue of this process: %w", err)
	}
	a.probe = probe.Name
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	// Before the events: who counts subscribers must not miss one that has some.
	if err := present(ch, a.consumer); err != nil {
		return err
	}
	if _, err := ch.Consume(presence(a.consumer), "", true, false, false, false, nil); err != nil {
		return err
	}
	deliveries, err := ch.Consume(a.consumer, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	go func() {
		defer close(a.gone)
		for d := range deliveries {
			a.queue <- d
		}
	}()
	return nil
}

// detach gives back what was handed out and not acknowledged.
func (b *RabbitMQ) detach(a *attached) {
	b.mu.Lock()
	delete(b.readers, a)
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(b.ended, closeWithin)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, a.channel.Close() }, nil)
	if err != nil && !errors.Is(err, amqp.ErrClosed) {
		b.log.Debug("A consumer left without a word.", "consumer", a.consumer, "error", err)
	}
}

// unhandled is how many events the broker has for the consumer, those included that it has handed to this subscriber.
func (b *RabbitMQ) unhandled(ctx context.Context, a *attached) (int64, error) {
	a.calls.Lock()
	defer a.calls.Unlock()
	// What was handed out before the queue was looked at has a lower number than what is asked for after it: deliveries of one channel are
	// numbered in a row.
	q, err := a.channel.QueueDeclarePassive(a.consumer, true, false, false, false, nil)
	if err != nil {
		return 0, err
	}
	// A leader that is being elected, or is slow, is told of as an empty queue of nobody.
	if q.Consumers == 0 {
		return 0, fmt.Errorf("the leader of the queue %s does not answer", a.consumer)
	}
	if err := b.send(ctx, []outgoing{{key: a.probe, mandatory: true, message: amqp.Publishing{MessageId: uuid.NewString()}}}); err != nil {
		return 0, err
	}
	d, ok, err := a.channel.Get(a.probe, true)
	if err != nil || !ok {
		return 0, errors.Join(err, fmt.Errorf("the probe of %s: %t", a.consumer, ok))
	}
	a.probes++
	return int64(q.Messages) + max(0, int64(d.DeliveryTag)-a.probes-a.acked.Load()), nil
}
