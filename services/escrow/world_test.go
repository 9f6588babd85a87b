package escrow_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/timer"
	"tulifo/platform/token"
	"tulifo/services/escrow"
)

const schema = "tulifo_escrow"

var monday = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// neighbours are booking and payment, as routers of their own over what the test says they know. The ledger follows escrow's events, as payment's does.
type neighbours struct {
	mu        sync.Mutex
	starts    map[uuid.UUID]time.Time
	contested map[uuid.UUID]time.Time
	payments  map[uuid.UUID]event.PaymentCompleted
	away      bool
	asked     int
	ledger    func(after uuid.UUID, limit int) ([]ledgerRow, error)
}

type ledgerRow struct {
	BookingID uuid.UUID `json:"bookingId"`
	Remaining int64     `json:"remaining"`
	Currency  string    `json:"currency"`
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

type bookingAnswer struct {
	Start  time.Time `json:"startTime"`
	NoShow *noShow   `json:"noShow,omitempty"`
}

type noShow struct {
	Contested *time.Time `json:"contestedAt"`
}

type paymentAnswer struct {
	ID          uuid.UUID     `json:"id"`
	BookingID   uuid.UUID     `json:"bookingId"`
	ClientID    uuid.UUID     `json:"clientId"`
	WorkerID    uuid.UUID     `json:"workerId"`
	Amount      money.Decimal `json:"amount"`
	Currency    string        `json:"currency"`
	CompletedAt *time.Time    `json:"completedAt"`
}

func (n *neighbours) reach() error {
	n.asked++
	if n.away {
		return errs.New(errs.Unavailable, "Away.")
	}
	return nil
}

func (n *neighbours) know(fn func(*neighbours)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n)
}

func (n *neighbours) handlers(t testing.TB) map[string]http.Handler {
	serve := func(name string, register func(*api.Router)) http.Handler {
		return apitest.New(t, apitest.Options{Service: name, Register: register}).Router
	}
	return map[string]http.Handler{
		"booking": serve("booking", func(r *api.Router) {
			api.Get(r, "/api/bookings/{id}", func(_ context.Context, in *byID) (a bookingAnswer, err error) {
				n.know(func(n *neighbours) {
					err = n.reach()
					start, ok := n.starts[in.ID]
					if err == nil && !ok {
						err = errs.New(errs.NotFound, "No such booking.")
					}
					a.Start = start
					if at, ok := n.contested[in.ID]; ok {
						a.NoShow = &noShow{&at}
					}
				})
				return a, err
			}, api.For(token.Service))
		}),
		"payment": serve("payment", func(r *api.Router) {
			api.Get(r, "/api/payments/{id}", func(_ context.Context, in *byID) (a paymentAnswer, err error) {
				n.know(func(n *neighbours) {
					err = n.reach()
					p, ok := n.payments[in.ID]
					if err == nil && !ok {
						err = errs.New(errs.NotFound, "No such payment.")
					}
					a = paymentAnswer{p.PaymentID, p.BookingID, p.ClientID, p.WorkerID, p.Amount.Decimal(), p.Amount.Currency, nil}
					if !p.CompletedAt.IsZero() {
						a.CompletedAt = &p.CompletedAt
					}
				})
				return a, err
			}, api.For(token.Service))
			api.List(r, "/api/payments/ledger/escrow", func(_ context.Context, in *api.Paging) (api.Page[ledgerRow], error) {
				var after uuid.UUID
				if in.Cursor != "" {
					if err := api.DecodeCursor(in.Cursor, &after); err != nil {
						return api.Page[ledgerRow]{}, err
					}
				}
				rows, err := n.ledger(after, in.Limit+1)
				return api.Slice(rows, in.Limit, func(r ledgerRow) string { return api.EncodeCursor(r.BookingID) }), err
			}, api.For(token.Service))
		}),
	}
}

// world is escrow on a database of its own, behind its real router, with the bus between it and the others. It is Monday 2026-03-02, 08:00 UTC.
type world struct {
	*apitest.Server
	t         *testing.T
	url       string
	db        *postgres.DB
	clock     *clock.Virtual
	service   *escrow.Service
	near      *neighbours
	bus       *bus.Postgres
	inbox     *outbox.Inbox
	deaf      func() // stops listening
	client    uuid.UUID
	worker    uuid.UUID
	asClient  string
	asWorker  string
	asAdmin   string
	stranger  string // another client
	asDispute string
	asPayment string
}

