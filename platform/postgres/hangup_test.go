package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// running waits until n statements of the schema are at work on the server.
func running(t *testing.T, q postgres.Querier, schema string, n int) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	for {
		if must[int](t)(postgres.One[int](ctx, q, `SELECT count(*)::int FROM pg_stat_activity WHERE application_name = $1 AND state = 'active' AND query LIKE '%pg_sleep%'`, schema)) == n {
			return
		}
	}
}

func TestWhoHangsUpGivesTheConnectionBack(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t, pets)
	watcher := pgtest.Open(t, url, "watcher")
	for name, sleep := range map[string]func(context.Context, *postgres.DB) error{
		"alone": func(ctx context.Context, db *postgres.DB) error {
			_, err := db.Exec(ctx, "SELECT pg_sleep(10)")
			return err
		},
		"in a transaction": func(ctx context.Context, db *postgres.DB) error {
			return db.InTx(ctx, func(tx postgres.Tx) error {
				_, err := tx.Exec(ctx, "SELECT pg_sleep(10)")
				return err
			})
		},
		"in COMMIT": func(ctx context.Context, db *postgres.DB) error {
			return db.InTx(ctx, func(tx postgres.Tx) error {
				_, err := tx.Exec(ctx, "SELECT 1")
				tx.Later("SELECT pg_sleep(10)")
				return err
			})
		},
	} {
		db := must[*postgres.DB](t)(postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "tulifo_pets", MaxConns: 1}))
		ctx, hangUp := context.WithCancel(within(t, time.Minute))
		done := make(chan error, 1)
		go func() { done <- sleep(ctx, db) }()
		running(t, watcher, "tulifo_pets", 1)
		hangUp()
		if err := <-done; err == nil {
			t.Errorf("%s: no error", name)
		}
		began := time.Now()
		if _, err := db.Exec(within(t, time.Minute), "SELECT 1"); err != nil {
			t.Errorf("%s: the only connection is not back: %v", name, err)
		}
		if took := time.Since(began); took > 8*time.Second { // else it waited for the statement
			t.Errorf("%s: the only connection was away for %v", name, took)
		}
		running(t, watcher, "tulifo_pets", 0)
		db.Close()
	}
}

func TestErrorsThatAreNotOurFault(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	for code, kind := range map[string]errs.Kind{
		"40P01": errs.Unavailable, "40001": errs.Unavailable, "55P03": errs.Unavailable, "53100": errs.Unavailable, "53200": errs.Unavailable,
		"53300": errs.Unavailable, "25006": errs.Unavailable, "22021": errs.Invalid, "22P05": errs.Invalid, "22001": errs.Invalid, "22003": errs.Invalid, "22008": errs.Invalid, "54000": errs.Invalid, "23505": errs.Internal,
	} {
		raise := "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '" + code + "'; END $$"
		if _, err := db.Exec(ctx, raise); errs.KindOf(err) != kind {
			t.Errorf("%s alone: %v", code, err)
		}
		tries := 0
		err := db.InTx(ctx, func(tx postgres.Tx) error {
			tries++
			_, err := tx.Exec(ctx, raise)
			return err
		})
		if again := code == "40P01" || code == "40001"; errs.KindOf(err) != kind || (tries > 1) != again {
			t.Errorf("%s in a transaction that was tried %d times: %v", code, tries, err)
		}
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != code {
			t.Errorf("%s lost its cause: %v", code, err)
		}
	}
	if _, err := db.Exec(ctx, insertPet, uuid.New(), "a\x00b"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a null character: %v", err)
	}
	if _, err := db.Exec(ctx, insertPet, uuid.New(), "a\xffb"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("bytes that are not UTF-8: %v", err)
	}
}

func TestFirstAfterTheFirstStatementIsRefused(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	err := db.InTx(ctx, func(tx postgres.Tx) error {
		if err := insert(ctx, tx, "late"); err != nil {
			return err
		}
		tx.First(count, "a")
		return nil
	})
	if err == nil || petCount(t, db) != 0 {
		t.Errorf("a statement was dropped in silence: %v", err)
	}
}
