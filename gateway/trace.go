package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"

	"tulifo/platform/obs"
)

const (
	uuidLength   = 36
	parentLength = 55
)

// identify finds the ids of a request: its own when they are sane, else new ones. Ids tie lines together and guard nothing, so the random
// numbers need not be secret.
func (x *exchange) identify() {
	h := x.r.Header
	if v := h["X-Request-Id"]; len(v) == 1 && saneID(v[0]) {
		x.id = v[0]
	}
	came := ""
	if v := h["Traceparent"]; len(v) == 1 {
		came = v[0]
	}
	if came != "" {
		x.trace = obs.Span(came)
		x.continued = len(came) == len(x.trace) && traceID(came) == traceID(x.trace)
		if x.id == "" {
			x.id = newID(x.start)
		}
		return
	}
	var b [uuidLength + parentLength]byte // one string holds both
	putID(b[:uuidLength], x.start)
	putParent(b[uuidLength:])
	if both := string(b[:]); x.id == "" {
		x.id, x.trace = both[:uuidLength], both[uuidLength:]
	} else {
		x.trace = both[uuidLength:]
	}
}

// requestID is the client's own id when it is a sane one, else a new one.
func requestID(h http.Header) string {
	if v := h["X-Request-Id"]; len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	return newID(time.Now())
}

func newID(now time.Time) string {
	var b [uuidLength]byte
	putID(b[:], now)
	return string(b[:])
}

// putID writes a UUID of version 7: RFC 9562, section 5.7.
func putID(b []byte, now time.Time) {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16|rand.Uint64()&0xffff)
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	raw[6] = 0x70 | raw[6]&0x0f
	raw[8] = 0x80 | raw[8]&0x3f
	hex.Encode(b, raw[:4])
	b[8] = '-'
	hex.Encode(b[9:], raw[4:6])
	b[13] = '-'
	hex.Encode(b[14:], raw[6:8])
	b[18] = '-'
	hex.Encode(b[19:], raw[8:10])
	b[23] = '-'
	hex.Encode(b[24:], raw[10:])
}

// putParent writes the traceparent of a new trace: https://www.w3.org/TR/trace-context/#traceparent-header.
func putParent(b []byte) {
	var raw [24]byte
	for i := 0; i < len(raw); i += 8 {
		binary.BigEndian.PutUint64(raw[i:], rand.Uint64()|1) // neither id may be zero
	}
	copy(b, "00-")
	hex.Encode(b[3:], raw[:16])
	b[35] = '-'
	hex.Encode(b[36:], raw[16:])
	copy(b[52:], "-01")
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
