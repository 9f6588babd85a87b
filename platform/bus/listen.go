package bus

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

const behind = 1024 // broadcasts that one Listen may be behind

// ears are the Listens of this process.
type ears struct {
	log *slog.Logger
	mu  sync.RWMutex
	all map[*ear]struct{}
}

type ear struct {
	types []string
	queue chan Envelope
}

func newEars(log *slog.Logger) *ears { return &ears{log: log, all: map[*ear]struct{}{}} }

// listen calls fn for each delivered broadcast of the types until ctx ends.
func (s *ears) listen(ctx context.Context, types []string, fn func(Envelope)) {
	e := &ear{types: types, queue: make(chan Envelope, behind)}
	s.mu.Lock()
	s.all[e] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.all, e)
		s.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case env := <-e.queue:
			s.call(fn, env)
		}
	}
}

func (s *ears) call(fn func(Envelope), e Envelope) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("Who heard a broadcast panicked.", "type", e.Type, "panic", p)
		}
	}()
	fn(e)
}

func (s *ears) deliver(e Envelope) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for ear := range s.all {
		if !slices.Contains(ear.types, e.Type) {
			continue
		}
		select {
		case ear.queue <- e:
		default:
			s.log.Warn("A broadcast was dropped: its listener is too slow.", "type", e.Type)
		}
	}
}
