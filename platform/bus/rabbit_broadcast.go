package bus

import (
	"context"
	"encoding/json"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

const mostBroadcasts = 10_000 // that wait for one process; beyond, the oldest are dropped

// Broadcast implements Bus. This process hears it at once, whatever the broker does.
func (b *RabbitMQ) Broadcast(ctx context.Context, e Envelope) error {
	b.ears.deliver(e)
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode broadcast %s: %w", e.Type, err)
	}
	m := outgoing{exchange: broadcastExchange, key: e.Type, message: amqp.Publishing{ContentType: "application/json", Type: e.Type, AppId: b.origin, Body: body}}
	if err := b.send(ctx, []outgoing{m}); err != nil {
		return fmt.Errorf("broadcast %s: %w", e.Type, err)
	}
	return nil
}

// Listen implements Bus.
func (b *RabbitMQ) Listen(ctx context.Context, types []string, fn func(Envelope)) error {
	b.ears.listen(ctx, types, fn)
	return nil
}

// hear takes what other processes broadcast, from a queue of this process that goes with its connection.
func (b *RabbitMQ) hear(ctx context.Context) {
	retry(ctx, b.log.With("consumer", "broadcasts"), func() error {
		conn, err := b.in.open(ctx)
		if err != nil {
			return err
		}
		type heard struct {
			channel    *amqp.Channel
			name       string
			deliveries <-chan amqp.Delivery
		}
		h, err := within(ctx, func() (h heard, err error) {
			if h.channel, err = conn.Channel(); err != nil {
				return h, err
			}
			defer func() {
				if err != nil {
					_ = h.channel.Close()
				}
			}()
			if err := declareExchanges(h.channel); err != nil {
				return h, err
			}
			q, err := h.channel.QueueDeclare("", false, true, true, false, amqp.Table{amqp.QueueMaxLenArg: int32(mostBroadcasts)})
			if err != nil {
				return h, fmt.Errorf("declare a queue of this process: %w", err)
			}
			h.name = q.Name
			if err := h.channel.QueueBind(q.Name, "#", broadcastExchange, false, nil); err != nil {
				return h, fmt.Errorf("bind the queue of broadcasts: %w", err)
			}
			h.deliveries, err = h.channel.Consume(q.Name, "", true, true, false, false, nil)
			return h, err
		}, func(h heard) { _ = h.channel.Close() })
		if err != nil {
			return err
		}
		b.asking.by(h.name)
		defer b.asking.by("")
		for {
			select {
			case <-ctx.Done():
				return nil
			case d, ok := <-h.deliveries:
				if !ok {
					return away(amqp.ErrClosed)
				}
				b.heard(d)
			}
		}
	})
}

func (b *RabbitMQ) heard(d amqp.Delivery) {
	switch {
	case d.Type == askLag:
		b.work.Go(func() { b.answer(d) })
	case d.Type == sayLag:
		b.asking.answered(d)
	case d.AppId == b.origin:
	default:
		e, err := unwire(d.Body)
		if err != nil {
			b.log.Warn("A broadcast was not understood.", "error", err)
			return
		}
		b.ears.deliver(e)
	}
}
