package rehearsal

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/postgres"
)

// Moved is the type of the broadcast that says that the row was written. It carries nothing: who hears it reads the row.
const Moved = "clock.moved"

const (
	pollEvery = 250 * time.Millisecond // the guarantee when a broadcast is lost
	busyEvery = 10 * time.Millisecond  // while something is worked on, which the mover waits for
	deadAfter = 5 * time.Second        // without a word
)

// Process is who follows the clock.
type Process struct {
	Services []string
	Bus      bus.Bus
	Busy     func() bool // something due is being worked on
}

// Follow keeps the clock true until ctx ends, and tells the mover what this process has seen. It answers the first error; the clock then
// goes on as it last did.
func (c *Clock) Follow(ctx context.Context, p Process) error {
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("name this process: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wake := make(chan struct{}, 1)
	heard := make(chan error, 1)
	go func() {
		heard <- p.Bus.Listen(ctx, []string{Moved}, func(bus.Envelope) {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
	}()
	defer func() {
		cancel()
		<-heard
		last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		// A row that stays is that of a dead process a few seconds later; who leaves takes those of the long dead with him.
		_, _ = c.db.Exec(last, `DELETE FROM follower WHERE id = $1 OR seen_at < clock_timestamp() - interval '1 minute'`, id)
	}()
	host, _ := os.Hostname()
	name := fmt.Sprintf("process %d on %s", os.Getpid(), host)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-tick.C:
		}
		again := true
		for again {
			busy := p.Busy()
			s, err := postgres.One[State](ctx, c.db, `
				WITH me AS (
					INSERT INTO follower (id, process, services, epoch, busy, seen_at) VALUES ($1, $2, $3, $4, $5, clock_timestamp())
					ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, busy = excluded.busy, seen_at = excluded.seen_at)
				SELECT `+columns+` FROM clock`, id, name, p.Services, c.epoch(), busy)
			if err != nil {
				return fmt.Errorf("follow the rehearsal's clock: %w", err)
			}
			again = c.see(s)
			tick.Reset(pollEvery)
			if busy {
				tick.Reset(busyEvery)
			}
		}
	}
}

// Follower is a process that follows the clock and lives.
type Follower struct {
	Process  string
	Services []string
	Epoch    int64
	Busy     bool
}

// Followers are the processes that have given word of themselves within five seconds.
func Followers(ctx context.Context, db *postgres.DB) ([]Follower, error) {
	all, err := postgres.All[Follower](ctx, db, `SELECT process, services, epoch, busy FROM follower WHERE seen_at > clock_timestamp() - $1 * interval '1 second' ORDER BY process`, deadAfter.Seconds())
	if err != nil {
		return nil, fmt.Errorf("who follows the rehearsal's clock: %w", err)
	}
	return all, nil
}

// Missing says who has yet to see epoch, and which of the services nobody who lives runs; with idle, who is still at work too.
// Both empty: everybody has seen it.
func Missing(all []Follower, services []string, epoch int64, idle bool) (late, down []string) {
	running := map[string]bool{}
	for _, f := range all {
		for _, s := range f.Services {
			running[s] = true
		}
		if f.Epoch < epoch || idle && f.Busy {
			late = append(late, f.Process)
		}
	}
	for _, s := range services {
		if !running[s] {
			down = append(down, s)
		}
	}
	slices.Sort(late)
	return late, down
}
