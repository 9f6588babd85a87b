// Package errs is the closed list of ways in which a request can fail.
//
// The message of an Error is written for the person who made the request and is always safe to show; the cause is for the log.
// Any other error that reaches the edge is logged there once and shown as Internal.
package errs

import (
	"errors"
	"maps"
	"net/http"
	"time"
)

// Kind says what went wrong in a way that a program can act on; it decides the HTTP status.
type Kind string

// The kinds, each with the status that api answers.
const (
	Malformed    Kind = "malformed"              // 400: cannot be parsed
	Unauthorized Kind = "unauthorized"           // 401: no token, or a bad one
	Forbidden    Kind = "forbidden"              // 403: known, but not allowed
	NotFound     Kind = "not_found"              // 404: absent, or not the caller's to see
	NotAllowed   Kind = "method_not_allowed"     // 405: no such method on the path
	Conflict     Kind = "conflict"               // 409: the state or another's claim forbids it
	TooLarge     Kind = "too_large"              // 413: the body is over its limit
	Unsupported  Kind = "unsupported_media_type" // 415: not a type that the route reads
	Invalid      Kind = "invalid"                // 422: well formed, but breaks a rule
	TooMany      Kind = "too_many_requests"      // 429: over a limit; RetryAfter says when to come back
	Internal     Kind = "internal"               // 500: our fault
	Unavailable  Kind = "unavailable"            // 503: something we depend on is away; RetryAfter says when to come back
	Timeout      Kind = "timeout"                // 504: no answer within the route's deadline
)

var status = map[Kind]int{
	Malformed: http.StatusBadRequest, Unauthorized: http.StatusUnauthorized, Forbidden: http.StatusForbidden,
	NotFound: http.StatusNotFound, NotAllowed: http.StatusMethodNotAllowed, Conflict: http.StatusConflict,
	TooLarge: http.StatusRequestEntityTooLarge, Unsupported: http.StatusUnsupportedMediaType,
	Invalid: http.StatusUnprocessableEntity, TooMany: http.StatusTooManyRequests,
	Internal: http.StatusInternalServerError, Unavailable: http.StatusServiceUnavailable, Timeout: http.StatusGatewayTimeout,
}

// Status is the HTTP status of the kind.
func (k Kind) Status() int { return status[k] }

// KindFor is the kind that an HTTP status of 400 or more stands for, for answers of other services.
func KindFor(code int) Kind {
	for k, s := range status {
		if s == code {
			return k
		}
	}
	if code >= 400 && code < 500 {
		return Malformed
	}
	return Internal
}

// Error is a failure that may be shown to the caller.
type Error struct {
	Kind       Kind
	Code       string            // machine-readable; the kind's own name unless a finer one was given
	Message    string            // for the person who made the request
	Details    map[string]string // field → reason; never the value that was sent
	RetryAfter time.Duration     // for TooMany and Unavailable
	cause      error
}

// New is an error of the kind, with a sentence for the caller.
func New(kind Kind, message string) *Error {
	e := &Error{Kind: kind, Code: string(kind), Message: message}
	if kind == Unavailable {
		e.RetryAfter = time.Second
	}
	return e
}

// Coded is New with a code finer than the kind's, such as "email_unverified".
func Coded(kind Kind, code, message string) *Error {
	e := New(kind, message)
	e.Code = code
	return e
}

// Field is Invalid for one field of the request.
func Field(name, reason string) *Error {
	return New(Invalid, "Some fields are not right.").With(name, reason)
}

// With is e with the reason for one field or detail added.
func (e *Error) With(field, reason string) *Error {
	c := *e
	c.Details = maps.Clone(e.Details)
	if c.Details == nil {
		c.Details = map[string]string{}
	}
	c.Details[field] = reason
	return &c
}

// After is e with the time after which trying again makes sense.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Because is e with its private cause, which is logged and never shown.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.Message + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is compare kinds and codes, so that errs.New(errs.NotFound, "") matches every NotFound.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && (t.Code == e.Code || t.Code == string(t.Kind))
}

// KindOf is the kind of err; Internal when it is not an Error, empty when err is nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
