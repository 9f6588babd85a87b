package timer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tulifo/platform/clock"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/timer"
)

var schema = postgres.Migration{Schema: "tulifo_exits", FS: fstest.MapFS{"0001_exits.sql": {Data: []byte(`-- +goose Up
CREATE TABLE exits (id uuid PRIMARY KEY, due_at timestamptz, fired_at timestamptz, times integer NOT NULL DEFAULT 0);
CREATE INDEX exits_due_at ON exits (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE retries (id uuid PRIMARY KEY, next_try_at timestamptz, tries integer NOT NULL DEFAULT 0);
`)}}}

// exits is a service with timed exits and retries, written as services are.
type exits struct {
	db     *postgres.DB
	failDo atomic.Int64 // so many firings fail yet
	panics atomic.Bool
	asked  atomic.Int64
	next   func(now time.Time) time.Time // when an exit comes again; nil: never
}

func (s *exits) add(t testing.TB, due time.Time) uuid.UUID {
	t.Helper()
	id := uuid.New()
	if _, err := s.db.Exec(context.Background(), `INSERT INTO exits (id, due_at) VALUES ($1, $2)`, id, due); err != nil {
		t.Fatal(err)
	}
	return id
}

func (s *exits) Due(ctx context.Context) (time.Time, error) {
	s.asked.Add(1)
	due, err := postgres.One[*time.Time](ctx, s.db, `SELECT min(due_at) FROM exits`)
	if err != nil || due == nil {
		return time.Time{}, err
	}
	return *due, nil
}

func (s *exits) Fire(ctx context.Context, now time.Time) error {
	if s.failDo.Add(-1) >= 0 {
		return errors.New("not now")
	}
	if s.panics.Swap(false) {
		panic("not now")
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		var next *time.Time
		if s.next != nil {
			if n := s.next(now); !n.IsZero() {
				next = &n
			}
		}
		_, err := tx.Exec(ctx, `
			WITH due AS (SELECT id FROM exits WHERE due_at <= $1 ORDER BY due_at LIMIT 100 FOR UPDATE SKIP LOCKED)
			UPDATE exits e SET fired_at = e.due_at, due_at = $2, times = e.times + 1 FROM due WHERE e.id = due.id AND e.due_at <= $1`, now, next)
		return err
	})
}

func (s *exits) RetryDue(ctx context.Context) (time.Time, error) {
	due, err := postgres.One[*time.Time](ctx, s.db, `SELECT min(next_try_at) FROM retries`)
	if err != nil || due == nil {
		return time.Time{}, err
	}
	return *due, nil
}

func (s *exits) Retry(ctx context.Context, now time.Time) error {
	_, err := s.db.Exec(ctx, `UPDATE retries SET tries = tries + 1, next_try_at = NULL WHERE next_try_at <= $1`, now)
	return err
}

