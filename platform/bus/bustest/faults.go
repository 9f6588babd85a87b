package bustest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/fault"
	"tulifo/platform/soak"
)

// Server is a bus on a server of the test's own.
type Server struct {
	Join              func() Process // adds a process
	Stop, Kill, Start func()         // in order, as kill -9 does, and with its data again; each returns when it is done
}

const recovery = 5 * time.Minute // a server's stop and start on a busy machine are part of it

// Restarts checks what an engine keeps while its server is stopped, killed and started again under load.
func Restarts(t *testing.T, s Server) {
	const publishers, subjects = 3, 4
	readers := [2]Process{s.Join(), s.Join()}
	var one, two journal
	for _, p := range readers {
		consume(t, p.Bus, "one", []string{"a.told"}, 16, one.take)
		consume(t, p.Bus, "two", []string{"a.told", "b.told"}, 16, two.take)
	}
	var told atomic.Int64 // events of each type
	var stop atomic.Bool
	var work sync.WaitGroup
	all := make([]*teller, publishers)
	for i := range all {
		all[i] = newTeller(s.Join().Bus, subjects)
		work.Go(func() {
			for !stop.Load() {
				told.Add(all[i].tell(t))
			}
		})
	}
	more := func(what string) {
		t.Helper()
		began, from := time.Now(), told.Load()
		slowly(t, what+", events are published", func() bool { return told.Load() > from+60 })
		from = int64(len(firsts(one.seen())))
		slowly(t, what+", events are consumed", func() bool { return int64(len(firsts(one.seen()))) > from+60 })
		t.Logf("%s: carried on after %v", what, time.Since(began).Round(time.Millisecond))
	}
	more("at first")
	s.Stop()
	s.Start()
	more("after a stop")
	s.Kill()
	s.Start()
	more("after a kill")
	stop.Store(true)
	work.Wait()
	n := int(told.Load())
	slowly(t, "all that was published has come", func() bool { return len(firsts(one.seen())) >= n && len(firsts(two.seen())) >= 2*n })
	inOrder(t, firsts(one.seen()))
	inOrder(t, only(firsts(two.seen()), "a.told"))
	inOrder(t, only(firsts(two.seen()), "b.told"))
	until(t, "nothing is left", func() bool {
		a, err := readers[0].Bus.Lag(context.Background(), "one")
		b, err2 := readers[1].Bus.Lag(context.Background(), "two")
		return a == 0 && b == 0 && err == nil && err2 == nil
	})
	// What comes twice was on its way when the server went: now nothing is.
	before := len(one.seen())
	calm := all[0].tell(t)
	one.await(t, n+int(calm))
	if got := len(one.seen()) - before; int64(got) != calm {
		t.Errorf("of %d events, told while all is well, %d came", calm, got)
	}
}

// teller publishes events that follow each other about some subjects, each until the bus has it.
type teller struct {
	bus      bus.Bus
	subjects []uuid.UUID
	next     int
}

func newTeller(b bus.Bus, subjects int) *teller {
	t := &teller{bus: b}
	for range subjects {
		t.subjects = append(t.subjects, uuid.New())
	}
	return t
}

// tell publishes two events of each type about each subject, and answers how many of each type.
func (p *teller) tell(t *testing.T) int64 {
	var batch []bus.Envelope
	for _, s := range p.subjects {
		for n := range 2 {
			batch = append(batch, envelope("a.told", s, p.next+n), envelope("b.told", s, p.next+n))
		}
	}
	p.next += 2
	late := time.Now().Add(recovery)
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := p.bus.Publish(context.Background(), batch)
		if err == nil {
			return int64(2 * len(p.subjects))
		}
		if errs.KindOf(err) != errs.Unavailable || time.Now().After(late) {
			t.Errorf("while the server is away, publish answers %v", err)
			return 0
		}
		<-time.After(wait)
	}
}

func only(all []bus.Envelope, typ string) (out []bus.Envelope) {
	for _, e := range all {
		if e.Type == typ {
			out = append(out, e)
		}
	}
	return out
}

func slowly(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(5*time.Millisecond), time.After(recovery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within %v: %s", recovery, what)
		case <-tick.C:
		}
	}
}

// cuts resets the line of a process after any number of bytes, so at any step of what it says to its server and hears of it: from the first
// byte of a new connection to the last of an answer.
func cuts(t *testing.T, join func() Process) {
	p := join()
	var j journal
	consume(t, p.Bus, "reader", []string{"a.told"}, 4, j.take)
	told := newTeller(p.Bus, 3)
	total := int(told.tell(t))
	r := soak.Rand(t)
	for i := range soak.N(16, 600) {
		side := fault.ToServer
		if i%2 == 1 {
			side = fault.ToClient
		}
		after := 1 + r.Int64N(1<<uint(2+r.IntN(11)))
		if i%4 >= 2 {
			// The whole of a connection's beginning is to be cut too, not only one that stands.
			p.Line.Set(fault.Toxic{Reset: true})
		}
		p.Line.Set(fault.Toxic{Toward: side, CutAfter: after})
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		for n := 0; ctx.Err() == nil && n < 3; n++ {
			e := envelope("b.told", told.subjects[0], n)
			if err := p.Bus.Publish(ctx, []bus.Envelope{e}); err != nil && ctx.Err() == nil && errs.KindOf(err) != errs.Unavailable {
				t.Errorf("cut after %d bytes: %v", after, err)
			}
		}
		cancel()
		stop := time.AfterFunc(300*time.Millisecond, func() { p.Line.Set() })
		total += int(told.tell(t))
		stop.Stop()
		p.Line.Set()
	}
	inOrder(t, j.await(t, total))
	until(t, "nothing is left", func() bool {
		n, err := p.Bus.Lag(context.Background(), "reader")
		return err == nil && n == 0
	})
}