func start(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, clock: clock.NewVirtual(monday), client: uuid.New(), worker: uuid.New(),
		near: &neighbours{starts: map[uuid.UUID]time.Time{}, contested: map[uuid.UUID]time.Time{}, payments: map[uuid.UUID]event.PaymentCompleted{}}}
	url := pgtest.Database(t, escrow.Migration(), outbox.Migration(schema), audit.Migration(schema), api.Migration(schema), bus.Migration)
	w.url, w.db = url, pgtest.Open(t, url, schema)
	w.near.ledger = w.ledger
	keys := apitest.Keys(t)
	w.service = escrow.New(w.db, w.clock, peer.New("escrow", keys, w.near.handlers(t), nil))
	w.Server = apitest.New(t, apitest.Options{Service: "escrow", Register: w.service.Routes, DB: w.db, Keys: keys})
	w.asClient, w.asWorker, w.asAdmin = w.Token("client", w.client), w.Token("worker", w.worker), w.Token("admin", uuid.New())
	w.stranger = w.Token("client", uuid.New())
	w.asDispute, w.asPayment = w.ServiceToken("dispute", "escrow"), w.ServiceToken("payment", "escrow")
	log := slog.New(slog.DiscardHandler)
	session, err := postgres.NewSession(url, log)
	if err != nil {
		t.Fatal(err)
	}
	if w.bus, err = bus.NewPostgres(context.Background(), bus.Options{DB: pgtest.Open(t, url, bus.Schema), Session: session, Log: log}); err != nil {
		t.Fatal(err)
	}
	w.inbox = outbox.NewInbox(w.db, "escrow", log)
	w.service.Subscribe(w.inbox)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = w.inbox.Run(ctx, w.bus) })
	w.deaf = func() { cancel(); work.Wait() }
	t.Cleanup(func() {
		w.check()
		w.deaf()
		w.bus.Close()
		session.Close()
	})
	return w
}

// ledger is what payment's ledger holds once it has heard all of escrow's events: each payment less the moves told, each move counted once.
func (w *world) ledger(after uuid.UUID, limit int) ([]ledgerRow, error) {
	return postgres.All[ledgerRow](context.Background(), w.db, `
		SELECT subject AS booking_id, (sum(CASE WHEN type = 'escrow.held' THEN (data -> 'held' ->> 'minor')::bigint
			WHEN type IN ('escrow.released', 'escrow.refunded') THEN -(data -> 'amount' ->> 'minor')::bigint ELSE 0 END))::bigint AS remaining,
			min(data -> 'held' ->> 'currency') AS currency
		FROM (SELECT DISTINCT ON (type, data ->> 'escrowId', data ->> 'moveId') subject, type, data::jsonb AS data FROM outbox WHERE type LIKE 'escrow.%') e
		WHERE subject > $1 GROUP BY subject ORDER BY subject LIMIT $2`, after, limit)
}

// check has the service look for breaches of what always holds, at the end of every test.
func (w *world) check() {
	ctx := context.Background()
	if err := audit.Flush(ctx, w.db); err != nil {
		w.t.Errorf("seal: %v", err)
	}
	if broken, err := audit.Verify(ctx, w.db); err != nil || len(broken) > 0 {
		w.t.Errorf("the audit log: %v %v", broken, err)
	}
	found, err := w.service.Check(ctx)
	if err != nil {
		w.t.Errorf("check: %v", err)
	}
	for _, f := range found {
		w.t.Errorf("breach: %s", f)
	}
}

// booking is one that starts an hour ago, so that its money may be released.
func (w *world) booking(minor int64, currency string) event.Booking {
	b := event.Booking{BookingID: uuid.New(), WorkerID: w.worker, ClientID: w.client, Title: "Calm the cluster", Start: w.clock.Now().Add(-time.Hour),
		End: w.clock.Now().Add(time.Hour), Amount: money.Of(minor, currency), Version: 1}
	w.near.know(func(n *neighbours) { n.starts[b.BookingID] = b.Start })
	return b
}

// paid is the event that the booking was paid, as payment would tell it.
func (w *world) paid(b event.Booking) event.PaymentCompleted {
	p := event.PaymentCompleted{Payment: event.Payment{PaymentID: uuid.New(), BookingID: b.BookingID, ClientID: b.ClientID, WorkerID: b.WorkerID, Amount: b.Amount}, CompletedAt: w.clock.Now()}
	w.near.know(func(n *neighbours) { n.payments[p.PaymentID] = p })
	return p
}

