package docdb_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/fault"
	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

// bearable are the answers of a store that is away for a moment.
func bearable(err error) bool {
	kind := errs.KindOf(err)
	return kind == errs.Unavailable || kind == errs.Timeout
}

// Counters are raised, alone and in transactions of two, while the server is killed: whatever was acknowledged is there afterwards, and what was
// not has happened to both of a pair or to neither.
func TestMongoKilledUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	server := servertest.OwnMongo(t)
	c := items(byOwner)
	db := openMongo(t, server.URL(), c)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	if err := c.Insert(ctx, db, item{ID: "alone"}, item{ID: "one"}, item{ID: "other"}); err != nil {
		t.Fatal(err)
	}
	var alone, pairs, unsure atomic.Int64
	var stopped atomic.Bool
	var load sync.WaitGroup
	for w := range 4 {
		load.Go(func() {
			for !stopped.Load() {
				var err error
				sure := &alone
				if w%2 == 0 {
					_, err = c.Update(ctx, db, "alone", docdb.Filter{}, docdb.Inc("n", 1))
				} else {
					sure = &pairs
					err = db.InTx(ctx, func(tx docdb.Tx) error {
						if _, err := c.Update(ctx, tx, "one", docdb.Filter{}, docdb.Inc("n", 1)); err != nil {
							return err
						}
						_, err := c.Update(ctx, tx, "other", docdb.Filter{}, docdb.Inc("n", 1))
						return err
					})
				}
				switch {
				case err == nil:
					sure.Add(1)
				case bearable(err):
					unsure.Add(1)
				default:
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	await := func(what string, is func() bool) {
		t.Helper()
		for began := time.Now(); !is(); {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s: not so", what)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	for range soak.N(1, 10) {
		a, p := alone.Load(), pairs.Load()
		await("work goes on", func() bool { return alone.Load() > a+20 && pairs.Load() > p+20 })
		server.Kill()
		u := unsure.Load()
		await("it is told that the store is away", func() bool { return unsure.Load() > u })
		began := time.Now()
		server.Start()
		a = alone.Load()
		await("it is back", func() bool { return alone.Load() > a })
		t.Logf("answered %v after the start", time.Since(began).Round(time.Millisecond))
	}
	stopped.Store(true)
	load.Wait()
	n := map[string]int64{}
	for _, id := range []string{"alone", "one", "other"} {
		got, err := c.Get(ctx, db, id)
		if err != nil {
			t.Fatal(err)
		}
		n[id] = int64(got.N)
	}
	t.Logf("%d and %d acknowledged, %d unsure, %v kept", alone.Load(), pairs.Load(), unsure.Load(), n)
	if n["one"] != n["other"] {
		t.Errorf("half a transaction: %v", n)
	}
	if lost, more := alone.Load()+pairs.Load()-n["alone"]-n["one"], n["alone"]+n["one"]-alone.Load()-pairs.Load()-unsure.Load(); n["alone"] < alone.Load() || n["one"] < pairs.Load() || more > 0 {
		t.Errorf("%d lost, %d too many", lost, more)
	}
}

// A line that is cut after any number of bytes, falls silent or turns to garbage: an answer is right or says that the store is away, and the next
// one over a good line is right.
func TestMongoOnABadLine(t *testing.T) {
	t.Parallel()
	proxy, through, err := fault.Before(servertest.Mongo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	// Through the proxy only: the set would tell where its member really is.
	through, _, _ = strings.Cut(through, "?")
	c := items(byOwner)
	db := openMongo(t, through+"?directConnection=true", c)
	ctx := t.Context()
	if err := c.Insert(ctx, db, item{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	sure, unsure := 0, 0
	raise := func(patience time.Duration) bool {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := db.InTx(ctx, func(tx docdb.Tx) error {
			_, err := c.Update(ctx, tx, "a", docdb.Filter{}, docdb.Inc("n", 1))
			return err
		})
		if err == nil {
			sure++
			return true
		}
		if unsure++; !bearable(err) {
			t.Errorf("%v", err)
		}
		return false
	}
	toxics := []fault.Toxic{
		{Toward: fault.ToServer, CutAfter: 40}, {Toward: fault.ToClient, CutAfter: 16}, {Toward: fault.ToClient, CutAfter: 300}, {Silence: true},
		{Toward: fault.ToServer, Garbage: true, After: 20}, {Toward: fault.ToClient, Garbage: true, After: 20}, {Reset: true},
	}
	// Somewhere in the head of an answer, its flags, its sections and its document.
	for _, n := range []int64{0, 5, 13, 17, 22, 30, 60} {
		toxics = append(toxics, fault.Toxic{Toward: fault.ToClient, Garbage: true, After: n})
	}
	for n := int64(0); soak.On() && n < 600; n += 7 {
		toxics = append(toxics, fault.Toxic{Toward: fault.ToServer, CutAfter: n + 1}, fault.Toxic{Toward: fault.ToClient, CutAfter: n + 1})
	}
	for _, toxic := range toxics {
		proxy.Set(toxic)
		raise(500 * time.Millisecond)
		proxy.Set()
		// A transaction that the line has left open on the server is in nobody's way for long.
		began := time.Now()
		for !raise(5*time.Second) && time.Since(began) < 20*time.Second {
		}
		if since := time.Since(began); since > 20*time.Second {
			t.Errorf("after %+v it took %v to go on", toxic, since)
		}
		got, err := c.Get(ctx, db, "a")
		if err != nil || got.N < sure || got.N > sure+unsure {
			t.Fatalf("after %+v: %d of %d to %d, %v", toxic, got.N, sure, sure+unsure, err)
		}
	}
	t.Logf("%d sure, %d unsure", sure, unsure)
}

func TestMongoUnavailable(t *testing.T) {
	t.Parallel()
	began := time.Now()
	_, err := docdb.OpenMongo(t.Context(), docdb.Mongo{URI: "mongodb://127.0.0.1:1/?replicaSet=rs0", Service: "message"}, items())
	if errs.KindOf(err) != errs.Unavailable || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	for what, m := range map[string]docdb.Mongo{
		"no address":                             {Service: "message"},
		"another address":                        {URI: "postgres://127.0.0.1/x", Service: "message"},
		"an address with a password and no host": {URI: "mongodb://user:hunter2", Service: "message"},
		"no service":                             {URI: "mongodb://127.0.0.1:1"},
		"a service of dots":                      {URI: "mongodb://127.0.0.1:1", Service: "a.b"},
	} {
		if _, err := docdb.OpenMongo(t.Context(), m); err == nil || strings.Contains(err.Error(), "127.0.0.1/x") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
