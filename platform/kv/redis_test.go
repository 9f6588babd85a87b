package kv_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tulifo/platform/kv"
	"tulifo/platform/kv/kvtest"
	"tulifo/platform/servertest"
)

// patient is an address at which calls may last long, on a machine that has other things to do.
func patient(url string) string { return url + "?read_timeout=10s" }

func open(t *testing.T, url string) *kv.Redis {
	t.Helper()
	r, err := kv.NewRedis(url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// raw is a client of the library alone, for what an operator does.
func raw(t *testing.T, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// processes are several that share a Redis; calls go to one after the other.
type processes struct {
	of   []*kv.Redis
	next atomic.Uint64
}

func (p *processes) one() *kv.Redis { return p.of[p.next.Add(1)%uint64(len(p.of))] }

func (p *processes) Get(ctx context.Context, key string) ([]byte, bool, error) {
	return p.one().Get(ctx, key)
}
func (p *processes) Set(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	return p.one().Set(ctx, key, val, ttl)
}
func (p *processes) SetIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	return p.one().SetIfAbsent(ctx, key, val, ttl)
}
func (p *processes) Take(ctx context.Context, key string) ([]byte, bool, error) {
	return p.one().Take(ctx, key)
}
func (p *processes) Allow(ctx context.Context, key string, max int, per time.Duration) (int, time.Time, error) {
	return p.one().Allow(ctx, key, max, per)
}
func (p *processes) Delete(ctx context.Context, keys ...string) error {
	return p.one().Delete(ctx, keys...)
}

func TestRedis(t *testing.T) {
	server := servertest.OwnRedis(t)
	kvtest.Suite(t, kvtest.Engine{
		Open: func(t *testing.T) kv.Store {
			url := patient(servertest.Redis(t))
			return &processes{of: []*kv.Redis{open(t, url), open(t, url), open(t, url)}}
		},
		Small: func(t *testing.T) (kv.Store, int) {
			operator := raw(t, server.URL())
			set := func(name, value string) {
				if err := operator.ConfigSet(context.WithoutCancel(t.Context()), name, value).Err(); err != nil {
					t.Fatal(err)
				}
			}
			set("maxmemory-policy", "allkeys-lfu")
			set("maxmemory", "3mb")
			t.Cleanup(func() { set("maxmemory", "0") })
			return open(t, patient(server.URL())), 6_000
		},
		Restarting: func(t *testing.T) (kv.Store, func()) {
			operator, kept := raw(t, server.URL()), false
			return open(t, patient(server.URL())), func() {
				if kept = !kept; kept {
					server.Stop()
					server.Start()
					return
				}
				// Without a file, as an installation has it: a value that was taken must not come back with an old one.
				server.Kill()
				server.Start()
				if err := operator.FlushAll(t.Context()).Err(); err != nil {
					t.Error(err)
				}
			}
		},
	})
}

func TestRedisAddresses(t *testing.T) {
	for _, address := range []string{"", "localhost:6379", "http://localhost", "redis://user:secret@host:port/0", "redis://:secret@host/zero", "redis://:secret@host/0?nonsense=1", "redis://:secret%@host", "\x00"} {
		if _, err := kv.NewRedis(address, slog.Default()); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"redis://localhost:6379", "rediss://user:p%40ss@host/7", "unix:///run/redis.sock?db=3"} {
		r, err := kv.NewRedis(address, slog.Default())
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		r.Close()
	}
}

// Values and counters are found under two prefixes of ours and nowhere else, and each has an end.
func TestRedisKeepsToItsKeys(t *testing.T) {
	url := servertest.Redis(t)
	s, operator, ctx := open(t, patient(url)), raw(t, url), t.Context()
	for _, key := range []string{"a", "*", "b c\r\n", strings.Repeat("k", kv.MaxKey)} {
		if err := s.Set(ctx, key, []byte("v"), time.Hour+time.Nanosecond); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Allow(ctx, key, 5, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := operator.Keys(ctx, "*").Result()
	if err != nil || len(keys) != 8 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		left, err := operator.PTTL(ctx, key).Result()
		if !strings.HasPrefix(key, "tulifo:v:") && !strings.HasPrefix(key, "tulifo:c:") || err != nil || left < 59*time.Minute || left > time.Hour+time.Millisecond {
			t.Errorf("%.20q ends in %v, %v", key, left, err)
		}
	}
}

// A counter without an end, or of something else, is a stranger's: it must neither open a limit nor close it for ever.
func TestRedisHealsAForeignCounter(t *testing.T) {
	url := servertest.Redis(t)
	s, operator, ctx := open(t, patient(url)), raw(t, url), t.Context()
	if err := operator.MSet(ctx, "tulifo:c:endless", "1000", "tulifo:c:word", "word", "tulifo:c:below", "-5").Err(); err != nil {
		t.Fatal(err)
	}
	if left, reset, err := s.Allow(ctx, "endless", 5, time.Minute); left != -1 || err != nil || time.Until(reset) > time.Minute+time.Second {
		t.Errorf("endless: %d, %v, %v", left, reset, err)
	}
	if left := operator.PTTL(ctx, "tulifo:c:endless").Val(); left <= 0 || left > time.Minute {
		t.Errorf("it ends in %v", left)
	}
	for _, key := range []string{"word", "below"} {
		if left, _, err := s.Allow(ctx, key, 5, time.Minute); left != -1 || err == nil {
			t.Errorf("%s: %d, %v", key, left, err)
		}
	}
	// The other type of a value is an error as well.
	if err := operator.LPush(ctx, "tulifo:v:list", "x").Err(); err != nil {
		t.Fatal(err)
	}
	if got, found, err := s.Get(ctx, "list"); found || err == nil {
		t.Errorf("a list: %q, %v", got, err)
	}
	if _, found, err := s.Get(ctx, "none"); found || err != nil {
		t.Errorf("the next question: %v, %v", found, err)
	}
}

func TestRedisTakesTheLargestNumbers(t *testing.T) {
	s, ctx := open(t, patient(servertest.Redis(t))), t.Context()
	const most, ever = int(^uint(0) >> 1), time.Duration(1<<63 - 1)
	if left, reset, err := s.Allow(ctx, "k", most, ever); left != most-1 || err != nil || time.Until(reset) < ever/2 {
		t.Errorf("%d, %v, %v", left, reset, err)
	}
	if left, _, err := s.Allow(ctx, "none", -most, ever); left != -1 || err != nil {
		t.Errorf("below zero: %d, %v", left, err)
	}
	big := bytes.Repeat([]byte("-"), kv.MaxValue)
	if err := s.Set(ctx, "k", big, ever); err != nil {
		t.Fatal(err)
	}
	if got, found, err := s.Get(ctx, "k"); !bytes.Equal(got, big) || !found || err != nil {
		t.Errorf("%d bytes, %v, %v", len(got), found, err)
	}
	if did, err := s.SetIfAbsent(ctx, "short", nil, time.Nanosecond); !did || err != nil {
		t.Errorf("for a nanosecond: %v, %v", did, err)
	}
}

// Scripts are forgotten by a Redis that was flushed or started again.
func TestRedisCountsOnWithoutItsScript(t *testing.T) {
	url := servertest.Redis(t)
	s, operator, ctx := open(t, patient(url)), raw(t, url), t.Context()
	for left := 4; left >= 0; left-- {
		if err := operator.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.Allow(ctx, "k", 5, time.Hour); got != left || err != nil {
			t.Errorf("%d are left, %v, want %d", got, err, left)
		}
	}
}

// An operator has to learn what the server has against him.
func TestRedisSaysWhyItRefuses(t *testing.T) {
	url := servertest.Redis(t)
	wrong := strings.Replace(patient(url), "redis://", "redis://somebody:secret@", 1)
	if err := open(t, wrong).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a wrong password: %v", err)
	}
	elsewhere := patient(url[:strings.LastIndex(url, "/")] + "/99999")
	if err := open(t, elsewhere).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("a database that is not there: %v", err)
	}
}
