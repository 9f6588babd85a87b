package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"tulifo/platform/kv"
	"tulifo/platform/servertest"
)

// counting is the window that whoever has only the client would write.
var counting = redis.NewScript(`
local n = redis.call('INCR', KEYS[1])
if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {n, redis.call('PTTL', KEYS[1])}`)

// keyValue is what the store over Redis costs this process, beside the client that it stands on.
func keyValue(ctx context.Context, b *bench) (_ []finding, err error) {
	server, err := servertest.LaunchRedis()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	store, err := kv.NewRedis(server.URL()+"?read_timeout=10s", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer store.Close()
	o, err := redis.ParseURL(server.URL())
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(o)
	defer client.Close()
	value := make([]byte, 200)
	var out []finding
	for _, op := range []struct {
		name         string
		ours, theirs func(key string) error
	}{
		{"set", func(k string) error { return store.Set(ctx, k, value, time.Hour) }, func(k string) error { return client.Set(ctx, k, value, time.Hour).Err() }},
		{"get", func(k string) error { _, _, err := store.Get(ctx, k); return err }, func(k string) error { return client.Get(ctx, k).Err() }},
		{"allow", func(k string) error { _, _, err := store.Allow(ctx, k, 1<<30, time.Hour); return err }, func(k string) error {
			return counting.Run(ctx, client, []string{"c" + k}, time.Hour.Milliseconds()).Err()
		}},
	} {
		p, err := inTurns(b.pairs, func() (float64, error) { return ownCPU(op.ours) }, func() (float64, error) { return ownCPU(op.theirs) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		out = append(out, finding{
			Job: "kv over Redis, " + op.name + ": CPU of the process a call", Ours: micro(p.ours), Opponent: "go-redis alone " + micro(p.theirs), Ratio: p.spread(), Target: "≤ 1.15 ×", Met: p.ratio <= 1.15,
			Bound: "two system calls and a look whether the connection is still open, in both; ours adds a deadline, a prefix and the breaker",
		})
	}
	return out, nil
}

// ownCPU is the CPU time of this process for a call, in microseconds, with calls of 16 goroutines over 500 keys.
func ownCPU(call func(key string) error) (float64, error) {
	const clients, each = 16, 4000
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	before := selfCPU()
	for range clients {
		all.Go(func() {
			for i := range each {
				if err := call(keys[i%len(keys)]); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64((selfCPU() - before).Microseconds()) / (clients * each), nil
}

var keys = func() (k [500]string) {
	for i := range k {
		k[i] = fmt.Sprintf("gateway:api:minute:198.51.100.%d", i)
	}
	return k
}()

func selfCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
