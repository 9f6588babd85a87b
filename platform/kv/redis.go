package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is the Store of many processes: one Redis of version 6.2 or later, without cluster. Its clock alone decides when anything ends.
//
// No call lasts longer than a quarter of a second (read_timeout of the address, where it has one), and none is made twice, so that an error means
// unknown and nothing else. After three failures in a row calls fail at once, but for one a second that looks whether Redis is back.
//
// What a database of it holds beside the keys that begin with "tulifo:" is nobody's business here; installations that share a server take a database each.
type Redis struct {
	client  *redis.Client
	longest time.Duration // of a call
	breaker breaker
}

// Values and counters have keyspaces of their own.
const (
	ofValues   = "tulifo:v:"
	ofCounters = "tulifo:c:"
)

const (
	longest  = 250 * time.Millisecond
	poolSize = 32
	idleLife = 5 * time.Minute
)

// The client writes to standard error unless it is told otherwise; what matters of it comes back as an error.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// NewRedis is a store at an address such as redis://user:password@host:6379/0, rediss:// with TLS, or unix:///path. It does not connect yet.
// Its error says what is wrong with the address, without the password. log hears of the loss and the return of Redis.
func NewRedis(address string, log *slog.Logger) (*Redis, error) {
	quiet()
	if _, err := url.Parse(address); err != nil {
		return nil, errors.New("it is not an address; one looks like redis://user:password@host:6379/0")
	}
	c, err := redis.ParseURL(address)
	if err != nil {
		return nil, fmt.Errorf("it must look like redis://user:password@host:6379/0 (%w)", err)
	}
	if c.PoolSize == 0 {
		c.PoolSize = poolSize
	}
	// A retry could count, set or take a second time.
	c.MaxRetries, c.DialerRetries = -1, 1
	if c.ReadTimeout <= 0 {
		c.ReadTimeout = longest
	}
	// A call waits for a place and for a connection without looking at its deadline, so both together may last as long as it.
	c.PoolTimeout, c.DialTimeout, c.WriteTimeout, c.ContextTimeoutEnabled = c.ReadTimeout*2/5, c.ReadTimeout*3/5, c.ReadTimeout, true
	c.ConnMaxIdleTime = idleLife
	// The older protocol has nothing that the server sends unasked, so that what is there before a question makes a connection unfit.
	c.Protocol, c.DisableIdentity = 2, true
	dial := redis.NewDialer(c)
	c.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if raw, ok := conn.(interface {
			net.Conn
			syscall.Conn
		}); ok && err == nil {
			return &judged{Conn: raw, raw: raw}, nil
		}
		return conn, err
	}
	return &Redis{client: redis.NewClient(c), longest: c.ReadTimeout, breaker: breaker{log: log}}, nil
}

// judged is a connection that is not used again after an error of the server's. An error that no question of ours explains may be the answer to what
// came garbled, with more to follow, and the next question would be told what belongs to this one. The pool asks for the raw connection before it
// gives one out, and drops what has none.
type judged struct {
	net.Conn
	raw   syscall.Conn
	unfit atomic.Pointer[error]
}

// Read is net.Conn's.
func (j *judged) Read(b []byte) (int, error) {
	n, err := j.Conn.Read(b)
	if n > 0 && b[0] == '-' && !bytes.HasPrefix(b[:n], []byte("-NOSCRIPT")) {
		said, _, _ := bytes.Cut(b[1:n], []byte("\r"))
		unfit := fmt.Errorf("the server refuses: %.100s", said)
		j.unfit.Store(&unfit)
	}
	return n, err
}

// Write is net.Conn's.
func (j *judged) Write(b []byte) (int, error) {
	if err := j.unfit.Load(); err != nil {
		return 0, *err
	}
	return j.Conn.Write(b)
}

// SyscallConn is syscall.Conn's.
func (j *judged) SyscallConn() (syscall.RawConn, error) {
	if err := j.unfit.Load(); err != nil {
		return nil, *err
	}
	return j.raw.SyscallConn()
}

// Get is Store's.
func (r *Redis) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	return r.read(ctx, func(ctx context.Context) *redis.StringCmd { return r.client.Get(ctx, ofValues+key) })
}

// Take is Store's.
func (r *Redis) Take(ctx context.Context, key string) ([]byte, bool, error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	return r.read(ctx, func(ctx context.Context) *redis.StringCmd { return r.client.GetDel(ctx, ofValues+key) })
}

