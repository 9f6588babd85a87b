package payment_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v85"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

const (
	schema    = "tulifo_payment"
	secretKey = "sk_test_simulator"
	publicKey = "pk_test_simulator"
	hookKey   = "whsec_simulator"
	patience  = 30 * time.Second // with an outcome
	railBound = time.Minute      // of a call: no test waits for a rail that does not answer
)

var monday = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// world is payment on a database of its own, behind its real router, with the Stripe simulator on a socket and the bus between it and the others.
type world struct {
	*apitest.Server
	t        testing.TB
	url      string
	config   payment.Config
	db       *postgres.DB
	pay      *payment.Service
	clock    *clock.Virtual
	sim      *stripesim.Simulator
	simURL   string
	line     *line
	bus      *bus.Postgres
	inbox    *outbox.Inbox
	deaf     func() // stops listening
	peers    *neighbours
	client   uuid.UUID
	worker   uuid.UUID
	asClient string
	asWorker string
	asAdmin  string
}

// neighbours are the services that payment asks, as far as it asks them.
type neighbours struct {
	mu       sync.Mutex
	bookings map[uuid.UUID]map[string]any
	verified map[uuid.UUID]bool
	refunds  []string // bodies of the refunds that escrow was told to make
}

func (n *neighbours) handlers() map[string]http.Handler {
	answer := func(w http.ResponseWriter, status int, data any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		out := map[string]any{"success": true, "data": data}
		if status >= 400 {
			out = map[string]any{"success": false, "error": data}
		}
		_ = json.NewEncoder(w).Encode(out)
	}
	none := map[string]any{"code": "not_found", "message": "There is none."}
	booking, auth, escrow := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	booking.HandleFunc("GET /api/bookings/{id}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if b, ok := n.bookings[uuid.MustParse(r.PathValue("id"))]; ok {
			answer(w, 200, b)
			return
		}
		answer(w, 404, none)
	})
	auth.HandleFunc("GET /api/auth/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		id := uuid.MustParse(r.PathValue("id"))
		answer(w, 200, map[string]any{"id": id, "email": "ada@example.com", "emailVerified": n.verified[id]})
	})
	escrow.HandleFunc("GET /api/v1/escrow", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, []map[string]any{{"id": r.URL.Query().Get("bookingId")}})
	})
	escrow.HandleFunc("POST /api/v1/escrow/{id}/refund", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n.mu.Lock()
		n.refunds = append(n.refunds, string(body))
		n.mu.Unlock()
		answer(w, 200, map[string]any{})
	})
	user := http.NewServeMux()
	user.HandleFunc("GET /api/users/{id}/card", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, map[string]any{"id": r.PathValue("id"), "timezone": "Europe/Berlin"})
	})
	return map[string]http.Handler{"booking": booking, "auth": auth, "escrow": escrow, "user": user}
}

func start(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return open(t)
}

func open(t testing.TB) *world {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	w := &world{t: t, clock: clock.NewVirtual(monday), client: uuid.New(), worker: uuid.New(),
		peers: &neighbours{bookings: map[uuid.UUID]map[string]any{}, verified: map[uuid.UUID]bool{}}}
	address := pgtest.Database(t, payment.Migration(), outbox.Migration(schema), audit.Migration(schema), api.Migration(schema), bus.Migration)
	w.url, w.db = address, pgtest.Open(t, address, schema)
	sim, err := stripesim.New(stripesim.Options{Dir: t.TempDir(), SecretKey: secretKey, PublishableKey: publicKey, WebhookSecret: hookKey, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.sim = sim
	w.line = &line{rail: sim.Handler()}
	rail := httptest.NewServer(w.line)
	w.simURL = rail.URL
	config := payment.Config{SecretKey: secretKey, PublishableKey: publicKey, WebhookSecrets: []string{"whsec_other", hookKey}, APIURL: rail.URL,
		Timeout: railBound, Fee: 1000, FeeByCategory: map[string]int{"charity": 0}, PublicURL: "http://tulifo.test"}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	w.config = config
	keys := apitest.Keys(t)
	w.pay = payment.New(w.db, w.clock, peer.New("payment", keys, w.peers.handlers(), func(string) []string { return nil }), config, log)
	w.Server = apitest.New(t, apitest.Options{Service: "payment", Register: w.pay.Routes, DB: w.db, Keys: keys})
	w.asClient, w.asWorker, w.asAdmin = w.Token("client", w.client), w.Token("worker", w.worker), w.Token("admin", uuid.New())
	door := httptest.NewServer(w.Router)
	if err := sim.SetWebhookURL(t.Context(), door.URL+"/api/payments/webhook"); err != nil {
		t.Fatal(err)
	}
	session, err := postgres.NewSession(address, log)
	if err != nil {
		t.Fatal(err)
	}
	busDB := pgtest.Open(t, address, bus.Schema)
	if w.bus, err = bus.NewPostgres(t.Context(), bus.Options{DB: busDB, Session: session, Log: log}); err != nil {
		t.Fatal(err)
	}
	w.inbox = outbox.NewInbox(w.db, "payment", log)
	w.pay.Subscribe(w.inbox)
	ctx, cancel := context.WithCancel(context.Background())
	var hearing, loops sync.WaitGroup
	hear, unhear := context.WithCancel(ctx)
	hearing.Go(func() { _ = w.inbox.Run(hear, w.bus) })
	w.deaf = func() { unhear(); hearing.Wait() }
	loops.Go(func() { _ = sim.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		w.deaf()
		loops.Wait()
		w.bus.Close()
		session.Close()
		rail.Close()
		door.Close()
		_ = sim.Close()
	})
	return w
}

// tell publishes events about a subject, as their services would.
func (w *world) tell(subject uuid.UUID, events ...outbox.Event) {
	w.t.Helper()
	var batch []bus.Envelope
	for _, e := range events {
		batch = append(batch, w.envelope(subject, e))
	}
	if err := w.bus.Publish(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) envelope(subject uuid.UUID, e outbox.Event) bus.Envelope {
	data, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: e.Type(), Version: 1, OccurredAt: w.clock.Now(), Producer: "test", Subject: subject, Data: data}
}

// settle waits until events are consumed, webhooks have arrived, and nothing is due at the rail.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		w.heard(ctx)
		if err := w.sim.Idle(ctx); err != nil {
			_, left := w.rail(secretKey, "GET", "/_control/undelivered", nil, "")
			w.t.Fatalf("the rail is not idle: %v: %v", err, left)
		}
		due, err := w.pay.RetryDue(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		now := time.Now()
		if due.IsZero() || due.After(now) {
			return
		}
		if err := w.pay.Retry(ctx, now); err != nil {
			w.t.Fatal(err)
		}
	}
}

// heard waits until payment has consumed what was published.
func (w *world) heard(ctx context.Context) {
	w.t.Helper()
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		lag, err := w.bus.Lag(ctx, "payment")
		if err == nil && lag == 0 && !w.parked(ctx) {
			tick.Stop()
			break
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("events are not consumed: lag %d, %v", lag, err)
		case <-tick.C:
		}
	}
}

