// Package pgtest gives each test a real Postgres database of its own.
//
// One server serves a test run: the one that TULIFO_TEST_POSTGRES_URL names (see Run), else one that the test binary starts and that ends with it, however it ends.
// Each set of migrations is applied once, to a template; a test gets a copy.
package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tulifo/platform/postgres"
)

// URL is the connection string of the server's maintenance database.
func URL(t testing.TB) string {
	t.Helper()
	u, err := server()
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	return u
}

// DB is a pool on the migration's schema in a fresh database; both go when the test ends.
func DB(t testing.TB, m postgres.Migration) *postgres.DB {
	t.Helper()
	return Open(t, Database(t, m), m.Schema)
}

// Open is a pool on a schema of a database, closed when the test ends.
func Open(t testing.TB, url, schema string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(context.Background(), postgres.Config{URL: url, Schema: schema, Tracer: listener{schema}})
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(db.Close)
	return db
}

// Database is the connection string of a fresh database with the migrations applied; it is dropped when the test ends.
func Database(t testing.TB, migrations ...postgres.Migration) string {
	t.Helper()
	admin := URL(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	from, err := template(ctx, admin, migrations)
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	seen.Lock()
	seen.migrations[from] = migrations
	seen.Unlock()
	name := "test_" + rand.Text()
	if err := run(ctx, admin, "CREATE DATABASE "+quoted(name)+" TEMPLATE "+quoted(from)+" STRATEGY FILE_COPY"); err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := run(ctx, admin, "DROP DATABASE "+quoted(name)+" WITH (FORCE)"); err != nil {
			t.Errorf("test database: %v", err)
		}
	})
	return in(admin, name)
}

// Trips is the number of round trips that fn makes on db; a batch is one. Nothing else may use db meanwhile.
func Trips(db *postgres.DB, fn func()) int64 {
	before := db.Trips()
	fn()
	return db.Trips() - before
}

var (
	templatesMu sync.Mutex
	templates   = map[string]bool{}
)

// template is the name of a database with the migrations applied. It gets that name when it is complete; other test binaries may be making it at the same time.
func template(ctx context.Context, admin string, migrations []postgres.Migration) (string, error) {
	sum := sha256.New()
	for _, m := range migrations {
		d, err := m.Digest()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, m.Schema, d)
	}
	name := fmt.Sprintf("template_%x", sum.Sum(nil)[:12])
	templatesMu.Lock()
	defer templatesMu.Unlock()
	if templates[name] {
		return name, nil
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", err
	}
	// The lock goes with the connection.
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", name); err != nil {
		return "", err
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil {
		return "", err
	}
	if !there {
		making := quoted(name + "_making")
		for _, step := range []func() error{
			func() error { return exec(ctx, conn, "DROP DATABASE IF EXISTS "+making) },
			func() error { return exec(ctx, conn, "CREATE DATABASE "+making+" STRATEGY FILE_COPY") },
			func() error { return postgres.Migrate(ctx, in(admin, name+"_making"), migrations...) },
			func() error { return exec(ctx, conn, "ALTER DATABASE "+making+" RENAME TO "+quoted(name)) },
		} {
			if err := step(); err != nil {
				return "", err
			}
		}
	}
	templates[name] = true
	return name, nil
}

func run(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return exec(ctx, conn, sql)
}

func exec(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := conn.Exec(ctx, sql)
	return err
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// in is the address of another database of the same server.
func in(address, database string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.Path = "/" + database
	return u.String()
}
