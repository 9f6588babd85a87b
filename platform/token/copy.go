package token

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"tulifo/platform/kv"
)

// CopiedFor is how far back the copy of the revocations reaches. Who was away for longer asks auth, as everybody does every 5 seconds.
const CopiedFor = time.Minute

const (
	copyKey    = "auth:revocations"
	copyLife   = 2 * CopiedFor
	lookEvery  = 500 * time.Millisecond
	mostCopied = 500 // about 100 bytes each, within kv.MaxValue
)

// Publish lays the revocations of the last CopiedFor, the newest 500 of them, where Look finds them. It is called after each revocation is stored.
func Publish(ctx context.Context, shared kv.Store, recent []Revoked) error {
	newest := slices.SortedFunc(slices.Values(recent), func(a, b Revoked) int { return b.Until.Compare(a.Until) })
	raw, err := json.Marshal(newest[:min(len(newest), mostCopied)])
	if err != nil {
		return err
	}
	return shared.Set(ctx, copyKey, raw, copyLife)
}

// Look looks twice a second, until ctx ends, at what Publish lays into a store that several processes share. What is new there counts here at once, and
// has Follow ask auth at once too, because two processes that publish together may hide one another's, and a store that forgets hides anything.
//
// What is absent says nothing, and looking never makes what is known here fresh: the copy is no truth.
func (r *Revocations) Look(ctx context.Context, log *slog.Logger, shared kv.Store) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for last := ""; ; {
		if raw, ok, err := shared.Get(ctx, copyKey); err == nil && ok && string(raw) != last {
			last = string(raw)
			var news []Revoked
			if err := json.Unmarshal(raw, &news); err != nil {
				log.WarnContext(ctx, "the copy of the revocations cannot be read", "error", err)
			}
			for _, n := range news {
				r.Add(n.SessionID, n.Until)
			}
			select {
			case r.news <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
