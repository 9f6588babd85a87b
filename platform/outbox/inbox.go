package outbox

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/bus"
	"tulifo/platform/postgres"
)

// Inbox is what one service hears: its handlers, and the memory of what they have handled, in the service's own schema.
type Inbox struct{}

// NewInbox is the inbox of a service, which is also the consumer's name on the bus. Handlers are added before Run.
func NewInbox(db *postgres.DB, service string, log *slog.Logger) *Inbox { return &Inbox{} }

// Types are the event types that the inbox has handlers for, sorted; broadcasts are not among them.
func (in *Inbox) Types() []string { panic("unwritten") }

// Run takes events from the bus until ctx ends, and then answers nil. The handler that runs just then may finish.
// It runs in every process of the service; one of them is served.
func (in *Inbox) Run(ctx context.Context, b bus.Bus) error { panic("unwritten") }

// On has fn change the service's data once for each E, in a transaction that remembers the event. Several events may share tx.
// fn makes no calls out: it records what is to be done. ctx carries tx, so that InTx joins it, and the envelope (EnvelopeFrom).
// After an error fn is tried again, ten times in all with growing pauses; then the event goes to dead_letters with the error.
func On[E Event](in *Inbox, fn func(context.Context, postgres.Tx, E) error) { panic("unwritten") }

// OnBatch is On for handlers that are cheaper on many events at once, up to 200 in the order of the bus; EnvelopesFrom has their envelopes.
// After an error they come one at a time.
func OnBatch[E Event](in *Inbox, fn func(context.Context, postgres.Tx, []E) error) {
	panic("unwritten")
}

// OnBroadcast has fn hear each broadcast E in every process. fn must not block, and may hear one twice.
func OnBroadcast[E Event](in *Inbox, fn func(context.Context, E)) { panic("unwritten") }

// EnvelopeFrom is the envelope of the event that is being handled under ctx: its id, time and subject. Outside of a handler it is empty.
func EnvelopeFrom(ctx context.Context) bus.Envelope { panic("unwritten") }

// EnvelopesFrom are the envelopes of the events that an OnBatch handler was given, in the same order.
func EnvelopesFrom(ctx context.Context) []bus.Envelope { panic("unwritten") }

// Replay has the dead letters of the consumer whose schema db is on tried again, in order and followed by those parked behind them, and
// answers how many there were. The running Inbox takes them up within seconds. Call it once what made them fail is mended.
func Replay(ctx context.Context, db *postgres.DB, consumer string) (int, error) { panic("unwritten") }

// Settle returns when everything that was committed before it, and all that this caused, is consumed: the outboxes of the inboxes' services
// are empty, their consumers have no lag, and nothing waits for another try. Dead letters, and what is parked behind them, do not count.
func Settle(ctx context.Context, b bus.Bus, in ...*Inbox) error { panic("unwritten") }

// Collector shows the inbox's service to Prometheus: tulifo_outbox_depth, tulifo_bus_lag, tulifo_parked_events, tulifo_dead_letters.
func (in *Inbox) Collector(b bus.Bus) prometheus.Collector { panic("unwritten") }
