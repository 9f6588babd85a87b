package notification_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/mail"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/timer"
	"tulifo/services/notification"
)

const schema = "tulifo_notification"

// patience is how long a test waits for an outcome.
const patience = 20 * time.Second

// world is the service on a database and a bus of its own, with a neighbour that answers as auth does, and a mail server.
type world struct {
	*apitest.Server
	t       *testing.T
	url     string
	db      *postgres.DB
	docs    docdb.DB
	events  outbox.DB
	mongo   string // where the documents are, when they are in MongoDB
	bus     *bus.Postgres
	inbox   *outbox.Inbox
	rest    func() // stops the loops
	clock   *clock.Virtual
	service *notification.Service
	auth    *authority
	box     *mail.Inbox
	page    *httptest.Server
	smtp    string // address of the mail server
	log     *lines
}

type options struct {
	at     time.Time // business time
	smtp   string    // address of the mail server; the inbox when empty
	timers bool      // mail goes out by itself
}

func start(t *testing.T, o options) *world {
	t.Helper()
	t.Parallel()
	if o.at.IsZero() {
		o.at = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	}
	w := &world{t: t, clock: clock.NewVirtual(o.at), log: &lines{}, smtp: o.smtp}
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	w.url = pgtest.Database(t, notification.Migration(), outbox.Migration(schema), api.Migration(schema), bus.Migration)
	w.db = pgtest.Open(t, w.url, schema)
	w.docs, w.events = w.documents()
	if w.smtp == "" {
		w.openInbox(listen(t))
	}
	w.auth = &authority{accounts: map[uuid.UUID]map[string]any{}, links: map[uuid.UUID]string{}}
	keys := apitest.Keys(t)
	auth := apitest.New(t, apitest.Options{Service: "auth", Register: w.auth.routes, Keys: keys})
	host, port, err := net.SplitHostPort(w.smtp)
	if err != nil {
		t.Fatal(err)
	}
	cfg := notification.Config{
		PublicURL: "https://tulifo.test", LinkSecret: strings.Repeat("test-links-", 4),
		Mail: mail.Config{Host: host, Port: number(t, port), From: "Tulifo <no-reply@tulifo.test>", TLS: mail.TLSOff, Timeout: 5 * time.Second},
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	peers := peer.New(notification.Name, keys, map[string]http.Handler{"auth": auth.Router}, func(string) []string { return nil })
	if w.service, err = notification.New(w.docs, w.clock, peers.To("auth"), cfg, log); err != nil {
		t.Fatal(err)
	}
	w.Server = apitest.New(t, apitest.Options{Service: notification.Name, Register: w.service.Routes, DB: w.db, Keys: keys})
	w.run(log, o.timers)
	return w
}

// run starts the loops that app would.
func (w *world) run(log *slog.Logger, timers bool) {
	session, err := postgres.NewSession(w.url, log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(session.Close)
	if w.bus, err = bus.NewPostgres(context.Background(), bus.Options{DB: pgtest.Open(w.t, w.url, bus.Schema), Session: session, Log: log}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.bus.Close)
	w.inbox = outbox.NewInbox(w.events, notification.Name, log)
	w.service.Subscribe(w.inbox)
	ctx, stop := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = w.inbox.Run(ctx, w.bus) })
	loops.Go(func() { _ = w.service.Run(ctx) })
	if timers {
		loops.Go(func() {
			_ = timer.Run(ctx, timer.Options{Name: notification.Name, Timed: w.service, Clock: w.clock, Log: log})
		})
	}
	w.rest = func() { stop(); loops.Wait() }
	w.t.Cleanup(w.rest)
}