func (s *exits) count(t testing.TB, where string) int64 {
	t.Helper()
	n, err := postgres.One[int64](context.Background(), s.db, `SELECT count(*) FROM exits WHERE `+where)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func run(t testing.TB, name string, timed any, c clock.Clock) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- timer.Run(ctx, timer.Options{Name: name, Timed: timed, Clock: c, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestFiresWhenTheClockJumps(t *testing.T) {
	s := &exits{db: pgtest.DB(t, schema)}
	c := clock.NewVirtual(noon)
	soon := s.add(t, noon.Add(time.Hour))
	s.add(t, noon.Add(48*time.Hour))
	run(t, "jumps", s, c)
	until(t, "it has looked", func() bool { return s.asked.Load() > 0 })
	if n := s.count(t, `fired_at IS NOT NULL`); n != 0 {
		t.Fatalf("%d exits fired before their time", n)
	}
	c.Advance(time.Hour)
	until(t, "the exit has fired", func() bool { return s.count(t, `fired_at IS NOT NULL`) == 1 })
	at, err := postgres.One[time.Time](t.Context(), s.db, `SELECT fired_at FROM exits WHERE id = $1`, soon)
	if err != nil || !at.Equal(noon.Add(time.Hour)) {
		t.Errorf("fired at %v, %v", at, err)
	}
}

// Ten processes, a thousand exits, failures and panics among them: each fires once.
func TestManyProcesses(t *testing.T) {
	url := pgtest.Database(t, schema)
	c := clock.NewVirtual(noon)
	var first *exits
	for i := range 10 {
		s := &exits{db: pgtest.Open(t, url, schema.Schema)}
		if i == 0 {
			first = s
			if _, err := s.db.Exec(t.Context(), `INSERT INTO exits (id, due_at) SELECT gen_random_uuid(), $1::timestamptz + n * interval '1 second' FROM generate_series(1, 1000) n`, noon); err != nil {
				t.Fatal(err)
			}
		}
		s.failDo.Store(2)
		s.panics.Store(true)
		run(t, fmt.Sprint("many-", i), s, c)
	}
	c.Advance(500 * time.Second)
	until(t, "half have fired", func() bool { return first.count(t, `fired_at IS NOT NULL`) == 500 })
	c.Advance(500 * time.Second)
	until(t, "all have fired", func() bool { return first.count(t, `fired_at IS NOT NULL`) == 1000 })
	if n := first.count(t, `times <> 1`); n != 0 {
		t.Errorf("%d exits fired more than once", n)
	}
}

func TestRetriesFollowTheSystemClock(t *testing.T) {
	s := &exits{db: pgtest.DB(t, schema)}
	if _, err := s.db.Exec(t.Context(), `INSERT INTO retries (id, next_try_at) VALUES ($1, $2), ($3, $4)`,
		uuid.New(), time.Now().Add(50*time.Millisecond), uuid.New(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	run(t, "retries", s, clock.NewVirtual(noon.AddDate(10, 0, 0)))
	until(t, "what is due is tried", func() bool {
		n, err := postgres.One[int64](t.Context(), s.db, `SELECT coalesce(sum(tries), 0)::bigint FROM retries`)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}

// scripted is a Timed without a database, for the loop's own timing.
type scripted struct {
	due  func() (time.Time, error)
	fire func(time.Time) error
}

func (s scripted) Due(context.Context) (time.Time, error)      { return s.due() }
func (s scripted) Fire(_ context.Context, now time.Time) error { return s.fire(now) }

func TestPokeIsHeardAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var due atomic.Pointer[time.Time]
		fired := make(chan time.Time, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := scripted{
			due: func() (time.Time, error) {
				if d := due.Load(); d != nil {
					return *d, nil
				}
				return time.Time{}, nil
			},
			fire: func(now time.Time) error { due.Store(nil); fired <- now; return nil },
		}
		go func() {
			done <- timer.Run(ctx, timer.Options{Name: "poked", Timed: s, Log: slog.New(slog.DiscardHandler)})
		}()
		synctest.Wait()
		start := time.Now()
		due.Store(&start)
		timer.Poke("poked")
		<-fired
		if took := time.Since(start); took != 0 {
			t.Errorf("a poke was heard after %v", took)
		}
		synctest.Wait()
		soon := time.Now().Add(300 * time.Millisecond)
		due.Store(&soon)
		timer.Poke("poked")
		if at := <-fired; at.Before(soon) || time.Since(soon) > 10*time.Millisecond {
			t.Errorf("due at %v, fired at %v", soon, at)
		}
		synctest.Wait()
		start = time.Now()
		due.Store(&start)
		<-fired
		if took := time.Since(start); took > time.Second {
			t.Errorf("without a poke it was seen after %v", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		timer.Poke("poked")
		timer.Poke("nobody")
	})
}

// A database that is away must cost neither the loop nor the processor, however often it is poked.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked, ok := 0, false
		fired := make(chan struct{}, 1)
		s := scripted{
			due: func() (time.Time, error) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				if !ok {
					if asked%2 == 0 {
						panic("not now")
					}
					return time.Time{}, errors.New("not now")
				}
				return time.Now(), nil
			},
			fire: func(time.Time) error {
				select {
				case fired <- struct{}{}:
				default:
				}
				return nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- timer.Run(ctx, timer.Options{Name: "away", Timed: s, Log: slog.New(slog.DiscardHandler)})
		}()
		tick := time.NewTicker(time.Millisecond)
		for range 60_000 {
			<-tick.C
			timer.Poke("away")
		}
		tick.Stop()
		mu.Lock()
		if asked > 30 {
			t.Errorf("it asked %d times in a minute", asked)
		}
		ok = true
		mu.Unlock()
		back := time.Now()
		<-fired
		if took := time.Since(back); took > 5*time.Second {
			t.Errorf("it came back after %v", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRunRefusesWhatIsNotTimed(t *testing.T) {
	if err := timer.Run(t.Context(), timer.Options{Name: "none", Timed: struct{}{}}); err == nil {
		t.Error("a thing without Due and Fire is taken")
	}
}

func TestDrain(t *testing.T) {
	a, b := &exits{db: pgtest.DB(t, schema)}, &exits{db: pgtest.DB(t, schema)}
	c := clock.NewVirtual(noon)
	a.add(t, noon.Add(-time.Hour))
	a.add(t, noon.Add(3*time.Hour))
	a.add(t, noon.Add(100*time.Hour))
	b.add(t, noon.Add(2*time.Hour))
	// What fires in a chain is fired in the order of its time too.
	b.next = func(now time.Time) time.Time {
		if now.Before(noon.Add(4 * time.Hour)) {
			return now.Add(90 * time.Minute)
		}
		return time.Time{}
	}
	var stops []string
	settled := 0
	err := timer.Drain(t.Context(), timer.Advance{
		To: noon.Add(10 * time.Hour),
		Set: func(_ context.Context, at time.Time) error {
			c.Set(at)
			stops = append(stops, at.Format("15:04"))
			return nil
		},
		Settle: func(context.Context) error { settled++; return nil },
	}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"11:00", "14:00", "15:00", "15:30", "17:00", "22:00"}, stops); diff != "" {
		t.Error(diff)
	}
	if n := a.count(t, `times = 1`); n != 2 {
		t.Errorf("%d exits of a fired, want 2", n)
	}
	if n := b.count(t, `times = 3`); n != 1 {
		t.Error("the chain of b did not fire three times")
	}
	if !c.Now().Equal(noon.Add(10*time.Hour)) || settled < 6 {
		t.Errorf("the clock stands at %v, settled %d times", c.Now(), settled)
	}
}

func TestDrainEndsWithAnError(t *testing.T) {
	set := func(context.Context, time.Time) error { return nil }
	broken := scripted{due: func() (time.Time, error) { return noon, nil }, fire: func(time.Time) error { return errors.New("broken") }}
	if err := timer.Drain(t.Context(), timer.Advance{To: noon, Set: set}, broken); err == nil {
		t.Error("an exit that fails is drained")
	}
	synctest.Test(t, func(t *testing.T) {
		stuck := scripted{due: func() (time.Time, error) { return noon, nil }, fire: func(time.Time) error { return nil }}
		if err := timer.Drain(t.Context(), timer.Advance{To: noon, Set: set}, stuck); err == nil {
			t.Error("an exit that stays due is drained")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := timer.Drain(ctx, timer.Advance{To: noon, Set: set}, stuck); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
	})
}
