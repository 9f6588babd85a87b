package user_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
	"tulifo/platform/blob"
	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/kv"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
	"tulifo/services/user"
)

const (
	schema   = "tulifo_user"
	patience = 30 * time.Second
)

var monday = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// account is a user as auth knows it.
type account struct {
	ID            uuid.UUID `json:"id"`
	Email         string    `json:"email"`
	Name          string    `json:"name"`
	Role          string    `json:"role"`
	EmailVerified bool      `json:"emailVerified"`
	Status        string    `json:"status"`
	CreatedAt     time.Time `json:"createdAt"`
}

type stats struct {
	AverageRating float64 `json:"averageRating"`
	TotalReviews  int64   `json:"totalReviews"`
}

// neighbours are auth and review, as routers of their own over what the test says they know.
type neighbours struct {
	mu       sync.Mutex
	accounts map[uuid.UUID]account
	stats    map[uuid.UUID]stats
	asked    int
	away     bool
	turns    []string // what auth was told to do, by whom
}

// ByID is exported because huma reads exported parts only.
type ByID struct {
	ID uuid.UUID `path:"id"`
}

type turnIn struct {
	ByID
	Body struct {
		Reason string    `json:"reason,omitempty"`
		By     uuid.UUID `json:"by"`
	}
}

func (n *neighbours) account(id uuid.UUID) (account, error) {
	n.asked++
	if n.away {
		return account{}, errs.New(errs.Unavailable, "Away.")
	}
	a, ok := n.accounts[id]
	if !ok {
		return account{}, errs.New(errs.NotFound, "No such user.")
	}
	return a, nil
}

func (n *neighbours) turn(status string) func(context.Context, *turnIn) (account, error) {
	return func(_ context.Context, in *turnIn) (account, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		a, err := n.account(in.ID)
		if err == nil {
			a.Status = status
			n.accounts[in.ID] = a
			n.turns = append(n.turns, status+" "+in.ID.String()+" by "+in.Body.By.String()+" "+in.Body.Reason)
		}
		return a, err
	}
}

func (n *neighbours) handlers(t testing.TB) map[string]http.Handler {
	serve := func(name string, register func(*api.Router)) http.Handler {
		return apitest.New(t, apitest.Options{Service: name, Register: register}).Router
	}
	return map[string]http.Handler{
		"auth": serve("auth", func(r *api.Router) {
			api.Get(r, "/api/auth/users/{id}", func(_ context.Context, in *ByID) (account, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				return n.account(in.ID)
			}, api.For(token.Service))
			api.Post(r, "/api/auth/users/{id}/suspend", n.turn("suspended"), api.For(token.Service))
			api.Post(r, "/api/auth/users/{id}/reinstate", n.turn("active"), api.For(token.Service))
		}),
		"review": serve("review", func(r *api.Router) {
			api.Get(r, "/api/v1/reviews/stats/{id}", func(_ context.Context, in *ByID) (stats, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				return n.stats[in.ID], nil
			}, api.Public)
		}),
	}
}

// world is the service on a database of its own behind its real router, with the bus between it and the others.
type world struct {
	*apitest.Server
	t     *testing.T
	db    *postgres.DB
	clock *clock.Virtual
	user  *user.Service
	peers *neighbours
	bus   *bus.Postgres
	inbox *outbox.Inbox
	files *blob.Files
	dir   string // of files
	deaf  func() // stops listening
}

func start(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, clock: clock.NewVirtual(monday), peers: &neighbours{accounts: map[uuid.UUID]account{}, stats: map[uuid.UUID]stats{}}}
	address := pgtest.Database(t, user.Migration(), outbox.Migration(schema), audit.Migration(schema), bus.Migration)
	w.db = pgtest.Open(t, address, schema)
	var err error
	w.dir = t.TempDir()
	if w.files, err = blob.NewFiles(w.dir); err != nil {
		t.Fatal(err)
	}
	keys := apitest.Keys(t)
	w.user = user.New(w.db, w.clock, peer.New("user", keys, w.peers.handlers(t), func(string) []string { return nil }), w.files, kv.NewMemory(1<<10))
	w.Server = apitest.New(t, apitest.Options{Service: "user", Register: w.user.Routes, DB: w.db, Keys: keys})
	session, err := postgres.NewSession(address, log)
	if err != nil {
		t.Fatal(err)
	}
	busDB := pgtest.Open(t, address, bus.Schema)
	if w.bus, err = bus.NewPostgres(t.Context(), bus.Options{DB: busDB, Session: session, Log: log}); err != nil {
		t.Fatal(err)
	}
	w.inbox = outbox.NewInbox(w.db, "user", log)
	w.user.Subscribe(w.inbox)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = w.inbox.Run(ctx, w.bus) })
	w.deaf = func() { cancel(); loops.Wait() }
	t.Cleanup(func() {
		w.deaf()
		w.bus.Close()
		session.Close()
		_ = w.files.Close()
	})
	return w
}

