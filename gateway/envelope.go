package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"tulifo/platform/errs"
)

type failure struct {
	Success bool `json:"success"`
	Error   struct {
		Code    string            `json:"code"`
		Message string            `json:"message"`
		Details map[string]string `json:"details,omitempty"`
	} `json:"error"`
	RequestID string `json:"requestId"`
}

// writeError answers err in the platform's envelope; what is not an errs.Error is shown as internal.
func writeError(w http.ResponseWriter, requestID string, err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		e = errs.New(errs.Internal, "Something went wrong on our side.")
	}
	f := failure{RequestID: requestID}
	f.Error.Code, f.Error.Message, f.Error.Details = e.Code, e.Message, e.Details
	body, _ := json.Marshal(f)
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if e.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10)}
	}
	w.WriteHeader(e.Kind.Status())
	_, _ = w.Write(body) // a client that is gone needs no answer
}
