package outbox

import (
	"context"
	"fmt"
	"time"
)

// overdue is how long a committed event of a running platform may wait for the bus before that is a breach.
const overdue = time.Minute

// Check answers a sentence for every breach of I7 that the service's data show: events that this consumer gave up, with their reason, and, of a
// platform that runs, committed events that have not reached the bus for a minute.
func Check(ctx context.Context, db DB, running bool) ([]string, error) {
	events, err := storeOf(db)
	if err != nil {
		return nil, err
	}
	dead, err := events.dead(ctx)
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	var broken []string
	for _, d := range dead {
		broken = append(broken, fmt.Sprintf("I7: %d %s were given up (%s); events replay delivers them again.", d.Events, d.Type, d.Reason))
	}
	if !running {
		return broken, nil
	}
	// An event's id is of version 7, so it tells the system time at which the event was told.
	waiting, err := events.overdue(ctx, time.Now().Add(-overdue))
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if waiting > 0 {
		broken = append(broken, fmt.Sprintf("I7: %d committed events have not reached the bus for more than %v.", waiting, overdue))
	}
	return broken, nil
}
