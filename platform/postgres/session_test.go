package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

func session(t *testing.T, url string) *postgres.Session {
	t.Helper()
	s := must[*postgres.Session](t)(postgres.NewSession(url, nil))
	t.Cleanup(s.Close)
	return s
}

// breakSessions ends every session's connection, as a restart of the server would.
func breakSessions(t *testing.T, url string) {
	t.Helper()
	if err := runSQL(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tulifo session' AND datname = current_database()"); err != nil {
		t.Fatal(err)
	}
}

func await[T any](t *testing.T, ctx context.Context, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

func TestOneSessionHoldsALock(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	a, b := session(t, url), session(t, url)
	held, ok, err := a.Lock(ctx, "relay")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	for _, s := range []*postgres.Session{a, b} {
		if _, ok, err := s.Lock(ctx, "relay"); ok || err != nil {
			t.Errorf("the lock was given twice: %v, %v", ok, err)
		}
	}
	if _, ok, err := b.Lock(ctx, "timer"); !ok || err != nil {
		t.Errorf("another lock: %v, %v", ok, err)
	}
	held.Unlock()
	held.Unlock()
	await(t, ctx, "Lost after Unlock", held.Lost())
	if _, ok, err := b.Lock(ctx, "relay"); !ok || err != nil {
		t.Errorf("after Unlock: %v, %v", ok, err)
	}
	b.Close()
	if _, ok, err := a.Lock(ctx, "relay"); !ok || err != nil {
		t.Errorf("after the holder closed: %v, %v", ok, err)
	}
	if _, _, err := b.Lock(ctx, "relay"); err == nil {
		t.Error("a closed session takes locks")
	}
}

func TestBrokenConnectionLosesLocksAndKeepsListening(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	s := session(t, url)
	heard := make(chan string, 10)
	listening, stop := context.WithCancel(ctx)
	if err := s.Listen(listening, "news", func(p string) { heard <- p }); err != nil {
		t.Fatal(err)
	}
	held, ok, err := s.Lock(ctx, "relay")
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	say := func(payload string) {
		t.Helper()
		if err := runSQL(t, url, "NOTIFY news, '"+payload+"'"); err != nil {
			t.Fatal(err)
		}
	}
	say("one")
	if got := await(t, ctx, "a notification", heard); got != "one" {
		t.Errorf("heard %q", got)
	}
	breakSessions(t, url)
	await(t, ctx, "the loss of the lock", held.Lost())
	if got := await(t, ctx, "word of the reconnect", heard); got != "" {
		t.Errorf("heard %q", got)
	}
	say("two")
	if got := await(t, ctx, "a notification after the reconnect", heard); got != "two" {
		t.Errorf("heard %q", got)
	}
	if _, ok, err := s.Lock(ctx, "relay"); !ok || err != nil {
		t.Errorf("the lock after the reconnect: %v, %v", ok, err)
	}
	stop()
	other := make(chan string, 10)
	if err := s.Listen(ctx, "news", func(p string) { other <- p }); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, "the end of the first listener", func() bool {
		say("three")
		if got := await(t, ctx, "a notification for the second listener", other); got != "three" {
			t.Errorf("heard %q", got)
		}
		select {
		case <-heard:
			return false
		default:
			return true
		}
	})
}

func TestLeadIsHandedOn(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	leads := make(chan int, 10)
	sessions := []*postgres.Session{session(t, url), session(t, url)}
	ended := make(chan error, 2)
	ctx, cancel := context.WithCancel(ctx)
	for i, s := range sessions {
		go func() {
			ended <- s.Lead(ctx, "relay", func(ctx context.Context) error {
				leads <- i
				<-ctx.Done()
				return ctx.Err()
			})
		}()
	}
	first := await(t, ctx, "a leader", leads)
	sessions[first].Close()
	if second := await(t, ctx, "its successor", leads); second == first {
		t.Error("a closed session leads again")
	}
	breakSessions(t, url)
	await(t, ctx, "a leader after the connection broke", leads)
	cancel()
	for range sessions {
		<-ended
	}
}

func TestSessionWithoutServer(t *testing.T) {
	t.Parallel()
	s, ctx := session(t, "postgres://tulifo@/tulifo?host="+t.TempDir()), within(t, time.Minute)
	if _, ok, err := s.Lock(ctx, "relay"); ok || errs.KindOf(err) != errs.Unavailable {
		t.Errorf("lock: %v, %v", ok, err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := s.Listen(short, "news", func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("listen: %v", err)
	}
	if _, err := postgres.NewSession("http://nowhere", nil); err == nil {
		t.Error("a malformed address is taken")
	}
}
