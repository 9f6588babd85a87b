package postgres_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

const (
	insertPet = "INSERT INTO pets (id, name) VALUES ($1, $2)"
	count     = "UPDATE counters SET n = n + 1 WHERE name = $1"
)

func insert(ctx context.Context, q postgres.Querier, name string) error {
	_, err := q.Exec(ctx, insertPet, uuid.New(), name)
	return err
}

func petCount(t *testing.T, db *postgres.DB) int64 {
	t.Helper()
	return must[int64](t)(postgres.One[int64](context.Background(), db, "SELECT count(*) FROM pets"))
}

func TestTransactionTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	type fn = func(postgres.Tx) error
	for name, c := range map[string]struct {
		want int64
		do   fn
	}{
		"nothing":                       {0, func(postgres.Tx) error { return nil }},
		"an error before any statement": {0, func(postgres.Tx) error { return errors.New("no") }},
		"only later statements":         {1, func(tx postgres.Tx) error { tx.Later(count, "a"); tx.Later(count, "b"); return nil }},
		"a statement and two later": {2, func(tx postgres.Tx) error {
			tx.Later(count, "a")
			tx.Later(count, "b")
			return insert(ctx, tx, uuid.NewString())
		}},
		"a query": {2, func(tx postgres.Tx) error {
			_, err := postgres.One[int64](ctx, tx, "SELECT n FROM counters WHERE name = $1 FOR UPDATE", "a")
			return err
		}},
		"a batch of two": {2, func(tx postgres.Tx) error {
			b := &pgx.Batch{}
			b.Queue(count, "a")
			b.Queue(count, "b")
			return tx.SendBatch(ctx, b).Close()
		}},
		"three statements": {4, func(tx postgres.Tx) error {
			return errors.Join(insert(ctx, tx, uuid.NewString()), insert(ctx, tx, uuid.NewString()), insert(ctx, tx, uuid.NewString()))
		}},
	} {
		for range 2 {
			if got := pgtest.Trips(db, func() { _ = db.InTx(ctx, c.do) }); got != c.want {
				t.Errorf("%s: %d round trips, want %d", name, got, c.want)
			}
		}
	}
	if got := pgtest.Trips(db, func() { counter(t, db, "a") }); got != 1 {
		t.Errorf("a query on its own: %d round trips, want 1", got)
	}
}

func TestCommitKeepsAndErrorUndoes(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	no := errors.New("no")
	for name, c := range map[string]struct {
		fn   func(postgres.Tx) error
		ok   bool
		pets int64
	}{
		"kept":              {func(tx postgres.Tx) error { tx.Later(count, "a"); return insert(ctx, tx, "kept") }, true, 1},
		"fn fails":          {func(tx postgres.Tx) error { tx.Later(count, "a"); return errors.Join(insert(ctx, tx, "x"), no) }, false, 0},
		"a statement fails": {func(tx postgres.Tx) error { return errors.Join(insert(ctx, tx, "x"), insert(ctx, tx, "x")) }, false, 0},
		"a failed statement is passed over": {func(tx postgres.Tx) error {
			_ = insert(ctx, tx, "x")
			_ = insert(ctx, tx, "x")
			return nil
		}, false, 0},
		"the first statement is wrong and passed over": {func(tx postgres.Tx) error {
			_, _ = tx.Exec(ctx, "SELECT nonsense")
			_ = insert(ctx, tx, "x")
			return nil
		}, false, 0},
		"a later statement fails": {func(tx postgres.Tx) error {
			tx.Later("UPDATE pets SET legs = -1 WHERE name = $1", "x")
			tx.Later(count, "a")
			return insert(ctx, tx, "x")
		}, false, 0},
		"a deferred constraint fails at COMMIT": {func(tx postgres.Tx) error {
			tx.Later("INSERT INTO toys (id, pet) VALUES ($1, $2)", uuid.New(), uuid.New())
			return insert(ctx, tx, "x")
		}, false, 0},
		"rows are left open": {func(tx postgres.Tx) error {
			if err := insert(ctx, tx, "open"); err != nil {
				return err
			}
			_, err := tx.Query(ctx, "SELECT name FROM counters")
			return err
		}, true, 1},
		"the first rows are left open": {func(tx postgres.Tx) error {
			_, err := tx.Query(ctx, "INSERT INTO pets (id, name) VALUES ($1, 'open2') RETURNING id", uuid.New())
			return err
		}, true, 1},
	} {
		before, committed := petCount(t, db), 0
		err := db.InTx(ctx, func(tx postgres.Tx) error {
			tx.Committed(func() { committed++ })
			return c.fn(tx)
		})
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
		if got := petCount(t, db) - before; got != c.pets {
			t.Errorf("%s: %d pets more, want %d", name, got, c.pets)
		}
		if (committed == 1) != c.ok {
			t.Errorf("%s: Committed ran %d times", name, committed)
		}
	}
	if n := counter(t, db, "a"); n != 1 {
		t.Errorf("later statements of failed transactions counted: %d", n)
	}
	if s := db.Stats(); s.NewConnsCount() > 1 {
		t.Errorf("%d connections were made, so failed transactions cost connections", s.NewConnsCount())
	}
}

