package outbox_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
)

// revoked is heard by every process.
type revoked struct {
	Session uuid.UUID `json:"session"`
}

func (revoked) Type() string { return "test.revoked" }

// hearing are the sessions that a process has heard of.
type hearing struct {
	mu  sync.Mutex
	all map[uuid.UUID]int
}

func (h *hearing) hear(_ context.Context, e revoked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[uuid.UUID]int{}
	}
	h.all[e.Session]++
}

func (h *hearing) times(id uuid.UUID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[id]
}

func TestBroadcastReachesEveryProcess(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		var ears [2]hearing
		var processes [2]*process
		for i := range processes {
			processes[i] = start(t, at)
			outbox.OnBroadcast(processes[i].in, ears[i].hear)
			processes[i].run()
		}
		revoke := func(p *process, id uuid.UUID, then error) {
			t.Helper()
			err := p.teller.inTx(t.Context(), func(tx outbox.Tx) error {
				if err := outbox.AddBroadcast(t.Context(), tx, id, revoked{id}); err != nil {
					return err
				}
				return then
			})
			if (err == nil) != (then == nil) {
				t.Fatal(err)
			}
		}
		until(t, "both processes listen", func() bool {
			id := uuid.New()
			revoke(processes[0], id, nil)
			processes[0].settle()
			return ears[0].times(id) > 0 && ears[1].times(id) > 0
		})
		never := uuid.New()
		revoke(processes[0], never, errNotNow)
		for i, from := range processes {
			id := uuid.New()
			revoke(from, id, nil)
			if ears[i].times(id) == 0 {
				t.Error("the process that committed it has not heard it at once")
			}
			until(t, "the other process hears it", func() bool { return ears[1-i].times(id) > 0 })
			from.settle()
			if n := ears[i].times(id); n != 1 {
				t.Errorf("the process that committed it heard it %d times", n)
			}
		}
		if ears[0].times(never)+ears[1].times(never) > 0 {
			t.Error("what was rolled back was broadcast")
		}
	})
}

// A process whose relay does not lead pokes the one that does.
func TestRelayOfAnotherProcess(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		came := make(chan struct{}, 100)
		first := start(t, at)
		on(first, func(context.Context, outbox.Tx, told) error { came <- struct{}{}; return nil })
		first.run()
		first.tell(uuid.New(), 0)
		<-came
		second := start(t, at).run()
		fastest := time.Hour
		for n := range 10 {
			told := time.Now()
			second.tell(uuid.New(), n)
			select {
			case <-came:
				if n > 0 { // each after the first is told just after a poll, so the next one is far
					fastest = min(fastest, time.Since(told))
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the event of a process whose relay does not lead has not come")
			}
		}
		if fastest > 200*time.Millisecond {
			t.Errorf("the fastest of nine events took %v: only polling found it", fastest)
		}
		first.kill()
		second.tell(uuid.New(), 0)
		until(t, "the relay of the second process has taken over", func() bool { return count(t, second.teller, "outbox") == 0 })
	})
}

func TestFlushIsTheLastPass(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
		for n := range 600 {
			p.tell(uuid.New(), n)
		}
		if err := p.relays[0].Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, p.teller, "outbox"); n != 0 {
			t.Errorf("%d events are left after the last pass", n)
		}
		p.run()
		p.settle()
		if got := p.effects(); len(got) != 600 {
			t.Errorf("%d effects, not 600", len(got))
		}
	})
}

// The bus may bring anything twice; the inbox knows it.
func TestRepeatsHaveNoSecondEffect(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
		subject := uuid.New()
		for n := range 5 {
			p.tell(subject, n)
		}
		p.run()
		p.settle()
		if _, err := p.bus.Lag(t.Context(), "reader"); err != nil {
			t.Fatal(err)
		}
		p.stop()
		if _, err := p.busDB.Exec(t.Context(), `UPDATE cursor SET pos = 0`); err != nil {
			t.Fatal(err)
		}
		q := start(t, at)
		on(q, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
		q.run()
		q.tell(subject, 5)
		q.settle()
		inOrder(t, q.effects(), 1, 6)
	})
}