// openInbox has the inbox of up take the mail on l.
func (w *world) openInbox(l net.Listener) {
	w.t.Helper()
	if w.box == nil {
		var err error
		if w.box, err = mail.NewInbox(w.t.TempDir(), slog.New(slog.DiscardHandler)); err != nil {
			w.t.Fatal(err)
		}
		w.page = httptest.NewServer(w.box.Handler())
		w.t.Cleanup(w.page.Close)
	}
	w.smtp = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.box.ServeSMTP(ctx, l) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// down is a listener that hangs up on everybody until up returns: a server that is down, whose port nobody else is given meanwhile.
func down(t *testing.T) (l net.Listener, up func()) {
	t.Helper()
	l = listen(t)
	t.Cleanup(func() { _ = l.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return l, func() {
		t.Helper()
		until := l.(*net.TCPListener).SetDeadline
		if err := until(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		<-done
		if err := until(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

func number(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// authority answers what auth answers about accounts and links.
type authority struct {
	mu       sync.Mutex
	accounts map[uuid.UUID]map[string]any
	links    map[uuid.UUID]string // empty: used up
	away     bool
	asked    int
}

func (a *authority) routes(r *api.Router) {
	type byID struct {
		ID uuid.UUID `path:"id"`
	}
	api.Get(r, "/api/auth/users/{id}", func(_ context.Context, in *byID) (map[string]any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked++
		if a.away {
			return nil, errs.New(errs.Unavailable, "Away.")
		}
		if acc, ok := a.accounts[in.ID]; ok {
			return acc, nil
		}
		return nil, errs.New(errs.NotFound, "There is no such user.")
	}, api.For("service"), api.Summary("An account"))
	api.Get(r, "/api/auth/links/{id}/url", func(_ context.Context, in *byID) (map[string]string, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		url, ok := a.links[in.ID]
		switch {
		case a.away:
			return nil, errs.New(errs.Unavailable, "Away.")
		case !ok:
			return nil, errs.New(errs.NotFound, "There is no such link.")
		case url == "":
			return nil, errs.New(errs.Conflict, "It has been used.")
		}
		return map[string]string{"url": url}, nil
	}, api.For("service"), api.Summary("A link"))
}

func (a *authority) set(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn()
}

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// envelope is e as it would come from the outbox of another service.
func (w *world) envelope(subject uuid.UUID, e outbox.Event) bus.Envelope {
	w.t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: e.Type(), Version: 1, OccurredAt: w.clock.Now(), Producer: "test", Subject: subject, Data: data}
}

// tell publishes events about a subject and waits until they are handled.
func (w *world) tell(subject uuid.UUID, events ...outbox.Event) {
	w.t.Helper()
	var batch []bus.Envelope
	for _, e := range events {
		batch = append(batch, w.envelope(subject, e))
	}
	w.publish(batch...)
}

func (w *world) publish(batch ...bus.Envelope) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.bus.Publish(ctx, batch); err != nil {
		w.t.Fatal(err)
	}
	if err := outbox.Settle(ctx, w.bus, w.inbox); err != nil {
		w.t.Fatalf("%v\n%s", err, w.log)
	}
	if said, err := outbox.Check(ctx, w.events, false); err != nil || len(said) > 0 {
		w.t.Fatalf("%v %v\n%s", said, err, w.log)
	}
}

// someone is a verified user who lives in zone.
func (w *world) someone(name, zone string) uuid.UUID {
	w.t.Helper()
	id := uuid.New()
	w.tell(id, event.UserCreated{UserID: id, Email: address(id), Name: name, Role: "client", Verified: true},
		event.UserUpdated{UserID: id, Name: name, Locale: "en", Timezone: zone, Version: 1})
	return id
}

func address(id uuid.UUID) string { return id.String() + "@example.com" }

// kept are the documents of a collection as JSON.
func (w *world) kept(collection string, where docdb.Filter) []string {
	w.t.Helper()
	all, err := notification.Kept(w.t.Context(), w.docs, collection, where)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// send tries everything that is queued, as the timer would after a while.
func (w *world) send(after time.Duration) {
	w.t.Helper()
	w.retry(time.Now().Add(after))
}

// retry tries everything that is queued up to then.
func (w *world) retry(then time.Time) {
	w.t.Helper()
	if err := w.service.Retry(w.t.Context(), then); err != nil {
		w.t.Fatalf("retry: %v", err)
	}
}

// statuses counts deliveries by status.
func (w *world) statuses(status string) int {
	w.t.Helper()
	return len(w.kept("deliveries", docdb.Eq("status", status)))
}

// mails are the messages that have reached a user.
func (w *world) mails(id uuid.UUID) []mail.Received { return w.box.Messages(address(id), "", 100) }

// awaitMail is the next message to an address.
func (w *world) awaitMail(to string) mail.Received {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	got := w.box.Wait(ctx, to, "", 10)
	if len(got) == 0 {
		w.t.Fatalf("no mail to %s\n%s", to, w.log)
	}
	return got[0]
}

// await returns when something has become so.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: not so\n%s", what, w.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// part is one form of a message that arrived: text, html or raw.
func (w *world) part(id, which string) string {
	w.t.Helper()
	r, err := http.Get(w.page.URL + "/api/messages/" + id + "/" + which)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		w.t.Fatalf("%s of %s: %d %v", which, id, r.StatusCode, err)
	}
	return string(raw)
}

// list is what a user finds in the app.
func (w *world) list(id uuid.UUID) []notification.Notification {
	w.t.Helper()
	var got []notification.Notification
	w.Call(apitest.Call{What: "list", As: w.Token("client", id), Path: "/api/notifications?limit=100", Status: 200}).Data(&got)
	return got
}

func deal(clientID, workerID uuid.UUID, at time.Time) event.Booking {
	return event.Booking{BookingID: uuid.New(), WorkerID: workerID, ClientID: clientID, Title: "Fix the roof", Start: at, End: at.Add(2 * time.Hour), Amount: money.Of(15050, "EUR"), Version: 1}
}
