package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"tulifo/platform/errs"
)

const (
	eventExchange     = "tulifo.events"     // topic: the routing key is the type
	broadcastExchange = "tulifo.broadcasts" // topic, the same
)

// RabbitOptions of the RabbitMQ bus.
type RabbitOptions struct {
	URL       string              // amqp:// or amqps://user:password@host:port/vhost
	Consumers map[string][]string // every consumer of the installation and the types it wants; their queues are there before this process publishes
	Log       *slog.Logger
}

// RabbitMQ is the bus on a broker: a durable quorum queue per consumer, named as it is, bound to the exchange tulifo.events by the types that
// it wants. It holds nothing for a consumer that no process has named yet, neither in RabbitOptions.Consumers nor by Consume; from then on it
// holds everything. A message that is not an envelope is logged and dropped.
type RabbitMQ struct {
	log    *slog.Logger
	origin string // tells this process' broadcasts from others'
	out    *line  // for publishing: a broker short of memory stops reading it
	in     *line  // for consuming, which goes on meanwhile: nothing is ever published on it
	idle   chan *publisher
	ears   *ears
	asking asking
	known  sync.Map // consumers that have consumed

	mu      sync.Mutex
	table   map[string][]string // consumer → types
	stale   bool                // a queue of the table has gone
	readers map[*attached]struct{}

	ended context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup
}

var _ Bus = (*RabbitMQ)(nil)

// NewRabbitMQ is the bus on the broker at o.URL. A broker that is away is no error: the bus waits for it. Close it when nobody publishes or
// consumes any more.
func NewRabbitMQ(ctx context.Context, o RabbitOptions) (*RabbitMQ, error) {
	if _, err := amqp.ParseURI(o.URL); err != nil {
		// Its text may repeat the password.
		return nil, errors.New("RABBITMQ_URL is not the address of a broker; it looks like amqp://user:password@host:5672/vhost")
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this process: %w", err)
	}
	b := &RabbitMQ{
		log: o.Log, origin: id.String(), idle: make(chan *publisher, idlePublishers),
		table: map[string][]string{}, readers: map[*attached]struct{}{},
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	for consumer, types := range o.Consumers {
		b.table[consumer] = slices.Clone(types)
	}
	b.ears = newEars(b.log)
	b.ended, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.out = newLine(b.ended, o.URL, "tulifo publisher", b.log, b.declareAll)
	b.in = newLine(b.ended, o.URL, "tulifo consumer", b.log, nil)
	b.work.Go(func() { b.hear(b.ended) })
	return b, nil
}

// Close ends the bus' connections; Consume and Listen must have ended before.
func (b *RabbitMQ) Close() {
	b.stop()
	b.out.close()
	b.in.close()
	b.work.Wait()
}

// Ping asks the broker for an answer. Unavailable: it is away, or so short of memory or disk that it takes no events.
func (b *RabbitMQ) Ping(ctx context.Context) error {
	conn, err := b.out.open(ctx)
	if err != nil {
		return err
	}
	if b.out.blocked.Load() {
		return errBlocked
	}
	_, err = within(ctx, func() (struct{}, error) {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Close()
		}
		return struct{}{}, err
	}, nil)
	return away(err)
}

// away is err as the caller's kind of error.
func away(err error) error {
	if err == nil || errs.KindOf(err) != errs.Internal || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errs.New(errs.Unavailable, "RabbitMQ does not answer.").Because(err)
}

var errBlocked = errs.New(errs.Unavailable, "RabbitMQ is short of memory or disk and takes no events.")

// declareAll makes the exchanges, and the queues of all consumers that this process knows of.
func (b *RabbitMQ) declareAll(conn *amqp.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	b.mu.Lock()
	table := maps.Clone(b.table)
	b.stale = false
	b.mu.Unlock()
	if err := declareExchanges(ch); err != nil {
		return err
	}
	for _, consumer := range slices.Sorted(maps.Keys(table)) {
		if err := declareQueue(ch, consumer, table[consumer]); err != nil {
			return err
		}
	}
	return nil
}

func declareExchanges(ch *amqp.Channel) error {
	for _, name := range []string{eventExchange, broadcastExchange} {
		if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return fmt.Errorf("declare the exchange %s: %w", name, err)
		}
	}
	return nil
}

// A broker of version 4 drops a message that was delivered 20 times unless told otherwise, and one of version 3 knows no word for never.
const deliveryLimit int32 = 1 << 30

func declareQueue(ch *amqp.Channel, name string, types []string) error {
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, amqp.SingleActiveConsumerArg: true, "x-delivery-limit": deliveryLimit,
	})
	if err != nil {
		return fmt.Errorf("declare the queue %s: %w", name, err)
	}
	for i, typ := range types {
		// The broker works off a channel in order: the answer to the last is the answer to all.
		if err := ch.QueueBind(name, typ, eventExchange, i < len(types)-1, nil); err != nil {
			return fmt.Errorf("bind the queue %s to %s: %w", name, typ, err)
		}
	}
	return declareLater(ch, name)
}

// learn notes that consumer wants the types.
func (b *RabbitMQ) learn(consumer string, types []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := slices.Clone(b.table[consumer])
	for _, t := range types {
		if !slices.Contains(known, t) {
			known = append(known, t)
		}
	}
	b.table[consumer] = known
}

// missed is told that an event of typ went to no queue, and answers whether one should have it.
func (b *RabbitMQ) missed(typ string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, types := range b.table {
		if slices.Contains(types, typ) {
			b.stale = true
			return true
		}
	}
	return false
}
