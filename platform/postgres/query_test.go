package postgres_test

import (
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

type pet struct {
	ID      uuid.UUID
	Name    string
	Owner   *uuid.UUID
	Friends []uuid.UUID
	Legs    int
	Born    time.Time
}

const petColumns = "id, name, owner, friends, legs, born"

func TestValuesComeBackAsTheyWent(t *testing.T) {
	t.Parallel()
	for _, pooled := range []bool{false, true} {
		url := pgtest.Database(t, pets)
		if pooled {
			// The role sets search_path there.
			must[struct{}](t)(struct{}{}, runSQL(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = tulifo_pets, public', current_database()); END $$`))
		}
		db := must[*postgres.DB](t)(postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "tulifo_pets", Pooled: pooled}))
		t.Cleanup(db.Close)
		ctx := within(t, time.Minute)
		owner := uuid.New()
		at := time.Date(2026, 3, 2, 9, 0, 0, 123456000, time.FixedZone("", 3600))
		full := pet{uuid.New(), "full", &owner, []uuid.UUID{uuid.New(), uuid.New()}, 3, at}
		bare := pet{ID: uuid.New(), Name: "bare", Legs: 4, Born: at}
		for _, p := range []pet{full, bare} {
			_, err := db.Exec(ctx, "INSERT INTO pets ("+petColumns+") VALUES ($1, $2, $3, $4, $5, $6)", p.ID, p.Name, p.Owner, p.Friends, p.Legs, p.Born)
			if err != nil {
				t.Fatal(err)
			}
		}
		all := must[[]pet](t)(postgres.All[pet](ctx, db, "SELECT "+petColumns+" FROM pets ORDER BY legs"))
		if len(all) != 2 {
			t.Fatalf("%d pets", len(all))
		}
		got := all[0]
		if got.ID != full.ID || *got.Owner != owner || !slices.Equal(got.Friends, full.Friends) || !got.Born.Equal(at) || got.Born.Location() != time.UTC {
			t.Errorf("got %+v, want %+v", got, full)
		}
		if all[1].Owner != nil || all[1].Friends != nil {
			t.Errorf("got %+v, want %+v", all[1], bare)
		}
		id := must[uuid.UUID](t)(postgres.One[uuid.UUID](ctx, db, "SELECT id FROM pets WHERE owner = @owner AND id = ANY (@ids)", pgx.NamedArgs{"owner": owner, "ids": []uuid.UUID{full.ID, bare.ID}}))
		if id != full.ID {
			t.Errorf("found %v", id)
		}
		err := db.InTx(ctx, func(tx postgres.Tx) error {
			tx.Later("UPDATE pets SET owner = $2 WHERE id = $1", bare.ID, owner)
			_, err := tx.Exec(ctx, "UPDATE pets SET legs = $2 WHERE id = $1", bare.ID, 2)
			return err
		})
		if err != nil {
			t.Errorf("transaction: %v", err)
		}
	}
}

func runSQL(t *testing.T, url, query string) error {
	t.Helper()
	ctx := within(t, time.Minute)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, query)
	return err
}

func TestSingleValues(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	id := uuid.New()
	if got := must[uuid.UUID](t)(postgres.One[uuid.UUID](ctx, db, "SELECT $1::uuid", id)); got != id {
		t.Errorf("uuid %v", got)
	}
	if got := must[*uuid.UUID](t)(postgres.One[*uuid.UUID](ctx, db, "SELECT NULL::uuid")); got != nil {
		t.Errorf("no uuid: %v", got)
	}
	if got := must[uuid.NullUUID](t)(postgres.One[uuid.NullUUID](ctx, db, "SELECT $1::uuid", uuid.NullUUID{})); got.Valid {
		t.Errorf("null uuid: %v", got)
	}
	if _, err := postgres.One[uuid.UUID](ctx, db, "SELECT NULL::uuid"); err == nil {
		t.Error("NULL became a uuid")
	}
	ids := []uuid.UUID{uuid.New(), uuid.New()}
	if got := must[[]uuid.UUID](t)(postgres.All[uuid.UUID](ctx, db, "SELECT unnest($1::uuid[])", ids)); !slices.Equal(got, ids) {
		t.Errorf("uuids %v", got)
	}
	if got := must[[]uuid.UUID](t)(postgres.One[[]uuid.UUID](ctx, db, "SELECT $1::uuid[]", ids)); !slices.Equal(got, ids) {
		t.Errorf("array of uuids %v", got)
	}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if got := must[time.Time](t)(postgres.One[time.Time](ctx, db, "SELECT $1::timestamptz", at)); got != at {
		t.Errorf("time %v", got)
	}
	if got := must[*time.Time](t)(postgres.One[*time.Time](ctx, db, "SELECT $1::timestamptz", &at)); *got != at {
		t.Errorf("time %v", got)
	}
	r := must[pgtype.Range[time.Time]](t)(postgres.One[pgtype.Range[time.Time]](ctx, db, "SELECT tstzrange($1, $2)", at, at.Add(time.Hour)))
	if r.Lower != at || r.Upper != at.Add(time.Hour) {
		t.Errorf("range %v", r)
	}
	if got := must[sql.NullInt64](t)(postgres.One[sql.NullInt64](ctx, db, "SELECT NULL::bigint")); got.Valid {
		t.Errorf("null %v", got)
	}
	if got := must[string](t)(postgres.One[string](ctx, db, "SHOW timezone")); got != "UTC" {
		t.Errorf("timezone %s", got)
	}
	if got := must[string](t)(postgres.One[string](ctx, db, "SHOW search_path")); got != `"tulifo_pets", public` {
		t.Errorf("search_path %s", got)
	}
	if got := must[[]string](t)(postgres.All[string](ctx, db, "SELECT name FROM pets")); got == nil || len(got) != 0 {
		t.Errorf("none: %#v", got)
	}
	if got := must[string](t)(postgres.One[string](ctx, db, "SELECT @said::text", pgx.NamedArgs{"said": "hello"})); got != "hello" {
		t.Errorf("named argument: %s", got)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	_, err := postgres.One[string](ctx, db, "SELECT name FROM pets")
	if errs.KindOf(err) != errs.NotFound || !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("no row: %v", err)
	}
	if _, err := postgres.One[string](ctx, db, "SELECT name FROM counters"); !errors.Is(err, pgx.ErrTooManyRows) {
		t.Errorf("two rows: %v", err)
	}
	if _, err := postgres.One[string](ctx, db, "SELECT nonsense"); errs.KindOf(err) != errs.Internal {
		t.Errorf("wrong SQL: %v", err)
	}
	if _, err := db.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())"); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("connection ended: %v", err)
	}
	if _, err := db.Exec(ctx, "SET statement_timeout = 10; SELECT pg_sleep(5)"); errs.KindOf(err) != errs.Timeout {
		t.Errorf("statement timeout: %v", err)
	}
	gone := must[*postgres.DB](t)(postgres.Open(ctx, postgres.Config{URL: "postgres://tulifo@/tulifo?host=" + t.TempDir()}))
	defer gone.Close()
	err = gone.InTx(ctx, func(tx postgres.Tx) error { return insert(ctx, tx, "x") })
	if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Unavailable || e.RetryAfter <= 0 {
		t.Errorf("no server: %v", err)
	}
	if err := gone.Ping(ctx); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("ping: %v", err)
	}
	if _, err := postgres.Open(ctx, postgres.Config{URL: "http://nowhere"}); err == nil {
		t.Error("a malformed address is taken")
	}
}

