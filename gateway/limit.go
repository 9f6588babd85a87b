package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/kv"
)

// limiter counts requests per client address. When the store cannot answer it counts in this process: a dead cache never opens a limit.
type limiter struct {
	store kv.Store
	local *kv.Memory
}

// The windows that a limit has headers for, under the names that Kong gives them.
var limitHeaders = map[string][2]string{
	"second": {"X-Ratelimit-Limit-Second", "X-Ratelimit-Remaining-Second"},
	"minute": {"X-Ratelimit-Limit-Minute", "X-Ratelimit-Remaining-Minute"},
	"hour":   {"X-Ratelimit-Limit-Hour", "X-Ratelimit-Remaining-Hour"},
	"day":    {"X-Ratelimit-Limit-Day", "X-Ratelimit-Remaining-Day"},
}

// allow counts one request of client against l and tells the client where he stands. TooMany: he is over it; RetryAfter says when he is not.
//
// A window is fixed: it opens with the first request and closes its length later. Refused requests are not counted.
func (m *limiter) allow(ctx context.Context, h http.Header, l *rateLimit, client netip.Addr) error {
	var buf [128]byte
	least, total, at := -2, "", time.Time{} // of the window that leaves the fewest
	for _, w := range l.windows {
		key := append(append(append(append(append(buf[:0], "gateway:"...), l.scope...), ':'), w.name...), ':')
		key = limitKey(key, client)
		left, reset, err := m.store.Allow(ctx, string(key), w.max, w.per)
		if err != nil {
			if left, reset, err = m.local.Allow(context.WithoutCancel(ctx), string(key), w.max, w.per); err != nil {
				return errs.New(errs.Unavailable, "The service is busy. Please try again in a moment.").Because(err)
			}
		}
		if least == -2 || left < least {
			least, total, at = left, w.text, reset
		}
		if !l.hidden {
			n := limitHeaders[w.name]
			v := []string{w.text, strconv.Itoa(max(left, 0))}
			h[n[0]], h[n[1]] = v[0:1:1], v[1:2:2]
		}
		if left < 0 {
			break
		}
	}
	wait := max(time.Until(at), 0)
	seconds := int64((wait + time.Second - 1) / time.Second)
	if !l.hidden {
		v := []string{total, strconv.Itoa(max(least, 0)), strconv.FormatInt(seconds, 10)}
		h["Ratelimit-Limit"], h["Ratelimit-Remaining"], h["Ratelimit-Reset"] = v[0:1:1], v[1:2:2], v[2:3:3]
	}
	if least < 0 {
		return errs.New(errs.TooMany, "Too many requests. Please wait a moment.").After(max(wait, time.Second))
	}
	return nil
}