func envelope(t *testing.T, subject uuid.UUID, e outbox.Event) bus.Envelope {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: e.Type(), Version: 1, OccurredAt: monday, Producer: "test", Subject: subject, Data: data}
}

// hear publishes events about a subject, as their services would, and waits until the service has handled them.
func (w *world) hear(subject uuid.UUID, events ...outbox.Event) {
	w.t.Helper()
	var batch []bus.Envelope
	for _, e := range events {
		batch = append(batch, envelope(w.t, subject, e))
	}
	w.publish(batch...)
}

// publish returns when all of the batch is handled.
func (w *world) publish(batch ...bus.Envelope) {
	w.t.Helper()
	w.deliver(batch...)
	// What failed once has no lag, and waits for another try.
	wait(w.t, func() bool {
		left, err := postgres.One[struct {
			Parked bool
			Dead   []string
		}](w.t.Context(), w.db, `SELECT EXISTS (SELECT FROM parked) AS parked, ARRAY(SELECT reason FROM dead_letters) AS dead`)
		if err != nil || len(left.Dead) > 0 {
			w.t.Fatalf("dead letters: %q, %v", left.Dead, err)
		}
		return !left.Parked
	})
}

// deliver returns when the service has tried each event of the batch.
func (w *world) deliver(batch ...bus.Envelope) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.bus.Publish(ctx, batch); err != nil {
		w.t.Fatal(err)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		lag, err := w.bus.Lag(ctx, "user")
		if err == nil && lag == 0 {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("events are not heard: lag %d, %v", lag, err)
		case <-tick.C:
		}
	}
}

// someone is a user of whom auth has told.
type someone struct {
	id    uuid.UUID
	token string
}

func (w *world) join(role, name string) someone {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.peers.mu.Lock()
	w.peers.accounts[id] = account{id, name + "@example.com", name, role, true, "active", monday}
	w.peers.mu.Unlock()
	w.hear(id, event.UserCreated{UserID: id, Email: name + "@example.com", Name: name, Role: role, Verified: true})
	return someone{id, w.Token(role, id)}
}

// told are the events that the service has told of a subject, in order.
func (w *world) told(subject uuid.UUID, typ string) []json.RawMessage {
	w.t.Helper()
	found, err := postgres.All[json.RawMessage](w.t.Context(), w.db, `SELECT data FROM outbox WHERE subject = $1 AND type = $2 ORDER BY seq`, subject, typ)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func lastTold[E outbox.Event](w *world, subject uuid.UUID) (last E, n int) {
	w.t.Helper()
	all := w.told(subject, last.Type())
	if len(all) > 0 {
		if err := json.Unmarshal(all[len(all)-1], &last); err != nil {
			w.t.Fatal(err)
		}
	}
	return last, len(all)
}

// offers gives a worker an offer.
func (w *world) offers(p someone, fields map[string]any) {
	w.t.Helper()
	w.Call(apitest.Call{What: "an offer", As: p.token, Method: "PUT", Path: "/api/workers/me", Body: fields, Status: 200})
}

func (w *world) clean() {
	w.t.Helper()
	if broken, err := audit.Verify(w.t.Context(), w.db); err != nil || len(broken) > 0 {
		w.t.Errorf("the audit log: %v %v", broken, err)
	}
	breaches, err := w.user.Check(w.t.Context())
	if err != nil {
		w.t.Error(err)
	}
	for _, b := range breaches {
		w.t.Error(b)
	}
}

// wait looks until it is so.
func wait(t *testing.T, so func() bool) {
	t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !so() {
		select {
		case <-end:
			t.Fatal("it never came to that")
		case <-tick.C:
		}
	}
}
