package stripesim

import (
	"fmt"
	"net/http"
)

// fault is an answer of the API that is not a success, in Stripe's shape.
type fault struct {
	status int
	body   faultBody
	stored bool // an idempotency key keeps this answer
	kept   bool // what the request changed stays, as after a declined card
}

type faultBody struct {
	Type          string `json:"type"`
	Code          string `json:"code,omitempty"`
	DeclineCode   string `json:"decline_code,omitempty"`
	Message       string `json:"message"`
	Param         string `json:"param,omitempty"`
	Charge        string `json:"charge,omitempty"`
	PaymentIntent any    `json:"payment_intent,omitempty"`
	PaymentMethod any    `json:"payment_method,omitempty"`
	DocURL        string `json:"doc_url,omitempty"`
}

func (f *fault) Error() string { return f.body.Code + ": " + f.body.Message }

func newFault(status int, kind, code, message string) *fault {
	f := &fault{status: status, body: faultBody{Type: kind, Code: code, Message: message}}
	if code != "" {
		f.body.DocURL = "https://stripe.com/docs/error-codes/" + code
	}
	return f
}

// invalid is a parameter that cannot be right; the request did not begin, so its idempotency key stays free.
func invalid(param, code, message string) *fault {
	f := newFault(http.StatusBadRequest, "invalid_request_error", code, message)
	f.body.Param = param
	return f
}

// refused is a request that the state of things forbids; repeated with its key it gets the same answer.
func refused(code, message string) *fault {
	f := newFault(http.StatusBadRequest, "invalid_request_error", code, message)
	f.stored = true
	return f
}

func missing(kind, id string) *fault {
	f := newFault(http.StatusNotFound, "invalid_request_error", "resource_missing", fmt.Sprintf("No such %s: '%s'", kind, clip(id)))
	f.body.Param = "id"
	return f
}

func missingParam(name string) *fault {
	return invalid(name, "parameter_missing", "Missing required param: "+name+".")
}

// clip keeps what a caller sent from filling an answer.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
