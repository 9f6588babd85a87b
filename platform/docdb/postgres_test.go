package docdb_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/docdb/docdbtest"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

func TestPostgres(t *testing.T) {
	docdbtest.Suite(t, func(t *testing.T) docdb.DB {
		return open(t, pgtest.Open(t, pgtest.Database(t), "tulifo_message"), docdbtest.Collections()...)
	})
}

func open(t *testing.T, db *postgres.DB, cs ...docdb.Declared) docdb.DB {
	t.Helper()
	d, err := docdb.Open(t.Context(), db, cs...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type item struct {
	ID     string    `json:"id"`
	Owner  uuid.UUID `json:"owner"`
	At     time.Time `json:"at"`
	Labels []string  `json:"labels"`
	N      int       `json:"n"`
}

func items(indexes ...docdb.Index) *docdb.Collection[item] {
	return docdb.NewCollection[item]("items", indexes...)
}

var byOwner = docdb.Index{Name: "items_owner", Fields: []string{"owner", "at"}}

func TestRoundTrips(t *testing.T) {
	sql := pgtest.Open(t, pgtest.Database(t), "tulifo_message")
	c := items(byOwner)
	db := open(t, sql, c)
	ctx := t.Context()
	for what, test := range map[string]struct {
		most int64
		do   func() error
	}{
		"open again": {1, func() error { _, err := docdb.Open(ctx, sql, c); return err }},
		"insert":     {1, func() error { return c.Insert(ctx, db, item{ID: "a"}, item{ID: "b"}) }},
		"get":        {1, func() error { _, err := c.Get(ctx, db, "none"); return ignore(err, errs.NotFound) }},
		"find":       {1, func() error { _, err := c.Find(ctx, db, docdb.Query{Sort: docdb.Desc("at")}); return err }},
		"update": {1, func() error {
			_, err := c.Update(ctx, db, "none", docdb.Eq("n", 0), docdb.Inc("n", 1))
			return ignore(err, errs.NotFound)
		}},
		"claim": {1, func() error {
			_, err := c.FindOneAndUpdate(ctx, db, docdb.Eq("n", 77), docdb.Asc("at"), docdb.Inc("n", 1))
			return ignore(err, errs.NotFound)
		}},
		"count": {1, func() error { _, err := c.Count(ctx, db, docdb.Filter{}, 10); return err }},
		"a transaction of two": {3, func() error {
			return db.InTx(ctx, func(tx docdb.Tx) error {
				if err := c.Insert(ctx, tx, item{ID: "c"}); err != nil {
					return err
				}
				_, err := c.Update(ctx, tx, "c", docdb.Filter{}, docdb.Inc("n", 1))
				return err
			})
		}},
	} {
		// The first time also describes the statement.
		for _, id := range []string{"a", "b", "c"} {
			_ = c.Delete(ctx, db, id)
		}
		if err := test.do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, id := range []string{"a", "b", "c"} {
			_ = c.Delete(ctx, db, id)
		}
		var err error
		if n := pgtest.Trips(sql, func() { err = test.do() }); n > test.most || err != nil {
			t.Errorf("%s: %d round trips, %v", what, n, err)
		}
	}
}

func ignore(err error, kind errs.Kind) error {
	if errs.KindOf(err) == kind {
		return nil
	}
	return err
}

func TestManyProcessesOpenAtOnce(t *testing.T) {
	url := pgtest.Database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			sql := pgtest.Open(t, url, "tulifo_worker")
			db, err := docdb.Open(context.WithoutCancel(t.Context()), sql, docdbtest.Collections()...)
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Ping(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestADeclarationMayChange(t *testing.T) {
	sql := pgtest.Open(t, pgtest.Database(t), "tulifo_worker")
	ctx := t.Context()
	first := items(byOwner, docdb.Index{Name: "items_n", Fields: []string{"n"}})
	db := open(t, sql, first)
	if err := first.Insert(ctx, db, item{ID: "a", N: 1}, item{ID: "b", N: 2}); err != nil {
		t.Fatal(err)
	}
	second := items(docdb.Index{Name: "items_n", Fields: []string{"n"}, Unique: true}, docdb.Index{Name: "items_labels", Fields: []string{"labels"}})
	open(t, sql, second)
	if err := second.Insert(ctx, db, item{ID: "c", N: 2}); !docdb.Violates(err, "items_n") {
		t.Errorf("the index did not become unique: %v", err)
	}
	names, err := postgres.All[string](ctx, sql, `SELECT indexname FROM pg_indexes WHERE schemaname = 'tulifo_worker' AND tablename = 'items' ORDER BY 1`)
	if got := strings.Join(names, " "); err != nil || got != "items_labels items_n items_pkey" {
		t.Errorf("%s, %v", got, err)
	}
	// Two services of one schema do not undo each other's.
	open(t, sql, docdb.NewCollection[item]("others", docdb.Index{Name: "others_n", Fields: []string{"n"}}))
	if got, err := second.Get(ctx, db, "b"); got.N != 2 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	third := items(docdb.Index{Name: "items_one", Fields: []string{"owner"}, Unique: true})
	if _, err := docdb.Open(ctx, sql, third); err == nil {
		t.Error("a unique index over equal keys was made")
	}
	open(t, sql, second)
}

func TestIndexesAreUsed(t *testing.T) {
	sql := pgtest.Open(t, pgtest.Database(t), "tulifo_worker")
	ctx := t.Context()
	c := items(byOwner, docdb.Index{Name: "items_labels", Fields: []string{"labels"}})
	open(t, sql, c)
	owner := uuid.New()
	if _, err := sql.Exec(ctx, `INSERT INTO items (id, doc) SELECT 'i' || n, jsonb_build_object('id', 'i' || n, 'n', n, 'owner', gen_random_uuid(), 'at', '2020-01-01T00:00:00Z', 'labels', jsonb_build_array('l' || n))
		FROM generate_series(1, 20000) AS n`); err != nil {
		t.Fatal(err)
	}
	if _, err := sql.Exec(ctx, `ANALYZE items`); err != nil {
		t.Fatal(err)
	}
	for index, query := range map[string]string{
		"items_owner":  `SELECT doc FROM items WHERE ((doc->>'owner') COLLATE "C") = '` + owner.String() + `' AND docdb_time(doc->>'at') IS NOT NULL ORDER BY docdb_time(doc->>'at') DESC, id DESC LIMIT 21`,
		"items_labels": `SELECT doc FROM items WHERE (doc#>'{labels}') @> '["l7"]'::jsonb`,
	} {
		plan, err := postgres.All[string](ctx, sql, `EXPLAIN `+query)
		if text := strings.Join(plan, "\n"); err != nil || !strings.Contains(text, index) || strings.Contains(text, "Sort") {
			t.Errorf("%s: %v\n%s", index, err, text)
		}
	}
}

func TestSQLIsTheSameTransaction(t *testing.T) {
	sql := pgtest.Open(t, pgtest.Database(t), "tulifo_worker")
	ctx := t.Context()
	c := items()
	db := open(t, sql, c)
	if _, err := sql.Exec(ctx, `CREATE TABLE box (id text PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	put := func(id string, result error) error {
		return db.InTx(ctx, func(tx docdb.Tx) error {
			under, ok := docdb.SQL(tx)
			if !ok {
				t.Fatal("no SQL on Postgres")
			}
			under.Later(`INSERT INTO box (id) VALUES ($1)`, id)
			if err := c.Insert(ctx, docdb.Within(under), item{ID: id}); err != nil {
				return err
			}
			return result
		})
	}
	if err := put("a", nil); err != nil {
		t.Fatal(err)
	}
	if err := put("b", errs.New(errs.Conflict, "no")); errs.KindOf(err) != errs.Conflict {
		t.Error(err)
	}
	for _, table := range []string{"items", "box"} {
		if ids, err := postgres.All[string](ctx, sql, `SELECT id FROM `+table); err != nil || len(ids) != 1 || ids[0] != "a" {
			t.Errorf("%s: %v, %v", table, ids, err)
		}
	}
}

func TestDeclarationsThatCannotBe(t *testing.T) {
	sql := pgtest.Open(t, pgtest.Database(t), "tulifo_worker")
	type noID struct{ Name string }
	type numberID struct {
		ID int `json:"id"`
	}
	type strange struct {
		ID string `json:"id"`
		//lint:ignore SA5008 the test is about a name that cannot be
		X string `json:"x'; DROP TABLE items; --"`
	}
	type deep struct {
		ID   string `json:"id"`
		Self *deep  `json:"self,omitempty"`
	}
	for what, c := range map[string]docdb.Declared{
		"a name with a quote":      docdb.NewCollection[item](`items"`),
		"an empty name":            docdb.NewCollection[item](``),
		"a reserved name":          docdb.NewCollection[item](`docdb_layout`),
		"not a struct":             docdb.NewCollection[string]("items"),
		"no id":                    docdb.NewCollection[noID]("items"),
		"a number as id":           docdb.NewCollection[numberID]("items"),
		"a strange field name":     docdb.NewCollection[strange]("items"),
		"an unknown field":         items(docdb.Index{Name: "x", Fields: []string{"nope"}}),
		"a list and another field": items(docdb.Index{Name: "x", Fields: []string{"labels", "n"}}),
		"a unique list":            items(docdb.Index{Name: "x", Fields: []string{"labels"}, Unique: true}),
		"no fields":                items(docdb.Index{Name: "x"}),
		"an index name twice":      items(byOwner, byOwner),
		"an index with a quote":    items(docdb.Index{Name: `x"y`, Fields: []string{"n"}}),
		"the name of the ids":      items(docdb.Index{Name: `items_pkey`, Fields: []string{"n"}}),
		"a text that expires":      items(docdb.Index{Name: "x", Fields: []string{"owner"}, Expire: true}),
		"a condition of a range":   items(docdb.Index{Name: "x", Fields: []string{"n"}, Where: docdb.Gt("n", 1)}),
		"a condition unknown":      items(docdb.Index{Name: "x", Fields: []string{"n"}, Where: docdb.Eq("nope", 1)}),
	} {
		if _, err := docdb.Open(t.Context(), sql, c); err == nil {
			t.Errorf("%s is opened", what)
		}
	}
	wrong := items(docdb.Index{Name: "x", Fields: []string{"nope"}})
	db := open(t, sql, docdb.NewCollection[deep]("deep"))
	if err := wrong.Insert(t.Context(), db, item{ID: "a"}); err == nil {
		t.Error("a collection with a wrong declaration works")
	}
	if _, err := docdb.Open(t.Context(), sql, items(), items()); err == nil {
		t.Error("one name twice is opened")
	}
}

func TestUnavailable(t *testing.T) {
	sql := pgtest.Open(t, "postgres://nobody@127.0.0.1:1/none", "tulifo_worker")
	_, err := docdb.Open(t.Context(), sql, items())
	if errs.KindOf(err) != errs.Unavailable {
		t.Errorf("%v", err)
	}
}
