// Package escrow holds what clients have paid until it is decided whose it is, and alone decides that.
//
// Always: only a completed payment makes an account, one for a booking; what was held never changes and equals released + refunded + what
// remains, each at least 0; nothing leaves a frozen account but by the decision of an admin or of dispute-service; there is at most one last
// move. Every move is a row that is never changed, an audit row, and an event whose MoveID is the ledger's business key.
//
//	active ──release──▶ partially_released
//	  │  └──────┬───────────┘   │
//	  │   freeze│▲unfreeze      │
//	  │         ▼│              │
//	  │       frozen            │
//	  │         │ resolution    │
//	  └─────────┴───────────────┴──▶ released | refunded | split
//
// Cancelling, no-shows, completion and chargebacks are directives told by events; one that comes before its account waits for it. Times are
// UTC, business time; amounts are gross.
package escrow

import (
	"embed"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/clock"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
)

// Migrations are the tables of this service.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Migration brings them into the service's schema.
func Migration() postgres.Migration {
	return postgres.Migration{Schema: "tulifo_escrow", FS: Migrations}
}

// Service is the escrow service.
type Service struct {
	db     *postgres.DB
	clock  clock.Clock
	peers  *peer.Directory
	gauges *gauges
}

// New is the service on its database and business clock; peers are booking and payment.
func New(db *postgres.DB, c clock.Clock, peers *peer.Directory) *Service {
	return &Service{db: db, clock: c, peers: peers, gauges: newGauges(db)}
}

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	outbox.On(in, s.onPaymentCompleted)
	outbox.On(in, s.onChargedBack)
	outbox.On(in, s.onChargebackWon)
	outbox.On(in, s.onChargebackLost)
	outbox.On(in, s.onBookingConfirmed)
	outbox.On(in, s.onBookingRescheduled)
	outbox.On(in, s.onBookingCompleted)
	outbox.On(in, s.onBookingCancelled)
	outbox.On(in, s.onNoShow)
	outbox.On(in, s.onNoShowContested)
}

// Collectors are the service's own series: money held, and accounts by status.
func (s *Service) Collectors() []prometheus.Collector { return []prometheus.Collector{s.gauges} }

func (s *Service) now() time.Time { return s.clock.Now() }
