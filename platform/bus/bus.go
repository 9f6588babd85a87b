// Package bus carries committed events from the service that tells them to every service that consumes them.
//
// Always: an event is kept from the moment Publish returns until every consumer has handled it; events of one subject reach a consumer in
// the order of their publishing; an event may come twice, never not at all. One process at a time reads a consumer's queue.
// Broadcast is the other verb: it reaches every process that listens just then, and is not kept.
package bus

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Envelope is one event on its way, as every engine and every process sees it.
type Envelope struct {
	ID          uuid.UUID       `json:"id"`   // unique for ever; consumers remember it
	Type        string          `json:"type"` // "booking.created"
	Version     int             `json:"version"`
	OccurredAt  time.Time       `json:"occurredAt"` // business time, UTC, microseconds
	Producer    string          `json:"producer"`   // the service that told it
	Subject     uuid.UUID       `json:"subject"`    // order is kept among events of one subject
	Traceparent string          `json:"traceparent,omitempty"`
	Data        json.RawMessage `json:"data"`
}

// Bus is what an engine promises. Its methods may be called from many goroutines.
type Bus interface {
	// Publish stores the batch for every consumer of its types, in the order given. It is durable once Publish returns. After an error
	// the events of each subject are stored up to some point, maybe none or all of them, and the caller publishes the batch again.
	Publish(ctx context.Context, batch []Envelope) error

	// Consume calls fn with the consumer's events, up to max at a time, until ctx ends, and then answers nil.
	// Of all processes that call it for one consumer one is served at a time; when that one dies another takes over within a second.
	// A batch is done when fn answers nil. After an error, a panic or a crash it is delivered again, first thing, with backoff; nothing behind it
	// comes before. A consumer that is new to the bus gets what the bus still holds for it, which each engine says. While two versions of a
	// consumer take turns, what the older one does not want is kept for the newer.
	Consume(ctx context.Context, consumer string, types []string, max int, fn func(context.Context, []Envelope) error) error

	// Broadcast hands e to every Listen in every process, this one included, that wants its type. It is not stored: who is away misses it.
	Broadcast(ctx context.Context, e Envelope) error

	// Listen calls fn for each broadcast of the types until ctx ends, and then answers nil. fn must not block: while it does, its own
	// broadcasts wait and beyond a bound are dropped.
	Listen(ctx context.Context, types []string, fn func(Envelope)) error

	// Lag is how many stored events the consumer has not handled yet, those being handled included.
	// NotFound: nobody has ever consumed under that name.
	Lag(ctx context.Context, consumer string) (int64, error)
}
