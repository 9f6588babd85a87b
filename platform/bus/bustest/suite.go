// Package bustest holds what every engine of bus.Bus has to keep, as one suite, and a bus on which the test itself hands out events.
package bustest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/fault"
)

// Process is one process on a bus.
type Process struct {
	Bus  bus.Bus
	Kill func()       // ends it without warning: its connections break, nothing is given back
	Line *fault.Proxy // to the server
}

const patience = 20 * time.Second

// Suite checks an engine. fresh answers a new, empty bus as a function that adds a process to it; what it starts ends with the test.
func Suite(t *testing.T, fresh func(t *testing.T) (join func() Process)) {
	for name, test := range map[string]func(*testing.T, func() Process){
		"an envelope arrives as it was published":                             arrivesUnchanged,
		"nothing is lost and each subject keeps its order":                    losesNothing,
		"each consumer gets the types it wants":                               typesOfEach,
		"no more than max come at a time":                                     noMoreThanMax,
		"after an error the same comes again, before anything else":           againAfterError,
		"after a panic the same comes again":                                  againAfterPanic,
		"two processes: one is served, and the other when it is killed":       takeOver,
		"what was handled does not come again after a restart, the rest does": restart,
		"a batch being handled is finished at shutdown":                       finishes,
		"lag counts what is not handled":                                      lag,
		"lag is never less while a consumer comes":                            lagAsOneComes,
		"a broadcast reaches every process":                                   broadcast,
		"a long broadcast arrives whole":                                      longBroadcast,
		"a slow listener holds up nobody":                                     slowListener,
		"an event that nobody wants stops nothing":                            heardByNobody,
		"what an older version does not want reaches the newer":               olderVersion,
		"consuming processes come and go in the middle of the work":           comeAndGo,
		"a line may be cut at any byte":                                       cuts,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

// envelope is an event of the type about subject; n is in its data.
func envelope(typ string, subject uuid.UUID, n int) bus.Envelope {
	return bus.Envelope{
		ID: uuid.Must(uuid.NewV7()), Type: typ, Version: 1, OccurredAt: time.Date(2026, 3, 1, 9, 0, 0, n*1000, time.UTC), Producer: "suite",
		Subject: subject, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

func number(t *testing.T, e bus.Envelope) int {
	t.Helper()
	var d struct{ N int }
	if err := json.Unmarshal(e.Data, &d); err != nil {
		t.Errorf("data %s: %v", e.Data, err)
	}
	return d.N
}

// consume runs a consumer until the test ends or stop is called, and returns once the bus knows it.
func consume(t *testing.T, b bus.Bus, consumer string, types []string, max int, fn func(context.Context, []bus.Envelope) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, consumer, types, max, fn) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Consume answered %v after its context ended", err)
			}
		case <-time.After(patience):
			t.Error("Consume did not end with its context")
		}
	})
	t.Cleanup(stop)
	until(t, "the bus knows "+consumer, func() bool {
		_, err := b.Lag(context.Background(), consumer)
		return err == nil
	})
	return stop
}

func known(b bus.Bus) func() bool {
	return func() bool {
		_, err := b.Lag(context.Background(), "reader")
		return err == nil
	}
}

func publish(t *testing.T, b bus.Bus, batch ...bus.Envelope) {
	t.Helper()
	if err := b.Publish(context.Background(), batch); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

// until waits for what is to become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// journal keeps what consumers were given.
type journal struct {
	mu  sync.Mutex
	all []bus.Envelope
}

func (j *journal) take(_ context.Context, batch []bus.Envelope) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, batch...)
	return nil
}

func (j *journal) seen() []bus.Envelope {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all[:len(j.all):len(j.all)]
}

// firsts are the envelopes without those that came before.
func firsts(all []bus.Envelope) []bus.Envelope {
	known := map[uuid.UUID]bool{}
	var out []bus.Envelope
	for _, e := range all {
		if !known[e.ID] {
			known[e.ID] = true
			out = append(out, e)
		}
	}
	return out
}

func (j *journal) await(t *testing.T, n int) []bus.Envelope {
	t.Helper()
	until(t, fmt.Sprintf("%d events have come", n), func() bool { return len(firsts(j.seen())) >= n })
	return firsts(j.seen())
}

// inOrder checks that the events of each subject come with rising numbers, from 0 without a gap.
func inOrder(t *testing.T, events []bus.Envelope) {
	t.Helper()
	next := map[uuid.UUID]int{}
	for _, e := range events {
		if n := number(t, e); n != next[e.Subject] {
			t.Fatalf("subject %s: event %d came where %d was due", e.Subject, n, next[e.Subject])
		}
		next[e.Subject]++
	}
}

