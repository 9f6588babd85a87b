// Package app is the one place that knows every service: it builds them, runs them in one process or in many, and holds the operator's
// commands.
//
// Always: a process that cannot do all that it was asked to refuses to start, with a sentence that says what to do; one that runs outlives
// the loss of its stores; and one that is told to stop finishes what it has begun.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"tulifo/platform/clock"
	"tulifo/platform/docdb"
	"tulifo/platform/fetch"
	"tulifo/platform/kv"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
	"tulifo/services/auth"
	"tulifo/services/booking"
	"tulifo/services/escrow"
	"tulifo/services/notification"
	"tulifo/services/payment"
	"tulifo/services/review"
	"tulifo/services/user"
)

// entry is a row of the table of services.
type entry struct {
	name      string // the one word for it everywhere
	port      int    // of platform.md
	money     bool   // keeps idempotency keys for ever
	migration func() postgres.Migration
	build     func(context.Context, parts) (Service, error)

	documents func() []docdb.Declared // its data are these documents; nil: they are rows
}

func (e entry) schema() string { return e.migration().Schema }

// rows tells whether the service keeps anything in Postgres: its rows, or its documents where there is no MongoDB.
func (e entry) rows(c Config) bool { return e.documents == nil || c.MongoURI == "" }

// parts are what services are built of.
type parts struct {
	Config
	db      *postgres.DB // nil where everything of the service's is in MongoDB
	docs    docdb.DB     // of a service whose data are documents
	clock   clock.Clock
	keys    *token.Keys
	revoked *token.Revocations
	kv      kv.Store
	peers   *peer.Directory
	log     *slog.Logger

	spared map[string]func(context.Context) error // the stores without which the service still answers; files adds its own
}

// services is THE table: every service that exists, in the order of its ports.
var services = []entry{
	{"auth", 3001, false, auth.Migration, func(_ context.Context, p parts) (Service, error) {
		c, err := part[auth.Config](p.Config)
		return auth.New(p.db, p.clock, p.keys, p.revoked, p.kv, p.peers, c), err
	}, nil},
	{"user", 3002, false, user.Migration, func(_ context.Context, p parts) (Service, error) {
		pictures, err := p.files("user")
		return user.New(p.db, p.clock, p.peers, pictures, kv.NewBounded(p.kv, 1<<12)), err
	}, nil},
	{"payment", 3004, true, payment.Migration, func(_ context.Context, p parts) (Service, error) {
		c, err := part[payment.Config](p.Config)
		return payment.New(p.db, p.clock, p.peers, c, p.log), err
	}, nil},
	{"notification", 3006, false, notification.Migration, func(_ context.Context, p parts) (Service, error) {
		c, err := part[notification.Config](p.Config)
		if err != nil {
			return nil, err
		}
		return notification.New(p.docs, p.clock, p.peers.To("auth"), c, p.log)
	}, notification.Collections},
	{"booking", 3007, false, booking.Migration, func(_ context.Context, p parts) (Service, error) {
		c, err := part[booking.Config](p.Config)
		if err != nil {
			return nil, err
		}
		web, err := fetch.New(fetch.Options{Allow: c.FetchAllow})
		return booking.New(p.db, p.clock, p.peers, web, c), err
	}, nil},
	{"escrow", 3012, true, escrow.Migration, func(_ context.Context, p parts) (Service, error) {
		return escrow.New(p.db, p.clock, p.peers), nil
	}, nil},
	{"review", 3014, false, review.Migration, func(_ context.Context, p parts) (Service, error) {
		return review.New(p.db, p.clock, p.peers), nil
	}, nil},
}

// besides are what serve knows apart from services.
var besides = []string{"gateway", "inbox", "stripe-simulator"}

// chosen are the entries of the names; names of other parts of the platform are passed over.
func chosen(names []string) []entry {
	var out []entry
	for _, e := range services {
		if slices.Contains(names, e.name) {
			out = append(out, e)
		}
	}
	return out
}

func serviceNames() []string {
	var out []string
	for _, e := range services {
		out = append(out, e.name)
	}
	return out
}

// known refuses names that are neither a service nor another part of the platform.
func known(names []string) error {
	for i, name := range names {
		if !slices.Contains(serviceNames(), name) && !slices.Contains(besides, name) {
			return fmt.Errorf("there is no service %q; there are %v and %v", name, serviceNames(), besides)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%q is named twice", name)
		}
	}
	return nil
}
