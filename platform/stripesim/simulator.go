// Package stripesim is a Stripe for one's own machine: an HTTP server that speaks the part of Stripe's API that
// payment-service uses, to the same stripe-go client, so that there is one payment code path with and without Stripe.
//
// It knows connected accounts, PaymentIntents with Stripe's test cards, refunds, transfers, payouts, disputes, balances,
// events and signed webhooks, and it can be told to misbehave (see Control) as the real thing does on bad days.
//
// What always holds: a write that was answered is on disk and survives kill -9, so do webhooks not yet delivered and answers
// kept under an idempotency key (for 24 hours); every balance is the sum of its balance transactions; a refund never
// exceeds its charge, nor a transfer or payout the available balance; a card number is never stored, logged or answered.
//
// What differs from Stripe: a charge is available at once instead of after days; accounts are verified when they are
// created; each currency has its own balance; only automatic capture. A connected account whose name or e-mail address holds
// "Refuse Me" is refused, "Verify Later" waits for its account link to be filled in, "Fail Payout" has a bank that fails payouts.
package stripesim

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// APIVersion is the version of Stripe's API that answers and events are in: the SDK's.
const APIVersion = stripe.APIVersion

// Options say where the simulator keeps its state and who may talk to it.
type Options struct {
	Dir            string           // its directory, made if absent; one simulator at a time
	SecretKey      string           // sk_test_…: the API, the control routes
	PublishableKey string           // pk_test_…: what a browser may do with a client secret
	WebhookSecret  string           // whsec_…: signs events
	WebhookURL     string           // where events go; empty: as set by SetWebhookURL before, else events wait
	Now            func() time.Time // stamps objects and ages idempotency keys; the system's time when nil
	Log            *slog.Logger     // slog.Default when nil
}

// Simulator is one Stripe platform account with its connected accounts.
type Simulator struct {
	o       Options
	store   *store
	handler http.Handler
	log     *slog.Logger

	mu      sync.Mutex
	control Control
	busy    map[string]bool // idempotency keys of requests that run now
	url     string
	tries   map[uint64]try // deliveries that failed, until they succeed or the process ends
	changed chan struct{}  // closed when something may be due; see wait
}

// New opens the state in o.Dir. Its errors are sentences a person can act on.
func New(o Options) (*Simulator, error) {
	if o.Dir == "" || o.SecretKey == "" || o.PublishableKey == "" || o.WebhookSecret == "" {
		return nil, errors.New("the Stripe simulator needs a directory, a secret key, a publishable key and a webhook secret")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	st, err := openStore(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Simulator{o: o, store: st, log: o.Log, url: o.WebhookURL,
		busy: map[string]bool{}, tries: map[uint64]try{}, changed: make(chan struct{})}
	if s.url == "" {
		err = st.view(func(t *tx) error {
			s.url = string(t.get(keyURL))
			return nil
		})
	}
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	s.handler = s.routes()
	return s, nil
}

// Handler serves the API under /v1, the control routes under /_control and pages for people at / and /connect.
func (s *Simulator) Handler() http.Handler { return s.handler }

// Close ends the simulator; Run must have returned.
func (s *Simulator) Close() error { return s.store.close() }

// SetWebhookURL changes where events go from now on, those that wait included; it is remembered.
func (s *Simulator) SetWebhookURL(ctx context.Context, url string) error {
	err := s.store.write(ctx, func(t *tx) error {
		t.put(keyURL, []byte(url))
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.url = url
	clear(s.tries)
	s.mu.Unlock()
	s.poke()
	return nil
}

// now is business time for objects, moved by the control route's clock.
func (s *Simulator) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.o.Now().Add(s.control.clock())
}

// poke tells the loops that something may be due.
func (s *Simulator) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Simulator) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newID is prefix and 24 random letters, as Stripe's ids look.
func newID(prefix string) string {
	b := make([]byte, 24)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err) // crypto/rand never fails on the systems Go supports
		}
		b[i] = letters[n.Int64()]
	}
	return prefix + string(b)
}
