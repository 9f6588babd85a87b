// Package booking sells a worker's time by the hour: it keeps calendars, offers free times, and takes a booking from the first hold to its end.
//
// Always: no two live bookings of a worker overlap, nor does one overlap a one-off block, buffers included; what is listed as free can be
// booked and nothing else can; the price is the worker's rate at booking time; a limit is never passed; a booking moves only along the edges
//
//	pending ──confirm──▶ confirmed ──start──▶ in_progress ──complete──▶ completed
//	   │ ├─▶ expired         │ ├─────────────complete────────────────────▲
//	   │ │                   │ └─▶ no_show ◀──────┤
//	   └─┴────cancel─────────┴────cancel──────────┴─▶ cancelled
//
// and each move is told as an event in the transaction that makes it. Times are UTC instants; wall times belong to the worker's zone.
// When a user is suspended, pending bookings are cancelled; confirmed ones stay until a party or an admin cancels them.
package booking

import (
	"embed"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/clock"
	"tulifo/platform/fetch"
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
	return postgres.Migration{Schema: "tulifo_booking", FS: Migrations}
}

// Service is the booking service.
type Service struct {
	db     *postgres.DB
	clock  clock.Clock
	peers  *peer.Directory
	web    *fetch.Client
	config Config
	moved  *prometheus.CounterVec
}

// New is the service on its database and business clock; peers are auth, user and payment, web reads the calendars that workers name.
func New(db *postgres.DB, c clock.Clock, peers *peer.Directory, web *fetch.Client, config Config) *Service {
	moved := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tulifo_bookings_total", Help: "Bookings that have come into a status, by this process.",
	}, []string{"status"})
	for _, st := range statuses {
		moved.WithLabelValues(string(st)) // shown as 0 until there is one
	}
	return &Service{db: db, clock: c, peers: peers, web: web, config: config, moved: moved}
}

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	outbox.On(in, s.onWorkerUpdated)
	outbox.On(in, s.onUserCreated)
	outbox.On(in, s.onUserVerified)
	outbox.On(in, s.onUserSuspended)
	outbox.On(in, s.onUserReinstated)
	outbox.On(in, s.onUserDeleted)
	outbox.On(in, s.onPaymentCompleted)
}

// Collectors are the service's own series.
func (s *Service) Collectors() []prometheus.Collector { return []prometheus.Collector{s.moved} }

func (s *Service) now() time.Time { return s.clock.Now() }
