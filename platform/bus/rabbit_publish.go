package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	window         = 256 // messages that are not confirmed yet
	idlePublishers = 8
)

// wire is e as it travels: JSON with the data as it was given, to the byte.
func wire(e Envelope) ([]byte, error) {
	if !json.Valid(e.Data) {
		return nil, fmt.Errorf("the data of %s %s is not JSON", e.Type, e.ID)
	}
	data := e.Data
	e.Data = nil
	head, err := json.Marshal(struct {
		Envelope
		Data *struct{} `json:"data,omitempty"`
	}{Envelope: e})
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", e.Type, e.ID, err)
	}
	out := make([]byte, 0, len(head)+len(data)+9)
	out = append(out, head[:len(head)-1]...)
	out = append(out, `,"data":`...)
	out = append(out, data...)
	return append(out, '}'), nil
}

func unwire(body []byte) (Envelope, error) {
	var e Envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return e, err
	}
	if e.Type == "" {
		return e, errors.New("it has no type")
	}
	e.OccurredAt = e.OccurredAt.UTC()
	return e, nil
}

// outgoing is one message to an exchange.
type outgoing struct {
	exchange, key string
	subject       uuid.UUID
	mandatory     bool
	message       amqp.Publishing
}

// Publish implements Bus. Of one subject it sends an event when the one before is confirmed, of different subjects many at once. An event
// that nobody consumes is none of its errors; one that went to no queue though a consumer wants it is.
func (b *RabbitMQ) Publish(ctx context.Context, batch []Envelope) error {
	if len(batch) == 0 {
		return nil
	}
	messages := make([]outgoing, len(batch))
	for i, e := range batch {
		body, err := wire(e)
		if err != nil {
			return fmt.Errorf("publish %d events: %w", len(batch), err)
		}
		messages[i] = outgoing{eventExchange, e.Type, e.Subject, true, amqp.Publishing{
			ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: e.ID.String(), Type: e.Type, AppId: e.Producer, Timestamp: e.OccurredAt, Body: body,
		}}
	}
	if err := b.send(ctx, messages); err != nil {
		return fmt.Errorf("publish %d events: %w", len(batch), err)
	}
	return nil
}

// send hands messages to the broker and returns when it has confirmed all.
func (b *RabbitMQ) send(ctx context.Context, messages []outgoing) error {
	p, err := b.publisher(ctx)
	if err != nil {
		return away(err)
	}
	_, err = within(ctx, func() (struct{}, error) {
		err := p.send(ctx, messages, b.missed)
		if err != nil {
			// What was sent and not confirmed may still come; nothing of it may come after its repetition on this channel.
			_ = p.channel.Close()
			return struct{}{}, err
		}
		select {
		case b.idle <- p:
		default:
			_ = p.channel.Close()
		}
		return struct{}{}, nil
	}, nil)
	return away(err)
}

// publisher is a channel whose messages are confirmed. One goroutine uses it at a time.
type publisher struct {
	line     *line
	channel  *amqp.Channel
	returned chan amqp.Return
}

// publisher answers one that nobody else uses, on a connection that has declared all queues.
func (b *RabbitMQ) publisher(ctx context.Context) (*publisher, error) {
	conn, err := b.out.open(ctx)
	if err != nil {
		return nil, err
	}
	if b.out.blocked.Load() {
		return nil, errBlocked
	}
	b.mu.Lock()
	stale := b.stale
	b.mu.Unlock()
	if stale {
		if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, b.declareAll(conn) }, nil); err != nil {
			b.mu.Lock()
			b.stale = true
			b.mu.Unlock()
			return nil, err
		}
	}
	for {
		select {
		case p := <-b.idle:
			if !p.channel.IsClosed() {
				return p, nil
			}
			continue
		default:
		}
		return within(ctx, func() (*publisher, error) {
			ch, err := conn.Channel()
			if err != nil {
				return nil, err
			}
			if err := ch.Confirm(false); err != nil {
				_ = ch.Close()
				return nil, err
			}
			// The client waits for a place here while it reads: there is one for each message on its way.
			return &publisher{b.out, ch, ch.NotifyReturn(make(chan amqp.Return, window+1))}, nil
		}, func(p *publisher) { _ = p.channel.Close() })
	}
}

// flight is a message that was sent and is not confirmed.
type flight struct {
	outgoing
	confirmed *amqp.DeferredConfirmation
}

func (p *publisher) send(ctx context.Context, messages []outgoing, missed func(typ string) bool) error {
	var flying []flight
	depart := func(m outgoing) error {
		if p.line.blocked.Load() {
			return errBlocked
		}
		c, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, m.exchange, m.key, m.mandatory, false, m.message)
		if err == nil {
			flying = append(flying, flight{m, c})
		}
		return err
	}
	queued := map[uuid.UUID][]outgoing{} // what waits for the confirm of its subject
	land := func() error {
		f := flying[0]
		select {
		case <-f.confirmed.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		if !f.confirmed.Acked() {
			return fmt.Errorf("the broker did not take %s", f.message.MessageId)
		}
		if err := p.lost(missed); err != nil {
			return err
		}
		flying = flying[1:]
		if next := queued[f.subject]; len(next) > 0 {
			queued[f.subject] = next[1:]
			return depart(next[0])
		}
		delete(queued, f.subject)
		return nil
	}
	for _, m := range messages {
		for len(flying) >= window {
			if err := land(); err != nil {
				return err
			}
		}
		if next, busy := queued[m.subject]; busy {
			queued[m.subject] = append(next, m)
			continue
		}
		queued[m.subject] = nil
		if err := depart(m); err != nil {
			return err
		}
	}
	for len(flying) > 0 {
		if err := land(); err != nil {
			return err
		}
	}
	return nil
}

// lost looks at what the broker has returned; it does so before it confirms.
func (p *publisher) lost(missed func(typ string) bool) error {
	for {
		select {
		case r, open := <-p.returned:
			if !open {
				return amqp.ErrClosed
			}
			if r.Exchange != eventExchange || missed(r.RoutingKey) {
				return fmt.Errorf("%s %s went to no queue (%s)", r.RoutingKey, r.MessageId, r.ReplyText)
			}
		default:
			return nil
		}
	}
}
