package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/bus"
	"tulifo/platform/pause"
	"tulifo/platform/peer"
	"tulifo/platform/rehearsal"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

const (
	lastPass = 3 * time.Second
	pruneAge = 7 * 24 * time.Hour
)

// loops are goroutines that run until their context ends; one that fails or panics is logged and begun again, so that no fault of one
// service ends the process.
type loops struct {
	log *slog.Logger
	wg  sync.WaitGroup
}

func (l *loops) keep(ctx context.Context, name string, fn func(context.Context) error) {
	l.wg.Go(func() {
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			err := survive(ctx, fn)
			if ctx.Err() != nil {
				return
			}
			l.log.WarnContext(ctx, "a loop ended and is begun again", "loop", name, "error", err)
			if pause.For(ctx, wait) != nil {
				return
			}
		}
	})
}

func survive(ctx context.Context, fn func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(ctx)
}

// run has the services work until ctx ends, and then finish: consumers end with their message, and the relays make a last pass.
func (n *node) run(ctx context.Context) {
	l := &loops{log: n.log}
	ctx = n.stamped(ctx)
	l.keep(ctx, "revocations heard", n.hearRevocations)
	l.keep(ctx, "revocations asked", func(ctx context.Context) error {
		n.revoked.Follow(ctx, n.log, n.askRevocations())
		return ctx.Err()
	})
	if n.redis != nil {
		l.keep(ctx, "revocations copied", func(ctx context.Context) error {
			n.revoked.Look(ctx, n.log, n.redis)
			return ctx.Err()
		})
	}
	if n.gateway != nil {
		l.keep(ctx, "gateway", func(ctx context.Context) error {
			n.gateway.Run(ctx)
			// It has nothing to do, and so ends, where every service is local.
			<-ctx.Done()
			return ctx.Err()
		})
	}
	if n.rehearsal != nil {
		l.keep(ctx, "business clock", func(ctx context.Context) error {
			return n.rehearsal.Follow(ctx, rehearsal.Process{Services: n.names(), Bus: n.bus, Busy: timer.Busy})
		})
	}
	for _, r := range n.rooms {
		n.occupy(ctx, l, r)
	}
	l.wg.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPass)
	defer cancel()
	for _, r := range n.rooms {
		if err := r.relay.Flush(ctx); err != nil {
			n.log.WarnContext(ctx, "events wait for the next start", "service", r.name, "error", err)
		}
	}
}

// occupy starts the loops of one service.
func (n *node) occupy(ctx context.Context, l *loops, r *room) {
	l.keep(ctx, r.name+" relay", r.relay.Run)
	l.keep(ctx, r.name+" inbox", func(ctx context.Context) error { return r.inbox.Run(ctx, n.bus) })
	if r.db != nil {
		l.keep(ctx, r.name+" seal", func(ctx context.Context) error { return audit.Seal(ctx, r.db, r.log) })
	}
	_, timed := r.service.(timer.Timed)
	_, retry := r.service.(timer.Retry)
	if timed || retry {
		l.keep(ctx, r.name+" timer", func(ctx context.Context) error {
			return timer.Run(ctx, timer.Options{Name: r.name, Timed: r.service, Clock: n.clock, Log: r.log})
		})
	}
	if s, ok := r.service.(interface{ Run(context.Context) error }); ok {
		l.keep(ctx, r.name, s.Run)
	}
	if !r.money && r.db != nil {
		l.keep(ctx, r.name+" keys", func(ctx context.Context) error { return n.pruneKeys(ctx, r) })
	}
}

func (n *node) hearRevocations(ctx context.Context) error {
	return n.bus.Listen(ctx, []string{event.SessionRevoked{}.Type()}, func(e bus.Envelope) {
		var revoked event.SessionRevoked
		if err := json.Unmarshal(e.Data, &revoked); err != nil {
			n.log.ErrorContext(ctx, "a revocation cannot be read", "error", err)
			return
		}
		n.revoked.Add(revoked.SessionID, revoked.Until)
	})
}

// askRevocations asks auth, which may live in this process.
func (n *node) askRevocations() func(context.Context, time.Time) ([]token.Revoked, error) {
	auth := peer.New("revocations", n.keys, n.local, n.addresses).To("auth")
	return func(ctx context.Context, since time.Time) ([]token.Revoked, error) {
		return peer.Get[[]token.Revoked](ctx, auth, "/api/auth/revocations?since="+url.QueryEscape(since.UTC().Format(time.RFC3339Nano)))
	}
}

// pruneKeys forgets old idempotency keys once an hour.
func (n *node) pruneKeys(ctx context.Context, r *room) error {
	for tick := time.NewTicker(time.Hour); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return ctx.Err()
		case <-tick.C:
			if err := api.PruneKeys(ctx, r.db, pruneAge); err != nil && !errors.Is(err, context.Canceled) {
				r.log.WarnContext(ctx, "old idempotency keys stay for now", "error", err)
			}
		}
	}
}
