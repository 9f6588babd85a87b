package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
)

const (
	tries      = 10                     // failures until an event is given up
	retryFirst = 100 * time.Millisecond // after the first failure; the pauses add up to a minute
	retryLast  = 15 * time.Second
	retryPoll  = 2 * time.Second // what another process parked or replayed is seen within it
	retryChunk = 64
	keepInbox  = 30 * 24 * time.Hour
	pruneEvery = time.Hour
)

// setAside parks an event that failed, so that those of other subjects go on. It is remembered: the bus need not bring it again.
func (in *Inbox) setAside(ctx context.Context, e bus.Envelope, why error) error {
	pause := in.pause(1)
	err := in.events.setAside(ctx, e, pause, reason(why))
	if err != nil {
		return fmt.Errorf("set event %s aside: %w", e.ID, err)
	}
	in.log.Warn("An event failed and is tried again.", "event", e.ID, "type", e.Type, "error", why, "again_in", pause)
	signal(in.retry)
	return nil
}

// reason is an error as text that a column takes.
func reason(err error) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "\uFFFD"), "\x00", "")
	return strings.ToValidUTF8(s[:min(len(s), 2000)], "")
}

// running are the inboxes of this process, for Replay: store → *Inbox.
var running sync.Map

// retryLoop tries parked events again. It is safe in many processes: each claims the event it tries.
func (in *Inbox) retryLoop(ctx context.Context) {
	running.Store(in.events, in)
	defer running.CompareAndDelete(in.events, in)
	sleep := time.NewTimer(0)
	defer sleep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sleep.C:
		case <-in.retry:
		}
		wait, err := in.retryAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			in.log.Warn("Parked events could not be tried again.", "error", err)
			wait = retryPoll
		}
		sleep.Reset(wait)
	}
}

// retryAll tries what is due, and what comes to be due by that, and answers how long nothing more is.
func (in *Inbox) retryAll(ctx context.Context) (time.Duration, error) {
	for {
		due, err := in.events.due(ctx)
		if err != nil {
			return 0, err
		}
		if len(due) == 0 {
			break
		}
		progress := false
		for _, p := range due {
			tried, err := in.retryOne(ctx, p)
			if err != nil {
				return 0, err
			}
			progress = progress || tried
		}
		if !progress {
			return retryFirst, nil
		}
	}
	next, err := in.events.wait(ctx)
	if err != nil {
		return 0, err
	}
	return max(time.Millisecond, min(retryPoll, next)), nil
}

// retryOne tries one parked event; false: another process has it, or it is for one of another version that handles its type.
func (in *Inbox) retryOne(ctx context.Context, due parkedEvent) (bool, error) {
	var p parkedEvent
	var e bus.Envelope
	var claimed, bad bool
	err := in.events.inTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		e, bad = bus.Envelope{}, false
		if p, claimed, err = in.events.claim(ctx, tx, due); err != nil || !claimed {
			return err
		}
		if err := json.Unmarshal([]byte(p.Envelope), &e); err != nil {
			bad = true
			return fmt.Errorf("the envelope is not understood: %w", err)
		}
		t, ok := in.decode(e)
		if !ok && !p.Left {
			claimed = false
			return nil
		}
		if err := in.events.unpark(ctx, tx, p); err != nil {
			return err
		}
		if !ok {
			in.log.Warn("An event that nothing handles any more was dropped.", "event", e.ID, "type", e.Type)
			return nil
		}
		if t.bad != nil {
			bad = true
			return t.bad
		}
		s := step{handler: t.handler, envelopes: []bus.Envelope{e}, values: []any{t.value}}
		return s.run(ctx, tx)
	})
	if err == nil || ctx.Err() != nil || !claimed {
		return claimed, err
	}
	return true, in.failedAgain(ctx, p, e, err, bad)
}

func (in *Inbox) failedAgain(ctx context.Context, p parkedEvent, e bus.Envelope, why error, bad bool) error {
	failures := p.Attempts + 1
	if bad || failures >= tries {
		err := in.events.giveUp(ctx, p, failures, reason(why))
		if err == nil {
			in.log.Error("An event was given up and went to the dead letters.", "event", e.ID, "type", e.Type, "failures", failures, "error", why)
		}
		return err
	}
	pause := in.pause(failures)
	err := in.events.again(ctx, p, failures, pause, reason(why))
	if err == nil {
		in.log.Warn("An event failed and is tried again.", "event", e.ID, "type", e.Type, "error", why, "failures", failures, "again_in", pause)
	}
	return err
}

// Replay has the dead letters of the consumer whose data db keeps tried again, in order and followed by those parked behind them, and
// answers how many there were. The running Inbox takes them up within seconds. Call it once what made them fail is mended.
func Replay(ctx context.Context, db DB, consumer string) (int, error) {
	events, err := storeOf(db)
	if err != nil {
		return 0, err
	}
	n, err := events.replay(ctx)
	if err != nil {
		return n, fmt.Errorf("replay the dead letters of %s: %w", consumer, err)
	}
	if in, ok := running.Load(events); ok {
		signal(in.(*Inbox).retry)
	}
	return n, nil
}

// pruneLoop forgets events that no bus brings any more.
func (in *Inbox) pruneLoop(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := in.events.prune(ctx, keepInbox); err != nil && ctx.Err() == nil {
			in.log.Warn("The inbox was not pruned.", "error", err)
		}
	}
}

// firstIDAt is below every event id made from t on: an id is 48 bits of milliseconds and then random.
func firstIDAt(t time.Time) (id uuid.UUID) {
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}
