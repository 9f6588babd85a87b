package booking_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
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
	"tulifo/platform/fetch"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/timer"
	"tulifo/platform/token"
	"tulifo/services/booking"
)

const schema = "tulifo_booking"

// neighbours are the services that booking asks, as routers of their own over what the test says they know.
type neighbours struct {
	mu       sync.Mutex
	offers   map[uuid.UUID]event.WorkerUpdated
	verified map[uuid.UUID]bool
	paid     map[uuid.UUID]time.Time
	asked    map[string]int
	away     bool
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

func (n *neighbours) note(what string) error {
	n.asked[what]++
	if n.away {
		return errs.New(errs.Unavailable, "Away.")
	}
	return nil
}

func (n *neighbours) handlers(t testing.TB) map[string]http.Handler {
	serve := func(name string, register func(*api.Router)) http.Handler {
		return apitest.New(t, apitest.Options{Service: name, Register: register}).Router
	}
	return map[string]http.Handler{
		"user": serve("user", func(r *api.Router) {
			api.Get(r, "/api/workers/{id}/offer", func(_ context.Context, in *byID) (event.WorkerUpdated, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				err := n.note("offer")
				o, ok := n.offers[in.ID]
				if err == nil && !ok {
					err = errs.New(errs.NotFound, "No such worker.")
				}
				return o, err
			}, api.For(token.Service))
		}),
		"auth": serve("auth", func(r *api.Router) {
			type user struct {
				EmailVerified bool `json:"emailVerified"`
			}
			api.Get(r, "/api/auth/users/{id}", func(_ context.Context, in *byID) (user, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				return user{n.verified[in.ID]}, n.note("user")
			}, api.For(token.Service))
		}),
		"payment": serve("payment", func(r *api.Router) {
			type payment struct {
				Status      string     `json:"status"`
				CompletedAt *time.Time `json:"completedAt"`
			}
			api.Get(r, "/api/payments/booking/{id}", func(_ context.Context, in *byID) (payment, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				if err := n.note("payment"); err != nil {
					return payment{}, err
				}
				if at, ok := n.paid[in.ID]; ok {
					return payment{"completed", &at}, nil
				}
				return payment{}, errs.New(errs.NotFound, "No such payment.")
			}, api.For(token.Service))
		}),
	}
}

func (n *neighbours) know(fn func(*neighbours)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n)
}

// world is the service on a database of its own. It is Monday 2026-03-02, 08:00 in Berlin. The worker asks 80 USD an hour and is free Monday to Friday
// 9 to 17 in Berlin with a buffer of 15 minutes after each booking; the client lives in New York.
type world struct {
	*apitest.Server
	t            *testing.T
	url          string
	db           *postgres.DB
	clock        *clock.Virtual
	service      *booking.Service
	near         *neighbours
	worker       uuid.UUID
	client       uuid.UUID
	asWorker     string
	asClient     string
	stranger     string // another client
	otherWorker  string
	asAdmin      string
	config       booking.Config
	bus          *bus.Postgres
	inbox        *outbox.Inbox
	workerUpdate event.WorkerUpdated
}

