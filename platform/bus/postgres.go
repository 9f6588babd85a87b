package bus

import (
	"context"
	"embed"
	"errors"
	"log/slog"

	"tulifo/platform/postgres"
)

// Schema is where the Postgres bus keeps its log.
const Schema = "tulifo_bus"

//go:embed migrations/*.sql
var migrations embed.FS

// Migration brings up the tables of the Postgres bus; it must have run before the first Publish or Consume.
var Migration = postgres.Migration{Schema: Schema, FS: migrations}

// Options of the Postgres bus.
type Options struct {
	DB      *postgres.DB      // a pool on Schema; the caller closes it after the bus
	Session *postgres.Session // carries notifications and the locks of consumers; the caller closes it after the bus
	Log     *slog.Logger
}

// Postgres is the bus in the database that the services share.
type Postgres struct{}

var _ Bus = (*Postgres)(nil)

// NewPostgres is the bus over o.DB; ctx bounds only the start. Close it when nobody publishes or consumes any more.
func NewPostgres(ctx context.Context, o Options) (*Postgres, error) {
	return nil, errors.ErrUnsupported
}

// Close ends the bus' own goroutines; Consume and Listen must have ended before.
func (b *Postgres) Close() { panic("unwritten") }

// Publish implements Bus.
func (b *Postgres) Publish(ctx context.Context, batch []Envelope) error { panic("unwritten") }

// Consume implements Bus.
func (b *Postgres) Consume(ctx context.Context, consumer string, types []string, max int, fn func(context.Context, []Envelope) error) error {
	panic("unwritten")
}

// Broadcast implements Bus.
func (b *Postgres) Broadcast(ctx context.Context, e Envelope) error { panic("unwritten") }

// Listen implements Bus.
func (b *Postgres) Listen(ctx context.Context, types []string, fn func(Envelope)) error {
	panic("unwritten")
}

// Lag implements Bus.
func (b *Postgres) Lag(ctx context.Context, consumer string) (int64, error) { panic("unwritten") }
