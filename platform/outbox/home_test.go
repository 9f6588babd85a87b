package outbox_test

import (
	"context"
	"errors"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/docdb"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

// home is where the services of a test keep their data: every promise is held in each.
type home struct {
	kind   string
	url    string // of the Postgres that has the bus, and the tables
	broker string // of the RabbitMQ that is the bus instead; may be empty
	open   func(t testing.TB, name string) data
}

// data are one service's in one process.
type data interface {
	outbox.DB
	inTx(ctx context.Context, fn func(outbox.Tx) error) error
	// state notes that n stands about the subject; false: it did, or more does.
	state(ctx context.Context, tx outbox.Tx, subject uuid.UUID, n int) (bool, error)
	// leave notes the effect of the event in hand.
	leave(ctx context.Context, tx outbox.Tx, n int) error
	// effects are those of each subject in the order that they were left.
	effects(ctx context.Context) ([]effect, error)
	// next moves the subject's fact on by one and answers it; the first is 0.
	next(ctx context.Context, tx outbox.Tx, subject uuid.UUID) (int, error)
	// write keeps a text.
	write(ctx context.Context, tx outbox.Tx, text string) error
	count(ctx context.Context, table string) (int64, error)
	letters(ctx context.Context) ([]outbox.Letter, error)
	// put keeps an event as outbox.Keep does.
	put(ctx context.Context, where string, e bus.Envelope, at time.Time) error
	db() outbox.DB
}

type effect struct {
	EventID, Subject uuid.UUID
	N                int
}

// everywhere runs a test in tables, with events in the same Postgres and on RabbitMQ, and in MongoDB; in soak also among documents in Postgres, where no service keeps its events.
func everywhere(t *testing.T, test func(t *testing.T, at home)) {
	t.Parallel()
	kinds := []struct {
		name string
		make func(testing.TB) home
	}{{"tables", inTables}, {"rabbitmq", onRabbitMQ}, {"mongodb", inMongo}, {"documents", inDocuments}}
	for _, kind := range kinds[:soak.N(3, 4)] {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			test(t, kind.make(t))
		})
	}
}

// few is n where a transaction is two trips to the database, and less where it is many.
func (h home) few(n int) int {
	switch h.kind {
	case "tables":
		return n
	case "documents":
		return n / 5
	}
	return n / 10
}

const (
	tellerSchema = "tulifo_teller"
	readerSchema = "tulifo_reader"
)

// effects is where consumers of these tests leave their effect: a row a call, so that a second effect shows.
var effects = fstest.MapFS{"0001_effects.sql": {Data: []byte(`-- +goose Up
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, subject uuid NOT NULL, n integer NOT NULL);
CREATE TABLE facts (subject uuid PRIMARY KEY, n integer NOT NULL);
`)}}

func migrations() []postgres.Migration {
	return []postgres.Migration{
		bus.Migration,
		{Schema: tellerSchema, FS: effects}, outbox.Migration(tellerSchema),
		{Schema: readerSchema, FS: effects}, outbox.Migration(readerSchema),
	}
}

func inTables(t testing.TB) home { return tablesAt(pgtest.Database(t, migrations()...)) }

func onRabbitMQ(t testing.TB) home {
	at := inTables(t)
	at.broker = servertest.RabbitMQ(t)
	return at
}

func tablesAt(url string) home {
	return home{kind: "tables", url: url, open: func(t testing.TB, name string) data {
		return rows{dial(t, url, name)}
	}}
}

