package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// While a service is brought up to date, a process of its older version may be handed types that only the newer one wants. It puts them by,
// in a queue beside the consumer's own, from where the newer version takes them once it is served.
const (
	later     = ".later"
	laterKept = 7 * 24 * time.Hour // for a version that comes back after it was taken back
	laterTook = "tulifo.later"     // the type of a message without content, by which who is served, and has nothing to do, learns that something was put by
	laterLook = 5 * time.Second    // between two looks at that queue by who is not served
)

// declareLater makes that queue; it is there if and only if the consumer's own is there and bound.
func declareLater(ch *amqp.Channel, consumer string) error {
	_, err := ch.QueueDeclare(consumer+later, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": deliveryLimit, amqp.QueueMessageTTLArg: laterKept.Milliseconds(),
	})
	if err != nil {
		return fmt.Errorf("declare the queue %s: %w", consumer+later, err)
	}
	return nil
}

// putBy keeps deliveries for a version that wants them.
func (r *subscriber) putBy(ctx context.Context, unwanted []amqp.Delivery) error {
	messages := make([]outgoing, len(unwanted))
	for i, d := range unwanted {
		messages[i] = outgoing{key: r.name + later, mandatory: true, message: amqp.Publishing{
			ContentType: d.ContentType, DeliveryMode: amqp.Persistent, MessageId: d.MessageId, Type: d.Type, AppId: d.AppId, Timestamp: d.Timestamp, Body: d.Body,
		}}
	}
	return r.bus.send(ctx, messages)
}

// takeUp handles what an older version has put by and this one wants. The rest goes back when the channel that it was got on closes.
func (r *subscriber) takeUp(lead, work context.Context) error {
	conn, err := r.bus.in.open(lead)
	if err != nil {
		return err
	}
	ch, err := within(lead, conn.Channel, func(ch *amqp.Channel) { _ = ch.Close() })
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(r.bus.ended, closeWithin)
		defer cancel()
		_, _ = within(ctx, func() (struct{}, error) { return struct{}{}, ch.Close() }, nil)
	}()
	for {
		d, err := within(lead, func() (*amqp.Delivery, error) {
			d, ok, err := ch.Get(r.name+later, false)
			if err != nil || !ok {
				return nil, err
			}
			return &d, nil
		}, nil)
		if err != nil || d == nil {
			return err
		}
		e, err := unwire(d.Body)
		if err != nil || !slices.Contains(r.types, e.Type) {
			continue
		}
		if !retry(lead, r.log, func() error { return handle(work, r.fn, []Envelope{e}) }) {
			return amqp.ErrClosed
		}
		if err := d.Ack(false); err != nil {
			return errors.Join(err, fmt.Errorf("an event that was put by comes again"))
		}
	}
}

// remind tells who is served that something was put by, if anything was.
func (b *RabbitMQ) remind(ctx context.Context, a *attached) error {
	a.calls.Lock()
	q, err := a.channel.QueueDeclarePassive(a.consumer+later, true, false, false, false, nil)
	a.calls.Unlock()
	if err != nil || q.Messages == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err = b.send(ctx, []outgoing{{key: a.consumer, message: amqp.Publishing{Type: laterTook, DeliveryMode: amqp.Persistent}}})
	if err != nil {
		b.log.Debug("Nobody was reminded of what was put by; that is tried again.", "consumer", a.consumer, "error", err)
	}
	return nil
}

// remindUntil reminds again until this process is served: the one that is served before it may put something by at any time.
func (r *subscriber) remindUntil(lead context.Context, served <-chan struct{}, a *attached) {
	tick := time.NewTicker(laterLook)
	defer tick.Stop()
	for {
		select {
		case <-lead.Done():
			return
		case <-served:
			return
		case <-tick.C:
		}
		// A channel that is lost ends lead.
		_ = r.bus.remind(lead, a)
	}
}
