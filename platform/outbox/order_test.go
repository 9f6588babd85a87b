package outbox_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// Whoever moves one thing at the same moment, from whichever process, its events take effect in the order of the moves, and so they do
// while two relays carry them that know nothing of each other, as when one has lost its lease and has not noticed.
func TestOrderOfOneSubjectUnderContention(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		const writers, each = 4, 25
		first, second := start(t, at), start(t, at)
		on(first, func(ctx context.Context, tx outbox.Tx, e told) error { return first.leave(ctx, tx, e.N) })
		subjects := []uuid.UUID{uuid.New(), uuid.New()}
		ctx, stop := context.WithCancel(t.Context())
		var relays, tellers sync.WaitGroup
		for _, p := range []*process{first, second} {
			relays.Go(func() {
				for ctx.Err() == nil {
					if err := p.relays[0].Drain(ctx); err != nil && ctx.Err() == nil {
						t.Errorf("relay: %v", err)
						return
					}
				}
			})
		}
		for i := range writers {
			p := []*process{first, second}[i%2]
			tellers.Go(func() {
				for n := range each {
					err := p.teller.inTx(t.Context(), func(tx outbox.Tx) error {
						subject := subjects[n%len(subjects)]
						n, err := p.teller.next(t.Context(), tx, subject)
						if err != nil {
							return err
						}
						return outbox.Add(t.Context(), tx, subject, told{n})
					})
					if err != nil {
						t.Errorf("tell: %v", err)
						return
					}
				}
			})
		}
		tellers.Wait()
		stop()
		relays.Wait()
		first.run()
		first.settle()
		inOrder(t, first.effects(), len(subjects), writers*each/len(subjects))
	})
}

// A process whose clock is behind tells of a subject after one whose clock is ahead.
func TestOrderThoughClocksDisagree(t *testing.T) {
	t.Parallel()
	p := start(t, inDocuments(t))
	on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
	subjects := []uuid.UUID{uuid.New(), uuid.New()}
	for i, subject := range subjects {
		e := bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: "test.told", Version: 1, OccurredAt: time.Now().UTC(), Subject: subject, Data: json.RawMessage(`{"n":0}`)}
		if err := outbox.Ahead(t.Context(), p.teller.(docsData).DB, e, time.Now().Add(time.Duration(i+1)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 9 {
		for _, subject := range subjects {
			p.tell(subject, n+1)
		}
	}
	p.run()
	p.settle()
	inOrder(t, p.effects(), 2, 10)
}

// One process tries a failed event again and again, another brings later ones: none is forgotten behind it, and none comes before it.
func TestParkingRacesTheRetry(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		each := at.few(80)
		p := start(t, at)
		p.in.PauseOf(func(int) time.Duration { return 0 })
		var mu sync.Mutex
		failed := map[uuid.UUID]bool{}
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error {
			id := outbox.EnvelopeFrom(ctx).ID
			mu.Lock()
			again := failed[id]
			failed[id] = true
			mu.Unlock()
			if !again && e.N%3 == 0 {
				return errNotNow
			}
			return p.leave(ctx, tx, e.N)
		})
		p.run()
		subjects := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
		for n := range each {
			for _, s := range subjects {
				p.tell(s, n)
			}
		}
		p.settle()
		inOrder(t, p.effects(), len(subjects), each)
		for _, table := range []string{"parked", "dead_letters"} {
			if n := count(t, p.reader, table); n != 0 {
				t.Errorf("%d are left in %s", n, table)
			}
		}
	})
}

func TestLeaseIsOneProcessesAtATime(t *testing.T) {
	t.Parallel()
	at := inDocuments(t)
	first, second := at.open(t, tellerSchema).(docsData), at.open(t, tellerSchema).(docsData)
	var holds [2]atomic.Bool
	taken := make(chan struct{}, 100)
	lead := func(d docsData, me int) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = outbox.Lead(ctx, d.DB, func(ctx context.Context) error {
				holds[me].Store(true)
				defer holds[me].Store(false)
				if holds[1-me].Load() {
					t.Error("two hold the lease")
				}
				taken <- struct{}{}
				<-ctx.Done()
				return nil
			})
		}()
		return func() { cancel(); <-done }
	}
	stopFirst := lead(first, 0)
	until(t, "somebody takes a lease that is free", func() bool { return holds[0].Load() })
	<-taken
	stopSecond := lead(second, 1)
	defer stopSecond()
	// Longer than the lease: it is renewed. Only a holder that was held up for most of that time loses it.
	for tries, kept := 5, false; !kept; tries-- {
		select {
		case <-taken:
			if tries == 1 {
				t.Fatal("the lease is not renewed")
			}
		case <-time.After(2500 * time.Millisecond):
			kept = true
		}
	}
	stopFirst()
	until(t, "a lease that was given back is taken", func() bool { return holds[1].Load() })
}

