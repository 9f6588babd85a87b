// Package review lets the two sides of a completed booking write about each other, and keeps ratings and badges exact.
//
// Always: who writes took part in a completed booking, and writes once; a review is hidden until both have written or 14 days have passed
// since it was written; ratings, counts and badges follow from the revealed reviews alone, in whole numbers, and a badge whose criteria are no
// longer met is lost. A private note is for its author and admins only. Times are UTC, business time.
package review

import (
	"embed"
	"time"

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
	return postgres.Migration{Schema: "tulifo_review", FS: Migrations}
}

// Service is the review service.
type Service struct {
	db    *postgres.DB
	clock clock.Clock
	peers *peer.Directory
}

// New is the service on its database and business clock; its peer is booking.
func New(db *postgres.DB, c clock.Clock, peers *peer.Directory) *Service {
	return &Service{db: db, clock: c, peers: peers}
}

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	outbox.On(in, s.onBookingCompleted)
}

func (s *Service) now() time.Time { return s.clock.Now() }
