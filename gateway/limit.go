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
type limiter struct{ store kv.Bounded }

// headers are those of the limit of a window and of what is left, under the names that Kong gives them.
func (w *window) headers() (n [2]string) {
	switch w.name {
	case "second":
		return [2]string{"X-Ratelimit-Limit-Second", "X-Ratelimit-Remaining-Second"}
	case "minute":
		return [2]string{"X-Ratelimit-Limit-Minute", "X-Ratelimit-Remaining-Minute"}
	case "hour":
		return [2]string{"X-Ratelimit-Limit-Hour", "X-Ratelimit-Remaining-Hour"}
	}
	return [2]string{"X-Ratelimit-Limit-Day", "X-Ratelimit-Remaining-Day"}
}

// allow counts one request of client against l and tells the client where he stands. TooMany: he is over it; RetryAfter says when he is not.
//
// A window is fixed: it opens with the first request and closes its length later. Refused requests are not counted.
func (m *limiter) allow(ctx context.Context, h http.Header, l *rateLimit, client netip.Addr) error {
	var buf [128]byte
	least, total, rest, at := -2, "", "", time.Time{} // of the window that leaves the fewest
	v := make([]string, 0, 2*len(l.windows)+3)
	for i := range l.windows {
		w := &l.windows[i]
		key := append(append(append(append(append(buf[:0], "gateway:"...), l.scope...), ':'), w.name...), ':')
		key = limitKey(key, client)
		left, reset, err := m.store.Allow(ctx, string(key), w.max, w.per)
		if err != nil {
			return errs.New(errs.Unavailable, "The service is busy. Please try again in a moment.").Because(err)
		}
		if least == -2 || left < least {
			least, total, rest, at = left, w.text, strconv.Itoa(max(left, 0)), reset
		}
		if !l.hidden {
			said := rest
			if left != least {
				said = strconv.Itoa(left) // more than the least, so not below zero
			}
			n, i := w.headers(), len(v)
			v = append(v, w.text, said)
			h[n[0]], h[n[1]] = v[i:i+1:i+1], v[i+1:i+2:i+2]
		}
		if left < 0 {
			break
		}
	}
	wait := max(time.Until(at), 0)
	seconds := int64((wait + time.Second - 1) / time.Second)
	if !l.hidden {
		i := len(v)
		v = append(v, total, rest, strconv.FormatInt(seconds, 10))
		h["Ratelimit-Limit"], h["Ratelimit-Remaining"], h["Ratelimit-Reset"] = v[i:i+1:i+1], v[i+1:i+2:i+2], v[i+2:i+3:i+3]
	}
	if least < 0 {
		return errs.New(errs.TooMany, "Too many requests. Please wait a moment.").After(max(wait, time.Second))
	}
	return nil
}
