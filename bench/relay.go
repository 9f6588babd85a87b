package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/servertest"
)

type measured struct{ N int }

func (measured) Type() string { return "bench.measured" }

// relay is how fast committed events reach the bus, beside a publisher that waits for RabbitMQ's confirm of each, and how the time to drain
// a backlog grows with it.
func relay(ctx context.Context, b *bench) (_ []finding, err error) {
	p, err := servertest.LaunchRabbitMQ()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	rabbit := broker{p}
	work, err := b.outbox(ctx)
	if err != nil {
		return nil, err
	}
	defer work.close()
	pair, err := inTurns(min(b.pairs, 5), func() (float64, error) { return work.drain(ctx, 10_000) }, func() (float64, error) { return rabbit.confirmed(ctx, 1000) })
	if err != nil {
		return nil, err
	}
	deep, err := inTurns(min(b.pairs, 3), func() (float64, error) { return work.drain(ctx, 100_000) }, func() (float64, error) { return work.drain(ctx, 10_000) })
	if err != nil {
		return nil, err
	}
	write, err := inTurns(min(b.pairs, 5), func() (float64, error) { return work.writes(ctx, true) }, func() (float64, error) { return work.writes(ctx, false) })
	if err != nil {
		return nil, err
	}
	return []finding{
		{Job: "a write with its event, beside the write alone: time for a transaction", Ours: micro(write.ours), Opponent: micro(write.theirs), Ratio: write.spread(), Target: "≤ 1.25 ×", Met: write.ratio <= 1.25, Bound: "the event travels with COMMIT: no round trip more, one row and one index entry more"},
		{Job: "outbox relay: events carried to the bus", Ours: perSecond(pair.ours), Opponent: "RabbitMQ quorum queue, each confirm awaited " + perSecond(pair.theirs), Ratio: pair.spread(), Target: "≥ 2 ×", Met: pair.ratio >= 2, Bound: "one transaction a batch against one confirm a message"},
		{Job: "outbox relay: a backlog of 100,000 beside one of 10,000", Ours: perSecond(deep.ours), Opponent: perSecond(deep.theirs), Ratio: deep.spread(), Target: "flat (≥ 0.85 ×)", Met: deep.ratio >= 0.85, Bound: "the outbox's index is read from its low end; published rows are deleted"},
	}, nil
}

// carried is an outbox and a relay on the installation's Postgres, in a database of their own.
type carried struct {
	db, busDB *postgres.DB
	bus       *bus.Postgres
	session   *postgres.Session
}

func (b *bench) outbox(ctx context.Context) (_ *carried, err error) {
	if err := b.exec(ctx, `CREATE DATABASE carried`); err != nil {
		return nil, err
	}
	url := *b.database
	url.Path = "/carried"
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	c := &carried{}
	if err := postgres.Migrate(ctx, url.String(), bus.Migration, outbox.Migration("tulifo_bench")); err != nil {
		return nil, err
	}
	if c.session, err = postgres.NewSession(url.String(), log); err != nil {
		return nil, err
	}
	if c.busDB, err = postgres.Open(ctx, postgres.Config{URL: url.String(), Schema: bus.Schema}); err != nil {
		return nil, err
	}
	if c.db, err = postgres.Open(ctx, postgres.Config{URL: url.String(), Schema: "tulifo_bench"}); err != nil {
		return nil, err
	}
	c.bus, err = bus.NewPostgres(ctx, bus.Options{DB: c.busDB, Session: c.session, Log: log})
	return c, err
}

// drain commits n events, has a relay carry them, and answers how many a second it carried.
func (c *carried) drain(ctx context.Context, n int) (float64, error) {
	for range n / 500 {
		err := c.db.InTx(ctx, func(tx postgres.Tx) error {
			for i := range 500 {
				if err := outbox.Add(ctx, tx, uuid.New(), measured{i}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	began := time.Now()
	r := outbox.NewRelay(c.db, c.bus, "bench", c.session, nil)
	err := r.Flush(ctx)
	return float64(n) / time.Since(began).Seconds(), err
}

// writes is the time that a small transaction takes at 8 clients, in microseconds, with an event or without.
func (c *carried) writes(ctx context.Context, told bool) (float64, error) {
	const each, clients = 400, 8
	if _, err := c.db.Exec(ctx, `CREATE TABLE IF NOT EXISTS facts (id uuid PRIMARY KEY, body text NOT NULL)`); err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for i := range each {
				err := c.db.InTx(ctx, func(tx postgres.Tx) error {
					id := uuid.New()
					if _, err := tx.Exec(ctx, `INSERT INTO facts (id, body) VALUES ($1, $2)`, id, "a fact of some length, as bookings and payments have"); err != nil {
						return err
					}
					if !told {
						return nil
					}
					return outbox.Add(ctx, tx, id, measured{i})
				})
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	took := float64(time.Since(began).Microseconds()) / each
	return took, outbox.NewRelay(c.db, c.bus, "bench", c.session, nil).Flush(ctx)
}

func (c *carried) close() {
	c.bus.Close()
	c.busDB.Close()
	c.db.Close()
	c.session.Close()
}

// broker is a RabbitMQ that a publisher waits for.
type broker struct{ *servertest.Process }

// confirmed publishes n persistent messages to a quorum queue, waits for the confirm of each, and answers how many a second it managed.
func (r broker) confirmed(ctx context.Context, n int) (float64, error) {
	conn, err := amqp.Dial(r.URL())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	queue := "bench-" + uuid.NewString()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return 0, err
	}
	if err := ch.Confirm(false); err != nil {
		return 0, err
	}
	body := []byte(strings.Repeat("x", 300))
	began := time.Now()
	for range n {
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
		if err != nil {
			return 0, err
		}
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			return 0, errors.Join(errors.New("a message was not confirmed"), err)
		}
	}
	rate := float64(n) / time.Since(began).Seconds()
	_, err = ch.QueueDelete(queue, false, false, false)
	return rate, err
}
