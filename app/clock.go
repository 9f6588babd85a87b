package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/pause"
	"tulifo/platform/rehearsal"
)

// rehearsalHeader of every answer of a rehearsal's gateway carries its business time.
const rehearsalHeader = "X-Tulifo-Rehearsal"

// rehearsalFlags are those of up and serve; each stands for a variable of the environment.
type rehearsalFlags struct {
	on, frozen bool
	at         string
}

func (r *rehearsalFlags) of(c *cobra.Command) {
	c.Flags().BoolVar(&r.on, "rehearsal", false, "business time is virtual, and tulifo clock moves it")
	c.Flags().StringVar(&r.at, "at", "", "business time at which a rehearsal begins (2026-03-02T08:00:00Z); now unless given")
	c.Flags().BoolVar(&r.frozen, "frozen", false, "a rehearsal's clock stands still between moves, instead of running as the world's does")
}

func (r *rehearsalFlags) into(environment map[string]string) {
	if r.on {
		environment["TULIFO_REHEARSAL"] = "true"
	}
	if r.at != "" {
		environment["TULIFO_REHEARSAL_AT"] = r.at
	}
	if r.frozen {
		environment["TULIFO_REHEARSAL_FROZEN"] = "true"
	}
}

// rehearsable refuses a rehearsal where business is real.
func (c Config) rehearsable() error {
	switch {
	case c.Env == production:
		return errors.New("a rehearsal is refused in production, where TULIFO_ENV says that business is real")
	case strings.HasPrefix(c.environment["STRIPE_SECRET_KEY"], "sk_live_") || strings.HasPrefix(c.environment["STRIPE_SECRET_KEY"], "rk_live_"):
		return errors.New("a rehearsal is refused with a live Stripe key, which moves real money; leave STRIPE_SECRET_KEY out, or set a test key")
	}
	return nil
}

// businessClock is the system's clock, or that of the rehearsal that the database holds or that the environment asks for. A platform and a
// rehearsal never share a database; an operator's command takes what it finds.
func (n *node) businessClock(ctx context.Context, command bool) (clock.Clock, error) {
	db, err := n.open(ctx, rehearsal.Schema, 3)
	if err != nil {
		return nil, databaseProblem(err)
	}
	n.clockDB = db
	var found, worked bool
	err = awaitDatabase(ctx, n.c, n.log, func(ctx context.Context) (err error) {
		found, worked, err = rehearsal.Exists(ctx, db, bus.Schema)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !found && !n.c.Rehearsal:
		return clock.System, nil
	case found && !n.c.Rehearsal && !command:
		return nil, errors.New("this database is a rehearsal's, on whose clock everything in it depends; start with --rehearsal (TULIFO_REHEARSAL=true), or name another database")
	case !found && worked:
		return nil, errors.New("this database is that of a platform without a rehearsal; a rehearsal needs one of its own: name another database or, with --data, another directory")
	}
	if err := n.c.rehearsable(); err != nil {
		return nil, err
	}
	if err := migrateAll(ctx, n.c, n.log, rehearsal.Migration); err != nil {
		return nil, err
	}
	c, begun, err := rehearsal.Begin(ctx, db, rehearsal.Start{At: n.c.RehearsalAt, Frozen: n.c.RehearsalFrozen})
	if err != nil {
		return nil, err
	}
	n.rehearsal, n.begun = c, begun
	return c, nil
}

// marked is h with business time in a header of every answer of a rehearsal, so that nobody takes it for the real thing.
func (n *node) marked(h http.Handler) http.Handler {
	if n.rehearsal == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(rehearsalHeader, n.rehearsal.Now().Format(time.RFC3339))
		h.ServeHTTP(w, r)
	})
}

// clock is the operator's hand on a rehearsal's clock.
func (e *environ) clock() *cobra.Command {
	var timeout time.Duration
	move := func(c *cobra.Command, to func(now time.Time) time.Time) error {
		e.alive = true
		return e.rehearsing(c.Context(), func(ctx context.Context, n *node) error { return e.moveClock(ctx, n, timeout, to) })
	}
	advance := &cobra.Command{Use: "advance DURATION", Short: "Move a rehearsal's business time on (72h, 90m), with everything that is due in between", Args: oneArg,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := time.ParseDuration(args[0])
			if err != nil || d <= 0 {
				return usageError{fmt.Errorf("%q is no duration; write 72h or 90m", args[0])}
			}
			return move(c, func(now time.Time) time.Time { return now.Add(d) })
		}}
	set := &cobra.Command{Use: "set TIME", Short: "Move a rehearsal's business time on to a time (2026-03-05T12:00:00Z), with everything that is due in between", Args: oneArg,
		RunE: func(c *cobra.Command, args []string) error {
			at, err := time.Parse(time.RFC3339, args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is no time; write 2026-03-05T12:00:00Z", args[0])}
			}
			return move(c, func(time.Time) time.Time { return at })
		}}
	show := &cobra.Command{Use: "clock", Short: "Show and move the business time of a rehearsal",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return group(c, args)
			}
			return e.rehearsing(c.Context(), e.showClock)
		}}
	for _, c := range []*cobra.Command{advance, set} {
		c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long one stop on the way may take")
	}
	show.AddCommand(advance, set)
	return show
}

func oneArg(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{errors.New("say how far or to when, as in tulifo clock advance 72h or tulifo clock set 2026-03-05T12:00:00Z")}
	}
	return nil
}

func (e *environ) rehearsing(ctx context.Context, fn func(context.Context, *node) error) error {
	return e.within(ctx, serviceNames(), func(ctx context.Context, n *node) error {
		if n.rehearsal == nil {
			return errors.New("this platform is no rehearsal, so its business time is the world's; start one with tulifo up --rehearsal")
		}
		return fn(ctx, n)
	})
}

