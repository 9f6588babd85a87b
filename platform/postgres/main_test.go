package postgres_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"tulifo/platform/postgres"
)

// serverDir makes the test binary run a server there instead of tests, so that tests have other processes to meet and to kill.
const serverDir = "TULIFO_TEST_SERVER_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(serverDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := postgres.Start(context.Background(), postgres.Options{Dir: dir, Unsafe: true})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.URL("tulifo"))
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = s.Stop(context.Background())
}

var pets = postgres.Migration{Schema: "tulifo_pets", FS: fstest.MapFS{"migrations/0001_pets.sql": {Data: []byte(`-- +goose Up
CREATE TABLE pets (
	id uuid PRIMARY KEY,
	name text NOT NULL CONSTRAINT pets_name_unique UNIQUE,
	owner uuid,
	friends uuid[],
	legs int NOT NULL DEFAULT 4 CONSTRAINT pets_legs_positive CHECK (legs > 0),
	born timestamptz NOT NULL DEFAULT '2020-01-01T00:00:00Z'
);
CREATE TABLE counters (name text PRIMARY KEY, n bigint NOT NULL);
INSERT INTO counters VALUES ('a', 0), ('b', 0);
CREATE TABLE toys (
	id uuid PRIMARY KEY,
	pet uuid NOT NULL CONSTRAINT toys_pet_known REFERENCES pets DEFERRABLE INITIALLY DEFERRED
);
`)}}}

// within is a context for one test, so that a hang fails it.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func counter(t *testing.T, db *postgres.DB, name string) int64 {
	t.Helper()
	return must[int64](t)(postgres.One[int64](context.Background(), db, "SELECT n FROM counters WHERE name = $1", name))
}