// What is Last goes behind what is Later, in the same round trip, also when it was queued first; and its error is put into words.
func TestLastGoesDirectlyBeforeCommit(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	full := errors.New("full")
	say := func(err error) error {
		if postgres.Violates(err, "pets_legs_positive") {
			return full
		}
		return err
	}
	err := db.InTx(ctx, func(tx postgres.Tx) error {
		if got := pgtest.Trips(db, func() { tx.Last(say, "UPDATE pets SET name = 'last' WHERE name = 'later'") }); got != 0 {
			t.Errorf("%d round trips, want none", got)
		}
		tx.Later("UPDATE pets SET name = 'later' WHERE name = 'rex'")
		return insert(ctx, tx, "rex")
	})
	if names, failed := postgres.All[string](ctx, db, "SELECT name FROM pets"); err != nil || failed != nil || len(names) != 1 || names[0] != "last" {
		t.Errorf("%v, %v and %v", names, err, failed)
	}
	if got := pgtest.Trips(db, func() {
		err = db.InTx(ctx, func(tx postgres.Tx) error {
			tx.Last(say, count, "a")
			return insert(ctx, tx, "tom")
		})
	}); err != nil || got != 2 || counter(t, db, "a") != 1 {
		t.Errorf("%d round trips and %v, want 2", got, err)
	}
	err = db.InTx(ctx, func(tx postgres.Tx) error {
		tx.Later("UPDATE pets SET name = 'jim' WHERE name = 'tom'")
		tx.Last(say, "UPDATE pets SET legs = 0")
		return nil
	})
	if err != full || petCount(t, db) != 2 { //nolint:errorlint // the very one that say has made
		t.Errorf("%v", err)
	}
	err = db.InTx(ctx, func(tx postgres.Tx) error {
		tx.Last(say, count, "a")
		tx.Later("UPDATE pets SET legs = 0")
		return nil
	})
	if !postgres.Violates(err, "pets_legs_positive") || counter(t, db, "a") != 1 {
		t.Errorf("the error of an earlier statement: %v", err)
	}
}

// What an offered transaction's first attempt queued to be Last goes with that attempt.
func TestLastOfAFailedAttemptIsTakenBack(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	err := db.InTx(ctx, func(tx postgres.Tx) error {
		offered := postgres.Offer(ctx, tx)
		for _, err := range []error{errors.New("no"), nil} {
			got := db.InTx(offered, func(tx postgres.Tx) error {
				tx.Last(func(err error) error { return err }, count, "a")
				return cmp.Or(err, insert(offered, tx, "rex"))
			})
			if got != err { //nolint:errorlint // the very one
				t.Errorf("%v, want %v", got, err)
			}
		}
		return nil
	})
	if err != nil || counter(t, db, "a") != 1 || petCount(t, db) != 1 {
		t.Errorf("%v: counted %d times", err, counter(t, db, "a"))
	}
}

func TestErrorsOfLaterStatementsNameTheirConstraint(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	err := db.InTx(ctx, func(tx postgres.Tx) error {
		tx.Later("UPDATE pets SET legs = 0 WHERE name = $1", "rex")
		return insert(ctx, tx, "rex")
	})
	if !postgres.Violates(err, "pets_legs_positive") || postgres.Violates(err, "pets_name_unique") {
		t.Errorf("later statement: %v", err)
	}
	err = db.InTx(ctx, func(tx postgres.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO toys (id, pet) VALUES ($1, $2)", uuid.New(), uuid.New())
		return err
	})
	if !postgres.Violates(err, "toys_pet_known") {
		t.Errorf("deferred constraint: %v", err)
	}
}

