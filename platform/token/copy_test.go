package token_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/kv"
	"tulifo/platform/servertest"
	"tulifo/platform/token"
)

func shared(t *testing.T, url string) *kv.Redis {
	t.Helper()
	s, err := kv.NewRedis(url+"?read_timeout=10s", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func soon(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// follow has a process look at the copy and ask auth, and counts how often it asks.
func follow(t *testing.T, s kv.Store, ask func() ([]token.Revoked, error)) (r *token.Revocations, asked *atomic.Int64) {
	t.Helper()
	r, asked = token.NewRevocations(), new(atomic.Int64)
	log := slog.New(slog.DiscardHandler)
	go r.Look(t.Context(), log, s)
	go r.Follow(t.Context(), log, func(context.Context, time.Time) ([]token.Revoked, error) {
		asked.Add(1)
		return ask()
	})
	soon(t, "the first question", func() bool { return asked.Load() > 0 })
	return r, asked
}

func revoked(n int) (all []token.Revoked) {
	for i := range n {
		all = append(all, token.Revoked{SessionID: uuid.New(), Until: time.Now().Add(time.Hour + time.Duration(i)*time.Second)})
	}
	return all
}

// A process that hears no broadcast learns of a sign-out from the copy, though it cannot reach auth.
func TestTheCopyTellsWhoCannotReachAuth(t *testing.T) {
	t.Parallel()
	url := servertest.Redis(t)
	r, _ := follow(t, shared(t, url), func() ([]token.Revoked, error) { return nil, errors.New("auth is away") })
	out := revoked(3)
	for n := range out {
		if err := token.Publish(t.Context(), shared(t, url), out[:n+1]); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		soon(t, "the sign-out", func() bool { return r.Has(out[n].SessionID) })
		t.Logf("after %v", time.Since(began))
	}
	ended := false
	r.Watch(out[0].SessionID, func() { ended = true })
	if !ended {
		t.Error("a stream of the sign-in goes on")
	}
}

// Whatever the copy says, a process that sees a new one asks auth at once: two that published together may hide one another's.
func TestTheCopyHasAuthAsked(t *testing.T) {
	t.Parallel()
	s := shared(t, servertest.Redis(t))
	hidden := revoked(1)
	r, asked := follow(t, s, func() ([]token.Revoked, error) { return hidden, nil })
	before, began := asked.Load(), time.Now()
	if err := token.Publish(t.Context(), s, revoked(1)); err != nil {
		t.Fatal(err)
	}
	soon(t, "the question", func() bool { return asked.Load() > before })
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("auth was asked after %v, which is when it is asked anyway", took)
	}
	soon(t, "the answer", func() bool { return r.Has(hidden[0].SessionID) })
}

// The copy is no truth: what it forgets, garbles or never had revives nobody, and does not count as an answer of auth.
func TestACopyThatIsLostRevivesNobody(t *testing.T) {
	t.Parallel()
	s := shared(t, servertest.Redis(t))
	r, asked := follow(t, s, func() ([]token.Revoked, error) { return nil, nil })
	out := revoked(2)
	r.Add(out[0].SessionID, out[0].Until)
	if err := token.Publish(t.Context(), s, out[1:]); err != nil {
		t.Fatal(err)
	}
	soon(t, "the sign-out", func() bool { return r.Has(out[1].SessionID) })
	for _, said := range []string{"[]", "null", "{", `[{"sessionId":1}]`, ""} {
		before := asked.Load()
		if err := s.Set(t.Context(), "auth:revocations", []byte(said), time.Minute); err != nil {
			t.Fatal(err)
		}
		soon(t, "the question after "+said, func() bool { return asked.Load() > before })
	}
	if err := s.Delete(t.Context(), "auth:revocations"); err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	soon(t, "the next question", func() bool { return asked.Load() > before })
	for i, o := range out {
		if !r.Has(o.SessionID) {
			t.Errorf("the copy is gone, and sign-out %d with it", i)
		}
	}
}

// However many are revoked at once, the copy holds the newest, and fits.
func TestTheCopyIsBounded(t *testing.T) {
	t.Parallel()
	s := kv.NewMemory(10)
	many := revoked(10_000)
	if err := token.Publish(t.Context(), s, many); err != nil {
		t.Fatal(err)
	}
	r, _ := follow(t, s, func() ([]token.Revoked, error) { return nil, nil })
	soon(t, "the newest", func() bool { return r.Has(many[len(many)-1].SessionID) })
	if r.Has(many[0].SessionID) {
		t.Error("the oldest is there too, so the copy knows no bound")
	}
}
