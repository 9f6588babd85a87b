// Package user keeps what people say about themselves, for everybody else: profiles and pictures, workers' offers, clients' companies, settings.
//
// It owns the commercial facts of a worker (rate, skills, zone, whether work is taken) and tells the others of every change with a version that
// only grows. Accounts belong to auth: what stands here of them is a copy. Ratings and badges belong to review: they are taken over exactly.
//
// Always: what others may read carries neither an e-mail address nor coordinates; a change is decided on the row as it is now, under its lock,
// so none is lost, and one that was made on an older version than its sender says is refused; fields that the platform owns cannot be sent;
// links are http or https; texts are stored as they are and are text, never markup; a picture is decoded within bounds and drawn anew, so no
// byte that was uploaded is ever served; only workers who may be booked are listed.
//
//	account: active ⇄ suspended → deleted      offer: active when the account is, a rate is set and work is taken
package user

import (
	"context"
	"embed"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/blob"
	"tulifo/platform/clock"
	"tulifo/platform/kv"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
)

// Migrations are the service's own tables.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Migration brings the service's schema up. The tables of platform/outbox and platform/audit stand beside them.
func Migration() postgres.Migration {
	return postgres.Migration{Schema: "tulifo_user", FS: Migrations}
}

// Service is user-service. Its methods may be called from many goroutines.
type Service struct {
	db       *postgres.DB
	clock    clock.Clock
	peers    *peer.Directory
	pictures blob.Store
	counts   kv.Store
	drawing  chan struct{} // one picture at a time: decoding one takes up to 200 MB
	gauge    *activeGauge
}

// New is the service on its database and business clock; peers are auth and review, pictures is where avatars are kept, and counts where uploads
// are counted.
func New(db *postgres.DB, c clock.Clock, peers *peer.Directory, pictures blob.Store, counts kv.Store) *Service {
	return &Service{db: db, clock: c, peers: peers, pictures: pictures, counts: counts, drawing: make(chan struct{}, 1), gauge: newActiveGauge(db)}
}

// Run sweeps pictures that nobody shows any more, every hour, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	for {
		if err := s.Sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "Old pictures could not be swept.", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-hour.C:
		}
	}
}

// Sweep removes the pictures that nobody shows any more, a day after they were sent; now is system time.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	_, err := s.pictures.Sweep(ctx, now, s.shown)
	return err
}

// Collectors are the service's own metrics.
func (s *Service) Collectors() []prometheus.Collector { return []prometheus.Collector{s.gauge} }

// tell publishes e about a user, if tx commits.
func (s *Service) tell(ctx context.Context, tx postgres.Tx, id uuid.UUID, e outbox.Event) error {
	return outbox.Add(outbox.WithClock(ctx, s.clock), tx, id, e)
}
