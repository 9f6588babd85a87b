package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tulifo/platform/clock"
	"tulifo/platform/docdb"
	"tulifo/platform/obs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/servertest"
)

func TestEventFollowsItsFact(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
		p.run()
		kept, lost := uuid.New(), uuid.New()
		p.tell(kept, 0)
		err := p.teller.inTx(t.Context(), func(tx outbox.Tx) error {
			if err := outbox.Add(t.Context(), tx, lost, told{1}); err != nil {
				return err
			}
			return errNotNow
		})
		if !errors.Is(err, errNotNow) {
			t.Fatal(err)
		}
		p.settle()
		if got := p.effects(); len(got) != 1 || got[0].Subject != kept {
			t.Errorf("effects %v, want the one of %s", got, kept)
		}
		if n := count(t, p.teller, "outbox"); n != 0 {
			t.Errorf("%d events are left in the outbox", n)
		}
	})
}

func TestAddCostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	p := start(t, inTables(t))
	p.tell(uuid.New(), 0)
	db := p.teller.(rows).DB
	before := db.Trips()
	p.tell(uuid.New(), 1)
	if n := db.Trips() - before; n != 2 {
		t.Errorf("a fact and its event took %d round trips, not 2", n)
	}
}

func TestEnvelope(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		now := clock.NewVirtual(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
		var mu sync.Mutex
		var lines []string
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error {
			env := outbox.EnvelopeFrom(ctx)
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprint(env.Type, " ", env.Version, " ", env.OccurredAt, " ", env.Producer, " ", env.Traceparent, " ", obs.Traceparent(ctx) == env.Traceparent))
			return nil
		})
		p.run()
		const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		ctx := outbox.WithClock(obs.WithTraceparent(t.Context(), trace), now)
		if err := p.tryTell(ctx, uuid.New(), 0); err != nil {
			t.Fatal(err)
		}
		p.settle()
		if err := p.tryTell(outbox.At(ctx, now.Now().Add(-time.Hour)), uuid.New(), 0); err != nil {
			t.Fatal(err)
		}
		p.settle()
		want := []string{
			"test.told 1 2026-03-02 09:00:00 +0000 UTC teller " + trace + " true",
			"test.told 1 2026-03-02 08:00:00 +0000 UTC teller " + trace + " true",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Error(diff)
		}
	})
}

// Ten thousand events, four tellers, two processes, handlers that fail at random, one killed process: each event has one effect, in order.
func TestExactlyOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		const subjects = 200
		each := at.few(50)
		var failures atomic.Int64
		handler := func(p *process) {
			on(p, func(ctx context.Context, tx outbox.Tx, e told) error {
				if err := p.leave(ctx, tx, e.N); err != nil {
					return err
				}
				switch rand.N(at.few(400)) {
				case 0:
					failures.Add(1)
					return errNotNow
				case 1:
					failures.Add(1)
					panic("not now")
				}
				return nil
			})
		}
		first, second := start(t, at), start(t, at)
		for _, p := range []*process{first, second} {
			handler(p)
			// Long enough for later events of the subject to come meanwhile.
			p.in.PauseOf(func(int) time.Duration { return 300 * time.Millisecond })
		}
		first.run()
		var tellers sync.WaitGroup
		for range 4 {
			tellers.Go(func() {
				ids := make([]uuid.UUID, subjects/4)
				for i := range ids {
					ids[i] = uuid.New()
				}
				for n := range each {
					for _, id := range ids {
						second.tell(id, n)
					}
				}
			})
		}
		until(t, "some events are consumed", func() bool { return count(t, second.reader, "effects") > int64(at.few(500)) })
		second.run()
		first.kill()
		tellers.Wait()
		second.settle()
		inOrder(t, second.effects(), subjects, each)
		if failures.Load() == 0 {
			t.Error("no handler ever failed")
		}
		for _, table := range []string{"parked", "dead_letters"} {
			if n := count(t, second.reader, table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	})
}

