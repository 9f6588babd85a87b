package app

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tulifo/platform/clock"
	"tulifo/platform/pause"
	"tulifo/platform/servertest"
	"tulifo/platform/timer"
)

// stage is a platform on a virtual clock, on which stories are told: in one process, or with each service in a process of its own.
//
//	onStages(t, start, func(t *testing.T, s *stage) {
//		tour := s.tour()                       // walks through the gateway; tour.wait moves the clock
//		…
//		s.to(t, tour.end.Add(96*time.Hour))    // all that is due in between happens, in order, and so does what it causes
//		…
//		s.intact(t)                            // tulifo check finds nothing
//	})
type stage struct {
	gateway, inbox, stripe string
	dir                    string // of the data, with secrets.env
	now                    func() time.Time
	move                   func(context.Context, time.Time) error
	check                  func(*testing.T)
	command                func(t *testing.T, stdin string, args ...string) (code int, said string) // tulifo ARGS on this platform; nil in one process
	kill                   func(t *testing.T, services ...string)                                   // at once, and started again; nil in one process
	passed                 func() string                                                            // what the clock has gone past; for when a test fails
	log                    *lines
	split                  *split // nil in one process
}

// onStages tells a story in both forms. The clock stands at start, and moves only when it is told to.
func onStages(t *testing.T, start time.Time, story func(*testing.T, *stage)) {
	t.Run("in one process", func(t *testing.T) { story(t, oneProcess(t, start)) })
	t.Run("split", func(t *testing.T) { story(t, eachInItsOwn(t, start, nil)) })
}

// onTwins tells a story on real stores, with every service in its own process and two of each that time and money depend on.
func onTwins(t *testing.T, start time.Time, story func(*testing.T, *stage)) {
	t.Run("twins on RabbitMQ, Redis and MongoDB", func(t *testing.T) {
		story(t, eachInItsOwn(t, start, []string{"payment", "notification", "booking", "escrow"},
			"RABBITMQ_URL="+servertest.RabbitMQ(t), "REDIS_URL="+servertest.Redis(t), "MONGODB_URI="+servertest.Mongo(t)))
	})
}

func oneProcess(t *testing.T, start time.Time) *stage {
	t.Helper()
	v := clock.NewVirtual(start)
	p := startPlatform(t, v)
	passed := newLines()
	return &stage{
		gateway: p.machine.gateway.url(), inbox: p.machine.page.url(), stripe: p.machine.rail.url(), dir: p.machine.data.dir,
		now: v.Now, move: func(ctx context.Context, to time.Time) error { return p.walk(v, passed).to(ctx, to) },
		check: p.intact, passed: passed.String,
	}
}