// parked tells whether an event waits for another try; a dead letter would wait for ever.
func (w *world) parked(ctx context.Context) bool {
	w.t.Helper()
	waiting, err := postgres.One[bool](ctx, w.db, `SELECT EXISTS (SELECT FROM parked) OR EXISTS (SELECT FROM dead_letters)`)
	if err != nil {
		w.t.Fatal(err)
	}
	return waiting
}

// booking is a confirmed booking of the worker by the client, told to payment.
func (w *world) booking(minor int64, currency string) event.Booking {
	w.t.Helper()
	b := w.unheard(minor, currency)
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.Add(24 * time.Hour)})
	w.settle()
	return b
}

// unheard is a confirmed booking that no event has told of yet.
func (w *world) unheard(minor int64, currency string) event.Booking {
	return event.Booking{BookingID: uuid.Must(uuid.NewV7()), WorkerID: w.worker, ClientID: w.client, Title: "Fix my Go service", Category: "software",
		Start: monday.Add(48 * time.Hour), End: monday.Add(50 * time.Hour), Amount: money.Of(minor, currency), Version: 1}
}

type checkout struct {
	Payment        payment.Payment
	ClientSecret   string
	PublishableKey string
}

func (c checkout) intent() string { return strings.SplitN(c.ClientSecret, "_secret_", 2)[0] }

// checkout asks to pay.
func (w *world) checkout(b event.Booking) checkout {
	w.t.Helper()
	var c checkout
	w.Call(apitest.Call{What: "ask to pay", As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID}, Status: 201}).Data(&c)
	return c
}

// card pays as the browser does: with the publishable key and the client secret. It answers the rail's status code.
func (w *world) card(c checkout, method string) int {
	w.t.Helper()
	status, _ := w.rail(publicKey, "POST", "/v1/payment_intents/"+c.intent()+"/confirm", url.Values{"client_secret": {c.ClientSecret}, "payment_method": {method}}, "")
	return status
}

// rail calls the simulator.
func (w *world) rail(key, method, path string, form url.Values, account string) (int, map[string]any) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.simURL+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if account != "" {
		req.Header.Set("Stripe-Account", account)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string]any
	_ = json.NewDecoder(res.Body).Decode(&out)
	return res.StatusCode, out
}

// paid is a booking whose money has arrived.
func (w *world) paid(minor int64, currency string) (event.Booking, checkout) {
	w.t.Helper()
	b := w.booking(minor, currency)
	return b, w.arrived(b)
}

// arrived pays a booking that payment has been told of.
func (w *world) arrived(b event.Booking) checkout {
	w.t.Helper()
	c := w.checkout(b)
	if status := w.card(c, "pm_card_visa"); status != 200 {
		w.t.Fatalf("the card answered %d", status)
	}
	w.settle()
	w.status(c, payment.Completed)
	return c
}