func TestDeadLettersParkAndReplay(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		bad, good := uuid.New(), uuid.New()
		var mended atomic.Bool
		var calls atomic.Int64
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error {
			if outbox.EnvelopeFrom(ctx).Subject == bad && e.N == 1 && !mended.Load() {
				calls.Add(1)
				return errors.New("the thing is broken \x00\xff")
			}
			return p.leave(ctx, tx, e.N)
		})
		p.run()
		for n := range 4 {
			p.tell(bad, n)
			p.tell(good, n)
		}
		p.settle()
		p.tell(bad, 4)
		p.settle()
		of := func(subject uuid.UUID) (ns []int) {
			for _, e := range p.effects() {
				if e.Subject == subject {
					ns = append(ns, e.N)
				}
			}
			return ns
		}
		if diff := cmp.Diff([]int{0, 1, 2, 3}, of(good)); diff != "" {
			t.Errorf("other subjects: %s", diff)
		}
		if diff := cmp.Diff([]int{0}, of(bad)); diff != "" {
			t.Errorf("the subject behind the dead letter: %s", diff)
		}
		dead, err := p.reader.letters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(dead) != 1 || dead[0].Attempts != 10 || !strings.Contains(dead[0].Reason, "the thing is broken") {
			t.Errorf("dead letters %+v, want one after 10 failures with its reason", dead)
		}
		// The batch of the bus that it came in is tried as a whole first.
		if n := calls.Load(); n < 10 || n > 11 {
			t.Errorf("the handler was tried %d times", n)
		}
		if n := count(t, p.reader, "parked"); n != 3 {
			t.Errorf("%d events are parked, want 3", n)
		}
		replay := func() {
			t.Helper()
			if n, err := outbox.Replay(t.Context(), p.reader.db(), "reader"); n != 1 || err != nil {
				t.Errorf("replayed %d, %v; want 1", n, err)
			}
			p.settle()
		}
		replay()
		if got := of(bad); len(got) != 1 || count(t, p.reader, "dead_letters") != 1 {
			t.Errorf("replayed too early: effects %v", got)
		}
		mended.Store(true)
		replay()
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4}, of(bad)); diff != "" {
			t.Errorf("after the replay: %s", diff)
		}
		if n, err := outbox.Replay(t.Context(), p.reader.db(), "reader"); n != 0 || err != nil {
			t.Errorf("nothing is left to replay, got %d, %v", n, err)
		}
	})
}

// newest is told as a later version of the producer tells it.
type newest struct {
	N string `json:"n"`
}

func (newest) Type() string { return "test.told" }
func (newest) Version() int { return 2 }

// list is not the object that consumers of test.told expect.
type list []int

func (list) Type() string { return "test.told" }

// wider has a field that consumers do not know.
type wider struct {
	told
	More string `json:"more"`
}

