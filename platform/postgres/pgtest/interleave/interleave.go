// Package interleave runs operations that race for the same rows in each order that their SQL statements can take.
//
// Every actor reaches the real Postgres through a door of its own, as a process of its own would. The door lets one statement at a time
// through, also of those that travel in one batch, and the stage decides whose is next. A statement that waits for a lock stands still until
// another actor has let go of it. Every walks all orders; Sample takes random ones. A Contest is a play of
// contenders for one thing.
//
// Always: between two decisions nothing runs but what waits for a lock, so the same decisions give the same run. BEGIN is no step: under READ
// COMMITTED a transaction sees nothing before its first statement. What an actor does between its statements must be the same in each run, and
// nothing else may use its doors meanwhile; what others do to the database is not seen.
//
//	stage, dbs := interleave.New(t, url, 2, func(url string) *postgres.DB { return pgtest.Open(t, url, schema) })
//	stage.Every(func() interleave.Play {
//		id := insert()
//		return interleave.Play{Acts: []func(){func() { release(dbs[0], id) }, func() { refund(dbs[1], id) }}, After: func(steps string) { check(id, steps) }}
//	})
package interleave

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Play is one run: what each actor does, and what is looked at when all are done. steps says which statements went in which order.
type Play struct {
	Acts  []func()
	After func(steps string)
}

// Stage holds the actors' statements back and lets one through at a time.
type Stage struct {
	t     testing.TB
	watch *pgx.Conn // asks who waits for a lock
	doors []*door

	mu      sync.Mutex
	changed chan struct{} // of size 1: something happened
	actors  []*actor      // of the run; nil between runs, when everything passes
	steps   []string
}

// actor is one of a run.
type actor struct {
	gate     []*step // statements that wait to be let through
	inflight []*step // let through, not answered yet
	done     bool
}

// step is a statement at the door.
type step struct {
	actor int
	pid   uint32 // of its backend
	sql   string
	pass  chan struct{}
}

// patience is how long a run may stand still; only a fault of the test itself takes so long.
const patience = 20 * time.Second

