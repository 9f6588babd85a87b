package interleave_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/postgres/pgtest/interleave"
)

var counters = postgres.Migration{Schema: "tulifo_counters", FS: fstest.MapFS{"0001_counters.sql": {Data: []byte("-- +goose Up\nCREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL);\nINSERT INTO counters VALUES (1, 0), (2, 0);")}}}

// world is a table of two counters, and the doors of two actors to it.
func world(t *testing.T) (stage *interleave.Stage, db *postgres.DB, actors []*postgres.DB) {
	t.Helper()
	t.Parallel()
	url := pgtest.Database(t, counters)
	open := func(url string) *postgres.DB { return pgtest.Open(t, url, counters.Schema) }
	stage, actors = interleave.New(t, url, 2, open)
	return stage, open(url), actors
}

// add reads a counter and writes it back one higher, with the lock or without.
func add(t *testing.T, db *postgres.DB, lock string) {
	err := db.InTx(context.Background(), func(tx postgres.Tx) error {
		n, err := postgres.One[int](context.Background(), tx, `SELECT n FROM counters WHERE id = 1`+lock)
		if err != nil {
			return err
		}
		tx.Later(`UPDATE counters SET n = $1 WHERE id = 1`, n+1)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEveryOrderIsTakenOnce(t *testing.T) {
	for _, c := range []struct {
		lock       string
		runs, lost int
	}{
		// Each reads, writes and commits; the second to write waits until the first has committed. Only when one is over before the other begins,
		// in 2 of the orders, does nothing get lost.
		{"", 14, 12},
		{" FOR UPDATE", 6, 0},
	} {
		t.Run("lock"+c.lock, func(t *testing.T) {
			stage, db, actors := world(t)
			seen, lost := map[string]bool{}, 0
			runs := stage.Every(func() interleave.Play {
				if _, err := db.Exec(t.Context(), `UPDATE counters SET n = 0`); err != nil {
					t.Fatal(err)
				}
				return interleave.Play{
					Acts: []func(){func() { add(t, actors[0], c.lock) }, func() { add(t, actors[1], c.lock) }},
					After: func(steps string) {
						if seen[steps] {
							t.Errorf("twice:\n%s", steps)
						}
						seen[steps] = true
						n, err := postgres.One[int](t.Context(), db, `SELECT n FROM counters WHERE id = 1`)
						if err != nil {
							t.Fatal(err)
						}
						if n != 2 {
							lost++
						}
					},
				}
			})
			if runs != c.runs || lost != c.lost {
				t.Errorf("%d orders, %d of which lose an addition; want %d and %d", runs, lost, c.runs, c.lost)
				for steps := range seen {
					t.Log(steps + "\n")
				}
			}
		})
	}
}

func TestDeadlocksAreFound(t *testing.T) {
	stage, _, actors := world(t)
	both := func(db *postgres.DB, first, second int) {
		err := db.InTx(context.Background(), func(tx postgres.Tx) error {
			for _, id := range []int{first, second} {
				if _, err := tx.Exec(context.Background(), `UPDATE counters SET n = n + 1 WHERE id = $1`, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && errs.KindOf(err) != errs.Unavailable {
			t.Error(err)
		}
	}
	repeated := 0
	play := func() interleave.Play {
		return interleave.Play{
			Acts: []func(){func() { both(actors[0], 1, 2) }, func() { both(actors[1], 2, 1) }},
			After: func(steps string) {
				if strings.Contains(steps, "rollback") || strings.Count(steps, "UPDATE") > 4 {
					repeated++
				}
			},
		}
	}
	stage.Sample(20, rand.New(rand.NewPCG(1, 0)), play)
	if repeated == 0 {
		t.Error("no order led to a deadlock")
	}
}