// held is a booking whose money escrow holds, with its account.
func (w *world) held(minor int64, currency string) (event.Booking, escrow.Answer) {
	w.t.Helper()
	b := w.booking(minor, currency)
	w.hear(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: b.Start}, w.paid(b))
	return b, w.account(b)
}

// account is the booking's account as its client sees it.
func (w *world) account(b event.Booking) escrow.Answer {
	w.t.Helper()
	var list []escrow.Answer
	w.Call(apitest.Call{What: "the account", As: w.asClient, Path: "/api/v1/escrow?bookingId=" + b.BookingID.String(), Status: 200}).Data(&list)
	if len(list) != 1 {
		w.t.Fatalf("%d accounts of the booking", len(list))
	}
	return list[0]
}

func (w *world) none(b event.Booking) {
	w.t.Helper()
	w.Call(apitest.Call{What: "no account yet", As: w.asClient, Path: "/api/v1/escrow?bookingId=" + b.BookingID.String(), Status: 200, Has: `"data":[]`})
}

// want fails unless the booking's account stands so, in major units.
func (w *world) want(b event.Booking, status escrow.Status, released, refunded money.Decimal) escrow.Answer {
	w.t.Helper()
	a := w.account(b)
	if a.Status != status || a.Released != released || a.Refunded != refunded {
		w.t.Errorf("%s, released %s, refunded %s; want %s, %s, %s", a.Status, a.Released, a.Refunded, status, released, refunded)
	}
	return a
}

func (w *world) path(a escrow.Answer, action string) string {
	return "/api/v1/escrow/" + a.ID.String() + "/" + action
}

// hear has the service consume events over the real bus, and returns when they are handled.
func (w *world) hear(subject uuid.UUID, events ...outbox.Event) {
	w.t.Helper()
	var batch []bus.Envelope
	for _, e := range events {
		batch = append(batch, w.envelope(subject, e))
	}
	w.deliver(batch...)
}

func (w *world) envelope(subject uuid.UUID, e outbox.Event) bus.Envelope {
	data, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return bus.Envelope{ID: uuid.New(), Type: e.Type(), Version: 1, OccurredAt: w.clock.Now(), Producer: "test", Subject: subject, Data: data}
}

// deliver publishes envelopes and returns when escrow has consumed them, none of them as a dead letter.
func (w *world) deliver(batch ...bus.Envelope) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := w.bus.Publish(ctx, batch); err != nil {
		w.t.Fatal(err)
	}
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		if lag, err := w.bus.Lag(ctx, "escrow"); err == nil && lag == 0 && !w.parked() {
			tick.Stop()
			break
		}
		select {
		case <-ctx.Done():
			dead, _ := postgres.All[string](w.t.Context(), w.db, `SELECT reason FROM dead_letters`)
			w.t.Fatalf("events are not consumed; dead letters: %q", dead)
		case <-tick.C:
		}
	}
	dead, err := postgres.All[string](ctx, w.db, `SELECT reason FROM dead_letters`)
	if err != nil || len(dead) > 0 {
		w.t.Fatalf("dead letters: %q, %v", dead, err)
	}
}

// parked says whether an event that failed waits for another try: it has no lag.
func (w *world) parked() bool {
	w.t.Helper()
	waits, err := postgres.One[bool](w.t.Context(), w.db, `SELECT EXISTS (SELECT FROM parked)`)
	if err != nil {
		w.t.Fatal(err)
	}
	return waits
}

// told are the types of the events about a booking, in order.
func (w *world) told(b event.Booking) []string {
	w.t.Helper()
	types, err := postgres.All[string](w.t.Context(), w.db, `SELECT type FROM outbox WHERE subject = $1 ORDER BY seq`, b.BookingID)
	if err != nil {
		w.t.Fatal(err)
	}
	return types
}

func (w *world) tells(b event.Booking, types ...string) {
	w.t.Helper()
	if got := w.told(b); !slices.Equal(got, types) {
		w.t.Errorf("told %v, want %v", got, types)
	}
}

// until lets everything due happen up to a time, in order.
func (w *world) until(to time.Time) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := timer.Drain(ctx, timer.Advance{To: to, Set: func(_ context.Context, at time.Time) error { w.clock.Set(at); return nil }}, w.service); err != nil {
		w.t.Fatal(err)
	}
}