func (r *Redis) read(ctx context.Context, ask func(context.Context) *redis.StringCmd) (val []byte, ok bool, err error) {
	err = r.do(ctx, func(ctx context.Context) (err error) {
		val, err = ask(ctx).Bytes()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return val, true, nil
}

// Set is Store's.
func (r *Redis) Set(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if err := check(key, val, ttl); err != nil {
		return err
	}
	return r.do(ctx, func(ctx context.Context) error { return r.client.Set(ctx, ofValues+key, val, whole(ttl)).Err() })
}

// SetIfAbsent is Store's.
func (r *Redis) SetIfAbsent(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	if err := check(key, val, ttl); err != nil {
		return false, err
	}
	err := r.do(ctx, func(ctx context.Context) error {
		return r.client.SetArgs(ctx, ofValues+key, val, redis.SetArgs{Mode: "NX", TTL: whole(ttl)}).Err()
	})
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

// whole is d in the unit that Redis keeps, never shorter.
func whole(d time.Duration) time.Duration {
	up := d.Truncate(time.Millisecond)
	if up < d && up <= math.MaxInt64-time.Millisecond {
		up += time.Millisecond
	}
	return up
}

// count counts one more while the count is below ARGV[1], for ARGV[2] milliseconds from the first on; it answers the count, -1 when it is not below,
// and the milliseconds until the end. A counter that would never end, which only a stranger can have made, is given an end.
var count = redis.NewScript(`
local n = tonumber(redis.call('GET', KEYS[1]) or '0')
if n < tonumber(ARGV[1]) then n = redis.call('INCR', KEYS[1]) else n = -1 end
local ends = redis.call('PTTL', KEYS[1])
if ends < 0 then
  ends = tonumber(ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {n, ends}`)

// Allow is Store's. The instant of reset is told by this process's clock, from what Redis says is left.
func (r *Redis) Allow(ctx context.Context, key string, max int, per time.Duration) (left int, reset time.Time, err error) {
	if err := check(key, nil, per); err != nil {
		return -1, time.Time{}, err
	}
	left = -1
	err = r.do(ctx, func(ctx context.Context) error {
		said, err := count.Run(ctx, r.client, []string{ofCounters + key}, max, whole(per).Milliseconds()).Int64Slice()
		switch {
		case err != nil:
			return err
		case len(said) != 2 || said[0] != -1 && (said[0] < 1 || said[0] > int64(max)) || said[1] < 0:
			return fmt.Errorf("an answer that cannot be: %v", said)
		}
		if said[0] > 0 {
			left = max - int(said[0])
		}
		reset = time.Now().Add(time.Duration(said[1]) * time.Millisecond)
		return nil
	})
	return left, reset, err
}

// Delete is Store's.
func (r *Redis) Delete(ctx context.Context, keys ...string) error {
	names := make([]string, 0, 2*len(keys))
	for _, key := range keys {
		if checkKey(key) == nil {
			names = append(names, ofValues+key, ofCounters+key)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return r.do(ctx, func(ctx context.Context) error { return r.client.Del(ctx, names...).Err() })
}

// Ping says whether Redis answers. It asks, whatever was known before.
func (r *Redis) Ping(ctx context.Context) error {
	return r.ask(ctx, func(ctx context.Context) error { return r.client.Ping(ctx).Err() })
}

// Close gives the connections back. Calls after it fail.
func (r *Redis) Close() error { return r.client.Close() }

func (r *Redis) do(ctx context.Context, call func(context.Context) error) error {
	if !r.breaker.lets() {
		return errAway
	}
	return r.ask(ctx, call)
}

func (r *Redis) ask(ctx context.Context, call func(context.Context) error) error {
	err := call(r.bound(ctx))
	_, answered := errors.AsType[redis.Error](err)
	switch {
	case err == nil || answered:
		r.breaker.answered()
	case ctx.Err() == nil:
		// Who gives up himself says nothing about Redis.
		r.breaker.failed(err)
	}
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	return fmt.Errorf("kv: redis: %w", err)
}

// bounded is a context with an earlier deadline, by which the client bounds what it waits for; it needs no timer.
type bounded struct {
	context.Context
	deadline time.Time
}

func (b bounded) Deadline() (time.Time, bool) { return b.deadline, true }

func (r *Redis) bound(ctx context.Context) context.Context {
	deadline := time.Now().Add(r.longest)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		return ctx
	}
	return bounded{ctx, deadline}
}
