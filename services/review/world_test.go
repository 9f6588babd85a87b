package review_test

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
	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/timer"
	"tulifo/platform/token"
	"tulifo/services/review"
)

const schema = "tulifo_review"

var monday = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// bookings is booking-service, as a router of its own over what the test says it knows.
type bookings struct {
	mu    sync.Mutex
	known map[uuid.UUID]bookingAnswer
	away  bool
}

type bookingAnswer struct {
	WorkerID    uuid.UUID  `json:"workerId"`
	ClientID    uuid.UUID  `json:"clientId"`
	Status      string     `json:"status"`
	CompletedAt *time.Time `json:"completedAt"`
	Category    string     `json:"category"`
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

func (b *bookings) know(fn func(*bookings)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(b)
}

func (b *bookings) routes(r *api.Router) {
	api.Get(r, "/api/bookings/{id}", func(_ context.Context, in *byID) (bookingAnswer, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		a, ok := b.known[in.ID]
		switch {
		case b.away:
			return a, errs.New(errs.Unavailable, "Away.")
		case !ok:
			return a, errs.New(errs.NotFound, "No such booking.")
		}
		return a, nil
	}, api.For(token.Service))
}

// world is review on a database of its own, behind its real router, with the bus between it and booking. It is Monday 2026-03-02, 08:00 UTC.
type world struct {
	*apitest.Server
	t        *testing.T
	db       *postgres.DB
	clock    *clock.Virtual
	service  *review.Service
	bookings *bookings
	bus      *bus.Postgres
	deaf     func() // stops listening
	worker   uuid.UUID
	client   uuid.UUID
	asWorker string
	asClient string
	stranger string
	asAdmin  string
}

func start(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, clock: clock.NewVirtual(monday), worker: uuid.New(), client: uuid.New(), bookings: &bookings{known: map[uuid.UUID]bookingAnswer{}}}
	url := pgtest.Database(t, review.Migration(), outbox.Migration(schema), api.Migration(schema), bus.Migration)
	w.db = pgtest.Open(t, url, schema)
	keys := apitest.Keys(t)
	near := map[string]http.Handler{"booking": apitest.New(t, apitest.Options{Service: "booking", Register: w.bookings.routes}).Router}
	w.service = review.New(w.db, w.clock, peer.New("review", keys, near, nil))
	w.Server = apitest.New(t, apitest.Options{Service: "review", Register: w.service.Routes, DB: w.db, Keys: keys})
	w.asWorker, w.asClient, w.stranger, w.asAdmin = w.Token("worker", w.worker), w.Token("client", w.client), w.Token("client", uuid.New()), w.Token("admin", uuid.New())
	log := slog.New(slog.DiscardHandler)
	session, err := postgres.NewSession(url, log)
	if err != nil {
		t.Fatal(err)
	}
	if w.bus, err = bus.NewPostgres(context.Background(), bus.Options{DB: pgtest.Open(t, url, bus.Schema), Session: session, Log: log}); err != nil {
		t.Fatal(err)
	}
	inbox := outbox.NewInbox(w.db, "review", log)
	w.service.Subscribe(inbox)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = inbox.Run(ctx, w.bus) })
	w.deaf = func() { cancel(); work.Wait() }
	t.Cleanup(func() {
		w.check()
		w.deaf()
		w.bus.Close()
		session.Close()
	})
	return w
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

// completed is a completed booking of the worker by a client, told to review.
func (w *world) completed(clients ...uuid.UUID) []uuid.UUID {
	w.t.Helper()
	var batch []bus.Envelope
	var ids []uuid.UUID
	for _, client := range clients {
		id := uuid.New()
		e := event.BookingCompleted{Booking: event.Booking{BookingID: id, WorkerID: w.worker, ClientID: client, Category: "engineering", Version: 3}, CompletedAt: w.clock.Now()}
		data, err := json.Marshal(e)
		if err != nil {
			w.t.Fatal(err)
		}
		envelope := bus.Envelope{ID: uuid.New(), Type: e.Type(), Version: 1, OccurredAt: w.clock.Now(), Producer: "booking", Subject: id, Data: data}
		batch, ids = append(batch, envelope, envelope), append(ids, id)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := w.bus.Publish(ctx, batch); err != nil {
		w.t.Fatal(err)
	}
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		lag, err := w.bus.Lag(ctx, "review")
		if err == nil && lag == 0 {
			// What failed once has no lag, and waits for another try.
			waits, err := postgres.One[bool](w.t.Context(), w.db, `SELECT EXISTS (SELECT FROM parked)`)
			if err != nil {
				w.t.Fatal(err)
			}
			if !waits {
				tick.Stop()
				return ids
			}
		}
		select {
		case <-ctx.Done():
			w.t.Fatal("events are not consumed")
		case <-tick.C:
		}
	}
}

func body(booking uuid.UUID, rating int) map[string]any {
	return map[string]any{"bookingId": booking, "rating": rating, "comment": "Calm as promised.", "private": "Always five minutes late."}
}

func (w *world) write(as string, booking uuid.UUID, rating int) review.Answer {
	w.t.Helper()
	var r review.Answer
	w.Call(apitest.Call{What: "write", As: as, Path: "/api/v1/reviews", Body: body(booking, rating), Status: 201}).Data(&r)
	return r
}

func (w *world) about(as string, user uuid.UUID) []review.Answer {
	w.t.Helper()
	var list []review.Answer
	w.Call(apitest.Call{What: "reviews", As: as, Path: "/api/v1/reviews/user/" + user.String(), Status: 200}).Data(&list)
	return list
}

// rated fails unless the user's stats say so.
func (w *world) rated(user uuid.UUID, has string) {
	w.t.Helper()
	w.Call(apitest.Call{What: "stats", Path: "/api/v1/reviews/stats/" + user.String(), Status: 200, Has: has})
}

// told are the types of the events about a subject, in order.
func (w *world) told(subject uuid.UUID) []string {
	w.t.Helper()
	types, err := postgres.All[string](w.t.Context(), w.db, `SELECT type FROM outbox WHERE subject = $1 ORDER BY seq`, subject)
	if err != nil {
		w.t.Fatal(err)
	}
	return types
}

func (w *world) tells(subject uuid.UUID, types ...string) {
	w.t.Helper()
	if got := w.told(subject); !slices.Equal(got, types) {
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