func arrivesUnchanged(t *testing.T, join func() Process) {
	p := join()
	var j journal
	consume(t, p.Bus, "reader", []string{"a.told"}, 10, j.take)
	want := envelope("a.told", uuid.New(), 7)
	want.Version, want.Data = 3, json.RawMessage(`{"z": 1.50,  "a":"é\u0000 </script>","b":[1e3]}`)
	bare := bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: "a.told", Version: 1, OccurredAt: want.OccurredAt, Data: json.RawMessage(`0`)}
	publish(t, p.Bus, want, bare)
	if diff := cmp.Diff([]bus.Envelope{want, bare}, j.await(t, 2)); diff != "" {
		t.Errorf("published -, consumed +:\n%s", diff)
	}
	publish(t, p.Bus)
}

func losesNothing(t *testing.T, join func() Process) {
	const publishers, subjects, each = 4, 5, 100
	reader := join()
	var j journal
	consume(t, reader.Bus, "reader", []string{"a.told"}, 16, j.take)
	var work sync.WaitGroup
	for range publishers {
		p := join()
		work.Go(func() {
			ids := make([]uuid.UUID, subjects)
			for i := range ids {
				ids[i] = uuid.New()
			}
			for n := 0; n < each; n += 2 {
				var batch []bus.Envelope
				for _, id := range ids {
					batch = append(batch, envelope("a.told", id, n), envelope("b.told", id, n), envelope("a.told", id, n+1))
				}
				if err := p.Bus.Publish(context.Background(), batch); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	work.Wait()
	got := j.await(t, publishers*subjects*each)
	if len(got) != publishers*subjects*each {
		t.Errorf("%d events were consumed of %d published", len(got), publishers*subjects*each)
	}
	inOrder(t, got)
}

func typesOfEach(t *testing.T, join func() Process) {
	p := join()
	var one, both journal
	consume(t, p.Bus, "one", []string{"a.told"}, 10, one.take)
	consume(t, p.Bus, "both", []string{"a.told", "b.told"}, 10, both.take)
	s := uuid.New()
	publish(t, p.Bus, envelope("b.told", s, 0), envelope("c.told", s, 1), envelope("a.told", s, 2))
	publish(t, p.Bus, envelope("a.told", s, 3))
	numbers := func(j *journal, n int) (out []int) {
		for _, e := range j.await(t, n) {
			out = append(out, number(t, e))
		}
		return out
	}
	if diff := cmp.Diff([]int{2, 3}, numbers(&one, 2)); diff != "" {
		t.Errorf("one type: %s", diff)
	}
	if diff := cmp.Diff([]int{0, 2, 3}, numbers(&both, 3)); diff != "" {
		t.Errorf("two types: %s", diff)
	}
}

func noMoreThanMax(t *testing.T, join func() Process) {
	p := join()
	var j journal
	consume(t, p.Bus, "reader", []string{"a.told"}, 3, func(ctx context.Context, batch []bus.Envelope) error {
		if len(batch) == 0 || len(batch) > 3 {
			t.Errorf("%d events at a time, not 1 to 3", len(batch))
		}
		return j.take(ctx, batch)
	})
	s := uuid.New()
	var batch []bus.Envelope
	for n := range 10 {
		batch = append(batch, envelope("a.told", s, n))
	}
	publish(t, p.Bus, batch...)
	inOrder(t, j.await(t, 10))
}

func againAfterError(t *testing.T, join func() Process) {
	fails(t, join, func() error { return errors.New("not this time") })
}

func againAfterPanic(t *testing.T, join func() Process) {
	fails(t, join, func() error { panic("not this time") })
}

func fails(t *testing.T, join func() Process, fail func() error) {
	p := join()
	var j journal
	left := 3
	consume(t, p.Bus, "reader", []string{"a.told"}, 2, func(ctx context.Context, batch []bus.Envelope) error {
		if number(t, batch[0]) != len(j.seen()) {
			t.Errorf("event %d came where %d was due", number(t, batch[0]), len(j.seen()))
		}
		if number(t, batch[0]) >= 2 && left > 0 {
			left--
			return fail()
		}
		return j.take(ctx, batch)
	})
	s := uuid.New()
	for n := range 6 {
		publish(t, p.Bus, envelope("a.told", s, n))
	}
	inOrder(t, j.await(t, 6))
	if left > 0 {
		t.Errorf("it failed only %d times", 3-left)
	}
}

func takeOver(t *testing.T, join func() Process) {
	first, second, teller := join(), join(), join()
	var one, two, all journal
	stuck := make(chan struct{})
	release := sync.OnceFunc(func() { close(stuck) })
	dying := make(chan struct{})
	var once sync.Once
	// What Consume answers in a process that was killed is nobody's business.
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	t.Cleanup(func() { cancel(); <-gone })
	t.Cleanup(release)
	firstFn := func(ctx context.Context, batch []bus.Envelope) error {
		if number(t, batch[0]) >= 8 {
			once.Do(func() { close(dying) })
			select {
			case <-stuck:
			case <-ctx.Done():
			}
			return errors.New("killed in the middle")
		}
		_ = all.take(ctx, batch)
		return one.take(ctx, batch)
	}
	go func() {
		defer close(gone)
		_ = first.Bus.Consume(ctx, "reader", []string{"a.told"}, 4, firstFn)
	}()
	until(t, "the bus knows the reader", known(first.Bus))
	s := uuid.New()
	publish(t, teller.Bus, envelope("a.told", s, 0))
	one.await(t, 1)
	consume(t, second.Bus, "reader", []string{"a.told"}, 4, func(ctx context.Context, batch []bus.Envelope) error {
		_ = all.take(ctx, batch)
		return two.take(ctx, batch)
	})
	for n := range 39 {
		publish(t, teller.Bus, envelope("a.told", s, n+1))
	}
	<-dying
	if n := len(two.seen()); n > 0 {
		t.Errorf("the second process was given %d events while the first lived", n)
	}
	first.Kill()
	until(t, "the second process is served", func() bool { return len(two.seen()) > 0 })
	release()
	inOrder(t, all.await(t, 40))
}

func restart(t *testing.T, join func() Process) {
	p := join()
	var before, after journal
	stop := consume(t, p.Bus, "reader", []string{"a.told"}, 4, before.take)
	s := uuid.New()
	for n := range 10 {
		publish(t, p.Bus, envelope("a.told", s, n))
	}
	before.await(t, 10)
	stop()
	for n := range 5 {
		publish(t, p.Bus, envelope("a.told", s, n+10))
	}
	if n, err := p.Bus.Lag(context.Background(), "reader"); err != nil || n != 5 {
		t.Errorf("lag of a consumer that is away: %d, %v; want 5", n, err)
	}
	q := join()
	consume(t, q.Bus, "reader", []string{"a.told"}, 4, after.take)
	got := after.await(t, 5)
	if n := number(t, got[0]); n != 10 {
		t.Errorf("after the restart the first event was %d, not 10", n)
	}
	inOrder(t, append(before.seen(), got...))
}

func finishes(t *testing.T, join func() Process) {
	p := join()
	began, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var result error
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var calls journal
	go func() {
		done <- p.Bus.Consume(ctx, "reader", []string{"a.told"}, 1, func(ctx context.Context, batch []bus.Envelope) error {
			once.Do(func() { close(began) })
			<-goOn
			result = ctx.Err()
			return calls.take(ctx, batch)
		})
	}()
	until(t, "the bus knows the reader", known(p.Bus))
	s := uuid.New()
	publish(t, p.Bus, envelope("a.told", s, 0), envelope("a.told", s, 1))
	<-began
	cancel()
	close(goOn)
	if err := <-done; err != nil {
		t.Errorf("Consume: %v", err)
	}
	if result != nil {
		t.Errorf("the batch in hand was told to stop: %v", result)
	}
	if n := len(calls.seen()); n != 1 {
		t.Errorf("%d events were handled, want the one in hand", n)
	}
	until(t, "one event is left", func() bool {
		n, err := p.Bus.Lag(context.Background(), "reader")
		return err == nil && n == 1
	})
}

func lag(t *testing.T, join func() Process) {
	p := join()
	if _, err := p.Bus.Lag(context.Background(), "nobody"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("lag of nobody: %v, want not found", err)
	}
	goOn := make(chan struct{})
	var once sync.Once
	open := func() { once.Do(func() { close(goOn) }) }
	t.Cleanup(open)
	consume(t, p.Bus, "reader", []string{"a.told"}, 2, func(context.Context, []bus.Envelope) error {
		<-goOn
		return nil
	})
	s := uuid.New()
	publish(t, p.Bus, envelope("a.told", s, 0), envelope("b.told", s, 1), envelope("a.told", s, 2), envelope("a.told", s, 3))
	if n, err := p.Bus.Lag(context.Background(), "reader"); err != nil || n != 3 {
		t.Errorf("lag with one being handled: %d, %v; want 3", n, err)
	}
	open()
	until(t, "the lag is gone", func() bool {
		n, err := p.Bus.Lag(context.Background(), "reader")
		return err == nil && n == 0
	})
}

// lagAsOneComes counts what waits, again and again, while a consumer comes and is handed it.
func lagAsOneComes(t *testing.T, join func() Process) {
	p, asks := join(), join()
	for round := range 8 {
		ctx, cancel := context.WithCancel(context.Background())
		began, goOn, done := make(chan struct{}, 3), make(chan struct{}), make(chan error, 1)
		open := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(open)
		if round > 0 {
			// Before the first it is not known, and gets nothing.
			publish(t, asks.Bus, envelope("a.told", uuid.New(), 0), envelope("a.told", uuid.New(), 0), envelope("a.told", uuid.New(), 0))
		}
		go func() {
			done <- p.Bus.Consume(ctx, "reader", []string{"a.told"}, 2, func(context.Context, []bus.Envelope) error {
				began <- struct{}{}
				<-goOn
				return nil
			})
		}()
		for more := 5; round > 0 && more > 0; {
			n, err := asks.Bus.Lag(context.Background(), "reader")
			if err == nil && n != 3 {
				t.Fatalf("round %d: the lag is %d, and nothing is handled", round, n)
			}
			if len(began) > 0 {
				more--
			}
		}
		open()
		until(t, "nothing waits", func() bool {
			n, err := asks.Bus.Lag(context.Background(), "reader")
			return err == nil && n == 0
		})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Consume: %v", err)
		}
	}
}

// listen hears broadcasts until the test ends.
func listen(t *testing.T, b bus.Bus, types []string, fn func(bus.Envelope)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Listen(ctx, types, fn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Listen answered %v after its context ended", err)
		}
	})
}

// ear is a listener that keeps what it hears.
func ear(t *testing.T, b bus.Bus, types ...string) *journal {
	j := &journal{}
	listen(t, b, types, func(e bus.Envelope) { _ = j.take(context.Background(), []bus.Envelope{e}) })
	return j
}

// tuned broadcasts until all hear, since who is not listening yet misses it.
func tuned(t *testing.T, from bus.Bus, ears ...*journal) {
	t.Helper()
	until(t, "all listen", func() bool {
		if err := from.Broadcast(context.Background(), envelope("tuning", uuid.New(), 0)); err != nil {
			t.Fatalf("broadcast: %v", err)
		}
		for _, e := range ears {
			if len(e.seen()) == 0 {
				return false
			}
		}
		return true
	})
}

func broadcast(t *testing.T, join func() Process) {
	p, q, r := join(), join(), join()
	ears := []*journal{ear(t, p.Bus, "tuning", "a.told"), ear(t, q.Bus, "tuning", "a.told"), ear(t, q.Bus, "a.told", "tuning"), ear(t, r.Bus, "tuning")}
	tuned(t, p.Bus, ears...)
	want := envelope("a.told", uuid.New(), 1)
	if err := p.Bus.Broadcast(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	last := envelope("tuning", uuid.New(), 99)
	if err := p.Bus.Broadcast(context.Background(), last); err != nil {
		t.Fatal(err)
	}
	for i, e := range ears {
		until(t, "the last broadcast is heard", func() bool { s := e.seen(); return len(s) > 0 && s[len(s)-1].ID == last.ID })
		var told []bus.Envelope
		for _, env := range e.seen() {
			if env.Type == "a.told" {
				told = append(told, env)
			}
		}
		if i == len(ears)-1 {
			if len(told) > 0 {
				t.Error("a type that was not wanted was heard")
			}
			continue
		}
		if diff := cmp.Diff([]bus.Envelope{want}, told); diff != "" {
			t.Errorf("listener %d: %s", i, diff)
		}
	}
}

func longBroadcast(t *testing.T, join func() Process) {
	p, q := join(), join()
	e := ear(t, q.Bus, "tuning", "a.told")
	tuned(t, p.Bus, e)
	want := envelope("a.told", uuid.New(), 1)
	want.Data = json.RawMessage(`{"n":1,"text":"` + strings.Repeat("ö", 100_000) + `"}`)
	if err := p.Bus.Broadcast(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	until(t, "the long broadcast is heard", func() bool { s := e.seen(); return s[len(s)-1].ID == want.ID })
	s := e.seen()
	if got := s[len(s)-1]; !reflect.DeepEqual(want, got) {
		t.Errorf("of %d bytes %d came, and not the same", len(want.Data), len(got.Data))
	}
}

func slowListener(t *testing.T, join func() Process) {
	p, q := join(), join()
	hold := make(chan struct{})
	caught := make(chan struct{})
	var once sync.Once
	listen(t, q.Bus, []string{"tuning"}, func(bus.Envelope) { once.Do(func() { close(caught) }); <-hold })
	t.Cleanup(func() { close(hold) })
	quick := ear(t, q.Bus, "tuning", "a.told")
	panics := 0
	listen(t, q.Bus, []string{"tuning"}, func(bus.Envelope) { panics++; panic("bad listener") })
	tuned(t, p.Bus, quick)
	until(t, "the slow one is caught", func() bool {
		if err := p.Bus.Broadcast(context.Background(), envelope("tuning", uuid.New(), 0)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-caught:
			return true
		default:
			return false
		}
	})
	want := envelope("a.told", uuid.New(), 1)
	if err := p.Bus.Broadcast(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	until(t, "the quick one hears", func() bool { s := quick.seen(); return s[len(s)-1].ID == want.ID })
}
