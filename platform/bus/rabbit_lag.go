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
	mu    sync.Mutex
	queue string // empty: nobody can answer just now
	open  map[string]chan int64
}

func (a *asking) by(queue string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = queue
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

// Lag implements Bus. It is exact while nothing moves, and never less than what was there all the time that it took. A broker that takes no
// messages carries no questions either: Unavailable.
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
	subscribers, err := subscribed(ctx, conn, consumer)
	if err != nil {
		return 0, err
	}
	var n int64
	if subscribers > 0 {
		n, err = b.ask(ctx, consumer, subscribers)
	} else {
		var q amqp.Queue
		q, err = depth(ctx, conn, consumer)
		n = int64(q.Messages)
	}
	if err != nil {
		return 0, err
	}
	// One that came meanwhile may have been handed what waited, or have answered in the place of the one that is served.
	now, err := subscribed(ctx, conn, consumer)
	if err == nil && now != subscribers {
		err = errNoAnswer
	}
	return n, err
}

// subscribed is how many subscribers the consumer has.
func subscribed(ctx context.Context, conn *amqp.Connection, consumer string) (int, error) {
	q, err := depth(ctx, conn, presence(consumer))
	if errs.KindOf(err) == errs.NotFound {
		return 0, nil
	}
	return q.Consumers, err
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
	queue := b.asking.queue
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
	soon, cancel := context.WithTimeoutCause(ctx, answerWithin, errNoAnswer)
	defer cancel()
	if queue != "" {
		question := amqp.Publishing{Type: askLag, CorrelationId: id, ReplyTo: queue, Body: []byte(consumer)}
		if err := b.send(soon, []outgoing{{exchange: broadcastExchange, key: askLag, message: question}}); err != nil && soon.Err() == nil {
			return 0, err
		}
	}
	for range subscribers {
		select {
		case n := <-answers:
			most = max(most, n)
		case <-soon.Done():
			return 0, context.Cause(soon)
		}
	}
	return most, nil
}

// answer tells who asks what this process' subscribers know.
func (b *RabbitMQ) answer(d amqp.Delivery) {
	ctx, cancel := context.WithTimeout(b.ended, answerWithin)
	defer cancel()
	b.mu.Lock()
	var asked []*attached
	for a := range b.readers {
		if a.consumer == string(d.Body) {
			asked = append(asked, a)
		}
	}
	b.mu.Unlock()
	for _, a := range asked {
		n, err := b.unhandled(ctx, a)
		if err == nil {
			answer := amqp.Publishing{Type: sayLag, CorrelationId: d.CorrelationId, Body: strconv.AppendInt(nil, n, 10)}
			err = b.send(ctx, []outgoing{{key: d.ReplyTo, message: answer}})
		}
		if err != nil {
			b.log.Debug("A question for the lag was not answered.", "consumer", a.consumer, "error", err)
		}
	}
}