// New is a stage with n doors to the database that url names, and the n actors, each made with the address behind its own door. It goes with
// the test.
func New[A any](t testing.TB, url string, n int, actor func(url string) A) (*Stage, []A) {
	t.Helper()
	s := &Stage{t: t, changed: make(chan struct{}, 1)}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("interleave: %v", err)
	}
	s.watch = conn
	// A deadlock is found at once instead of after a second.
	if _, err := conn.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''20ms''', current_database()); END $$`); err != nil {
		t.Fatalf("interleave: %v", err)
	}
	for i := range n {
		d, err := openDoor(s, i, url)
		if err != nil {
			t.Fatalf("interleave: %v", err)
		}
		s.doors = append(s.doors, d)
	}
	t.Cleanup(func() {
		for _, d := range s.doors {
			d.close()
		}
		_ = conn.Close(context.WithoutCancel(t.Context()))
	})
	var actors []A
	for _, d := range s.doors {
		actors = append(actors, actor(d.url))
	}
	return s, actors
}

// Every runs plays until each order of the statements has been taken once, and answers how many there are. Plays must be alike.
func (s *Stage) Every(next func() Play) (runs int) {
	var path []decision
	for {
		at := 0
		s.run(next(), func(options []int) int {
			if at == len(path) {
				path = append(path, decision{options: options})
			}
			d := path[at]
			if !slices.Equal(d.options, options) {
				s.t.Fatalf("interleave: the same decisions led to %v and now to %v: the acts are not alike\n%s", d.options, options, s.told())
			}
			at++
			return d.options[d.chosen]
		})
		runs++
		path = path[:at]
		for len(path) > 0 && path[len(path)-1].chosen == len(path[len(path)-1].options)-1 {
			path = path[:len(path)-1]
		}
		if len(path) == 0 || s.t.Failed() {
			return runs
		}
		path[len(path)-1].chosen++
	}
}

// decision is one of a run: who could have gone on, and who did.
type decision struct {
	options []int
	chosen  int
}

// Sample runs n plays whose orders r decides.
func (s *Stage) Sample(n int, r *rand.Rand, next func() Play) {
	for range n {
		s.run(next(), func(options []int) int { return options[r.IntN(len(options))] })
		if s.t.Failed() {
			return
		}
	}
}

// run is one play; choose says which of the actors that can go on does.
func (s *Stage) run(p Play, choose func(options []int) int) {
	s.t.Helper()
	s.mu.Lock()
	s.actors, s.steps = nil, nil
	for range p.Acts {
		s.actors = append(s.actors, &actor{})
	}
	actors := s.actors
	s.mu.Unlock()
	for i, act := range p.Acts {
		go func() {
			defer func() {
				s.mu.Lock()
				actors[i].done = true
				s.mu.Unlock()
				s.poke()
			}()
			act()
		}()
	}
	defer func() {
		// Whoever is still at a door, because the run has failed, may pass.
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, a := range s.actors {
			for _, one := range a.gate {
				close(one.pass)
			}
		}
		s.actors = nil
	}()
	for {
		options, over := s.quiet()
		if over {
			break
		}
		s.let(choose(options))
	}
	p.After(s.told())
}

// quiet waits until every actor is done, at its door, or waiting for a lock, and answers who is at the door. over: all are done.
func (s *Stage) quiet() (options []int, over bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for wait := 300 * time.Microsecond; ; {
		s.mu.Lock()
		var flying []uint32
		thinking, left := false, 0
		options = options[:0]
		for i, a := range s.actors {
			switch {
			case a.done:
				continue
			case len(a.gate) > 0:
				options = append(options, i)
			case len(a.inflight) > 0:
				flying = append(flying, a.inflight[0].pid)
			default:
				thinking = true
			}
			left++
		}
		s.mu.Unlock()
		switch {
		case left == 0:
			return nil, true
		case !thinking && len(flying) == 0:
			return options, false
		case time.Now().After(deadline):
			s.t.Fatalf("interleave: nothing goes on after\n%s", s.told())
		}
		pause := time.NewTimer(wait)
		select {
		case <-s.changed:
			pause.Stop()
			continue
		case <-pause.C:
		}
		// When all of them wait for locks, it is for each other, and Postgres will end it.
		if !thinking && len(options) > 0 && s.locked(flying) && s.flies(flying) {
			return options, false
		}
	}
}

// locked tells whether all of the backends wait for locks.
func (s *Stage) locked(pids []uint32) bool {
	ids := make([]int32, len(pids))
	for i, p := range pids {
		ids[i] = int32(p)
	}
	var all bool
	if err := s.watch.QueryRow(s.t.Context(), `SELECT bool_and(cardinality(pg_blocking_pids(pid)) > 0) FROM unnest($1::int[]) AS p (pid)`, ids).Scan(&all); err != nil {
		s.t.Fatalf("interleave: %v", err)
	}
	return all
}

// flies tells whether those statements are still the ones that are not answered.
func (s *Stage) flies(pids []uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.actors {
		if !a.done && len(a.gate) == 0 {
			if len(a.inflight) == 0 || n == len(pids) || a.inflight[0].pid != pids[n] {
				return false
			}
			n++
		}
	}
	return n == len(pids)
}

// let has an actor's next statement pass.
func (s *Stage) let(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.actors[i]
	one := a.gate[0]
	a.gate = a.gate[1:]
	a.inflight = append(a.inflight, one)
	s.steps = append(s.steps, fmt.Sprintf("%d: %s", i, brief(one.sql)))
	close(one.pass)
}

// enter has a statement wait until it may pass; nil when no run is on.
func (s *Stage) enter(actor int, pid uint32, sql string) *step {
	s.mu.Lock()
	if actor >= len(s.actors) || s.actors[actor].done {
		s.mu.Unlock()
		return nil
	}
	one := &step{actor, pid, sql, make(chan struct{})}
	s.actors[actor].gate = append(s.actors[actor].gate, one)
	s.mu.Unlock()
	s.poke()
	<-one.pass
	return one
}

// leave notes that a statement is answered.
func (s *Stage) leave(one *step) {
	if one == nil {
		return
	}
	s.mu.Lock()
	if one.actor < len(s.actors) {
		a := s.actors[one.actor]
		a.inflight = slices.DeleteFunc(a.inflight, func(f *step) bool { return f == one })
	}
	s.mu.Unlock()
	s.poke()
}

func (s *Stage) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Stage) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.steps, "\n")
}

func brief(sql string) string {
	words := strings.Join(strings.Fields(sql), " ")
	return words[:min(len(words), 90)]
}