func (e *environ) showClock(ctx context.Context, n *node) error {
	s, err := rehearsal.Read(ctx, n.clockDB)
	if err != nil {
		return err
	}
	how := "running"
	switch {
	case s.Frozen:
		how = "standing still"
	case s.Held():
		how = "being moved"
	}
	fmt.Fprintf(e.out, "%s, %s\n", s.Now().Format(time.RFC3339), how)
	for _, r := range n.timed() {
		due, err := r.Due(ctx)
		if err != nil {
			return err
		}
		if !due.IsZero() {
			fmt.Fprintf(e.out, "  %s  next in %s\n", due.UTC().Format(time.RFC3339), r.name)
		}
	}
	return nil
}

const clockLock = rehearsal.Schema + "/move"

func (e *environ) moveClock(ctx context.Context, n *node, timeout time.Duration, to func(now time.Time) time.Time) error {
	held, ok, err := n.session.Lock(ctx, clockLock)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("another command moves the clock; wait until it has ended")
	}
	defer held.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-held.Lost():
			cancel(errors.New("the database was away; repeat the command, nothing is done twice"))
		case <-ctx.Done():
		}
	}()
	s, err := rehearsal.Read(ctx, n.clockDB)
	if err != nil {
		return err
	}
	target := to(s.Now()).UTC().Truncate(time.Microsecond)
	if target.Before(s.Now()) {
		return fmt.Errorf("the clock never goes back: it is %s", s.Now().Format(time.RFC3339))
	}
	m := &mover{n: n, state: s, timeout: timeout, services: n.names(), tell: func(format string, args ...any) { fmt.Fprintf(e.errOut, format+"\n", args...) }}
	w := walk{rooms: n.rooms, bus: n.bus, set: m.set, still: m.still, idle: n.railIdle, bound: timeout, passed: func(at time.Time, service string) {
		fmt.Fprintf(e.out, "%s  %s\n", at.UTC().Format(time.RFC3339), service)
	}}
	err = m.holding(ctx, func(ctx context.Context) error { return w.to(ctx, target) })
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		if errs.KindOf(err) == errs.Timeout {
			err = fmt.Errorf("%w; give it longer with --timeout", err)
		}
		return fmt.Errorf("the clock stopped at %s on its way to %s: %w", m.state.At.UTC().Format(time.RFC3339), target.Format(time.RFC3339), err)
	}
	fmt.Fprintf(e.out, "%s\n", target.Format(time.RFC3339))
	return nil
}

// mover moves the row, and waits for the processes that follow it.
type mover struct {
	n        *node
	state    rehearsal.State
	services []string // that somebody must run, or what is due would wait
	timeout  time.Duration
	tell     func(format string, args ...any)
}

// holding runs fn while the clock stands, and has it go on afterwards as it did before, from where fn left it.
func (m *mover) holding(ctx context.Context, fn func(context.Context) error) error {
	if err := m.move(ctx, m.state.Now(), true); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		for tick := time.NewTicker(3 * time.Second); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if err := rehearsal.Hold(ctx, m.n.clockDB); err != nil && ctx.Err() == nil {
					m.tell("the clock may run on: %v", err)
				}
			}
		}
	}()
	err := m.seen(ctx, false)
	if err == nil {
		err = fn(ctx)
	}
	cancel()
	<-renewed
	last, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	return errors.Join(err, m.move(last, m.state.At, false))
}

func (m *mover) move(ctx context.Context, at time.Time, hold bool) error {
	s, err := rehearsal.Move(ctx, m.n.clockDB, m.state.Epoch, at, hold)
	if err != nil {
		return err
	}
	m.state = s
	// Who does not hear it sees it within a quarter of a second.
	return m.n.bus.Broadcast(ctx, bus.Envelope{Type: rehearsal.Moved, OccurredAt: s.At, Data: []byte("{}")})
}

// set is a stop of the walk: it returns when every living process has seen it.
func (m *mover) set(ctx context.Context, at time.Time) error {
	if at.Before(m.state.At) {
		return nil // something is overdue; the clock stands where it is
	}
	if err := m.move(ctx, at, true); err != nil {
		return err
	}
	return m.seen(ctx, false)
}

// still returns when no process works on something due that it took before now.
func (m *mover) still(ctx context.Context) error {
	if err := m.move(ctx, m.state.At, true); err != nil {
		return err
	}
	return m.seen(ctx, true)
}

func (m *mover) seen(ctx context.Context, idle bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	began, told, what := time.Now(), "", "everybody to follow"
	for {
		all, err := rehearsal.Followers(ctx, m.n.clockDB)
		if err != nil && ctx.Err() == nil && errs.KindOf(err) != errs.Unavailable {
			return err
		}
		late, down := rehearsal.Missing(all, m.services, m.state.Epoch, idle)
		if err == nil && len(late)+len(down) == 0 {
			return nil
		}
		var waits []string
		if len(down) > 0 {
			waits = append(waits, strings.Join(down, ", ")+", which no process runs")
		}
		if len(late) > 0 {
			waits = append(waits, strings.Join(late, ", ")+", which has not followed yet")
		}
		if err == nil {
			what = strings.Join(waits, " and ")
		}
		if time.Since(began) > time.Second && what != told {
			m.tell("waiting for %s", what)
			told = what
		}
		if err := pause.For(ctx, 5*time.Millisecond); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("waited %s for %s; start it, or give it longer with --timeout", m.timeout, what)
			}
			return err
		}
	}
}