func TestSettleEndsWithItsContext(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		p.tell(uuid.New(), 0)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := outbox.Settle(ctx, p.bus, outbox.NewInbox(p.teller.db(), "teller", nil)); err == nil {
			t.Error("an event in the outbox and no relay: it has not settled")
		}
	})
}

func TestCollector(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(context.Context, outbox.Tx, told) error { return nil })
		r := prometheus.NewPedanticRegistry()
		if err := r.Register(p.in.Collector(p.bus)); err != nil {
			t.Fatal(err)
		}
		p.run()
		p.tell(uuid.New(), 0)
		p.settle()
		p.stop()
		if err := p.reader.inTx(t.Context(), func(tx outbox.Tx) error { return outbox.Add(t.Context(), tx, uuid.New(), told{1}) }); err != nil {
			t.Fatal(err)
		}
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				got[f.GetName()+" "+m.Label[0].GetName()+"="+m.Label[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
		want := map[string]float64{
			"tulifo_bus_lag consumer=reader": 0, "tulifo_dead_letters consumer=reader": 0,
			"tulifo_parked_events consumer=reader": 0, "tulifo_outbox_depth service=reader": 1,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// When nothing happens, a process asks each outbox four times a second, the log as often for all consumers together, and little else.
func TestIdle(t *testing.T) {
	at := inTables(t)
	before := goleak.IgnoreCurrent()
	p := start(t, at)
	on(p, func(context.Context, outbox.Tx, told) error { return nil })
	p.run()
	p.tell(uuid.New(), 0)
	p.settle()
	teller, reader := p.teller.(rows).DB, p.reader.(rows).DB
	trips := func() [3]int64 { return [3]int64{teller.Trips(), reader.Trips(), p.busDB.Trips()} }
	began, from := time.Now(), trips()
	<-time.After(2 * time.Second)
	to, window := trips(), time.Since(began)
	polls, looks := int64(window/(250*time.Millisecond))+1, 2*(int64(window/(2*time.Second))+1) // the reader also looks at its parked events
	for i, most := range []int64{polls, polls + looks, polls} {
		if n := to[i] - from[i]; n > most {
			t.Errorf("pool %d made %d round trips in %v, more than %d", i, n, window, most)
		}
	}
	p.stop()
	p.bus.Close()
	p.session.Close()
	for _, db := range []*postgres.DB{teller, reader, p.busDB} {
		db.Close()
	}
	goleak.VerifyNone(t, before)
}

func TestDatabaseKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server, url := ownServer(t, migrations()...)
	killedUnderLoad(t, start(t, tablesAt(url)), 60, func() { killHard(t, server) })
}

func TestMongoKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := servertest.OwnMongo(t)
	killedUnderLoad(t, start(t, mongoAt(pgtest.Database(t, bus.Migration), server.URL())), 20, func() {
		server.Kill()
		server.Start()
	})
}

func killedUnderLoad(t *testing.T, p *process, each int, kill func()) {
	const subjects = 20
	on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
	p.run()
	var tellers sync.WaitGroup
	now := make(chan struct{})
	for i := range subjects {
		tellers.Go(func() {
			subject := uuid.New()
			for n := range each {
				if i == 0 && n == each/2 {
					close(now)
				}
				// The number is stored with the fact, so an answer that got lost with the database shows there.
				until(t, "the database answers again", func() bool {
					err := p.tellOnce(subject, n)
					if err != nil && errs.KindOf(err) != errs.Unavailable {
						t.Errorf("while the database is away: %v", err)
					}
					return err == nil
				})
			}
		})
	}
	<-now
	kill()
	tellers.Wait()
	var all []effect
	until(t, "what was told has come to pass", func() bool {
		err := p.settleOnce()
		if err == nil {
			all, err = p.reader.effects(t.Context())
		}
		// A connection that was idle when the database went fails when it is used next.
		if err != nil && errs.KindOf(err) != errs.Unavailable {
			t.Fatal(err)
		}
		return err == nil
	})
	inOrder(t, all, subjects, each)
}