// A holder that cannot reach the documents stops before another begins.
func TestLeaseEndsWithItsHolder(t *testing.T) {
	t.Parallel()
	at := inDocuments(t)
	first, second := at.open(t, tellerSchema).(docsData), at.open(t, tellerSchema).(docsData)
	began, ended, taken := make(chan struct{}), make(chan time.Time, 1), make(chan time.Time, 1)
	go func() {
		_ = outbox.Once(t.Context(), first.DB, func(ctx context.Context) error {
			close(began)
			<-ctx.Done()
			ended <- time.Now()
			return errNotNow
		})
	}()
	<-began
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		_ = outbox.Lead(ctx, second.DB, func(context.Context) error {
			select {
			case taken <- time.Now():
			default:
			}
			return nil
		})
	}()
	first.Close()
	var took time.Time
	select {
	case took = <-taken:
	case <-time.After(20 * time.Second):
		t.Fatal("the lease of a process that is cut off has not passed on")
	}
	var lost time.Time
	select {
	case lost = <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the lease was taken while its holder went on")
	}
	if took.Before(lost) {
		t.Errorf("the lease was taken %v before its holder stopped", lost.Sub(took))
	}
}

func TestHandlersOfRowsAreRefusedAmongDocuments(t *testing.T) {
	t.Parallel()
	p := start(t, inDocuments(t))
	outbox.On(p.in, func(context.Context, postgres.Tx, told) error { return nil })
	if err := p.in.Run(t.Context(), p.bus); err == nil || errs.KindOf(err) != errs.Internal {
		t.Errorf("Run: %v", err)
	}
	if err := outbox.Add(t.Context(), stranger{}, uuid.New(), told{}); err == nil {
		t.Error("an event was added to what is no transaction")
	}
}

type stranger struct{}

func (stranger) Committed(func()) {}

// What a consumer holds back goes with its data to another store, and back, and follows in order once its cause is mended.
func TestMoveKeepsWhatIsHeld(t *testing.T) {
	t.Parallel()
	for _, way := range [][2]func(testing.TB) home{{inTables, inMongo}, {inMongo, inTables}} {
		from, to := start(t, way[0](t)), start(t, way[1](t))
		bad := uuid.New()
		on(from, func(ctx context.Context, tx outbox.Tx, e told) error {
			if e.N == 1 {
				return errNotNow
			}
			return from.leave(ctx, tx, e.N)
		})
		from.run()
		for n := range 4 {
			from.tell(bad, n)
		}
		from.settle()
		if idle, err := outbox.Idle(t.Context(), from.teller.db(), from.session); err != nil || idle {
			t.Errorf("a service that runs is idle: %v, %v", idle, err)
		}
		from.stop()
		if idle, err := outbox.Idle(t.Context(), from.teller.db(), from.session); err != nil || !idle {
			t.Errorf("a service that has ended is not idle: %v, %v", idle, err)
		}
		for range 2 { // as after an interruption
			if n, err := outbox.Move(t.Context(), from.reader.db(), to.reader.db()); err != nil || n != 3 {
				t.Fatalf("moved %d, %v; want a dead letter and two behind it", n, err)
			}
		}
		on(to, func(ctx context.Context, tx outbox.Tx, e told) error { return to.leave(ctx, tx, e.N) })
		to.run()
		to.settle()
		if got := to.effects(); len(got) != 0 {
			t.Errorf("effects %v before the replay", got)
		}
		if n, err := outbox.Replay(t.Context(), to.reader.db(), "reader"); n != 1 || err != nil {
			t.Errorf("replayed %d, %v", n, err)
		}
		to.settle()
		var ns []int
		for _, e := range to.effects() {
			ns = append(ns, e.N)
		}
		if !slices.Equal(ns, []int{1, 2, 3}) {
			t.Errorf("effects %v after the replay", ns)
		}
		to.stop()
		to.tell(uuid.New(), 0)
		if _, err := outbox.Move(t.Context(), to.teller.db(), from.teller.db()); err == nil {
			t.Error("a move left an event behind in the outbox")
		}
	}
}
