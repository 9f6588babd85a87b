package token

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	askEvery   = 5 * time.Second
	staleAfter = time.Minute
)

// Revoked is one revoked session and the system time at which its last access token has expired anyway.
type Revoked struct {
	SessionID uuid.UUID `json:"sessionId"`
	Until     time.Time `json:"until"`
}

// Revocations is what this process knows of revoked sessions. The truth is auth's table: it is loaded at start, kept fresh by broadcast,
// and asked for news every 5 seconds, or at once when a copy of it in a store that the processes share tells that there are some.
type Revocations struct {
	mu    sync.RWMutex
	until map[uuid.UUID]time.Time
	heard time.Time
	watch map[uuid.UUID]map[*func()]struct{} // what ends with a session
	news  chan struct{}                      // has Follow ask at once
}

// NewRevocations knows of none, and counts as fresh for a minute.
func NewRevocations() *Revocations {
	return &Revocations{until: map[uuid.UUID]time.Time{}, heard: time.Now(), watch: map[uuid.UUID]map[*func()]struct{}{}, news: make(chan struct{}, 1)}
}

// Add revokes a session here, at once.
func (r *Revocations) Add(session uuid.UUID, until time.Time) {
	r.mu.Lock()
	if until.After(r.until[session]) {
		r.until[session] = until
	}
	ends := r.watch[session]
	delete(r.watch, session)
	r.mu.Unlock()
	for fn := range ends {
		(*fn)()
	}
}

// Watch has fn called once when the session is revoked here, and at once when it is already. stop ends the watch; fn must not block.
func (r *Revocations) Watch(session uuid.UUID, fn func()) (stop func()) {
	r.mu.Lock()
	_, over := r.until[session]
	if !over {
		if r.watch[session] == nil {
			r.watch[session] = map[*func()]struct{}{}
		}
		r.watch[session][&fn] = struct{}{}
	}
	r.mu.Unlock()
	if over {
		fn()
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if delete(r.watch[session], &fn); len(r.watch[session]) == 0 {
			delete(r.watch, session)
		}
	}
}

// Has says whether the session's access tokens are no longer good.
func (r *Revocations) Has(session uuid.UUID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.until[session]
	return ok
}

// Stale says that auth has not answered for a minute, so that a revocation may be unknown here.
func (r *Revocations) Stale() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return time.Since(r.heard) > staleAfter
}

// Follow keeps the revocations fresh until ctx ends: ask answers those that were made since a time.
func (r *Revocations) Follow(ctx context.Context, log *slog.Logger, ask func(ctx context.Context, since time.Time) ([]Revoked, error)) {
	var since time.Time
	for tick := time.NewTicker(askEvery); ; {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, askEvery)
		news, err := ask(bounded, since)
		cancel()
		if err == nil {
			// A revocation is stamped before its transaction commits, so the next question reaches back a little.
			since = began.Add(-time.Minute)
			r.learn(news)
		} else if ctx.Err() == nil && r.Stale() {
			log.WarnContext(ctx, "auth does not answer about revocations; unsafe requests are refused", "error", err)
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		case <-r.news:
		}
	}
}

func (r *Revocations) learn(news []Revoked) {
	for _, n := range news {
		r.Add(n.SessionID, n.Until)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = time.Now()
	for id, until := range r.until {
		if r.heard.After(until) {
			delete(r.until, id)
		}
	}
}
