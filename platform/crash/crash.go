// Package crash lets a test kill its process at a named point: before and after each commit, publication, acknowledgement, call and answer.
//
// A point is named <service>.<kind>.<before|after>, and, where one service passes the same kind for many reasons, a cause behind it in
// parentheses: booking.commit.after(POST /api/bookings). Always: without TULIFO_CRASH a point costs one atomic load and does nothing.
package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Kind is what a process does at a point.
type Kind string

// Kinds of points. Each is passed before and after.
const (
	Commit  Kind = "commit"  // a transaction is committed
	Answer  Kind = "answer"  // a request's idempotent answer: before it is worked out, after it is stored and not yet sent
	Publish Kind = "publish" // events go from an outbox to the bus; after: the outbox still has them
	Handle  Kind = "handle"  // events are handled; after: the bus does not know it yet
	Ack     Kind = "ack"     // the bus is told that events were handled
	Store   Kind = "store"   // a webhook is stored; after: it is not applied yet
	Hear    Kind = "hear"    // a webhook: before it is read, after it was applied and not yet answered
	Call    Kind = "call"    // a call at the rail
	Send    Kind = "send"    // a mail is handed to the mail server
	Fire    Kind = "fire"    // something due is done
	Proxy   Kind = "proxy"   // the gateway hands a request to a service
)

// Kinds is all of them.
func Kinds() []Kind {
	return []Kind{Commit, Answer, Publish, Handle, Ack, Store, Hear, Call, Send, Fire, Proxy}
}

// armed is what the process was told; nil: nothing.
var armed atomic.Pointer[plan]

type plan struct {
	name  string
	nth   int64
	count atomic.Int64

	mu   sync.Mutex
	seen map[string]bool
	log  io.Writer
}

// Arm has this process die at a point, as TULIFO_CRASH says: name, or name:n for its nth passage. "list:FILE" instead appends the name of each
// point to the file when it is first passed. The empty string arms nothing. It is refused in production.
func Arm(spec string, production bool) error {
	switch {
	case spec == "":
		return nil
	case production:
		return errors.New("TULIFO_CRASH kills the process and is refused in production")
	}
	if path, list := strings.CutPrefix(spec, "list:"); list {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("TULIFO_CRASH: %w", err)
		}
		armed.Store(&plan{log: f, seen: map[string]bool{}})
		return nil
	}
	p := &plan{name: spec, nth: 1}
	if i := strings.LastIndexByte(spec, ':'); i >= 0 {
		if n, err := strconv.ParseInt(spec[i+1:], 10, 64); err == nil && n > 0 {
			p.name, p.nth = spec[:i], n
		}
	}
	armed.Store(p)
	return nil
}

// Before is the point before something of that kind. It ends the process, as kill -9 does, when that was armed for the point. An empty cause
// is the context's.
func Before(ctx context.Context, service string, k Kind, cause string) {
	if p := armed.Load(); p != nil {
		p.pass(ctx, service, k, "before", cause)
	}
}

// After is the point after it.
func After(ctx context.Context, service string, k Kind, cause string) {
	if p := armed.Load(); p != nil {
		p.pass(ctx, service, k, "after", cause)
	}
}

func (p *plan) pass(ctx context.Context, service string, k Kind, when, cause string) {
	if cause == "" {
		cause, _ = ctx.Value(causeKey{}).(string)
	}
	name := strings.TrimPrefix(service, "tulifo_") + "." + string(k) + "." + when
	if cause != "" {
		name += "(" + cause + ")"
	}
	if p.log != nil {
		p.note(name)
		return
	}
	if name != p.name || p.count.Add(1) != p.nth {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (p *plan) note(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.seen[name] {
		p.seen[name] = true
		_, _ = io.WriteString(p.log, name+"\n")
	}
}

type causeKey struct{}

// Because is ctx under which points have a cause. The innermost counts.
func Because(ctx context.Context, cause string) context.Context {
	if armed.Load() == nil {
		return ctx
	}
	return context.WithValue(ctx, causeKey{}, cause)
}
