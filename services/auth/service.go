// Package auth knows who somebody is: accounts, passwords, sign-ins, and the links in mails that prove an address.
//
// Always: a password is kept as a bcrypt hash only and is never altered; a refresh token is good once, is kept as a hash, and one that comes
// back after its use ends the sign-in it belongs to; signing out, a new password, another role and a suspension end access tokens at once;
// no more wrong passwords are tried in 15 minutes than the limits allow, however many come at once, and a device that has signed in
// before is not locked by others; known and unknown addresses get the same answers for the same work; links are good once, and only
// when somebody presses the button on their page; a privileged action leaves an audit row.
//
//	user:    active ⇄ suspended; active ⇄ leaving → deleted
//	session: live → live (refreshed) → expired | revoked
//	link:    issued → used | expired
//
// What rules here is system time, save when an account was made.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/clock"
	"tulifo/platform/kv"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Migrations are the service's own tables.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Migration brings the service's schema up. The tables of platform/outbox and platform/audit stand beside them, and app runs their loops.
func Migration() postgres.Migration {
	return postgres.Migration{Schema: "tulifo_auth", FS: Migrations}
}

// Service is auth-service. Its methods may be called from many goroutines.
type Service struct {
	db        *postgres.DB
	clock     clock.Clock
	keys      *token.Keys
	revoked   *token.Revocations
	shared    kv.Store
	told      chan struct{} // a revocation was stored
	peers     *peer.Directory
	cfg       Config
	hashes    *hasher
	secrets   secrets
	providers map[string]provider
	logins    *prometheus.CounterVec
}

// secrets are keys for one purpose each, derived from JWT_REFRESH_SECRET.
type secrets struct{ child, seal, link, device, flow []byte }

// New is the service on its schema. The configuration must be valid; revoked is the deny list of this process, shared is where
// other processes find a copy of what was revoked last, and peers are booking and payment, which know what keeps an account from being deleted.
func New(db *postgres.DB, c clock.Clock, keys *token.Keys, revoked *token.Revocations, shared kv.Store, peers *peer.Directory, cfg Config) *Service {
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	secret := []byte(cfg.RefreshSecret)
	return &Service{
		providers: providers(cfg),
		db:        db, clock: c, keys: keys, revoked: revoked, shared: shared, told: make(chan struct{}, 1), peers: peers, cfg: cfg, hashes: newHasher(cfg.BcryptCost, cfg.HashQueue),
		secrets: secrets{child: secret, seal: derive(secret, "refresh token"), link: derive(secret, "link"), device: derive(secret, "device"), flow: derive(secret, "sign-in with a provider")},
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tulifo_auth_logins_total", Help: "Attempts to sign in, by outcome.",
		}, []string{"outcome"}),
	}
}

func derive(secret []byte, purpose string) []byte { return sum(secret, []byte("tulifo auth "+purpose)) }

// sum is the HMAC-SHA256 of the parts under key.
func sum(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// now is system time as Postgres keeps it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// Run sweeps what is long over, every hour, and publishes what is revoked, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	s.sweep(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hour.C:
			s.sweep(ctx)
		case <-s.told:
			s.publish(ctx)
		}
	}
}

func (s *Service) sweep(ctx context.Context) {
	if err := sweep(ctx, s.db, s.now()); err != nil && ctx.Err() == nil {
		slog.WarnContext(ctx, "Old sign-ins could not be swept.", "error", err)
	}
}

// Collectors are the service's own metrics.
func (s *Service) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.logins, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tulifo_auth_hash_queue", Help: "Passwords waiting or being checked.",
	}, func() float64 { return float64(s.hashes.waiting.Load()) })}
}

// Check answers a sentence for each breach of what always holds here: no way in for the suspended and the revoked.
func (s *Service) Check(ctx context.Context) ([]string, error) {
	breaches, err := contradictions(ctx, s.db, s.now().Add(-token.AccessLife))
	if err != nil {
		return nil, fmt.Errorf("look for sign-ins that should not be: %w", err)
	}
	return breaches, nil
}