// account opens the worker's account at the rail, which takes it at once.
func (w *world) account() {
	w.t.Helper()
	w.Call(apitest.Call{What: "open the account", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{}`, Status: 201})
}

func (w *world) escrowOf(b event.Booking, remaining int64) event.Escrow {
	return event.Escrow{EscrowID: uuid.New(), BookingID: b.BookingID, ClientID: b.ClientID, WorkerID: b.WorkerID, Held: b.Amount, Remaining: money.Of(remaining, b.Amount.Currency)}
}

func (w *world) released(b event.Booking, minor int64) event.EscrowReleased {
	return event.EscrowReleased{Escrow: w.escrowOf(b, 0), MoveID: uuid.Must(uuid.NewV7()), Amount: money.Of(minor, b.Amount.Currency), Cause: "client"}
}

func (w *world) refunded(b event.Booking, minor int64) event.EscrowRefunded {
	return event.EscrowRefunded{Escrow: w.escrowOf(b, 0), MoveID: uuid.Must(uuid.NewV7()), Amount: money.Of(minor, b.Amount.Currency), Cause: "cancelled"}
}

func (w *world) get(c checkout) payment.Payment {
	w.t.Helper()
	var p payment.Payment
	w.Call(apitest.Call{What: "look at the payment", As: w.asAdmin, Path: "/api/payments/" + c.Payment.ID.String(), Status: 200}).Data(&p)
	return p
}

func (w *world) status(c checkout, want payment.Status) payment.Payment {
	w.t.Helper()
	p := w.get(c)
	if p.Status != want {
		w.t.Fatalf("the payment is %s (%s), want %s", p.Status, p.Review, want)
	}
	return p
}

// balances are all accounts of the ledger with something in them, those of bookings and users by their kind: "escrow USD": 16000.
func (w *world) balances() map[string]int64 {
	w.t.Helper()
	rows, err := postgres.All[struct {
		Account string
		Minor   int64
	}](w.t.Context(), w.db, `SELECT split_part(account, ':', 1) || CASE account WHEN 'chargeback_debt:' || $1::uuid THEN ':client' WHEN 'chargeback_debt:' || $2::uuid THEN ':worker' ELSE '' END
		|| ' ' || currency AS account, sum(amount)::bigint AS minor FROM entries GROUP BY 1 HAVING sum(amount) <> 0`, w.client, w.worker)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]int64{}
	for _, r := range rows {
		out[r.Account] = r.Minor
	}
	return out
}

func (w *world) has(what string, want map[string]int64) {
	w.t.Helper()
	got := w.balances()
	for account, minor := range want {
		if got[account] != minor {
			w.t.Errorf("%s: %s is at %d, want %d; all: %v", what, account, got[account], minor, got)
		}
	}
}

// sound fails the test for every breach that payment's own check finds.
func (w *world) sound() {
	w.t.Helper()
	if err := audit.Flush(w.t.Context(), w.db); err != nil {
		w.t.Fatal(err)
	}
	if broken, err := audit.Verify(w.t.Context(), w.db); err != nil || len(broken) > 0 {
		w.t.Errorf("the audit log: %v %v", broken, err)
	}
	breaches, err := w.pay.Check(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range breaches {
		w.t.Error(b)
	}
}

// events is how many events of a type payment has told.
func (w *world) events(kind string) int {
	w.t.Helper()
	n, err := postgres.One[int](w.t.Context(), w.db, `SELECT count(*)::int FROM outbox WHERE type = $1`, kind)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) told(want map[string]int) {
	w.t.Helper()
	for kind, n := range want {
		if got := w.events(kind); got != n {
			w.t.Errorf("%d × %s, want %d", got, kind, n)
		}
	}
}

func (w *world) verify(user uuid.UUID) {
	w.t.Helper()
	w.tell(user, event.UserCreated{UserID: user, Email: "ada@example.com", Role: "worker"}, event.UserVerified{UserID: user, Email: "ada@example.com"})
	w.settle()
}

// signed is a webhook as the rail would sign it, of a copy of an event.
func signed(payload []byte) http.Header {
	at := time.Now()
	return http.Header{"Stripe-Signature": {fmt.Sprintf("t=%d,v1=%x", at.Unix(), stripe.ComputeSignature(at, payload, hookKey))}}
}

func (w *world) hook(payload []byte) int {
	return w.Do(apitest.Call{Method: "POST", Path: "/api/payments/webhook", Body: payload, Header: map[string]string{"Stripe-Signature": signed(payload).Get("Stripe-Signature")}}).Status
}

func hold(types ...string) stripesim.Control { return stripesim.Control{Hold: types} }

func fails(mode, path string) stripesim.Control {
	return stripesim.Control{Fail: &stripesim.Failure{Times: 1, Mode: mode, Method: "POST", Path: path}}
}

// later does what is due after d.
func (w *world) later(d time.Duration) {
	w.t.Helper()
	if err := w.pay.Retry(w.t.Context(), time.Now().Add(d)); err != nil {
		w.t.Fatal(err)
	}
}

func sprint(v any) string { return fmt.Sprintf("%.0f", v) }
