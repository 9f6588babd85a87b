package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"tulifo/platform/errs"
)

// The broker tells everybody how many messages of a queue wait, and nobody how many it has handed out. Those the subscribers know, so each
// of them is asked, over the exchange of broadcasts, and one that is served adds what it was handed.
const (
	askLag       = "tulifo.lag.ask" // its body is the consumer, and it is answered to the queue of who asks
	sayLag       = "tulifo.lag.say"
	answerWithin = time.Second
)

// presence is a queue on which nothing ever comes: its subscribers are the processes that consume.
func presence(consumer string) string { return consumer + ".present" }

func present(ch *amqp.Channel, consumer string) error {
	if _, err := ch.QueueDeclare(presence(consumer), true, true, false, false, nil); err != nil {
		return fmt.Errorf("declare the queue %s: %w", presence(consumer), err)
	}
	return nil
}

// asking are the questions of this process that wait for answers.
type asking struct {
	mu      sync.Mutex
	channel *amqp.Channel // nil: nobody can answer just now
	queue   string
	open    map[string]chan int64
}

func (a *asking) by(ch *amqp.Channel, queue string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.channel, a.queue = ch, queue
}

func (a *asking) answered(d amqp.Delivery) {
	n, err := strconv.ParseInt(string(d.Body), 10, 64)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.open[d.CorrelationId] <- n:
	default:
	}
}

// Lag implements Bus. It is exact while nothing moves, and never less than what was there all the time that it took.
func (b *RabbitMQ) Lag(ctx context.Context, consumer string) (int64, error) {
	late := time.Now().Add(3 * answerWithin)
	for {
		n, err := b.lag(ctx, consumer)
		if err == nil || errs.KindOf(err) == errs.NotFound {
			return n, err
		}
		if ctx.Err() != nil || time.Now().After(late) || !errors.Is(err, errNoAnswer) {
			return 0, fmt.Errorf("lag of %s: %w", consumer, away(err))
		}
	}
}

var errNoAnswer = errors.New("a process that consumes does not answer")

func (b *RabbitMQ) lag(ctx context.Context, consumer string) (int64, error) {
	conn, err := b.in.open(ctx)
	if err != nil {
		return 0, err
	}
	if _, known := b.known.Load(consumer); !known {
		if _, err := depth(ctx, conn, consumer+later); err != nil {
			return 0, err
		}
		b.known.Store(consumer, nil)
	}
	// Who subscribes says so before it is handed anything, and takes that back after.
	subscribers, err := depth(ctx, conn, presence(consumer))
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return 0, err
	}
	if subscribers.Consumers > 0 {
		return b.ask(ctx, consumer, subscribers.Consumers)
	}
	q, err := depth(ctx, conn, consumer)
	return int64(q.Messages), err
}

// depth is what the broker says of a queue.
func depth(ctx context.Context, conn *amqp.Connection, queue string) (amqp.Queue, error) {
	return within(ctx, func() (q amqp.Queue, err error) {
		ch, err := conn.Channel()
		if err != nil {
			return q, err
		}
		q, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if said, ok := errors.AsType[*amqp.Error](err); ok && said.Code == amqp.NotFound {
			return q, errs.New(errs.NotFound, "Nobody consumes under the name "+strings.TrimSuffix(queue, later)+".")
		}
		return q, errors.Join(err, ch.Close())
	}, nil)
}

// ask has all subscribers of consumer say what they know, and answers the most: the one that is served knows all of it.
func (b *RabbitMQ) ask(ctx context.Context, consumer string, subscribers int) (most int64, err error) {
	id, answers := uuid.NewString(), make(chan int64, subscribers)
	b.asking.mu.Lock()
	ch, queue := b.asking.channel, b.asking.queue
	if b.asking.open == nil {
		b.asking.open = map[string]chan int64{}
	}
	b.asking.open[id] = answers
	b.asking.mu.Unlock()
	defer func() {
		b.asking.mu.Lock()
		delete(b.asking.open, id)
		b.asking.mu.Unlock()
	}()
	late := time.NewTimer(answerWithin)
	defer late.Stop()
	if ch != nil {
		if err := ch.Publish(broadcastExchange, askLag, false, false, amqp.Publishing{Type: askLag, CorrelationId: id, ReplyTo: queue, Body: []byte(consumer)}); err != nil {
			return 0, err
		}
	}
	for range subscribers {
		select {
		case n := <-answers:
			most = max(most, n)
		case <-late.C:
			return 0, errNoAnswer
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return most, nil
}

// answer tells who asks what this process' subscribers know.
func (b *RabbitMQ) answer(ch *amqp.Channel, d amqp.Delivery) {
	b.mu.Lock()
	var asked []*attached
	for a := range b.readers {
		if a.consumer == string(d.Body) {
			asked = append(asked, a)
		}
	}
	b.mu.Unlock()
	for _, a := range asked {
		n, err := a.unhandled()
		if err == nil {
			err = ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{Type: sayLag, CorrelationId: d.CorrelationId, Body: strconv.AppendInt(nil, n, 10)})
		}
		if err != nil {
			b.log.Debug("A question for the lag was not answered.", "consumer", a.consumer, "error", err)
		}
	}
}
