package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/postgres"
	"tulifo/platform/servertest"
)

const busType = "bench.told"

// buses are the two engines of the bus side by side: publishing, the way of one event, and draining a backlog.
func buses(ctx context.Context, b *bench) (_ []finding, err error) {
	server, err := servertest.LaunchRabbitMQ()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	rabbit, err := bus.NewRabbitMQ(ctx, bus.RabbitOptions{URL: server.URL(), Consumers: map[string][]string{"bench": {busType}}, Log: log})
	if err != nil {
		return nil, err
	}
	defer rabbit.Close()
	if err := b.exec(ctx, `CREATE DATABASE bus`); err != nil {
		return nil, err
	}
	url := *b.database
	url.Path = "/bus"
	if err := postgres.Migrate(ctx, url.String(), bus.Migration); err != nil {
		return nil, err
	}
	session, err := postgres.NewSession(url.String(), log)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	db, err := postgres.Open(ctx, postgres.Config{URL: url.String(), Schema: bus.Schema})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	embedded, err := bus.NewPostgres(ctx, bus.Options{DB: db, Session: session, Log: log})
	if err != nil {
		return nil, err
	}
	defer embedded.Close()

	// Each drains what it has published, so that no measurement begins with a backlog.
	published := func(on bus.Bus) func() (float64, error) {
		return func() (float64, error) {
			rate, err := publishing(ctx, on, 5000)
			if err == nil {
				_, err = draining(ctx, on, 5000)
			}
			return rate, err
		}
	}
	if _, err := draining(ctx, embedded, 0); err != nil {
		return nil, err
	}
	side, err := inTurns(min(b.pairs, 5), published(embedded), published(rabbit))
	if err != nil {
		return nil, err
	}
	alone := broker{server}
	confirms, err := inTurns(min(b.pairs, 5), published(rabbit), func() (float64, error) { return alone.confirmed(ctx, 1000) })
	if err != nil {
		return nil, err
	}
	found := []finding{
		{Job: "bus: events published for good, 256 at a time", Ours: "embedded " + perSecond(side.ours), Opponent: "RabbitMQ " + perSecond(side.theirs), Ratio: side.spread(), Bound: "one transaction a batch; a confirm a subject, each after the broker's fsync"},
		{Job: "bus on RabbitMQ: events published for good", Ours: perSecond(confirms.ours), Opponent: "each confirm awaited " + perSecond(confirms.theirs), Ratio: confirms.spread(), Target: "≥ 2 ×", Met: confirms.ratio >= 2, Bound: "the broker's processor: it shares two with everything here"},
	}
	var ways [2]string
	for i, on := range []bus.Bus{embedded, rabbit} {
		half, most, err := way(ctx, on, 500)
		if err != nil {
			return nil, err
		}
		ways[i] = fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", half, most)
	}
	found = append(found, finding{Job: "bus: from Publish to the consumer, one event at a time", Ours: "embedded " + ways[0], Opponent: "RabbitMQ " + ways[1], Bound: "a commit and a notification; a confirm and a delivery"})
	for _, one := range []struct {
		name string
		on   bus.Bus
	}{{"embedded", embedded}, {"RabbitMQ", rabbit}} {
		depth := func(n int) func() (float64, error) {
			return func() (float64, error) {
				if _, err := publishing(ctx, one.on, n); err != nil {
					return 0, err
				}
				return draining(ctx, one.on, n)
			}
		}
		flat, err := inTurns(min(b.pairs, 3), depth(100_000), depth(10_000))
		if err != nil {
			return nil, err
		}
		found = append(found, finding{Job: "bus, " + one.name + ": a backlog of 100,000 drained beside one of 10,000", Ours: perSecond(flat.ours), Opponent: perSecond(flat.theirs), Ratio: flat.spread(), Target: "flat (≥ 0.85 ×)", Met: flat.ratio >= 0.85, Bound: "batches of 200; the log is read by its key, the queue from its head"})
	}
	return found, nil
}

// told is an event about a subject of its own.
func told() bus.Envelope {
	return bus.Envelope{ID: uuid.New(), Type: busType, Version: 1, OccurredAt: time.Now().UTC(), Producer: "bench", Subject: uuid.New(), Data: json.RawMessage(`{"amount":12500,"currency":"EUR","note":"as long as an event of a booking is, with its ids and its times and all that"}`)}
}

// publishing publishes n events as a relay does, and answers how many a second.
func publishing(ctx context.Context, on bus.Bus, n int) (float64, error) {
	all := make([]bus.Envelope, n)
	for i := range all {
		all[i] = told()
	}
	began := time.Now()
	for batch := range slices.Chunk(all, 256) {
		if err := on.Publish(ctx, batch); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// draining consumes n events, and answers how many a second from the first on; of none, it makes the consumer known.
func draining(ctx context.Context, on bus.Bus, n int) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var began, ended time.Time
	had := 0
	if n == 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Second)
		defer stop()
	}
	err := on.Consume(ctx, "bench", []string{busType}, 200, func(_ context.Context, batch []bus.Envelope) error {
		if had == 0 {
			began = time.Now()
		}
		if had += len(batch); had >= n {
			ended = time.Now()
			cancel()
		}
		return nil
	})
	if err != nil || n == 0 {
		return 0, err
	}
	if had < n {
		return 0, fmt.Errorf("%d of %d events came", had, n)
	}
	return float64(had) / ended.Sub(began).Seconds(), nil
}

// way is how long an event takes from before Publish to the consumer, in milliseconds: the half take less, and all but one in a hundred.
func way(ctx context.Context, on bus.Bus, n int) (half, most float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	came, done := make(chan time.Time, 1), make(chan error, 1)
	go func() {
		done <- on.Consume(ctx, "bench", []string{busType}, 200, func(context.Context, []bus.Envelope) error {
			came <- time.Now()
			return nil
		})
	}()
	defer func() { cancel(); err = errors.Join(err, <-done) }()
	var took []float64
	for i := range n + 20 {
		began := time.Now()
		if err := on.Publish(ctx, []bus.Envelope{told()}); err != nil {
			return 0, 0, err
		}
		select {
		case at := <-came:
			// The first find everything cold.
			if i >= 20 {
				took = append(took, float64(at.Sub(began).Microseconds())/1000)
			}
		case <-time.After(10 * time.Second):
			return 0, 0, errors.New("an event has not come")
		}
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], nil
}
