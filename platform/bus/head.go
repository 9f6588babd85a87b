package bus

import (
	"context"
	"sync"
)

// head is the last position of the log that this process knows of.
type head struct {
	mu      sync.Mutex
	pos     int64
	moved   chan struct{} // closed when pos grows
	waiting int
	asked   chan struct{} // the log is to be asked for its head at once
}

func newHead() *head { return &head{moved: make(chan struct{}), asked: make(chan struct{}, 1)} }

// reach notes that the log has grown to pos.
func (h *head) reach(pos int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pos > h.pos {
		h.pos = pos
		close(h.moved)
		h.moved = make(chan struct{})
	}
}

func (h *head) askNow() {
	select {
	case h.asked <- struct{}{}:
	default:
	}
}

func (h *head) at() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pos
}

func (h *head) waited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting > 0
}

// wait returns when the log has grown beyond pos, or ctx has ended.
func (h *head) wait(ctx context.Context, pos int64) {
	h.mu.Lock()
	if h.pos > pos {
		h.mu.Unlock()
		return
	}
	moved := h.moved
	h.waiting++
	h.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-moved:
	}
	h.mu.Lock()
	h.waiting--
	h.mu.Unlock()
}
