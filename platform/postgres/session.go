package postgres

import (
	"context"
	"log/slog"
)

// Session is one connection of a process for what a pool cannot carry: LISTEN and advisory locks. It reconnects with backoff by itself.
// All of a process share one; its methods may be called from many goroutines.
type Session struct{}

// NewSession connects in the background. url must lead to the server itself, not to a pooler; log may be nil.
func NewSession(url string, log *slog.Logger) (*Session, error) { panic("unwritten") }

// Close ends the connection; all locks are lost.
func (s *Session) Close() { panic("unwritten") }

// Listen has fn called with the payload of each notification on channel until ctx ends. It returns once the server listens, or with ctx's error.
// fn runs on the session's goroutine and must not block. After a reconnect it is called with an empty payload, since notifications may have been missed.
func (s *Session) Listen(ctx context.Context, channel string, fn func(payload string)) error {
	panic("unwritten")
}

// Lock tries once to take the lock named key, which one session of the database can hold; false: another holds it. Unavailable: the database is away.
func (s *Session) Lock(ctx context.Context, key string) (*Held, bool, error) { panic("unwritten") }

// Lead waits for the lock named key, runs fn under it, and begins again when fn returns, until ctx ends. fn's context ends when the lock is lost, and fn must return then.
func (s *Session) Lead(ctx context.Context, key string, fn func(context.Context) error) error {
	panic("unwritten")
}

// Held is a lock that is held until Unlock or until the connection breaks.
type Held struct{}

// Lost is closed when the lock is no longer held.
func (h *Held) Lost() <-chan struct{} { panic("unwritten") }

// Unlock gives the lock back; it may be called twice.
func (h *Held) Unlock() { panic("unwritten") }
