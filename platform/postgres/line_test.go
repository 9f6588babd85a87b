package postgres_test

import (
	"context"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/fault"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/soak"
)

// A line that turns to garbage, or ends, at any byte of an answer: what comes is right, or it is Unavailable or has taken too long, and the next connection is well.
func TestAnAnswerThatTurnsToGarbage(t *testing.T) {
	address, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := address.Query()
	line, err := fault.New(filepath.Join(socket.Get("host"), ".s.PGSQL."+socket.Get("port")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	address.Host, address.RawQuery = line.Addr(), "sslmode=disable"
	db := pgtest.Open(t, address.String(), "public")
	ask := func() (int64, error) {
		// A length that is garbage is waited for.
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		n, err := postgres.All[int64](ctx, db, `SELECT n::bigint FROM generate_series(1, 60) n WHERE $1 = 'a word'`, "a word")
		sum := int64(0)
		for _, v := range n {
			sum += v
		}
		return sum, err
	}
	good, bad := 0, 0
	r := soak.Rand(t)
	for n := range soak.N(25, 5000) {
		toxic := fault.Toxic{Toward: fault.ToClient, Garbage: true, After: r.Int64N(1500)}
		if n%3 == 0 {
			toxic = fault.Toxic{Toward: fault.ToClient, CutAfter: 1 + r.Int64N(1500)}
		}
		line.Set(toxic)
		for range 3 {
			sum, err := ask()
			switch {
			case err == nil && sum == 1830:
				good++
			case err == nil:
				t.Errorf("%+v: the sum is %d", toxic, sum)
			case errs.KindOf(err) == errs.Unavailable, errs.KindOf(err) == errs.Timeout:
				bad++
			default:
				t.Errorf("%+v: %v (%T)", toxic, err, err)
			}
		}
		line.Set()
		began := time.Now()
		for sum, err := ask(); err != nil || sum != 1830; sum, err = ask() {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%+v: it does not come back: %d %v", toxic, sum, err)
			}
		}
	}
	if good == 0 || bad == 0 {
		t.Errorf("%d answers were good and %d bad: the line does nothing", good, bad)
	}
}
