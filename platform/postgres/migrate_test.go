package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// services are migrations of nine schemas that all name their tables alike.
func services(more string) []postgres.Migration {
	var all []postgres.Migration
	for i := range 9 {
		files := fstest.MapFS{"0001_things.sql": {Data: []byte(`-- +goose Up
CREATE TABLE things (
	id int PRIMARY KEY,
	during tstzrange NOT NULL,
	EXCLUDE USING gist (id WITH =, during WITH &&)
);`)}}
		if more != "" {
			files["0002_more.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + more)}
		}
		all = append(all, postgres.Migration{Schema: fmt.Sprintf("tulifo_%d-quoted", i), FS: files})
	}
	return all
}

func TestManyMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	for _, all := range [][]postgres.Migration{services(""), services("ALTER TABLE things ADD COLUMN name text;")} {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := postgres.Migrate(ctx, url, all...); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for _, m := range services("") {
		db := pgtest.Open(t, url, m.Schema)
		if _, err := db.Exec(ctx, "INSERT INTO things (id, during, name) VALUES (1, '[2026-01-01, 2026-01-02)', 'x')"); err != nil {
			t.Error(err)
		}
	}
	if err := postgres.Migrate(ctx, url, services("ALTER TABLE things ADD COLUMN name text;")...); err != nil {
		t.Error(err)
	}
}

func TestFailedMigrationIsRepeatedWhenItIsRight(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	if err := postgres.Migrate(ctx, url, services("ALTER TABLE nothing ADD COLUMN name text;")...); err == nil {
		t.Fatal("a wrong migration was applied")
	}
	if err := postgres.Migrate(ctx, url, services("ALTER TABLE things ADD COLUMN name text;")...); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(ctx, "postgres://tulifo@/tulifo?host="+t.TempDir(), services("")...); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("no server: %v", err)
	}
}

func TestTwoMigrationsOfOneSchema(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	first := postgres.Migration{Schema: "tulifo_both", FS: fstest.MapFS{"0001_a.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (id int);")}}}
	second := postgres.Migration{Schema: "tulifo_both", Table: "second_version", FS: fstest.MapFS{"0001_b.sql": {Data: []byte("-- +goose Up\nCREATE TABLE b (id int);")}}}
	for range 2 {
		if err := postgres.Migrate(ctx, url, first, second); err != nil {
			t.Fatal(err)
		}
	}
	db := pgtest.Open(t, url, "tulifo_both")
	if _, err := db.Exec(ctx, "INSERT INTO a SELECT id FROM b"); err != nil {
		t.Error(err)
	}
}

// A role named like a schema works in that schema and sees no other.
func TestRoleOfASchema(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t), within(t, time.Minute)
	own := postgres.Migration{Schema: "tulifo_roletest", FS: pets.FS}
	if err := runSQL(t, url, "CREATE ROLE tulifo_roletest LOGIN"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runSQL(t, url, "DROP OWNED BY tulifo_roletest; DROP ROLE tulifo_roletest"); err != nil {
			t.Error(err)
		}
	})
	if err := postgres.Migrate(ctx, url, own, pets); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User = "tulifo_roletest"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "UPDATE counters SET n = 7; DELETE FROM pets"); err != nil {
		t.Errorf("its own schema, through the role's search_path: %v", err)
	}
	_, other := conn.Exec(ctx, "SELECT FROM tulifo_pets.counters")
	_, ddl := conn.Exec(ctx, "CREATE TABLE tulifo_roletest.mine (id int)")
	if other == nil || ddl == nil || errors.Is(other, context.DeadlineExceeded) {
		t.Errorf("it may do more than it should: another schema %v, a new table %v", other, ddl)
	}
}

// A migration that has to wait for somebody's long transaction lets those pass who come after it, and is applied when it can be.
func TestMigrationBehindALongTransactionHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	url, ctx := pgtest.Database(t, pets), within(t, time.Minute)
	db := pgtest.Open(t, url, pets.Schema)
	next := postgres.Migration{Schema: pets.Schema, FS: fstest.MapFS{
		"0001_pets.sql":  pets.FS.(fstest.MapFS)["migrations/0001_pets.sql"],
		"0002_place.sql": {Data: []byte("-- +goose Up\nALTER TABLE counters ADD COLUMN place int NOT NULL DEFAULT 1;\nALTER TABLE pets ADD COLUMN place text;")},
	}}
	read, let, migrated := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.InTx(ctx, func(tx postgres.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT FROM pets"); err != nil {
				return err
			}
			close(read)
			<-let
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-read
	go func() { migrated <- postgres.Migrate(ctx, url, next) }()
	waits := func() bool {
		return must[bool](t)(postgres.One[bool](ctx, db, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'pets'::regclass AND mode = 'AccessExclusiveLock')"))
	}
	// Twice, because the first refusal must not be the last.
	for range 2 {
		until(t, ctx, "the migration to wait", waits)
		began := time.Now()
		for _, table := range []string{"pets", "counters"} {
			if _, err := db.Exec(ctx, "SELECT FROM "+table); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("who came after the migration waited for %v", took)
		}
		until(t, ctx, "the migration to give up for now", func() bool { return !waits() })
	}
	select {
	case err := <-migrated:
		t.Errorf("it ended while the table was in use: %v", err)
	default:
	}
	close(let)
	if err := <-migrated; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := db.Exec(ctx, "SELECT p.place, c.place FROM pets p, counters c"); err != nil {
		t.Error(err)
	}
}
