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
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
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

// process is one process that runs the teller, which has an outbox, and the reader, which has both.
type process struct {
	t              testing.TB
	home           home
	bus            closable
	session        *postgres.Session
	teller, reader data
	busDB          *postgres.DB
	in             *outbox.Inbox
	relays         []*outbox.Relay

	stopOnce sync.Once
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

type closable interface {
	bus.Bus
	Close()
}

func start(t testing.TB, at home) *process {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p := &process{t: t, home: at, teller: at.open(t, tellerSchema), reader: at.open(t, readerSchema), busDB: dial(t, at.url, bus.Schema)}
	session, err := postgres.NewSession(at.url, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	p.session = session
	if at.broker != "" {
		p.bus, err = bus.NewRabbitMQ(context.Background(), bus.RabbitOptions{URL: at.broker, Consumers: map[string][]string{"reader": {told{}.Type()}}, Log: log})
	} else {
		p.bus, err = bus.NewPostgres(context.Background(), bus.Options{DB: p.busDB, Session: session, Log: log})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.bus.Close)
	p.in = outbox.NewInbox(p.reader.db(), "reader", log)
	p.in.PauseOf(func(int) time.Duration { return time.Millisecond })
	p.relays = []*outbox.Relay{
		outbox.NewRelay(p.teller.db(), p.bus, "teller", session, log),
		outbox.NewRelay(p.reader.db(), p.bus, "reader", session, log),
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
	return p.teller.inTx(ctx, func(tx outbox.Tx) error {
		if _, err := p.teller.state(ctx, tx, subject, n); err != nil {
			return err
		}
		return outbox.Add(ctx, tx, subject, told{n})
	})
}

// tellOnce commits fact n about subject unless it stands already: after an error nobody knows.
func (p *process) tellOnce(subject uuid.UUID, n int) error {
	ctx := context.Background()
	return p.teller.inTx(ctx, func(tx outbox.Tx) error {
		if fresh, err := p.teller.state(ctx, tx, subject, n); err != nil || !fresh {
			return err
		}
		return outbox.Add(ctx, tx, subject, told{n})
	})
}

// ownServer is a Postgres that only this test uses, with its disk kept safe.
func ownServer(t testing.TB, all ...postgres.Migration) (*postgres.Server, string) {
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
	if err := postgres.Migrate(context.Background(), url, all...); err != nil {
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
func (p *process) leave(ctx context.Context, tx outbox.Tx, n int) error {
	return p.reader.leave(ctx, tx, n)
}

func (p *process) settle() {
	p.t.Helper()
	if err := p.settleOnce(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) settleOnce() error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return outbox.Settle(ctx, p.bus, p.in, outbox.NewInbox(p.teller.db(), "teller", nil))
}

func (p *process) effects() []effect {
	p.t.Helper()
	all, err := p.reader.effects(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

func count(t testing.TB, d data, table string) int64 {
	t.Helper()
	n, err := d.count(context.Background(), table)
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

const patience = 3 * time.Minute // a server's start on a busy machine is part of it

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}
