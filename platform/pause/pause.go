// Package pause waits for system time to pass, between two tries of one thing.
package pause

import (
	"context"
	"time"
)

// For answers nil after d, or the error of ctx as soon as that ends.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