func start(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, clock: clock.NewVirtual(at(t, "2026-03-02T07:00:00Z")), worker: uuid.New(), client: uuid.New(),
		near: &neighbours{offers: map[uuid.UUID]event.WorkerUpdated{}, verified: map[uuid.UUID]bool{}, paid: map[uuid.UUID]time.Time{}, asked: map[string]int{}}}
	w.url = pgtest.Database(t, booking.Migration(), outbox.Migration(schema), api.Migration(schema), audit.Migration(schema), bus.Migration)
	w.db = pgtest.Open(t, w.url, schema)
	keys := apitest.Keys(t)
	w.config = booking.DefaultConfig()
	w.config.PublicURL = "https://tulifo.test"
	web, err := fetch.New(fetch.Options{Allow: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	w.service = booking.New(w.db, w.clock, peer.New("booking", keys, w.near.handlers(t), nil), web, w.config)
	w.Server = apitest.New(t, apitest.Options{Service: "booking", Register: w.service.Routes, DB: w.db, Keys: keys})
	w.asWorker, w.asClient, w.asAdmin = w.Token("worker", w.worker), w.Token("client", w.client), w.Token("admin", uuid.New())
	w.stranger, w.otherWorker = w.Token("client", uuid.New()), w.Token("worker", uuid.New())
	w.workerUpdate = event.WorkerUpdated{WorkerID: w.worker, Title: "Engineer", Rate: money.Of(8000, "USD"), Categories: []string{"engineering"}, Timezone: "Europe/Berlin", Active: true, Version: 1}
	w.near.offers[w.worker] = w.workerUpdate
	w.near.verified[w.client] = true
	w.setHours(map[string]any{"bufferAfter": 15})
	t.Cleanup(w.check)
	return w
}

// newClient is the token of one more client, whose address is verified.
func (w *world) newClient() string {
	id := uuid.New()
	w.near.know(func(n *neighbours) { n.verified[id] = true })
	return w.Token("client", id)
}

// setHours sets Monday to Friday 9 to 17, and whatever else.
func (w *world) setHours(more map[string]any) {
	w.t.Helper()
	var weekly []map[string]any
	for d := 1; d <= 5; d++ {
		weekly = append(weekly, map[string]any{"dayOfWeek": d, "startTime": "09:00", "endTime": "17:00"})
	}
	body := map[string]any{"timezone": "Europe/Berlin", "weekly": weekly}
	for k, v := range more {
		body[k] = v
	}
	w.Call(apitest.Call{What: "set hours", As: w.asWorker, Method: "PUT", Path: w.calendar(""), Body: body, Status: 200})
}

func (w *world) calendar(rest string) string {
	return "/api/availability/worker/" + w.worker.String() + rest
}

// check has the service look for breaches of what always holds, at the end of every test.
func (w *world) check() {
	found, err := w.service.Check(context.Background())
	if err != nil {
		w.t.Errorf("check: %v", err)
	}
	for _, f := range found {
		w.t.Errorf("breach: %s", f)
	}
}

func (w *world) body(start string, minutes int) map[string]any {
	w.t.Helper()
	from := at(w.t, start)
	return map[string]any{"workerId": w.worker, "title": "Calm the cluster", "startTime": from, "endTime": from.Add(time.Duration(minutes) * time.Minute)}
}

func with(body map[string]any, key string, v any) map[string]any {
	body[key] = v
	return body
}

func (w *world) book(start string, minutes int) booking.Answer {
	w.t.Helper()
	var b booking.Answer
	w.Call(apitest.Call{What: "book " + start, As: w.asClient, Path: "/api/bookings", Body: w.body(start, minutes), Status: 201}).Data(&b)
	return b
}

// do posts an action on a booking.
func (w *world) do(as string, b booking.Answer, action string, status int) booking.Answer {
	w.t.Helper()
	var after booking.Answer
	a := w.Call(apitest.Call{What: action, As: as, Method: "POST", Path: "/api/bookings/" + b.ID.String() + "/" + action, Status: status})
	if status < 300 && a.Status < 300 {
		a.Data(&after)
	}
	return after
}

func (w *world) get(b booking.Answer) booking.Answer {
	w.t.Helper()
	var after booking.Answer
	w.Call(apitest.Call{What: "get", As: w.asClient, Path: "/api/bookings/" + b.ID.String(), Status: 200}).Data(&after)
	return after
}

// paid is a booking that the worker has confirmed, and that is paid.
func (w *world) paid(start string, minutes int) booking.Answer {
	w.t.Helper()
	b := w.do(w.asWorker, w.book(start, minutes), "confirm", 200)
	w.pay(b)
	return b
}

// pay has the service hear that the booking is paid; payment says so too when it is asked.
func (w *world) pay(b booking.Answer) {
	w.t.Helper()
	w.near.know(func(n *neighbours) { n.paid[b.ID] = w.clock.Now() })
	w.hear(b.ID, event.PaymentCompleted{Payment: event.Payment{PaymentID: uuid.New(), BookingID: b.ID, ClientID: b.ClientID, WorkerID: b.WorkerID, Amount: money.Of(0, "USD")}, CompletedAt: w.clock.Now()})
}

// hear has the service consume events of other services over the real bus, and returns when they are handled.
func (w *world) hear(subject uuid.UUID, events ...outbox.Event) {
	w.t.Helper()
	if w.bus == nil {
		w.listen()
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	var batch []bus.Envelope
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			w.t.Fatal(err)
		}
		batch = append(batch, bus.Envelope{ID: uuid.New(), Type: e.Type(), Version: 1, OccurredAt: w.clock.Now(), Producer: "test", Subject: subject, Data: data})
	}
	if err := w.bus.Publish(ctx, batch); err != nil {
		w.t.Fatal(err)
	}
	if err := outbox.Settle(ctx, w.bus, w.inbox); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) listen() {
	log := slog.New(slog.DiscardHandler)
	session, err := postgres.NewSession(w.url, log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(session.Close)
	if w.bus, err = bus.NewPostgres(context.Background(), bus.Options{DB: pgtest.Open(w.t, w.url, bus.Schema), Session: session, Log: log}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.bus.Close)
	w.inbox = outbox.NewInbox(w.db, "booking", log)
	w.service.Subscribe(w.inbox)
	relay := outbox.NewRelay(w.db, w.bus, "booking", session, log)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = w.inbox.Run(ctx, w.bus) })
	work.Go(func() { _ = relay.Run(ctx) })
	w.t.Cleanup(func() { cancel(); work.Wait() })
}

// told are the events of a type about a booking, in order, whether or not a relay has taken them.
func (w *world) told(b booking.Answer, kind string) []map[string]any {
	w.t.Helper()
	rows, err := postgres.All[string](w.t.Context(), w.db, `SELECT data::text FROM outbox WHERE type = $1 AND subject = $2 ORDER BY seq`, kind, b.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.bus != nil {
		sent, err := postgres.All[string](w.t.Context(), w.db, `SELECT data::text FROM tulifo_bus.log WHERE type = $1 AND subject = $2 ORDER BY pos`, kind, b.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		rows = append(sent, rows...)
	}
	seen := map[string]bool{}
	var out []map[string]any
	for _, r := range rows {
		var v map[string]any
		if err := json.Unmarshal([]byte(r), &v); err != nil {
			w.t.Fatal(err)
		}
		if key := fmt.Sprint(v["version"]); !seen[key] {
			seen[key] = true
			out = append(out, v)
		}
	}
	return out
}

// tells fails unless exactly one event of the type was told, whose JSON has that text.
func (w *world) tells(b booking.Answer, kind, has string) {
	w.t.Helper()
	events := w.told(b, kind)
	raw, _ := json.Marshal(events)
	if len(events) != 1 || !strings.Contains(string(raw), has) {
		w.t.Errorf("%s was told %d times, want once with %q: %s", kind, len(events), has, raw)
	}
}

// until lets everything due happen up to a time, in order.
func (w *world) until(to string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	err := timer.Drain(ctx, timer.Advance{To: at(w.t, to), Set: func(_ context.Context, at time.Time) error { w.clock.Set(at); return nil }}, w.service)
	if err != nil {
		w.t.Fatal(err)
	}
}
