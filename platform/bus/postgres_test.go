package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// process is a Postgres bus as one process has it.
func process(t testing.TB, url string) (*bus.Postgres, *postgres.DB, *postgres.Session) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := postgres.Open(context.Background(), postgres.Config{URL: url, Schema: bus.Schema, MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	session, err := postgres.NewSession(url, log)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.NewPostgres(context.Background(), bus.Options{DB: db, Session: session, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); session.Close(); db.Close() })
	return b, db, session
}

func event(typ string, n int) bus.Envelope {
	return bus.Envelope{
		ID: uuid.Must(uuid.NewV7()), Type: typ, Version: 1, OccurredAt: time.Now().UTC().Truncate(time.Microsecond), Producer: "test",
		Subject: uuid.New(), Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

func events(typ string, n int) (all []bus.Envelope) {
	for i := range n {
		all = append(all, event(typ, i))
	}
	return all
}

// drink consumes until n events have come, and answers them.
func drink(t testing.TB, b *bus.Postgres, consumer string, n int) (all []bus.Envelope) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := b.Consume(ctx, consumer, []string{"a.told"}, 64, func(_ context.Context, batch []bus.Envelope) error {
		if all = append(all, batch...); len(all) >= n {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != n {
		t.Fatalf("%d events came, not %d", len(all), n)
	}
	return all
}

func TestNewConsumerGetsWhatIsKept(t *testing.T) {
	t.Parallel()
	b, _, _ := process(t, pgtest.Database(t, bus.Migration))
	if err := b.Publish(t.Context(), events("a.told", 100)); err != nil {
		t.Fatal(err)
	}
	drink(t, b, "late", 100)
}

// A reader that has seen a position has seen all before it, whatever publishers do at once or leave unfinished.
func TestPositionsHaveNoGaps(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t, bus.Migration)
	b, db, _ := process(t, url)
	var work sync.WaitGroup
	for p := range 8 {
		work.Go(func() {
			for i := range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				if (p+i)%5 == 0 {
					go cancel()
				}
				bad := events("a.told", 3)
				if i%7 == 0 {
					bad[2].Data = json.RawMessage(`{`)
				}
				if err := b.Publish(ctx, bad); err == nil && i%7 == 0 {
					t.Error("half a JSON value was published")
				}
				cancel()
			}
		})
	}
	work.Wait()
	type log struct{ Rows, Least, Last, Head int64 }
	l, err := postgres.One[log](t.Context(), db, `SELECT count(*) AS rows, min(pos) AS least, max(pos) AS last, (SELECT pos FROM head) AS head FROM log`)
	if err != nil {
		t.Fatal(err)
	}
	if l.Least != 1 || l.Rows != l.Last || l.Last != l.Head || l.Rows%3 != 0 || l.Rows == 0 {
		t.Errorf("the log is %+v", l)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	b, db, _ := process(t, pgtest.Database(t, bus.Migration))
	left := func() int64 {
		t.Helper()
		n, err := postgres.One[int64](t.Context(), db, `SELECT count(*) FROM log`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	prune := func(keep time.Duration) {
		t.Helper()
		if err := b.Prune(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Publish(t.Context(), events("a.told", 10)); err != nil {
		t.Fatal(err)
	}
	if prune(0); left() != 10 {
		t.Errorf("without any consumer %d of 10 are left", left())
	}
	drink(t, b, "one", 10)
	if prune(time.Hour); left() != 10 {
		t.Errorf("%d of 10 young events are left", left())
	}
	if err := b.Publish(t.Context(), events("a.told", 5)); err != nil {
		t.Fatal(err)
	}
	if prune(0); left() != 5 {
		t.Errorf("%d events are left, not the 5 that one consumer has not handled", left())
	}
	drink(t, b, "two", 5)
	if prune(0); left() != 5 {
		t.Errorf("%d events are left, not the 5 that one of two consumers has not handled", left())
	}
}

// The processes of a machine share what they hear of each other; polling is only the guarantee.
func TestAcrossProcesses(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t, bus.Migration)
	a, _, _ := process(t, url)
	b, _, _ := process(t, url)
	came := make(chan time.Time, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, "reader", []string{"a.told"}, 64, func(context.Context, []bus.Envelope) error {
			came <- time.Now()
			return nil
		})
	}()
	defer func() { cancel(); <-done }()
	fastest := time.Hour
	for n := range 10 {
		told := time.Now()
		if err := a.Publish(t.Context(), events("a.told", 1)); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-came:
			if n > 0 { // each after the first is told just after a poll, so the next one is far
				fastest = min(fastest, at.Sub(told))
			}
		case <-time.After(10 * time.Second):
			t.Fatal("an event of another process has not come")
		}
	}
	if fastest > 200*time.Millisecond {
		t.Errorf("the fastest of nine events took %v: only polling found it", fastest)
	}
}

func TestLocalBroadcastNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres:///none?host=/nonexistent", Schema: bus.Schema})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	session, err := postgres.NewSession("postgres:///none?host=/nonexistent", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	b, err := bus.NewPostgres(t.Context(), bus.Options{DB: db, Session: session, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := make(chan struct{}, 64), make(chan error, 1)
	go func() { done <- b.Listen(ctx, []string{"a.told"}, func(bus.Envelope) { heard <- struct{}{} }) }()
	for ok := false; !ok; {
		if err := b.Broadcast(t.Context(), event("a.told", 0)); err == nil {
			t.Fatal("a broadcast without a database is no error")
		}
		select {
		case <-heard:
			ok = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkPublish(b *testing.B) {
	p, _, _ := process(b, pgtest.Database(b, bus.Migration))
	batch := events("a.told", 256)
	b.ResetTimer()
	for range b.N {
		if err := p.Publish(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
}
