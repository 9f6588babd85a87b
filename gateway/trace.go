package gateway

import (
	"net/http"

	"github.com/google/uuid"

	"tulifo/platform/obs"
)

// requestID is the client's own id when it is a sane one, else a new one.
func requestID(h http.Header) string {
	if v := h["X-Request-Id"]; len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	return uuid.Must(uuid.NewV7()).String()
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

// trace is the traceparent to hand on: the client's trace when its header is valid, else a new one. continued says which.
func trace(h http.Header) (parent string, continued bool) {
	var came string
	if v := h["Traceparent"]; len(v) == 1 {
		came = v[0]
	}
	parent = obs.Span(came)
	return parent, len(came) == len(parent) && traceID(came) == traceID(parent)
}

func traceID(parent string) string { return parent[3:35] }
