package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/fault"
	"tulifo/platform/kv"
	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

// hang is more than any call may take on a machine that has other things to do.
const hang = 5 * time.Second

// line is a bad line to the Redis at an address, and the address behind it.
func line(t *testing.T, address string) (*fault.Proxy, string) {
	t.Helper()
	p, through, err := fault.Before(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, through
}

// Whatever the line does at whatever byte of a question or an answer, a call answers rightly or fails, soon, and the same connections serve rightly
// when the line is good again.
func TestRedisOnABadLine(t *testing.T) {
	t.Parallel()
	direct := servertest.Redis(t)
	proxy, behind := line(t, direct)
	truth := open(t, patient(direct))
	step := int64(soak.N(17, 1))
	var toxics []fault.Toxic
	for n := int64(0); n < 160; n += step {
		for _, side := range []fault.Side{fault.ToServer, fault.ToClient} {
			toxics = append(toxics, fault.Toxic{Toward: side, CutAfter: n + 1}, fault.Toxic{Toward: side, Silence: true, After: n})
		}
	}
	// All is garbage: what altered single bytes of a key or a value would have to get past the checksums of TCP, and of TLS.
	for range soak.N(15, 300) {
		toxics = append(toxics, fault.Toxic{Toward: fault.ToServer, Garbage: true}, fault.Toxic{Toward: fault.ToClient, Garbage: true})
	}
	toxics = append(toxics, fault.Toxic{Reset: true}, fault.Toxic{HalfOpen: true})
	var right, failed atomic.Int64
	for i, toxic := range toxics {
		// One that is not told of failures before asks each time.
		s := open(t, behind+"?read_timeout=60ms")
		name := fmt.Sprintf("%d-%+v", i, toxic)
		prepare(t, truth, name)
		var before sync.WaitGroup
		for range 5 {
			before.Go(func() { _, _, _ = s.Get(t.Context(), "warm") })
		}
		before.Wait()
		proxy.Set(toxic)
		judge(t, s, name, &right, &failed)
		proxy.Set()
		prepare(t, truth, name)
		healed(t, s, name)
		s.Close()
	}
	t.Logf("%d calls answered, %d failed, under %d faults", right.Load(), failed.Load(), len(toxics))
	if right.Load() == 0 || failed.Load() == 0 {
		t.Error("the faults hit every call, or none")
	}
}

func prepare(t *testing.T, truth kv.Store, name string) {
	t.Helper()
	ctx := t.Context()
	err := truth.Delete(ctx, name+"new", name+"count")
	for _, key := range []string{"get", "take", "there"} {
		err = errors.Join(err, truth.Set(ctx, name+key, []byte(name+key), time.Hour))
	}
	_, _, counted := truth.Allow(ctx, name+"count", 10, time.Hour)
	if err = errors.Join(err, counted); err != nil {
		t.Fatal(err)
	}
}

// judge makes one call of each kind at once.
func judge(t *testing.T, s kv.Store, name string, right, failed *atomic.Int64) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var calls sync.WaitGroup
	for what, call := range map[string]func() (ok bool, err error){
		"get": func() (bool, error) {
			got, found, err := s.Get(ctx, name+"get")
			return found && string(got) == name+"get", err
		},
		"take": func() (bool, error) {
			got, found, err := s.Take(ctx, name+"take")
			return found && string(got) == name+"take", err
		},
		"new": func() (bool, error) { return s.SetIfAbsent(ctx, name+"new", []byte("v"), time.Hour) },
		"there": func() (bool, error) {
			did, err := s.SetIfAbsent(ctx, name+"there", []byte("v"), time.Hour)
			return !did, err
		},
		"absent": func() (bool, error) { _, found, err := s.Get(ctx, name+"absent"); return !found, err },
		"count":  func() (bool, error) { left, _, err := s.Allow(ctx, name+"count", 10, time.Hour); return left == 8, err },
	} {
		calls.Go(func() {
			began := time.Now()
			ok, err := call()
			switch took := time.Since(began); {
			case took > hang:
				t.Errorf("%s: %s took %v", name, what, took)
			case err != nil:
				failed.Add(1)
			case !ok:
				t.Errorf("%s: %s is told what is not so", name, what)
			default:
				right.Add(1)
			}
		})
	}
	calls.Wait()
}

// healed waits until the store answers, and then wants every answer to be right.
func healed(t *testing.T, s *kv.Redis, name string) {
	t.Helper()
	deadline := time.Now().Add(hang)
	for s.Ping(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatalf("%s: the line is good, and the store does not answer", name)
		}
	}
	// What is still on its way of the questions before is counted too, so the count is not asked again.
	for i := range 8 {
		key := fmt.Sprint(name, "again", i)
		if err := s.Set(t.Context(), key, []byte(key), time.Hour); err != nil {
			continue // the machine may be slower than this store is patient
		}
		if got, found, err := s.Get(t.Context(), key); err == nil && (!found || string(got) != key) {
			t.Errorf("%s: afterwards %s is %q, %v", name, key, got, found)
		}
	}
}