func TestWhatCannotBeUnderstoodIsDeadAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return p.leave(ctx, tx, e.N) })
		p.run()
		add := func(subject uuid.UUID, events ...outbox.Event) {
			t.Helper()
			err := p.teller.inTx(t.Context(), func(tx outbox.Tx) error {
				for _, e := range events {
					if err := outbox.Add(t.Context(), tx, subject, e); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		fine := uuid.New()
		add(uuid.New(), list{1}, told{1})
		add(uuid.New(), newest{"x"}, told{1}, told{2})
		add(uuid.New(), list(nil))
		add(fine, told{0}, wider{told{1}, "more"})
		p.settle()
		inOrder(t, p.effects(), 1, 2)
		dead, err := p.reader.letters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		reasons := make([]string, len(dead))
		for i, d := range dead {
			reasons[i] = d.Reason
		}
		if len(reasons) != 3 || !strings.Contains(reasons[0], "not a test.told") || !strings.Contains(reasons[1], "version 2") || !strings.Contains(reasons[2], "no data") {
			t.Errorf("reasons %q", reasons)
		}
		if n := count(t, p.reader, "parked"); n != 3 {
			t.Errorf("%d events are parked behind them, want 3", n)
		}
		if n, err := outbox.Replay(t.Context(), p.reader.db(), "reader"); n != 3 || err != nil {
			t.Errorf("replayed %d, %v", n, err)
		}
		p.settle()
		if n := count(t, p.reader, "dead_letters"); n != 3 {
			t.Errorf("%d dead letters after a replay that mends nothing, want 3", n)
		}
	})
}

func TestBatches(t *testing.T) {
	t.Parallel()
	p := start(t, inTables(t))
	var mu sync.Mutex
	var most int
	failed := map[uuid.UUID]int{} // how often, by event
	outbox.OnBatch(p.in, func(ctx context.Context, tx postgres.Tx, all []told) error {
		envelopes := outbox.EnvelopesFrom(ctx)
		if len(envelopes) != len(all) {
			return fmt.Errorf("%d envelopes for %d events", len(envelopes), len(all))
		}
		// With those that came with it, then on its own: each that is bad fails twice, which is far from being given up.
		bad := false
		mu.Lock()
		most = max(most, len(all))
		for i, e := range all {
			if id := envelopes[i].ID; e.N == 13 && failed[id] < 2 {
				failed[id]++
				bad = true
			}
		}
		mu.Unlock()
		if bad {
			return errNotNow
		}
		ids, subjects, ns := make([]uuid.UUID, len(all)), make([]uuid.UUID, len(all)), make([]int, len(all))
		for i, e := range all {
			ids[i], subjects[i], ns[i] = envelopes[i].ID, envelopes[i].Subject, e.N
		}
		_, err := tx.Exec(ctx, `INSERT INTO effects (event_id, subject, n) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[])`, ids, subjects, ns)
		return err
	})
	on(p, func(ctx context.Context, tx outbox.Tx, e heard) error { return p.leave(ctx, tx, e.N) })
	const subjects, each = 20, 20
	ids := make([]uuid.UUID, subjects)
	for i := range ids {
		ids[i] = uuid.New()
	}
	for n := range each {
		err := p.teller.inTx(t.Context(), func(tx outbox.Tx) error {
			for _, id := range ids {
				var e outbox.Event = told{n}
				if n%7 == 3 {
					e = heard{n}
				}
				if err := outbox.Add(t.Context(), tx, id, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.run()
	p.settle()
	inOrder(t, p.effects(), subjects, each)
	mu.Lock()
	defer mu.Unlock()
	if len(failed) != subjects {
		t.Errorf("%d events failed, want %d", len(failed), subjects)
	}
	if most < 20 || most > 200 {
		t.Errorf("the biggest batch had %d events", most)
	}
}

// What a handler tells is told once, and its consumers settle too.
func TestChain(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error {
			if e.N == 5 {
				return p.leave(ctx, tx, e.N)
			}
			return outbox.Add(ctx, tx, outbox.EnvelopeFrom(ctx).Subject, heard(e))
		})
		on(p, func(ctx context.Context, tx outbox.Tx, e heard) error {
			return p.reader.inTx(ctx, func(joined outbox.Tx) error {
				return outbox.Add(ctx, joined, outbox.EnvelopeFrom(ctx).Subject, told{e.N + 1})
			})
		})
		p.run()
		for range 20 {
			p.tell(uuid.New(), 0)
		}
		p.settle()
		if got := p.effects(); len(got) != 20 {
			t.Errorf("%d chains came to their end when all had settled, not 20", len(got))
		}
	})
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	p := start(t, inTables(t))
	outbox.OnDoc(p.in, func(ctx context.Context, tx docdb.Tx, e told) error {
		if e.N == 1 {
			sql, _ := docdb.SQL(tx)
			return p.leave(ctx, sql, e.N)
		}
		return outbox.Add(ctx, tx, outbox.EnvelopeFrom(ctx).Subject, told{1})
	})
	p.run()
	p.tell(uuid.New(), 0)
	p.settle()
	if got := p.effects(); len(got) != 1 {
		t.Errorf("effects %v, want one", got)
	}
}

func TestTwoHandlersOfOneTypeAreRefused(t *testing.T) {
	in := outbox.NewInbox(nil, "reader", nil)
	for range 2 {
		outbox.On(in, func(context.Context, postgres.Tx, told) error { return nil })
	}
	if diff := cmp.Diff([]string{"test.told"}, in.Types()); diff != "" {
		t.Error(diff)
	}
	if err := in.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "test.told") {
		t.Errorf("Run: %v", err)
	}
}

func TestPruneForgetsOnlyWhatIsOld(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e told) error { return nil })
		p.run()
		p.tell(uuid.New(), 0)
		p.settle()
		if err := p.in.Prune(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if n := count(t, p.reader, "inbox"); n != 1 {
			t.Errorf("%d remembered events, want the young one", n)
		}
		if err := p.in.Prune(t.Context(), -time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := count(t, p.reader, "inbox"); n != 0 {
			t.Errorf("%d remembered events, want none", n)
		}
	})
}

// However busy the hour was, it is forgotten.
func TestPruneForgetsMoreThanOneOperationRemoves(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	docs, err := docdb.OpenMongo(ctx, docdb.Mongo{URI: servertest.Mongo(t), Service: "reader"}, collections()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(docs.Close)
	if err := outbox.Old(ctx, docs, 10_001, docdb.MaxLimit+1); err != nil {
		t.Fatal(err)
	}
	if err := outbox.NewInbox(docs, "reader", nil).Prune(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"inbox", "subjects"} {
		if n, err := outbox.Count(ctx, docs, c); n != 0 || err != nil {
			t.Errorf("%s: %d are left, %v", c, n, err)
		}
	}
}