func TestFullPoolAnswersUnavailable(t *testing.T) {
	t.Parallel()
	db := must[*postgres.DB](t)(postgres.Open(t.Context(), postgres.Config{URL: pgtest.Database(t, pets), Schema: "tulifo_pets", MaxConns: 1}))
	defer db.Close()
	ctx := within(t, time.Minute)
	err := db.InTx(ctx, func(tx postgres.Tx) error {
		if err := insert(ctx, tx, "x"); err != nil {
			return err
		}
		return insert(ctx, db, "on a second connection")
	})
	if errs.KindOf(err) != errs.Unavailable {
		t.Errorf("error %v", err)
	}
	if n := petCount(t, db); n != 0 {
		t.Errorf("%d pets", n)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	b := &pgx.Batch{}
	b.Queue(count, "a")
	b.Queue("SELECT n FROM counters WHERE name = $1", "a")
	b.Queue("SELECT name FROM counters ORDER BY name")
	trips := pgtest.Trips(db, func() {
		r := db.SendBatch(ctx, b)
		if _, err := r.Exec(); err != nil {
			t.Fatal(err)
		}
		var n int64
		if err := r.QueryRow().Scan(&n); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		rows, _ := r.Query()
		if names := must[[]string](t)(pgx.CollectRows(rows, pgx.RowTo[string])); !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("%v", names)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if trips != 1 {
		t.Errorf("%d round trips", trips)
	}
	queued := &pgx.Batch{}
	var names []string
	var sums []int64
	type row struct {
		N    int64
		Name string
	}
	postgres.Queue(queued, func(name string) { names = append(names, name) }, "SELECT name FROM counters WHERE name = ANY($1) ORDER BY name", []string{"a", "b", "x"})
	postgres.Queue(queued, func(r row) { sums = append(sums, r.N) }, "SELECT name, n FROM counters ORDER BY name")
	postgres.Queue(queued, func(int) { t.Error("a row of none") }, "SELECT 1 WHERE false")
	if trips := pgtest.Trips(db, func() {
		if err := db.SendBatch(ctx, queued).Close(); err != nil || !slices.Equal(names, []string{"a", "b"}) || !slices.Equal(sums, []int64{1, 0}) {
			t.Errorf("%v, %v, %v", names, sums, err)
		}
	}); trips != 1 {
		t.Errorf("%d round trips", trips)
	}
	odd := &pgx.Batch{}
	postgres.Queue(odd, func(row) { t.Error("a row that does not fit") }, "SELECT name FROM counters")
	if err := db.SendBatch(ctx, odd).Close(); err == nil {
		t.Error("columns that do not fit are taken")
	}
	bad := &pgx.Batch{}
	bad.Queue(count, "b")
	bad.Queue("SELECT 1/0")
	if err := db.SendBatch(ctx, bad).Close(); err == nil || counter(t, db, "b") != 0 {
		t.Errorf("a failed batch: %v, counted %d", err, counter(t, db, "b"))
	}
	if s := db.Stats(); s.AcquiredConns() != 0 {
		t.Errorf("%d connections out", s.AcquiredConns())
	}
}
