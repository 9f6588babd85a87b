package outbox_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// told is the event of these tests.
type told struct {
	N int `json:"n"`
}

func (told) Type() string { return "test.told" }

// heard is what a consumer tells in its turn.
type heard struct {
	N int `json:"n"`
}

func (heard) Type() string { return "test.heard" }

var errNotNow = errors.New("not now")

// effects is where consumers of these tests leave their effect: a row a call, so that a second effect shows.
var effects = fstest.MapFS{"0001_effects.sql": {Data: []byte(`-- +goose Up
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, subject uuid NOT NULL, n integer NOT NULL);
CREATE TABLE facts (subject uuid PRIMARY KEY, n integer NOT NULL);
`)}}

const (
	tellerSchema = "tulifo_teller"
	readerSchema = "tulifo_reader"
)

func migrations() []postgres.Migration {
	return []postgres.Migration{
		bus.Migration,
		{Schema: tellerSchema, FS: effects}, outbox.Migration(tellerSchema),
		{Schema: readerSchema, FS: effects}, outbox.Migration(readerSchema),
	}
}

// process is one process that runs the teller, which has an outbox, and the reader, which has both.
type process struct {
	t              testing.TB
	url            string
	bus            *bus.Postgres
	session        *postgres.Session
	teller, reader *postgres.DB
	busDB          *postgres.DB
	in             *outbox.Inbox
	relays         []*outbox.Relay

	stopOnce sync.Once
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

func start(t testing.TB, url string) *process {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	open := func(schema string) *postgres.DB {
		db, err := postgres.Open(context.Background(), postgres.Config{URL: url, Schema: schema, MaxConns: 6})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db
	}
	p := &process{t: t, url: url, teller: open(tellerSchema), reader: open(readerSchema)}
	p.busDB = open(bus.Schema)
	session, err := postgres.NewSession(url, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	p.session = session
	if p.bus, err = bus.NewPostgres(context.Background(), bus.Options{DB: p.busDB, Session: session, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.bus.Close)
	p.in = outbox.NewInbox(p.reader, "reader", log)
	p.in.PauseOf(func(int) time.Duration { return time.Millisecond })
	p.relays = []*outbox.Relay{
		outbox.NewRelay(p.teller, p.bus, "teller", session, log),
		outbox.NewRelay(p.reader, p.bus, "reader", session, log),
	}
	return p
}

// run starts the relays and the inbox until the test ends or stop.
func (p *process) run() *process {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for _, r := range p.relays {
		p.work.Go(func() { _ = r.Run(ctx) })
	}
	p.work.Go(func() {
		if err := p.in.Run(ctx, p.bus); err != nil && ctx.Err() == nil {
			p.t.Logf("inbox ended: %v", err)
		}
	})
	p.t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	p.stopOnce.Do(func() {
		p.cancel()
		p.work.Wait()
	})
}

// kill ends the process' locks and all that works under them, without a last pass.
func (p *process) kill() {
	p.session.Close()
	p.stop()
}

// tell commits a fact about subject with its event.
func (p *process) tell(subject uuid.UUID, n int) {
	p.t.Helper()
	if err := p.tryTell(context.Background(), subject, n); err != nil {
		p.t.Fatalf("tell: %v", err)
	}
}

func (p *process) tryTell(ctx context.Context, subject uuid.UUID, n int) error {
	return p.teller.InTx(ctx, func(tx postgres.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO facts (subject, n) VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET n = excluded.n`, subject, n); err != nil {
			return err
		}
		return outbox.Add(ctx, tx, subject, told{n})
	})
}

// tellOnce commits fact n about subject unless it stands already: after an error nobody knows.
func (p *process) tellOnce(subject uuid.UUID, n int) error {
	ctx := context.Background()
	return p.teller.InTx(ctx, func(tx postgres.Tx) error {
		tag, err := tx.Exec(ctx, `
			INSERT INTO facts AS f (subject, n) VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET n = excluded.n WHERE f.n < excluded.n`, subject, n)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return outbox.Add(ctx, tx, subject, told{n})
	})
}

func open(t testing.TB, p *process, schema string) *postgres.DB {
	t.Helper()
	return pgtest.Open(t, p.url, schema)
}

// ownServer is a Postgres that only this test uses, with its disk kept safe.
func ownServer(t testing.TB) (*postgres.Server, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := postgres.Start(context.Background(), postgres.Options{Dir: filepath.Join(dir, "data"), MaxConns: 60})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	url := server.URL("postgres")
	if err := postgres.Migrate(context.Background(), url, migrations()...); err != nil {
		t.Fatal(err)
	}
	return server, url
}

// killHard kills the postmaster as the kernel would.
func killHard(t testing.TB, server *postgres.Server) {
	t.Helper()
	if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// leave notes the effect of the event in hand.
func leave(ctx context.Context, tx postgres.Tx, n int) error {
	e := outbox.EnvelopeFrom(ctx)
	_, err := tx.Exec(ctx, `INSERT INTO effects (event_id, subject, n) VALUES ($1, $2, $3)`, e.ID, e.Subject, n)
	return err
}

func (p *process) settle() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := outbox.Settle(ctx, p.bus, p.in, outbox.NewInbox(p.teller, "teller", nil)); err != nil {
		p.t.Fatal(err)
	}
}

type effect struct {
	EventID, Subject uuid.UUID
	N                int
}

func (p *process) effects() []effect {
	p.t.Helper()
	all, err := postgres.All[effect](context.Background(), p.reader, `SELECT event_id, subject, n FROM effects ORDER BY id`)
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func count(t testing.TB, db *postgres.DB, table string) int64 {
	t.Helper()
	n, err := postgres.One[int64](context.Background(), db, `SELECT count(*) FROM `+table)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// inOrder checks that every subject has the effects 0 … each-1, once and in order.
func inOrder(t testing.TB, all []effect, subjects, each int) {
	t.Helper()
	next := map[uuid.UUID]int{}
	for _, e := range all {
		if e.N != next[e.Subject] {
			t.Fatalf("subject %s: effect %d came where %d was due", e.Subject, e.N, next[e.Subject])
		}
		next[e.Subject]++
	}
	if len(all) != subjects*each {
		t.Errorf("%d effects, not %d", len(all), subjects*each)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

func database(t testing.TB) string {
	t.Helper()
	return pgtest.Database(t, migrations()...)
}