// An answer that comes too late is never read as that of a later question.
func TestALateAnswerIsNobodys(t *testing.T) {
	t.Parallel()
	direct := servertest.Redis(t)
	proxy, behind := line(t, direct)
	truth, s := open(t, patient(direct)), open(t, behind+"?read_timeout=200ms")
	const keys = 50
	for i := range keys {
		if err := truth.Set(t.Context(), fmt.Sprint(i), fmt.Append(nil, i), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	proxy.Set(fault.Toxic{Toward: fault.ToClient, Latency: 5 * time.Millisecond, Jitter: 200 * time.Millisecond})
	var right, failed atomic.Int64
	over := time.Now().Add(1500 * time.Millisecond)
	var clients sync.WaitGroup
	for n := range 16 {
		clients.Go(func() {
			for i := n; time.Now().Before(over); i = (i + 7) % keys {
				got, found, err := s.Get(t.Context(), fmt.Sprint(i))
				switch {
				case err != nil:
					failed.Add(1)
					// Its breaker would keep the others from asking.
					_ = s.Ping(t.Context())
				case !found || string(got) != fmt.Sprint(i):
					t.Errorf("%d is %q, %v", i, got, found)
				default:
					right.Add(1)
				}
			}
		})
	}
	clients.Wait()
	t.Logf("%d answers came in time, %d did not", right.Load(), failed.Load())
	if right.Load() == 0 || failed.Load() == 0 {
		t.Error("all came in time, or none")
	}
}

// A server that refuses may be answering what came garbled, and have more to say: the connection is not asked again.
func TestNothingIsAskedAfterARefusal(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var asked, again atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1<<10)
				if _, err := c.Read(b); err != nil {
					return
				}
				asked.Add(1)
				_, _ = c.Write([]byte("-ERR what?\r\n"))
				if n, _ := c.Read(b); n > 0 {
					again.Add(1)
					_, _ = c.Write([]byte("$4\r\nlate\r\n"))
				}
			}()
		}
	}()
	s := open(t, patient("redis://"+l.Addr().String()))
	for range 3 {
		if got, found, err := s.Get(t.Context(), "k"); err == nil || found {
			t.Fatalf("%q, %v, %v", got, found, err)
		}
	}
	if asked.Load() != 3 || again.Load() != 0 {
		t.Errorf("3 questions were asked on %d connections, %d after a refusal", asked.Load(), again.Load())
	}
}

// hears is a log of which the messages count.
type hears struct {
	slog.Handler
	lines chan string
}

func (hears) Enabled(context.Context, slog.Level) bool { return true }
func (h hears) Handle(_ context.Context, r slog.Record) error {
	h.lines <- r.Message
	return nil
}

// A Redis that is away costs the time of a few calls, once, and is noticed when it is back.
func TestADeadRedisCostsNothing(t *testing.T) {
	t.Parallel()
	direct := servertest.Redis(t)
	proxy, behind := line(t, direct)
	said := hears{slog.DiscardHandler, make(chan string, 100)}
	r, err := kv.NewRedis(behind, slog.New(said))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := kv.NewBounded(r, 1000)
	_, _, _ = r.Get(t.Context(), "k")
	proxy.Set(fault.Toxic{Toward: fault.ToClient, Silence: true})
	const calls = 20_000
	began, allowed, silent := time.Now(), 0, 0
	for range calls {
		at := time.Now()
		left, _, err := s.Allow(t.Context(), "k", 20, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if left >= 0 {
			allowed++
		}
		if time.Since(at) > 100*time.Millisecond {
			silent++
		}
	}
	took := time.Since(began)
	// Three calls until it is known, then one a second.
	if most := 5 + int(took/time.Second); allowed != 20 || silent > 2*most {
		t.Errorf("%d calls took %v: %d were allowed of 20, %d waited", calls, took, allowed, silent)
	}
	if line := <-said.lines; !strings.Contains(line, "does not answer") {
		t.Errorf("the log says %q", line)
	}
	proxy.Set()
	deadline := time.Now().Add(20 * time.Second)
	for again := true; again; {
		left, _, err := r.Allow(t.Context(), uuid.NewString(), 5, time.Hour) // a call without an answer may have been counted
		if again = err != nil; !again && left != 4 || time.Now().After(deadline) {
			t.Fatalf("%d are left of 5, %v", left, err)
		}
	}
	for time.Now().Before(deadline) {
		if _, _, err := r.Get(t.Context(), "k"); err == nil {
			break
		}
	}
	for line := ""; !strings.Contains(line, "answers again"); {
		select {
		case line = <-said.lines:
		case <-time.After(time.Until(deadline)):
			t.Fatal("the log does not say that Redis is back")
		}
	}
}

// Who hangs up himself says nothing about Redis, and no call outlives the deadline of its caller by much.
func TestCallersWhoGiveUpCloseNothing(t *testing.T) {
	t.Parallel()
	s := open(t, patient(servertest.Redis(t)))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer end()
	for range 20 {
		for _, ctx := range []context.Context{gone, late} {
			if left, _, err := s.Allow(ctx, "k", 5, time.Hour); err == nil || left >= 0 {
				t.Fatalf("%d, %v", left, err)
			}
		}
	}
	if left, _, err := s.Allow(t.Context(), "k", 5, time.Hour); left != 4 || err != nil {
		t.Errorf("%d, %v", left, err)
	}
	s.Close()
	if err := s.Set(t.Context(), "k", nil, time.Hour); err == nil {
		t.Error("a store that was closed keeps something")
	}
}