func TestJoinedTransactionsAreOne(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	var order []string
	err := db.InTx(ctx, func(outer postgres.Tx) error {
		if err := insert(ctx, outer, "outer"); err != nil {
			return err
		}
		inside := postgres.With(ctx, outer)
		if tx, ok := postgres.FromContext(inside); !ok || tx != outer || !postgres.InsideTx(inside) {
			t.Error("the context does not carry the transaction")
		}
		err := db.InTx(inside, func(tx postgres.Tx) error {
			tx.Committed(func() { order = append(order, "inner") })
			tx.Later(count, "a")
			return insert(ctx, tx, "inner")
		})
		if n := must[int64](t)(postgres.One[int64](inside, db, "SELECT count(*) FROM pets")); n != 2 {
			t.Errorf("the DB in the transaction's context sees %d pets, want 2", n)
		}
		if n := petCount(t, db); n != 0 {
			t.Errorf("others see %d pets before COMMIT", n)
		}
		outer.Committed(func() { order = append(order, "outer") })
		order = append(order, "returned")
		return err
	})
	if err != nil || strings.Join(order, " ") != "returned inner outer" {
		t.Errorf("order %v, error %v", order, err)
	}
	if petCount(t, db) != 2 || counter(t, db, "a") != 1 {
		t.Error("the joined transaction's work is not all there")
	}
	no := errs.New(errs.Conflict, "No.")
	err = db.InTx(ctx, func(outer postgres.Tx) error {
		_ = db.InTx(postgres.With(ctx, outer), func(tx postgres.Tx) error { return errors.Join(insert(ctx, tx, "half"), no) })
		return nil
	})
	if !errors.Is(err, no) || petCount(t, db) != 2 {
		t.Errorf("a joined transaction failed, the outer one passed over it: %v", err)
	}
	var over postgres.Tx
	if err := db.InTx(ctx, func(tx postgres.Tx) error { over = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, ok := postgres.FromContext(postgres.With(ctx, over)); ok || insert(ctx, over, "late") == nil {
		t.Error("a transaction that is over can still be used")
	}
}

func TestInsideTxSeesAClosedOverContext(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), postgres.Watch(within(t, time.Minute))
	if postgres.InsideTx(ctx) {
		t.Error("inside before")
	}
	_ = db.InTx(ctx, func(postgres.Tx) error {
		if !postgres.InsideTx(ctx) {
			t.Error("not inside")
		}
		return nil
	})
	if postgres.InsideTx(ctx) {
		t.Error("inside after")
	}
}

func TestPanicRollsBack(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic did not come through")
			}
		}()
		_ = db.InTx(ctx, func(tx postgres.Tx) error { _ = insert(ctx, tx, "x"); panic("boom") })
	}()
	if n := petCount(t, db); n != 0 {
		t.Errorf("%d pets after a panic", n)
	}
	if s := db.Stats(); s.AcquiredConns() != 0 || s.NewConnsCount() != 1 {
		t.Errorf("%d connections out, %d made", s.AcquiredConns(), s.NewConnsCount())
	}
}

func TestEndedContextRollsBack(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t, pets)
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	err := db.InTx(ctx, func(tx postgres.Tx) error { defer cancel(); return insert(ctx, tx, "x") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err = db.InTx(ctx, func(tx postgres.Tx) error {
		if err := insert(ctx, tx, "y"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_sleep(30)")
		return err
	})
	if errs.KindOf(err) != errs.Timeout {
		t.Errorf("error %v", err)
	}
	if n := petCount(t, db); n != 0 {
		t.Errorf("%d pets", n)
	}
}

func TestDeadlocksAreRunAgain(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	var runs atomic.Int32
	var meet, done sync.WaitGroup
	meet.Add(2)
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		done.Go(func() {
			first := true
			err := db.InTx(ctx, func(tx postgres.Tx) error {
				runs.Add(1)
				if _, err := tx.Exec(ctx, count, names[0]); err != nil {
					return err
				}
				if first {
					first = false
					meet.Done()
					meet.Wait()
				}
				if _, err := tx.Exec(ctx, count, names[1]); err != nil {
					return errs.New(errs.Conflict, "A sentence in place of the deadlock.")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if runs.Load() != 3 {
		t.Errorf("fn ran %d times, want 3: two and a repetition", runs.Load())
	}
	if a, b := counter(t, db, "a"), counter(t, db, "b"); a != 2 || b != 2 {
		t.Errorf("counted %d and %d, want 2 and 2", a, b)
	}
}

func TestRepetitionEnds(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	runs := 0
	err := db.InTx(ctx, func(tx postgres.Tx) error {
		runs++
		_, err := tx.Exec(ctx, "DO $$ BEGIN RAISE EXCEPTION 'always' USING ERRCODE = '40001'; END $$")
		return err
	})
	if err == nil || runs != 4 {
		t.Errorf("%d runs, error %v", runs, err)
	}
}

func TestOneOfARaceWins(t *testing.T) {
	t.Parallel()
	db, ctx := pgtest.DB(t, pets), within(t, time.Minute)
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			err := db.InTx(ctx, func(tx postgres.Tx) error {
				tx.Later(count, "a")
				return insert(ctx, tx, "one of a kind")
			})
			switch {
			case err == nil:
				won.Add(1)
			case postgres.Violates(err, "pets_name_unique"):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 31 || counter(t, db, "a") != 1 {
		t.Errorf("%d won, %d lost, counted %d", won.Load(), lost.Load(), counter(t, db, "a"))
	}
}
