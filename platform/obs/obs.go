// Package obs makes what the platform does visible: structured logs, metrics, and the ids that tie them to a request.
//
// A log line, an event and a call to another service all carry the request id and the W3C trace of the request that caused them.
package obs

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

type key int

const requestKey key = 0

type request struct{ id, traceparent string }

// WithRequest is ctx for a request with this id and trace parent.
func WithRequest(ctx context.Context, id, traceparent string) context.Context {
	return context.WithValue(ctx, requestKey, request{id, traceparent})
}

// WithTraceparent is ctx with another trace parent and the same request id.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return WithRequest(ctx, RequestID(ctx), traceparent)
}

// RequestID is the id of the request that ctx belongs to, or empty.
func RequestID(ctx context.Context) string {
	r, _ := ctx.Value(requestKey).(request)
	return r.id
}

// Traceparent is the W3C trace parent to hand on from ctx, or empty.
func Traceparent(ctx context.Context) string {
	r, _ := ctx.Value(requestKey).(request)
	return r.traceparent
}

// Span continues the trace of a traceparent header with a span of its own, or starts a trace when the header is not valid.
// Format: https://www.w3.org/TR/trace-context/#traceparent-header
func Span(header string) string {
	var raw [24]byte
	for i := 0; i < len(raw); i += 8 {
		binary.BigEndian.PutUint64(raw[i:], rand.Uint64()|1) // neither id may be zero; they are no secrets
	}
	var b [55]byte
	copy(b[:], "00-")
	hex.Encode(b[3:], raw[:16])
	b[35] = '-'
	hex.Encode(b[36:], raw[16:])
	copy(b[52:], "-01")
	if validTraceparent(header) {
		copy(b[3:35], header[3:35])
		copy(b[53:], header[53:])
	}
	return string(b[:])
}

func validTraceparent(h string) bool {
	if len(h) != 55 || h[:3] != "00-" || h[35] != '-' || h[52] != '-' {
		return false
	}
	trace, span := h[3:35], h[36:52]
	return isHex(trace) && isHex(span) && isHex(h[53:]) && strings.Trim(trace, "0") != "" && strings.Trim(span, "0") != ""
}

func isHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// NewLogger writes JSON lines with the field names of the Elastic Common Schema. Values under names that sound secret are masked.
func NewLogger(w io.Writer, level slog.Leveler, service string) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: ecs})
	return slog.New(requestHandler{h}).With(slog.String("service.name", service))
}

// Logger is the default logger; lines written with a ctx carry its request id and trace.
func Logger(context.Context) *slog.Logger { return slog.Default() }

type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, r slog.Record) error {
	if q, ok := ctx.Value(requestKey).(request); ok && q.id != "" {
		r.AddAttrs(slog.String("http.request.id", q.id))
		if len(q.traceparent) == 55 {
			r.AddAttrs(slog.String("trace.id", q.traceparent[3:35]))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(a)}
}
func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}

func ecs(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch a.Key {
		case slog.TimeKey:
			return slog.String("@timestamp", a.Value.Time().UTC().Format(time.RFC3339Nano))
		case slog.LevelKey:
			return slog.String("log.level", strings.ToLower(a.Value.String()))
		case slog.MessageKey:
			a.Key = "message"
			return a
		}
	}
	if secretName(a.Key) {
		return slog.String(a.Key, "[masked]")
	}
	return a
}

// secretNames keeps what was found of each name: they stand in the code, so they are few, and a line has a dozen.
var secretNames sync.Map

func secretName(name string) bool {
	if known, ok := secretNames.Load(name); ok {
		return known.(bool)
	}
	lower, secret := strings.ToLower(name), false
	for _, s := range []string{"password", "secret", "token", "authorization", "cookie", "card"} {
		secret = secret || strings.Contains(lower, s)
	}
	secretNames.Store(name, secret)
	return secret
}
