package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"tulifo/platform/errs"
	"tulifo/platform/pause"
)

const (
	heartbeat   = 10 * time.Second // a connection that broke without a word is noticed after this and one answer's time
	answerTime  = 5 * time.Second
	takeover    = 500 * time.Millisecond // a lock that became free has a new holder after at most this
	reconnectAt = 100 * time.Millisecond // after a failure; doubles with each
	reconnectBy = 500 * time.Millisecond // and is at most this: relays and consumers wait for the session
)

var errClosed = errors.New("postgres: the session is closed")

// Session is one connection of a process for what a pool cannot carry: LISTEN and advisory locks. It reconnects with backoff by itself.
// All of a process share one; its methods may be called from many goroutines.
type Session struct {
	cfg    *pgx.ConnConfig
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	queue     []*request
	interrupt context.CancelFunc // ends the wait for a notification; nil while requests are served
	down      error              // why there is no connection
	listeners map[string][]*listener
	held      map[string]*Held
}

// request is work for the goroutine that owns the connection; it is always answered.
type request struct {
	run    func(ctx context.Context, conn *pgx.Conn) error
	answer chan error
}

type listener struct{ fn func(payload string) }

// NewSession connects in the background. url must lead to the server itself, not to a pooler; log may be nil.
func NewSession(url string, log *slog.Logger) (*Session, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	cfg.ConnectTimeout = dialTimeout
	cfg.RuntimeParams["application_name"] = "tulifo session"
	cfg.RuntimeParams["statement_timeout"] = millis(answerTime)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Session{cfg: cfg, log: log, done: make(chan struct{}), listeners: map[string][]*listener{}, held: map[string]*Held{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.loop()
	return s, nil
}

// Close ends the connection; all locks are lost.
func (s *Session) Close() {
	s.cancel()
	<-s.done
}

// Listen has fn called with the payload of each notification on channel until ctx ends. It returns once the server listens, or with ctx's error.
// fn runs on the session's goroutine and must not block. After a reconnect it is called with an empty payload, since notifications may have been missed.
func (s *Session) Listen(ctx context.Context, channel string, fn func(payload string)) error {
	l := &listener{fn}
	name := pgx.Identifier{channel}.Sanitize()
	s.mu.Lock()
	s.listeners[channel] = append(s.listeners[channel], l)
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		rest := slices.DeleteFunc(s.listeners[channel], func(o *listener) bool { return o == l })
		s.listeners[channel] = rest
		if len(rest) == 0 {
			delete(s.listeners, channel)
		}
		s.mu.Unlock()
		if len(rest) == 0 {
			_ = s.submit(func(ctx context.Context, conn *pgx.Conn) error {
				s.mu.Lock()
				again := len(s.listeners[channel]) > 0
				s.mu.Unlock()
				if again {
					return nil
				}
				_, err := conn.Exec(ctx, "UNLISTEN "+name)
				return err
			})
		}
	})
	for {
		r := s.submit(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "LISTEN "+name)
			return err
		})
		select {
		case err := <-r.answer:
			if errs.KindOf(err) != errs.Unavailable {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := pause.For(ctx, reconnectAt); err != nil {
			return err
		}
	}
}

// Held is a lock that is held until Unlock or until the connection breaks.
type Held struct {
	s    *Session
	key  string
	lost chan struct{}
}

const hashKey = "hashtextextended($1, 0)"

// Lock tries once to take the lock named key, which one session of the database can hold; false: another holds it, or this session does already. Unavailable: the database is away.
func (s *Session) Lock(ctx context.Context, key string) (*Held, bool, error) {
	h := &Held{s: s, key: key, lost: make(chan struct{})}
	taken := false
	r := s.submit(func(ctx context.Context, conn *pgx.Conn) error {
		s.mu.Lock()
		mine := s.held[key] != nil
		s.mu.Unlock()
		if mine {
			return nil
		}
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock("+hashKey+")", key).Scan(&taken); err != nil || !taken {
			return err
		}
		s.mu.Lock()
		s.held[key] = h
		s.mu.Unlock()
		return nil
	})
	select {
	case err := <-r.answer:
		if err != nil || !taken {
			return nil, false, err
		}
		return h, true, nil
	case <-ctx.Done():
		go func() {
			if <-r.answer == nil && taken {
				h.Unlock()
			}
		}()
		return nil, false, ctx.Err()
	}
}

// Lost is closed when the lock is no longer held.
func (h *Held) Lost() <-chan struct{} { return h.lost }

// Unlock gives the lock back and returns when it is free; it may be called twice.
func (h *Held) Unlock() {
	r := h.s.submit(func(ctx context.Context, conn *pgx.Conn) error {
		if !h.s.drop(h) {
			return nil
		}
		_, err := conn.Exec(ctx, "SELECT pg_advisory_unlock("+hashKey+")", h.key)
		return err
	})
	<-r.answer
	h.s.drop(h)
}

// drop marks the lock as lost; false: it was so already.
func (s *Session) drop(h *Held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[h.key] != h {
		return false
	}
	delete(s.held, h.key)
	close(h.lost)
	return true
}

// Lead waits for the lock named key, runs fn under it, and begins again when fn returns, until ctx ends; it answers ctx's error. fn's context ends when the lock is lost, and fn must return then.
// When the network parts the holder from the database, two may hold it for up to 15 s: what fn does must stay right then.
func (s *Session) Lead(ctx context.Context, key string, fn func(context.Context) error) error {
	for {
		held, ok, err := s.Lock(ctx, key)
		if errors.Is(err, errClosed) {
			return err
		}
		if ok {
			if err := s.lead(ctx, held, fn); err != nil && ctx.Err() == nil {
				s.log.Warn("what runs under a lock has failed and is begun again", "lock", key, "error", err)
			}
		}
		if err := pause.For(ctx, takeover/2+rand.N(takeover/2)); err != nil {
			return err
		}
	}
}

func (s *Session) lead(ctx context.Context, held *Held, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer held.Unlock()
	defer cancel()
	go func() {
		select {
		case <-held.Lost():
			cancel()
		case <-ctx.Done():
		}
	}()
	return fn(ctx)
}
