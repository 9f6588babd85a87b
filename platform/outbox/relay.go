package outbox

import (
	"context"
	"log/slog"

	"tulifo/platform/bus"
	"tulifo/platform/postgres"
)

// Relay carries a service's committed events to the bus. It runs in every process of the service; one of them does the work.
type Relay struct{}

// NewRelay is the relay of the outbox in db's schema; producer is the service's name.
func NewRelay(db *postgres.DB, b bus.Bus, producer string, session *postgres.Session, log *slog.Logger) *Relay {
	return &Relay{}
}

// Run carries events until ctx ends, and then answers nil.
func (r *Relay) Run(ctx context.Context) error { panic("unwritten") }

// Flush is the last pass at shutdown, after Run has ended: what is committed by now goes to the bus, by this process or by the one that
// took the work over.
func (r *Relay) Flush(ctx context.Context) error { panic("unwritten") }

func poke(db *postgres.DB) {}

func announce(env bus.Envelope) {}
