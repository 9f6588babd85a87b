package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/pause"
	"tulifo/platform/timer"
)

// walk moves business time on, so that everything due on the way happens in the order of its time: the timers of the processes do it, and
// the walk waits at each stop until it is done and until what it caused is done too.
type walk struct {
	rooms  []*room
	bus    bus.Bus
	set    func(context.Context, time.Time) error // moves the clock; returns when every process has seen it
	still  func(context.Context) error            // returns when no process works on something due
	idle   func(context.Context) error            // returns when the rail has nothing to tell any more; nil: the rail is Stripe's
	bound  time.Duration                          // for one stop
	passed func(at time.Time, service string)     // is told what has happened; may be nil
}

// timedRoom is a service with timed exits.
type timedRoom struct {
	*room
	timer.Timed
}

func (n *node) timed() []timedRoom { return timedOf(n.rooms) }

func timedOf(rooms []*room) (out []timedRoom) {
	for _, r := range rooms {
		if t, ok := r.service.(timer.Timed); ok {
			out = append(out, timedRoom{r, t})
		}
	}
	return out
}

func (n *node) names() []string {
	names := []string{}
	for _, r := range n.rooms {
		names = append(names, r.name)
	}
	return names
}

// to walks to a time, and ends with the first stop that does not come to its end.
func (w walk) to(ctx context.Context, at time.Time) error {
	var timed []timer.Timed
	for _, r := range timedOf(w.rooms) {
		timed = append(timed, awaited{r, w})
	}
	return timer.Drain(ctx, timer.Advance{To: at, Set: w.set, Settle: w.settle}, timed...)
}

// awaited is a service whose own timer fires.
type awaited struct {
	timedRoom
	walk walk
}

// Fire waits until the service's timer has done what is due up to now.
func (a awaited) Fire(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, a.walk.bound)
	defer cancel()
	for {
		due, err := a.Due(ctx)
		if err != nil {
			return err
		}
		if due.IsZero() || due.After(now) {
			if a.walk.passed != nil {
				a.walk.passed(now, a.name)
			}
			return nil
		}
		if err := pause.For(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("what is due in %s at %s was not done: %w", a.name, due.UTC().Format(time.RFC3339), err)
		}
	}
}

// settle returns when everything that has happened is heard by everybody: events, webhooks, calls at the rail and mail. What failed and is
// to be tried again later, by the machine's time, is not waited for.
func (w walk) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.bound)
	defer cancel()
	var inboxes []*outbox.Inbox
	for _, r := range w.rooms {
		inboxes = append(inboxes, r.inbox)
	}
	for {
		before, err := outbox.Told(ctx, inboxes...)
		if err != nil {
			return err
		}
		if err := outbox.Settle(ctx, w.bus, inboxes...); err != nil {
			return err
		}
		if w.idle != nil {
			if err := w.idle(ctx); err != nil {
				return fmt.Errorf("the rail has not come to rest: %w", err)
			}
		}
		due, err := w.retriesDue(ctx)
		if err != nil {
			return err
		}
		if !due {
			if err := w.still(ctx); err != nil {
				return err
			}
			if due, err = w.retriesDue(ctx); err != nil {
				return err
			}
		}
		after, err := outbox.Told(ctx, inboxes...)
		if err != nil {
			return err
		}
		if !due && after == before {
			return nil
		}
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("calls at the rail and mail have not come to rest: %w", err)
		}
	}
}

func (w walk) retriesDue(ctx context.Context) (bool, error) {
	for _, r := range w.rooms {
		retry, ok := r.service.(timer.Retry)
		if !ok {
			continue
		}
		due, err := retry.RetryDue(ctx)
		if err != nil {
			return false, fmt.Errorf("what %s is to try again: %w", r.name, err)
		}
		if !due.IsZero() && !due.After(time.Now()) {
			return true, nil
		}
	}
	return false, nil
}

// railIdle waits until the Stripe simulator has delivered every webhook; Stripe itself is not waited for.
func (n *node) railIdle(ctx context.Context) error {
	address := n.c.environment["STRIPE_API_URL"]
	if address == "" {
		return nil
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(address, "/")+"/_control/idle", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+n.c.environment["STRIPE_SECRET_KEY"])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		switch res.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusGatewayTimeout:
		default:
			return errors.New("the Stripe simulator answered " + res.Status)
		}
	}
}
