package audit_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/audit"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
)

func open(t *testing.T) *postgres.DB {
	t.Helper()
	t.Parallel()
	return pgtest.DB(t, audit.Migration("tulifo_test"))
}

func add(t *testing.T, db *postgres.DB, ctx context.Context, e audit.Entry) {
	t.Helper()
	if err := db.InTx(ctx, func(tx postgres.Tx) error { return audit.Add(ctx, tx, e) }); err != nil {
		t.Error(err)
	}
}

func verify(t *testing.T, db *postgres.DB, want ...string) {
	t.Helper()
	got, err := audit.Verify(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("breaches %q, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("breach %q, want %q", got[i], want[i])
		}
	}
}

func exec(t *testing.T, db *postgres.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func TestAddGoesWithItsFact(t *testing.T) {
	db := open(t)
	undo := errors.New("undo")
	err := db.InTx(t.Context(), func(tx postgres.Tx) error {
		if err := audit.Add(t.Context(), tx, audit.Entry{Action: "test.undone"}); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	caller := token.Caller{ID: uuid.New(), Role: token.Admin}
	ctx := token.With(t.Context(), caller)
	subject := uuid.New()
	if n := pgtest.Trips(db, func() {
		add(t, db, ctx, audit.Entry{Action: "test.done", Subject: subject, Detail: map[string]string{"reason": "it's \"so\"\n"}})
	}); n != 1 {
		t.Errorf("%d round trips, want 1", n)
	}
	add(t, db, t.Context(), audit.Entry{Action: "test.done", Actor: "operator"})
	type row struct {
		Actor, Action string
		Subject       uuid.UUID
		Reason        *string
	}
	rows, err := postgres.All[row](t.Context(), db, `SELECT actor, action, subject, detail::json->>'reason' AS reason FROM audit ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Actor != caller.ID.String() || rows[0].Subject != subject || *rows[0].Reason != "it's \"so\"\n" || rows[1].Actor != "operator" {
		t.Errorf("rows %+v", rows)
	}
}

// Many entries are one statement, in their order, each with what is its own.
func TestManyEntriesKeepTheirOrder(t *testing.T) {
	db := open(t)
	ctx := token.With(t.Context(), token.Caller{ID: uuid.New(), Role: token.Admin})
	var want []string
	var entries []audit.Entry
	for i := range 300 {
		e := audit.Entry{Action: fmt.Sprint("test.", i), Subject: uuid.New(), Detail: map[string]string{"n": fmt.Sprint(i)}}
		if i%2 == 0 {
			e.Actor = "operator"
		}
		entries = append(entries, e)
		want = append(want, fmt.Sprintf(`%s %s %s {"n":"%d"}`, cmp.Or(e.Actor, token.From(ctx).String()), e.Action, e.Subject, i))
	}
	if n := pgtest.Trips(db, func() {
		if err := db.InTx(ctx, func(tx postgres.Tx) error { return errors.Join(audit.Add(ctx, tx), audit.Add(ctx, tx, entries...)) }); err != nil {
			t.Error(err)
		}
	}); n != 1 {
		t.Errorf("%d round trips, want 1", n)
	}
	got, err := postgres.All[string](t.Context(), db, `SELECT actor || ' ' || action || ' ' || subject || ' ' || detail FROM audit ORDER BY seq`)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %d rows, the first %.1q", err, len(got), got)
	}
	if err := audit.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	verify(t, db)
}

// Two rows never have one place in the chain, whoever writes it.
func TestOnePlaceInTheChainIsTakenOnce(t *testing.T) {
	db := open(t)
	for range 2 {
		add(t, db, t.Context(), audit.Entry{Actor: "operator", Action: "test.done"})
	}
	if _, err := db.Exec(t.Context(), `UPDATE audit SET pos = 1, hash = ''`); !postgres.Violates(err, "audit_pos") {
		t.Errorf("two rows got place 1: %v", err)
	}
}

// Sealers of two processes chain what many writers add, within a second, without a gap.
func TestSeal(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t, audit.Migration("tulifo_test"))
	db, other := pgtest.Open(t, url, "tulifo_test"), pgtest.Open(t, url, "tulifo_test")
	ctx, stop := context.WithCancel(t.Context())
	var sealers, writers sync.WaitGroup
	for _, d := range []*postgres.DB{db, other} {
		sealers.Go(func() {
			if err := audit.Seal(ctx, d, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	for w := range 16 {
		writers.Go(func() {
			for range 100 {
				add(t, []*postgres.DB{db, other}[w%2], t.Context(), audit.Entry{Actor: "operator", Action: "test.done", Subject: uuid.New()})
			}
		})
	}
	writers.Wait()
	began := time.Now()
	for {
		open, err := postgres.One[int64](t.Context(), db, `SELECT count(*) FROM audit WHERE pos IS NULL`)
		if err != nil {
			t.Fatal(err)
		}
		if open == 0 {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%d rows are not sealed", open)
		}
	}
	verify(t, db)
	pos, hash, err := audit.Tip(t.Context(), db)
	if err != nil || pos != 1600 || len(hash) != 64 {
		t.Errorf("tip %d %s %v", pos, hash, err)
	}
	// What is added while the sealer stops is sealed by its last pass, or by the next start.
	add(t, db, t.Context(), audit.Entry{Actor: "operator", Action: "test.done"})
	stop()
	sealers.Wait()
	if pos, _, err := audit.Tip(t.Context(), db); err != nil || pos != 1601 {
		t.Errorf("tip after the last pass %d %v", pos, err)
	}
	verify(t, db)
}

// Flush does not leave to another sealer what that one may not have seen.
func TestFlushWaitsForAnotherSealer(t *testing.T) {
	url := pgtest.Database(t, audit.Migration("tulifo_test"))
	db, other := pgtest.Open(t, url, "tulifo_test"), pgtest.Open(t, url, "tulifo_test")
	flushed := make(chan error, 1)
	err := other.InTx(t.Context(), func(tx postgres.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtext('audit'), hashtext(current_schema()))`); err != nil {
			return err
		}
		add(t, db, t.Context(), audit.Entry{Actor: "operator", Action: "test.done"})
		go func() { flushed <- audit.Flush(t.Context(), db) }()
		for waiting := false; !waiting; {
			select {
			case err := <-flushed:
				t.Error("it did not wait")
				flushed <- err
				return nil
			default:
			}
			var err error
			if waiting, err = postgres.One[bool](t.Context(), tx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, <-flushed); err != nil {
		t.Fatal(err)
	}
	if pos, _, err := audit.Tip(t.Context(), db); err != nil || pos != 1 {
		t.Errorf("tip %d %v", pos, err)
	}
}

func TestVerifySeesWhatWasDone(t *testing.T) {
	for _, c := range []struct {
		what, sql string
		want      []string
	}{
		{"another detail", `UPDATE audit SET detail = '{"n":"x"}' WHERE pos = 3`, []string{"row 3"}},
		{"another actor", `UPDATE audit SET actor = 'eve' WHERE pos = 3`, []string{"row 3"}},
		{"another subject", `UPDATE audit SET subject = gen_random_uuid() WHERE pos = 1`, []string{"row 1"}},
		{"another time", `UPDATE audit SET at = at + interval '1 microsecond' WHERE pos = 5`, []string{"row 5"}},
		{"text moved between fields", `UPDATE audit SET actor = 'op', action = 'erator' || action WHERE pos = 2`, []string{"row 2"}},
		{"one gone", `DELETE FROM audit WHERE pos = 2`, []string{"rows 2 to 2"}},
		{"the first gone", `DELETE FROM audit WHERE pos = 1`, []string{"rows 1 to 1"}},
		{"a row and its hash", `UPDATE audit SET actor = 'eve', hash = sha256('x') WHERE pos = 3`, []string{"row 3", "row 4"}},
		{"one left unsealed", `UPDATE audit SET pos = NULL, hash = NULL, at = at - interval '2 seconds' WHERE pos = 5`, []string{"1 audit rows"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			db := open(t)
			for range 5 {
				add(t, db, t.Context(), audit.Entry{Actor: "operator", Action: "test.done", Subject: uuid.New(), Detail: map[string]string{"n": "1"}})
			}
			if err := audit.Flush(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			verify(t, db)
			exec(t, db, c.sql)
			verify(t, db, c.want...)
		})
	}
}

func TestManyRows(t *testing.T) {
	db := open(t)
	exec(t, db, `INSERT INTO audit (actor, action, subject, detail, request_id) SELECT 'operator', 'test.done', gen_random_uuid(), '{}', '' FROM generate_series(1, 2500)`)
	if err := audit.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	verify(t, db)
	if pos, _, err := audit.Tip(t.Context(), db); err != nil || pos != 2500 {
		t.Errorf("tip %d %v", pos, err)
	}
}
