package outbox

import (
	"context"
	"time"
)

// PauseOf sets the pause after so many failures, so that a test need not wait a minute until an event is given up.
func (in *Inbox) PauseOf(pause func(failures int) time.Duration) { in.pause = pause }

// Prune forgets events older than keep.
func (in *Inbox) Prune(ctx context.Context, keep time.Duration) error { return in.prune(ctx, keep) }
