// Package notification tells people what has happened: in the app, and by e-mail.
//
// It knows events, not services: a table says for each event who is told and how, templates say it in words. Always: an event tells a person
// once on each channel; a message waits out the quiet hours of its reader's zone and respects what they switched off, save what is about the
// safety of their account, which always comes at once; a link that lets somebody in is asked for just before the mail goes out and is kept
// nowhere; what people wrote is text in every message, never markup, a header or a line of its own; nobody sees another's messages.
//
//	delivery: queued → sent | failed | dropped
//	          queued ⇄ held (quiet hours, by business time)
//	          queued → queued (tried again later, by system time)
package notification

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
	"tulifo/platform/docdb"
	"tulifo/platform/mail"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
)

// Name is the service's, under which its timer runs.
const Name = "notification"

// Migrations are the service's own: no tables, since its data are documents; docdb prepares their collections.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Migration brings the service's schema up; the tables of platform/outbox stand in it too.
func Migration() postgres.Migration {
	return postgres.Migration{Schema: "tulifo_notification", FS: Migrations}
}

// Service is notification-service. Its methods may be called from many goroutines.
type Service struct {
	docs   docdb.DB
	clock  clock.Clock
	auth   *peer.Client
	sender *mail.Sender
	cfg    Config
	key    []byte // of the tokens that unsubscribe
	log    *slog.Logger
	rules  map[string]rule // by the event's type
	mails  *prometheus.CounterVec
}

// Collections are what the service keeps; docs of New have to be opened with them.
func Collections() []docdb.Declared {
	return []docdb.Declared{people, preferred, notifications, deliveries, reminders, reviewers, subscriptions}
}

// New is the service on its documents. auth is asked for links, and for people that no event has told of yet.
func New(docs docdb.DB, c clock.Clock, auth *peer.Client, cfg Config, log *slog.Logger) (*Service, error) {
	sender, err := mail.NewSender(cfg.Mail)
	if err != nil {
		return nil, err
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	key := hmac.New(sha256.New, []byte(cfg.LinkSecret))
	key.Write([]byte("tulifo notification unsubscribe"))
	return &Service{
		docs: docs, clock: c, auth: auth, sender: sender, cfg: cfg, key: key.Sum(nil), log: log, rules: table(),
		mails: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tulifo_notification_mails_total", Help: "Attempts to send an e-mail, by outcome.",
		}, []string{"outcome"}),
	}, nil
}

// now is system time as the database keeps it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// look has the timer of this process see what has just become due.
func look() { timer.Poke(Name) }

// Run forgets what is long over, every hour, until ctx ends; then it closes the connections to the mail server.
func (s *Service) Run(ctx context.Context) error {
	defer s.sender.Close()
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	for {
		if err := s.forget(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "old messages stay for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-hour.C:
		}
	}
}

func (s *Service) forget(ctx context.Context) error {
	for _, c := range []struct {
		expire func(context.Context, docdb.Querier, time.Time) (int, error)
		now    time.Time
	}{{deliveries.Expire, s.now()}, {notifications.Expire, s.clock.Now()}, {reviewers.Expire, s.clock.Now()}} {
		for n := 1; n > 0; {
			var err error
			if n, err = c.expire(ctx, s.docs, c.now); err != nil {
				return err
			}
		}
	}
	return nil
}

// Collectors are the service's own metrics.
func (s *Service) Collectors() []prometheus.Collector { return []prometheus.Collector{s.mails} }

// Check answers a sentence for each delivery that contradicts itself, so that it would never be sent or be sent twice.
func (s *Service) Check(ctx context.Context) ([]string, error) {
	var breaches []string
	for _, c := range []struct {
		what  string
		where docdb.Filter
	}{
		{"is queued and has no time to be tried", docdb.And(docdb.Eq("status", queued), docdb.Missing("nextTryAt"))},
		{"is held and has no time to go on", docdb.And(docdb.Eq("status", held), docdb.Missing("dueAt"))},
		{"is sent and still due", docdb.And(docdb.Eq("status", sent), docdb.Or(docdb.Exists("nextTryAt"), docdb.Exists("dueAt")))},
		{"is sent without having been tried", docdb.And(docdb.Eq("status", sent), docdb.Lt("attempts", 1))},
	} {
		page, err := deliveries.Find(ctx, s.docs, docdb.Query{Where: c.where})
		if err != nil {
			return nil, fmt.Errorf("check deliveries: %w", err)
		}
		for _, d := range page.Docs {
			breaches = append(breaches, fmt.Sprintf("The delivery %s %s.", d.ID, c.what))
		}
	}
	return breaches, nil
}