// walk moves a platform's virtual clock as tulifo clock does a rehearsal's.
func (p *platform) walk(v *clock.Virtual, out io.Writer) walk {
	n := p.machine.node
	return walk{
		rooms: n.rooms, bus: n.bus, bound: time.Minute, idle: p.machine.stripe.Idle,
		set: func(_ context.Context, at time.Time) error { v.Set(at); return nil },
		still: func(ctx context.Context) error {
			for timer.Busy() {
				if err := pause.For(ctx, time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		},
		passed: func(at time.Time, service string) { fmt.Fprintf(out, "%s  %s\n", at.Format(time.RFC3339), service) },
	}
}

func eachInItsOwn(t *testing.T, start time.Time, twins []string, extra ...string) *stage {
	t.Helper()
	s, dir := newSplit(t, twins, append(extra, "TULIFO_REHEARSAL=true", "TULIFO_REHEARSAL_FROZEN=true", "TULIFO_REHEARSAL_AT="+start.Format(time.RFC3339))...)
	passed := newLines()
	command := func(t *testing.T, stdin string, args ...string) (int, string) {
		t.Helper()
		return s.command(t, stdin, args...)
	}
	return &stage{
		gateway: s.at(gatewayPort), inbox: s.at(inboxPort), stripe: s.at(stripePort), dir: dir, command: command, split: s, log: passed,
		now: newTour(s.at(gatewayPort), "", "", io.Discard).businessTime,
		move: func(ctx context.Context, to time.Time) error {
			code, said := command(t, "", "clock", "set", to.UTC().Format(time.RFC3339Nano))
			fmt.Fprint(passed, said)
			if code != 0 {
				return fmt.Errorf("tulifo clock set: %s", said)
			}
			return nil
		},
		check: func(t *testing.T) {
			t.Helper()
			intact(t, func() (int, string) { return command(t, "", "check") })
		},
		kill:   func(t *testing.T, services ...string) { t.Helper(); s.kill(t, services...) },
		passed: passed.String,
	}
}

// to moves the clock on.
func (s *stage) to(t *testing.T, at time.Time) {
	t.Helper()
	if err := s.move(t.Context(), at); err != nil {
		t.Fatal(err)
	}
}

// settle has everything that has happened be heard by everybody; the clock stays.
func (s *stage) settle(t *testing.T) { t.Helper(); s.to(t, s.now()) }

func (s *stage) intact(t *testing.T) {
	t.Helper()
	s.settle(t)
	s.check(t)
}

// tour is a walk through the platform that moves the clock instead of waiting.
func (s *stage) tour() *tour {
	t := newTour(s.gateway, s.inbox, s.stripe, io.Discard)
	t.now, t.wait = s.now, s.move
	return t
}

// clumsily moves the clock while escrow is down, kills the command that waits for it, and begins again before escrow is back.
func (s *stage) clumsily(t *testing.T, at time.Time) {
	t.Helper()
	s.split.down(t, "escrow")
	var waiting *process
	begin := func() {
		waiting = launch(t, s.split.env, nil, "clock", "set", at.Format(time.RFC3339), "--timeout", crashBound.String())
	}
	for n := range 2 {
		begin()
		soon(t, "the command to say whom it waits for", crashBound, func() bool {
			// The database may still hold the killed one's lock.
			if strings.Contains(waiting.err.String(), "another command moves the clock") {
				begin()
			}
			return strings.Contains(waiting.err.String(), "waiting for escrow, which no process runs")
		})
		if n == 0 {
			waiting.kill(t)
		}
	}
	s.split.serve(t, "escrow")
	if code := waiting.exit(t, crashBound); code != 0 {
		t.Errorf("clock set ended with code %d: %s", code, waiting.err)
	}
	fmt.Fprint(s.log, waiting.out)
}

// TestStoryJ1 goes through the main job twice: the client releases the money, and he forgets to, so that three days later it is the worker's.
func TestStoryJ1(t *testing.T) {
	start := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	story := func(t *testing.T, s *stage) {
		out := newLines()
		tour := s.tour()
		tour.out = out
		if err := tour.walk(t.Context()); err != nil {
			t.Fatalf("%v\n%s\n%s", err, out, s.passed())
		}
		s.intact(t)
		forgotten := s.tour()
		forgotten.out = out
		for _, step := range []func(context.Context) error{forgotten.offers, forgotten.finds, forgotten.books, forgotten.confirms, forgotten.pays, forgotten.works} {
			if err := step(t.Context()); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, s.passed())
			}
		}
		due := forgotten.end.Add(72 * time.Hour)
		s.to(t, due.Add(-time.Second))
		if err := forgotten.holders(t.Context()); err != nil {
			t.Error(err)
		}
		if p, err := forgotten.purse(t.Context()); err != nil || p.escrow != forgotten.price {
			t.Errorf("a second before the 72 hours are over: %+v %v", p, err)
		}
		if s.split != nil {
			s.clumsily(t, due)
		}
		s.to(t, due)
		p, err := forgotten.purse(t.Context())
		if err != nil || p != (purse{wallet: 14400, platform: 1600}) {
			t.Errorf("after 72 hours: %+v %v\n%s", p, err, s.passed())
		}
		if !strings.Contains(s.passed(), due.Format(time.RFC3339)+"  escrow") {
			t.Errorf("the release is not among what the clock passed:\n%s", s.passed())
		}
		for _, step := range []func(context.Context) error{forgotten.withdraws, forgotten.reviews, forgotten.statement, forgotten.holders} {
			if err := step(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		s.intact(t)
	}
	onStages(t, start, story)
	onTwins(t, start, story)
}
