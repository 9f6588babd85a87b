package outbox

import (
	"context"
	"fmt"
	"time"

	"tulifo/platform/postgres"
)

// overdue is how long a committed event of a running platform may wait for the bus before that is a breach.
const overdue = time.Minute

// Check answers a sentence for every breach of I7 that the schema shows: events that this consumer gave up, with their reason, and, of a
// platform that runs, committed events that have not reached the bus for a minute.
func Check(ctx context.Context, db *postgres.DB, running bool) ([]string, error) {
	dead, err := postgres.All[struct {
		Type, Reason string
		Events       int64
	}](ctx, db, `SELECT envelope->>'type' AS type, min(reason) AS reason, count(*) AS events FROM dead_letters GROUP BY 1 ORDER BY 1`)
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
	waiting, err := postgres.One[int64](ctx, db, `SELECT count(*) FROM outbox WHERE id < $1`, firstIDAt(time.Now().Add(-overdue)))
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if waiting > 0 {
		broken = append(broken, fmt.Sprintf("I7: %d committed events have not reached the bus for more than %v.", waiting, overdue))
	}
	return broken, nil
}