// comeAndGo has consuming processes start and die in the middle of the work, each with a batch in hand and each taking another number at a time.
func comeAndGo(t *testing.T, join func() Process) {
	const publishers, subjects, batches = 2, 3, 30
	const all = publishers * subjects * 2 * batches
	sizes := []int{40, 2, 16, 1, 7}
	var j journal
	ctx, cancel := context.WithCancel(context.Background())
	var gone sync.WaitGroup
	t.Cleanup(func() { cancel(); gone.Wait() })
	begin := func(p Process, size, quota int) (stuck chan struct{}) {
		stuck = make(chan struct{})
		var once sync.Once
		// What Consume answers in a process that was killed is nobody's business.
		gone.Go(func() {
			_ = p.Bus.Consume(ctx, "reader", []string{"a.told"}, size, func(ctx context.Context, batch []bus.Envelope) error {
				if len(firsts(j.seen())) < quota {
					return j.take(ctx, batch)
				}
				once.Do(func() { close(stuck) })
				<-ctx.Done()
				return ctx.Err()
			})
		})
		return stuck
	}
	p := join()
	stuck := begin(p, sizes[0], all/(len(sizes)+1))
	until(t, "the bus knows the reader", known(p.Bus))
	var work sync.WaitGroup
	for range publishers {
		told := newTeller(join().Bus, subjects)
		work.Go(func() {
			for range batches {
				told.tell(t)
			}
		})
	}
	for i, size := range sizes[1:] {
		select {
		case <-stuck:
		case <-time.After(patience):
			t.Fatalf("process %d was not served", i)
		}
		if i == 0 {
			// All the rest waits behind the batch in hand.
			work.Wait()
		}
		next, quota := join(), (i+2)*all/(len(sizes)+1)
		if i == len(sizes)-2 {
			quota = all + 1
		}
		stuck = begin(next, size, quota)
		p.Kill()
		p = next
	}
	inOrder(t, j.await(t, all))
}

// heardByNobody has events that nobody wants stop nothing.
func heardByNobody(t *testing.T, join func() Process) {
	p := join()
	s := uuid.New()
	for n := range 3 {
		publish(t, p.Bus, envelope("c.told", s, n))
	}
	var j journal
	consume(t, p.Bus, "reader", []string{"a.told"}, 4, j.take)
	publish(t, p.Bus, envelope("c.told", s, 3), envelope("a.told", s, 0), envelope("c.told", s, 4), envelope("a.told", s, 1))
	inOrder(t, j.await(t, 2))
	until(t, "nothing is left", func() bool {
		n, err := p.Bus.Lag(context.Background(), "reader")
		return err == nil && n == 0
	})
}

// olderVersion has old and new versions of a service take turns, as they do while it is brought up to date: what the old one does not want
// must still reach the new one.
func olderVersion(t *testing.T, join func() Process) {
	p := join()
	s := uuid.New()
	var older, newer journal
	newTypes := []string{"a.told", "b.told"}
	stop := consume(t, p.Bus, "reader", newTypes, 2, newer.take)
	publish(t, p.Bus, envelope("a.told", s, 0))
	newer.await(t, 1)
	stop()
	stop = consume(t, p.Bus, "reader", []string{"a.told"}, 2, older.take)
	want := map[uuid.UUID]bool{}
	for n := range 6 {
		b := envelope("b.told", s, n)
		want[b.ID] = true
		publish(t, p.Bus, envelope("a.told", s, n+1), b)
	}
	inOrder(t, append(newer.seen(), older.await(t, 6)...))
	if got := only(older.seen(), "b.told"); len(got) > 0 {
		t.Errorf("the older version was handed %d events that it does not want", len(got))
	}
	stop()
	stop = consume(t, p.Bus, "reader", newTypes, 2, newer.take)
	until(t, "what the older version passed over has come", func() bool {
		for _, e := range newer.seen() {
			delete(want, e.ID)
		}
		return len(want) == 0
	})
	publish(t, p.Bus, envelope("a.told", s, 7))
	until(t, "what follows has come", func() bool { return number(t, newer.seen()[len(newer.seen())-1]) == 7 })
	stop()
	if n := len(only(firsts(newer.seen()), "b.told")); n != 6 {
		t.Errorf("%d events of 6 that the older version passed over", n)
	}
}
