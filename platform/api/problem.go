package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tulifo/platform/errs"
	"tulifo/platform/obs"
)

const internalMessage = "Something went wrong on our side. It has been noted under this request's id."

// Problem is the error envelope. It never echoes a value that was sent.
type Problem struct {
	Success   bool   `json:"success" doc:"always false"`
	Err       Fault  `json:"error"`
	RequestID string `json:"requestId"`
	status    int
}

// Fault is what went wrong.
type Fault struct {
	Code    string            `json:"code" doc:"machine-readable"`
	Message string            `json:"message" doc:"for the person who made the request"`
	Details map[string]string `json:"details,omitempty" doc:"field to reason"`
}

// Error and GetStatus make a Problem huma's error.
func (p *Problem) Error() string { return p.Err.Message }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.status }

func init() {
	huma.DefaultArrayNullable = false
	// Names are matched as they are written: encoding/json would take TITLE for title behind the back of the check of title.
	huma.ValidateStrictCasing = true
	huma.NewErrorWithContext = func(ctx huma.Context, status int, _ string, causes ...error) huma.StatusError {
		id := ""
		if ctx != nil {
			id = obs.RequestID(ctx.Context())
		}
		return validationProblem(id, status, causes)
	}
	huma.NewError = func(status int, _ string, causes ...error) huma.StatusError {
		return validationProblem("", status, causes)
	}
}

// validationProblem is what huma finds wrong with a request before a handler runs, in our words and without the values.
func validationProblem(requestID string, status int, causes []error) *Problem {
	kind := errs.KindFor(status)
	if status == http.StatusInternalServerError {
		// Before a handler runs, only the reading of the body can go wrong, and that is up to the sender.
		kind = errs.Malformed
		if slices.ContainsFunc(causes, func(err error) bool { _, over := errors.AsType[*http.MaxBytesError](err); return over }) {
			kind = errs.TooLarge
		}
	}
	p := &Problem{status: kind.Status(), RequestID: requestID, Err: Fault{Code: string(kind), Message: sentence(kind)}}
	for _, c := range causes {
		d, ok := c.(huma.ErrorDetailer)
		if !ok {
			continue
		}
		if p.Err.Details == nil {
			p.Err.Details = map[string]string{}
		}
		field, reason := fault(d.ErrorDetail())
		p.Err.Details[field] = reason
	}
	return p
}

func sentence(k errs.Kind) string {
	switch k {
	case errs.Malformed:
		return "The request could not be read."
	case errs.Invalid:
		return "Some fields are not right."
	case errs.TooLarge:
		return "The request is too large."
	case errs.Unsupported:
		return "This kind of content is not accepted here."
	case errs.Timeout:
		return "The request took too long to arrive."
	}
	return internalMessage
}

// problemOf turns any error into what may be shown; what is not an errs.Error is logged here, once.
func (r *Router) problemOf(ctx context.Context, err error) (*Problem, time.Duration) {
	e, known := errors.AsType[*errs.Error](err)
	switch {
	case !known && errors.Is(err, context.DeadlineExceeded):
		e = errs.New(errs.Timeout, "This took too long. Try again.")
	case !known && (errors.Is(err, context.Canceled) || errors.Is(ctx.Err(), context.Canceled)):
		e = errs.New(errs.Unavailable, "The request was given up.")
	case !known || e.Kind == errs.Internal:
		r.o.Log.ErrorContext(ctx, "request failed", "error", err)
		e = errs.New(errs.Internal, internalMessage)
	case e.Kind == errs.Unavailable && !errors.Is(ctx.Err(), context.Canceled):
		r.noteAway(ctx, err)
	}
	return problem(ctx, e), e.RetryAfter
}

// noteAway logs that something we depend on is away: at once, and then once a second while it lasts, however many requests are refused.
func (r *Router) noteAway(ctx context.Context, err error) {
	now, last := time.Now().UnixNano(), r.awayAt.Load()
	if now-last < int64(time.Second) || !r.awayAt.CompareAndSwap(last, now) {
		r.away.Add(1)
		return
	}
	r.o.Log.WarnContext(ctx, "dependency away", "error", err, "refused besides", r.away.Swap(0))
}

func problem(ctx context.Context, e *errs.Error) *Problem {
	return &Problem{status: e.Kind.Status(), RequestID: obs.RequestID(ctx), Err: Fault{e.Code, e.Message, e.Details}}
}

// WriteError answers err in the envelope; an error that is not an errs.Error is shown as internal and not logged here.
func WriteError(w http.ResponseWriter, req *http.Request, err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		e = errs.New(errs.Internal, internalMessage)
	}
	writeProblem(w, problem(req.Context(), e), e.RetryAfter)
}

func writeProblem(w http.ResponseWriter, p *Problem, after time.Duration) {
	raw, err := json.Marshal(p)
	if err != nil {
		raw = []byte(`{"success":false,"error":{"code":"internal","message":"` + internalMessage + `"},"requestId":""}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	if p.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="tulifo"`)
	}
	w.WriteHeader(p.status)
	w.Write(raw)
}
