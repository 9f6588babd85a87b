package bustest

import (
	"context"
	"testing"

	"tulifo/platform/bus"
)

// hand is a bus that brings nothing: it hands out what its consumer does with envelopes.
type hand struct {
	bus.Bus
	take chan func(context.Context, []bus.Envelope) error
}

func (h hand) Consume(_ context.Context, _ string, _ []string, _ int, fn func(context.Context, []bus.Envelope) error) error {
	h.take <- fn
	return nil
}

// Hand answers what a consumer does with a batch of envelopes, so that they are handled when the test says so and not when a bus brings them.
// run is how it runs on a bus, such as outbox.Inbox.Run; it consumes once, does not listen to broadcasts, and has ended when Hand returns.
func Hand(t testing.TB, run func(context.Context, bus.Bus) error) (take func(context.Context, []bus.Envelope) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := hand{take: make(chan func(context.Context, []bus.Envelope) error)}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, h) }()
	select {
	case take = <-h.take:
	case err := <-ended:
		t.Fatalf("the consumer has not asked for events: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return take
}
