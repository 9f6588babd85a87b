package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"

	"tulifo/platform/obs"
)

// identify finds the ids of a request: its own when they are sane, else new ones.
func (x *exchange) identify() {
	h := x.r.Header
	x.id = requestID(h, x.start)
	came := ""
	if v := h["Traceparent"]; len(v) == 1 {
		came = v[0]
	}
	x.trace = obs.Span(came)
	x.continued = len(came) == len(x.trace) && traceID(came) == traceID(x.trace)
}

// requestID is the client's own id when it is a sane one, else a new UUID of version 7: RFC 9562, section 5.7. Its random part guards nothing
// and need not be secret.
func requestID(h http.Header, now time.Time) string {
	if v := h["X-Request-Id"]; len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	var b [36]byte
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16|rand.Uint64()&0xffff)
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	raw[6] = 0x70 | raw[6]&0x0f
	raw[8] = 0x80 | raw[8]&0x3f
	hex.Encode(b[:], raw[:4])
	b[8] = '-'
	hex.Encode(b[9:], raw[4:6])
	b[13] = '-'
	hex.Encode(b[14:], raw[6:8])
	b[18] = '-'
	hex.Encode(b[19:], raw[8:10])
	b[23] = '-'
	hex.Encode(b[24:], raw[10:])
	return string(b[:])
}

func saneID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func traceID(parent string) string { return parent[3:35] }