func dial(t testing.TB, url, schema string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(context.Background(), postgres.Config{URL: url, Schema: schema, MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

type rows struct{ *postgres.DB }

func (r rows) db() outbox.DB { return r.DB }

func (r rows) inTx(ctx context.Context, fn func(outbox.Tx) error) error {
	return r.InTx(ctx, func(tx postgres.Tx) error { return fn(tx) })
}

func (r rows) state(ctx context.Context, tx outbox.Tx, subject uuid.UUID, n int) (bool, error) {
	tag, err := tx.(postgres.Tx).Exec(ctx, `
		INSERT INTO facts AS f (subject, n) VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET n = excluded.n WHERE f.n < excluded.n`, subject, n)
	return tag.RowsAffected() > 0, err
}

func (r rows) next(ctx context.Context, tx outbox.Tx, subject uuid.UUID) (int, error) {
	return postgres.One[int](ctx, tx.(postgres.Tx), `INSERT INTO facts AS f (subject, n) VALUES ($1, 0) ON CONFLICT (subject) DO UPDATE SET n = f.n + 1 RETURNING n`, subject)
}

func (r rows) write(ctx context.Context, tx outbox.Tx, text string) error {
	_, err := tx.(postgres.Tx).Exec(ctx, `SELECT $1::text`, text)
	return err
}

func (r rows) leave(ctx context.Context, tx outbox.Tx, n int) error {
	e := outbox.EnvelopeFrom(ctx)
	_, err := tx.(postgres.Tx).Exec(ctx, `INSERT INTO effects (event_id, subject, n) VALUES ($1, $2, $3)`, e.ID, e.Subject, n)
	return err
}

func (r rows) effects(ctx context.Context) ([]effect, error) {
	return postgres.All[effect](ctx, r.DB, `SELECT event_id, subject, n FROM effects ORDER BY id`)
}

func (r rows) count(ctx context.Context, table string) (int64, error) {
	return postgres.One[int64](ctx, r.DB, `SELECT count(*) FROM `+table)
}

func (r rows) letters(ctx context.Context) ([]outbox.Letter, error) {
	return postgres.All[outbox.Letter](ctx, r.DB, `SELECT attempts, reason FROM dead_letters ORDER BY seq`)
}

func (r rows) put(ctx context.Context, where string, e bus.Envelope, at time.Time) (err error) {
	envelope := `json_build_object('id', $1::uuid, 'type', $3::text, 'version', 1, 'occurredAt', '2026-03-09T09:00:00Z', 'producer', 'teller', 'subject', $2::uuid, 'data', $4::json)`
	args := []any{e.ID, e.Subject, e.Type, string(e.Data)}
	switch where {
	case "outbox":
		_, err = r.Exec(ctx, `INSERT INTO outbox (id, subject, type, data, version, occurred_at, traceparent, broadcast) VALUES ($1, $2, $3, $4, 1, clock_timestamp(), '', false)`, args...)
	case "dead_letters":
		_, err = r.Exec(ctx, `INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason) VALUES (nextval('parked_seq_seq'), $1, $2, `+envelope+`, 1, 'no such row')`, args...)
	default:
		_, err = r.Exec(ctx, `INSERT INTO parked (event_id, subject, envelope, attempts, next_try_at, reason) VALUES ($1, $2, `+envelope+`, 1, $5, 'failed once')`, append(args, at)...)
	}
	return err
}

// inDocuments keeps documents in Postgres, but knows nothing of what is below.
func inDocuments(t testing.TB) home {
	return documentsAt(pgtest.Database(t, bus.Migration, postgres.Migration{Schema: tellerSchema, FS: none}, postgres.Migration{Schema: readerSchema, FS: none}))
}

func documentsAt(url string) home {
	return home{kind: "documents", url: url, open: func(t testing.TB, name string) data {
		docs, err := docdb.Open(context.Background(), dial(t, url, name), collections()...)
		if err != nil {
			t.Fatal(err)
		}
		return docsData{apart{docs}}
	}}
}

// inMongo keeps documents in MongoDB, and only the bus in Postgres.
func inMongo(t testing.TB) home {
	return mongoAt(pgtest.Database(t, bus.Migration), servertest.Mongo(t))
}

func mongoAt(url, uri string) home {
	return home{kind: "mongodb", url: url, open: func(t testing.TB, name string) data {
		docs, err := docdb.OpenMongo(context.Background(), docdb.Mongo{URI: uri, Service: name}, collections()...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(docs.Close)
		return docsData{docs}
	}}
}

var none = fstest.MapFS{"0001_none.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")}}

func collections() []docdb.Declared { return append(outbox.Collections(), facts, logs, texts) }

// facts and logs are what tables of the same use are.
var (
	facts = docdb.NewCollection[fact]("facts")
	logs  = docdb.NewCollection[effectLog]("effects")
	texts = docdb.NewCollection[note]("texts")
)

type fact struct {
	ID uuid.UUID `json:"id"`
	N  int       `json:"n"`
}

type note struct {
	ID   uuid.UUID `json:"id"`
	Text string    `json:"text"`
}

// effectLog are the effects about one subject.
type effectLog struct {
	ID     uuid.UUID   `json:"id"`
	Events []uuid.UUID `json:"events"`
	Ns     []int       `json:"ns"`
}

// apart hides the engine, so that the outbox takes the documents as such.
type apart struct{ docdb.DB }

type apartTx struct {
	docdb.Tx
	on apart
}

func (a apart) InTx(ctx context.Context, fn func(docdb.Tx) error) error {
	return a.DB.InTx(ctx, func(tx docdb.Tx) error { return fn(apartTx{tx, a}) })
}

func (t apartTx) DB() docdb.DB { return t.on }

type docsData struct{ docdb.DB }

func (d docsData) db() outbox.DB { return d.DB }

func (d docsData) inTx(ctx context.Context, fn func(outbox.Tx) error) error {
	return d.InTx(ctx, func(tx docdb.Tx) error { return fn(tx) })
}

func (d docsData) state(ctx context.Context, tx outbox.Tx, subject uuid.UUID, n int) (bool, error) {
	q := tx.(docdb.Tx)
	fresh, err := facts.InsertIfAbsent(ctx, q, fact{subject, n})
	if err != nil || fresh {
		return fresh, err
	}
	changed, err := facts.UpdateAll(ctx, q, docdb.And(docdb.Eq("id", subject), docdb.Lt("n", n)), docdb.Set("n", n))
	return changed > 0, err
}

func (d docsData) next(ctx context.Context, tx outbox.Tx, subject uuid.UUID) (int, error) {
	f, err := facts.Upsert(ctx, tx.(docdb.Tx), fact{ID: subject}, docdb.Inc("n", 1))
	return f.N, err
}

func (d docsData) write(ctx context.Context, tx outbox.Tx, text string) error {
	_, err := texts.Upsert(ctx, tx.(docdb.Tx), note{uuid.New(), text})
	return err
}

func (d docsData) leave(ctx context.Context, tx outbox.Tx, n int) error {
	e := outbox.EnvelopeFrom(ctx)
	_, err := logs.Upsert(ctx, tx.(docdb.Tx), effectLog{e.Subject, []uuid.UUID{e.ID}, []int{n}}, docdb.Push("events", e.ID, 0), docdb.Push("ns", n, 0))
	return err
}

func (d docsData) effects(ctx context.Context) (all []effect, err error) {
	page, err := logs.Find(ctx, d, docdb.Query{Limit: docdb.MaxLimit})
	for _, l := range page.Docs {
		if len(l.Events) != len(l.Ns) {
			return nil, errors.New("an effect is half there")
		}
		for i, n := range l.Ns {
			all = append(all, effect{l.Events[i], l.ID, n})
		}
	}
	return all, err
}

func (d docsData) count(ctx context.Context, table string) (int64, error) {
	if table == "effects" {
		all, err := d.effects(ctx)
		return int64(len(all)), err
	}
	n, err := outbox.Count(ctx, d.DB, table)
	return int64(n), err
}

func (d docsData) letters(ctx context.Context) ([]outbox.Letter, error) {
	return outbox.Letters(ctx, d.DB)
}

func (d docsData) put(ctx context.Context, where string, e bus.Envelope, at time.Time) error {
	return outbox.Keep(ctx, d.DB, where, e, at)
}

// on has fn handle each E, wherever its effects go.
func on[E outbox.Event](p *process, fn func(context.Context, outbox.Tx, E) error) {
	if p.home.kind == "tables" {
		outbox.On(p.in, func(ctx context.Context, tx postgres.Tx, e E) error { return fn(ctx, tx, e) })
		return
	}
	outbox.OnDoc(p.in, func(ctx context.Context, tx docdb.Tx, e E) error { return fn(ctx, tx, e) })
}
