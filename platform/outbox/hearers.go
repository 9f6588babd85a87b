package outbox

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"tulifo/platform/bus"
)

// hearers are the handlers of broadcasts of one inbox. A broadcast of this process comes twice, at once and over the bus; the second is
// known by its id.
type hearers struct {
	fns map[string]func(context.Context, bus.Envelope) error

	mu     sync.Mutex
	ctx    context.Context
	log    *slog.Logger
	known  map[uuid.UUID]struct{}
	oldest []uuid.UUID
}

const remembered = 1024

// listening are the hearers of all running inboxes of this process, for announce.
var listening sync.Map

// announce brings a committed broadcast to this process at once.
func announce(e bus.Envelope) {
	listening.Range(func(k, _ any) bool {
		k.(*hearers).hear(e)
		return true
	})
}

func (in *Inbox) hears(typ string, fn func(context.Context, bus.Envelope) error) {
	if in.hearers.fns == nil {
		in.hearers.fns = map[string]func(context.Context, bus.Envelope) error{}
	}
	if earlier, ok := in.hearers.fns[typ]; ok {
		second := fn
		fn = func(ctx context.Context, e bus.Envelope) error {
			if err := earlier(ctx, e); err != nil {
				return err
			}
			return second(ctx, e)
		}
	}
	in.hearers.fns[typ] = fn
}

func (h *hearers) types() []string { return slices.Sorted(maps.Keys(h.fns)) }

func (h *hearers) run(ctx context.Context, log *slog.Logger) (forget func()) {
	h.mu.Lock()
	h.ctx, h.log, h.known = ctx, log, map[uuid.UUID]struct{}{}
	h.mu.Unlock()
	listening.Store(h, nil)
	return func() { listening.Delete(h) }
}

func (h *hearers) hear(e bus.Envelope) {
	fn, ok := h.fns[e.Type]
	if !ok || !h.first(e.ID) {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("The handler of a broadcast panicked.", "type", e.Type, "panic", p)
		}
	}()
	if err := fn(handling(h.ctx, []bus.Envelope{e}), e); err != nil {
		h.log.Error("A broadcast was not understood.", "type", e.Type, "error", err)
	}
}

func (h *hearers) first(id uuid.UUID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.known[id]; ok {
		return false
	}
	h.known[id] = struct{}{}
	if h.oldest = append(h.oldest, id); len(h.oldest) > remembered {
		delete(h.known, h.oldest[0])
		h.oldest = h.oldest[1:]
	}
	return true
}
