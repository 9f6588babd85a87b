package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/fault"
	"tulifo/platform/servertest"
)

// rabbitProcess is a RabbitMQ bus as one process has it, with its own line to the broker.
func rabbitProcess(t testing.TB, address string, consumers map[string][]string) (*bus.RabbitMQ, *fault.Proxy) {
	t.Helper()
	line, through, err := fault.Before(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	b, err := bus.NewRabbitMQ(context.Background(), bus.RabbitOptions{URL: through, Consumers: consumers, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, line
}

// operator is a channel of somebody who knows the broker and not the bus.
func operator(t testing.TB, address string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return conn, ch
}

// take is a consumer that hands over what it is given.
func take(t testing.TB, b bus.Bus, consumer string, types ...string) <-chan bus.Envelope {
	t.Helper()
	came := make(chan bus.Envelope, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, consumer, types, 10, func(_ context.Context, batch []bus.Envelope) error {
			for _, e := range batch {
				came <- e
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Consume: %v", err)
		}
	})
	return came
}

func next(t testing.TB, came <-chan bus.Envelope, want bus.Envelope) {
	t.Helper()
	select {
	case e := <-came:
		if e.ID != want.ID {
			t.Errorf("%s came, not %s", e.ID, want.ID)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s has not come", want.ID)
	}
}

// Who has not run yet is told of nothing too late: its queue is made by whoever publishes.
func TestQueuesOfAllAreThereBeforeAnythingIsPublished(t *testing.T) {
	t.Parallel()
	address := servertest.RabbitMQ(t)
	b, _ := rabbitProcess(t, address, map[string][]string{"never ran": {"a.told"}})
	all := events("a.told", 3)
	if err := b.Publish(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Lag(t.Context(), "never ran"); n != 3 || err != nil {
		t.Errorf("lag %d, %v", n, err)
	}
	late, _ := rabbitProcess(t, address, nil)
	came := take(t, late, "never ran", "a.told")
	for _, e := range all {
		next(t, came, e)
	}
}

func TestDeletedQueueIsMadeAgainByThePublisher(t *testing.T) {
	t.Parallel()
	address := servertest.RabbitMQ(t)
	b, _ := rabbitProcess(t, address, map[string][]string{"reader": {"a.told"}})
	if err := b.Publish(t.Context(), events("a.told", 1)); err != nil {
		t.Fatal(err)
	}
	_, ch := operator(t, address)
	if _, err := ch.QueueDelete("reader", false, false, false); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), events("b.told", 1)); err != nil {
		t.Errorf("an event that nobody wants: %v", err)
	}
	e := event("a.told", 0)
	if err := b.Publish(t.Context(), []bus.Envelope{e}); err == nil {
		t.Fatal("an event that went to no queue was taken for published")
	}
	if err := b.Publish(t.Context(), []bus.Envelope{e}); err != nil {
		t.Fatal(err)
	}
	next(t, take(t, b, "reader", "a.told"), e)
}

func TestDeletedQueueIsMadeAgainByTheConsumer(t *testing.T) {
	t.Parallel()
	address := servertest.RabbitMQ(t)
	b, _ := rabbitProcess(t, address, map[string][]string{"reader": {"a.told"}})
	came := take(t, b, "reader", "a.told")
	first := event("a.told", 0)
	if err := b.Publish(t.Context(), []bus.Envelope{first}); err != nil {
		t.Fatal(err)
	}
	next(t, came, first)
	conn, ch := operator(t, address)
	if _, err := ch.QueueDelete("reader", false, false, false); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		q, err := ch.QueueDeclarePassive("reader", true, false, false, false, nil)
		_ = ch.Close()
		if err == nil && q.Consumers > 0 {
			break
		} else if time.Now().After(late) {
			t.Fatalf("the queue is not consumed again: %v", err)
		}
	}
	second := event("a.told", 1)
	if err := b.Publish(t.Context(), []bus.Envelope{second}); err != nil {
		t.Fatal(err)
	}
	next(t, came, second)
}

// A broker may refuse one message and take the next. The events of a subject are then stored up to one, and none after it.
func TestRefusedEventStopsItsSubject(t *testing.T) {
	t.Parallel()
	address := servertest.RabbitMQ(t)
	b, _ := rabbitProcess(t, address, map[string][]string{"reader": {"a.told"}})
	if err := b.Publish(t.Context(), events("b.told", 1)); err != nil {
		t.Fatal(err)
	}
	_, ch := operator(t, address)
	if _, err := ch.QueueDeclare("small", true, false, false, false, amqp.Table{"x-max-length": int32(2), "x-overflow": "reject-publish"}); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("small", "a.told", "tulifo.events", false, nil); err != nil {
		t.Fatal(err)
	}
	all := events("a.told", 100)
	for i := range all {
		all[i].Subject = all[0].Subject
	}
	if err := b.Publish(t.Context(), all); err == nil {
		t.Fatal("a batch of which the broker refused something was taken for published")
	}
	stored, err := b.Lag(t.Context(), "reader")
	if err != nil || stored > 5 {
		t.Errorf("%d events are stored, %v: some after the one that was refused", stored, err)
	}
	if _, err := ch.QueueDelete("small", false, false, false); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	came, known, due := take(t, b, "reader", "a.told"), map[string]bool{}, 0
	for due < len(all) {
		select {
		case e := <-came:
			if known[e.ID.String()] {
				continue
			}
			known[e.ID.String()] = true
			if e.ID != all[due].ID {
				t.Fatalf("%s came where event %d was due", e.Data, due)
			}
			due++
		case <-time.After(20 * time.Second):
			t.Fatalf("event %d has not come", due)
		}
	}
}

// What a process has in hand, only it knows: it is asked by the others.
func TestLagOfAnotherProcess(t *testing.T) {
	t.Parallel()
	address := servertest.RabbitMQ(t)
	table := map[string][]string{"reader": {"a.told"}}
	served, _ := rabbitProcess(t, address, table)
	asks, _ := rabbitProcess(t, address, table)
	if err := asks.Publish(t.Context(), events("a.told", 300)); err != nil {
		t.Fatal(err)
	}
	held, goOn, done := make(chan struct{}, 1000), make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- served.Consume(ctx, "reader", table["reader"], 7, func(ctx context.Context, _ []bus.Envelope) error {
			held <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
	}()
	<-held
	// Another waits to be served, and has nothing.
	waits := take(t, asks, "reader", "a.told")
	for range 20 {
		if n, err := asks.Lag(t.Context(), "reader"); n != 300 || err != nil {
			t.Fatalf("with 7 of 300 in hand the lag is %d, %v", n, err)
		}
	}
	close(goOn)
	for range 42 {
		<-held
	}
	for late := time.Now().Add(20 * time.Second); ; {
		n, err := asks.Lag(t.Context(), "reader")
		if n == 0 && err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the lag stays at %d, %v", n, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(waits); n > 0 {
		t.Errorf("the process that waits was given %d events", n)
	}
}

// Whatever an operator or another program puts into the exchange or a queue stops nobody.
func TestForeignMessagesAreDropped(t *testing.T) {
	t.Parallel()
	address := servertest.RabbitMQ(t)
	b, _ := rabbitProcess(t, address, map[string][]string{"reader": {"a.told"}})
	came := take(t, b, "reader", "a.told")
	if err := b.Publish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	first := event("a.told", 0)
	if err := b.Publish(t.Context(), []bus.Envelope{first}); err != nil {
		t.Fatal(err)
	}
	next(t, came, first)
	_, ch := operator(t, address)
	for _, body := range []string{"", "{", "null", "[1]", `{"id":7}`, `{"type":"a.told","id":"x"}`, strings.Repeat("\xff", 1<<20), `{"data":{}}`} {
		for _, exchange := range []string{"tulifo.events", "tulifo.broadcasts"} {
			if err := ch.Publish(exchange, "a.told", false, false, amqp.Publishing{Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := ch.Publish("", "reader", false, false, amqp.Publishing{Type: "tulifo.later", Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
		if err := ch.Publish("tulifo.broadcasts", "tulifo.lag.ask", false, false, amqp.Publishing{Type: "tulifo.lag.ask", ReplyTo: "nobody", Body: []byte("reader")}); err != nil {
			t.Fatal(err)
		}
		if err := ch.Publish("tulifo.broadcasts", "x", false, false, amqp.Publishing{Type: "tulifo.lag.say", Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	second := event("a.told", 1)
	if err := b.Publish(t.Context(), []bus.Envelope{second}); err != nil {
		t.Fatal(err)
	}
	next(t, came, second)
}

func TestHalfAValueIsNotPublished(t *testing.T) {
	t.Parallel()
	b, _ := rabbitProcess(t, servertest.RabbitMQ(t), nil)
	for _, data := range []string{"", "{", `{"a":1}}`, "\xff"} {
		e := event("a.told", 0)
		e.Data = []byte(data)
		if err := b.Publish(t.Context(), []bus.Envelope{event("a.told", 1), e}); err == nil {
			t.Errorf("data %q was published", data)
		}
	}
}

// A broker that takes no messages waits for its queues to be emptied. Questions for the lag, as metrics ask them, must not stop that: a connection
// that publishes anything is not read any more, acknowledgements included.
func TestBrokerThatIsFullIsStillEmptied(t *testing.T) {
	t.Parallel()
	server := servertest.OwnRabbitMQ(t)
	b, _ := rabbitProcess(t, server.URL(), map[string][]string{"reader": {"a.told"}})
	all := events("a.told", 1000) // more than are handed out at once
	if err := b.Publish(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	came, goOn := make(chan bus.Envelope, len(all)), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, "reader", []string{"a.told"}, 10, func(ctx context.Context, batch []bus.Envelope) error {
			select {
			case <-goOn:
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, e := range batch {
				came <- e
			}
			return nil
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Consume: %v", err)
		}
	}()
	for late := time.Now().Add(20 * time.Second); ; {
		n, err := b.Lag(t.Context(), "reader")
		if err == nil && n == int64(len(all)) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("lag %d, %v", n, err)
		}
	}
	server.Full(true)
	conn, ch := operator(t, server.URL())
	t.Cleanup(func() { server.Full(false) }) // else that connection, which publishes, is never closed
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	if err := ch.Publish("tulifo.events", "b.told", false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-blocked:
	case <-time.After(20 * time.Second):
		t.Fatal("the broker takes messages")
	}
	if _, err := b.Lag(t.Context(), "reader"); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("lag: %v", err)
	}
	close(goOn)
	for _, e := range all {
		next(t, came, e)
	}
	server.Full(false)
	e := event("a.told", 0)
	if err := b.Publish(t.Context(), []bus.Envelope{e}); err != nil && errs.KindOf(err) != errs.Unavailable {
		t.Error(err)
	}
}

// What an older version puts by reaches a newer one that was there already, waiting to be served: at the latest with the next event, before it.
func TestNewerVersionThatWaitsTakesWhatWasPutBy(t *testing.T) {
	t.Parallel()
	for name, follows := range map[string]bool{"and nothing follows": false, "and another follows": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := servertest.RabbitMQ(t)
			b, _ := rabbitProcess(t, address, map[string][]string{"reader": {"a.told", "b.told"}})
			older, _ := rabbitProcess(t, address, nil)
			ctx, cancel := context.WithCancel(t.Context())
			done, old := make(chan error, 1), make(chan bus.Envelope, 10)
			go func() {
				done <- older.Consume(ctx, "reader", []string{"a.told"}, 10, func(_ context.Context, batch []bus.Envelope) error {
					for _, e := range batch {
						old <- e
					}
					return nil
				})
			}()
			first := event("a.told", 0)
			if err := b.Publish(t.Context(), []bus.Envelope{first}); err != nil {
				t.Fatal(err)
			}
			next(t, old, first)
			newer, _ := rabbitProcess(t, address, nil)
			came := take(t, newer, "reader", "a.told", "b.told")
			_, ch := operator(t, address)
			for late := time.Now().Add(20 * time.Second); ; {
				q, err := ch.QueueDeclarePassive("reader.present", true, true, false, false, nil)
				if err == nil && q.Consumers == 2 {
					// Every subscriber that answers has attached wholly.
					if n, err := b.Lag(t.Context(), "reader"); err == nil && n == 0 {
						break
					}
				}
				if time.Now().After(late) {
					t.Fatalf("%d processes consume, %v", q.Consumers, err)
				}
			}
			unwanted, last := event("b.told", 1), event("a.told", 2)
			last.Subject = unwanted.Subject // so it comes after
			if err := b.Publish(t.Context(), []bus.Envelope{unwanted, last}); err != nil {
				t.Fatal(err)
			}
			next(t, old, last)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if !follows {
				next(t, came, unwanted)
				return
			}
			e := event("b.told", 3)
			if err := b.Publish(t.Context(), []bus.Envelope{e}); err != nil {
				t.Fatal(err)
			}
			next(t, came, unwanted)
			next(t, came, e)
		})
	}
}

// Nothing waits longer than its context, whatever the broker does; and what waited is gone when the bus is closed.
func TestBrokerThatIsAwayHoldsUpNobody(t *testing.T) {
	address := servertest.RabbitMQ(t)
	before := goleak.IgnoreCurrent()
	for name, toxic := range map[string]fault.Toxic{"refuses": {Reset: true}, "is silent": {Silence: true}, "is silent later": {Silence: true, After: 300}} {
		t.Run(name, func(t *testing.T) {
			b, line := rabbitProcess(t, address, map[string][]string{"reader": {"a.told"}})
			line.Set(toxic)
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, lagged := b.Lag(ctx, "reader")
			for what, err := range map[string]error{
				"publish": b.Publish(ctx, events("a.told", 1)), "broadcast": b.Broadcast(ctx, event("a.told", 1)), "ping": b.Ping(ctx), "lag": lagged,
			} {
				if err == nil {
					t.Errorf("%s is no error", what)
				}
				if ctx.Err() == nil && errs.KindOf(err) != errs.Unavailable {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := b.Consume(ctx, "reader", []string{"a.told"}, 1, func(context.Context, []bus.Envelope) error { return nil }); err != nil {
				t.Errorf("Consume: %v", err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			line.Set()
			b.Close()
			line.Close()
		})
	}
	goleak.VerifyNone(t, before)
}

func TestAddressIsNotToldInErrors(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost", "http://a:secret@b/", "amqp://a:secret@b:x/", "amqp://a:secret\n@b/"} {
		_, err := bus.NewRabbitMQ(t.Context(), bus.RabbitOptions{URL: address})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", address, err)
		}
	}
	b, err := bus.NewRabbitMQ(t.Context(), bus.RabbitOptions{URL: "amqp://a:secret@127.0.0.1:1/", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Ping(t.Context()); errs.KindOf(err) != errs.Unavailable || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}
