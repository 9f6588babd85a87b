// Package pgtest gives each test a real Postgres database of its own.
//
// One server serves a test run: the one that TULIFO_TEST_POSTGRES_URL names (see Run), else one that the test binary starts and that dies with it.
// Each set of migrations is applied once, to a template; a test gets a copy.
package pgtest

import (
	"context"
	"testing"

	"tulifo/platform/postgres"
)

// URL is the connection string of the server's maintenance database.
func URL(t testing.TB) string { panic("unwritten") }

// Database is the connection string of a fresh database with the migrations applied; it is dropped when the test ends.
func Database(t testing.TB, migrations ...postgres.Migration) string { panic("unwritten") }

// DB is a pool on the migration's schema in a fresh database; both go when the test ends.
func DB(t testing.TB, m postgres.Migration) *postgres.DB { panic("unwritten") }

// Trips is the number of round trips that fn makes on db; a batch is one.
func Trips(db *postgres.DB, fn func()) int64 { panic("unwritten") }

// Run starts a server, runs a command with TULIFO_TEST_POSTGRES_URL set, and answers the command's exit code.
func Run(ctx context.Context, command ...string) (int, error) { panic("unwritten") }
