package rehearsal_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"tulifo/platform/bus"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/rehearsal"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func begin(t *testing.T, db *postgres.DB, s rehearsal.Start) *rehearsal.Clock {
	t.Helper()
	c, _, err := rehearsal.Begin(t.Context(), db, s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, db *postgres.DB) rehearsal.State {
	t.Helper()
	s, err := rehearsal.Read(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestARehearsalBeginsOnce(t *testing.T) {
	db := pgtest.DB(t, rehearsal.Migration)
	first, begun, err := rehearsal.Begin(t.Context(), db, rehearsal.Start{At: noon, Frozen: true})
	if err != nil || !begun || !first.Now().Equal(noon) {
		t.Fatalf("%v %v %v", first.Now(), begun, err)
	}
	second, begun, err := rehearsal.Begin(t.Context(), db, rehearsal.Start{At: noon.AddDate(1, 0, 0)})
	if err != nil || begun || !second.Now().Equal(noon) {
		t.Errorf("it began again: %v %v %v", second.Now(), begun, err)
	}
}

func TestTheClockNeverGoesBackAndHasOneMover(t *testing.T) {
	db := pgtest.DB(t, rehearsal.Migration)
	begin(t, db, rehearsal.Start{At: noon, Frozen: true})
	epoch := read(t, db).Epoch
	if _, err := rehearsal.Move(t.Context(), db, epoch, noon.Add(-time.Microsecond), false); errs.KindOf(err) != errs.Conflict {
		t.Errorf("back: %v", err)
	}
	var won, lost int
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			_, err := rehearsal.Move(context.Background(), db, epoch, noon.Add(time.Duration(n)*time.Hour), false)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if errs.KindOf(err) == errs.Conflict {
				lost++
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 15 {
		t.Errorf("%d moved it from one state, %d were refused", won, lost)
	}
}

// A clock that is being moved stands; when its mover has died it goes on by itself.
func TestTheClockOfADeadMoverGoesOn(t *testing.T) {
	db := pgtest.DB(t, rehearsal.Migration)
	c := begin(t, db, rehearsal.Start{At: noon})
	until(t, "the clock runs", func() bool { return c.Now().After(noon) })
	at := noon.Add(time.Hour)
	s, err := rehearsal.Move(t.Context(), db, read(t, db).Epoch, at, true)
	if err != nil || !s.Held() || !s.Now().Equal(at) {
		t.Fatalf("%+v %v", s, err)
	}
	// As if the mover had been silent for its fifteen seconds and five more.
	if _, err := db.Exec(t.Context(), `UPDATE clock SET since = since - interval '20 seconds'`); err != nil {
		t.Fatal(err)
	}
	s = read(t, db)
	if late := s.Now().Sub(at); s.Held() || late < 4*time.Second || late > time.Minute {
		t.Errorf("it is %v past the last stop, held: %v", late, s.Held())
	}
	if err := rehearsal.Hold(t.Context(), db); err != nil || !read(t, db).Held() {
		t.Errorf("a mover that lives does not hold it: %v", err)
	}
}

// joined is a process on the database's bus that follows the clock.
func joined(t *testing.T, url string, services ...string) (c *rehearsal.Clock, b bus.Bus, leave func()) {
	t.Helper()
	session, err := postgres.NewSession(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err = bus.NewPostgres(t.Context(), bus.Options{DB: pgtest.Open(t, url, bus.Schema), Session: session})
	if err != nil {
		t.Fatal(err)
	}
	c = begin(t, pgtest.Open(t, url, rehearsal.Schema), rehearsal.Start{At: noon, Frozen: true})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Follow(ctx, rehearsal.Process{Services: services, Bus: b, Busy: func() bool { return false }})
	}()
	leave = sync.OnceFunc(func() {
		cancel()
		<-ended
		b.(*bus.Postgres).Close()
		session.Close()
	})
	t.Cleanup(leave)
	return c, b, leave
}

func TestEveryProcessSeesAMove(t *testing.T) {
	url := pgtest.Database(t, bus.Migration, rehearsal.Migration)
	db := pgtest.Open(t, url, rehearsal.Schema)
	a, b, _ := joined(t, url, "auth")
	c, _, leave := joined(t, url, "booking")
	missing := func() []string {
		all, err := rehearsal.Followers(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		late, down := rehearsal.Missing(all, []string{"auth", "booking"}, read(t, db).Epoch, true)
		return append(late, down...)
	}
	until(t, "both follow", func() bool { return len(missing()) == 0 })
	jumped := a.Jumped()
	// The first move is told, the second only found by asking.
	for n := range 2 {
		at := noon.Add(time.Duration(n+1) * time.Hour)
		if _, err := rehearsal.Move(t.Context(), db, read(t, db).Epoch, at, false); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := b.Broadcast(t.Context(), bus.Envelope{Type: rehearsal.Moved, Data: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "both have seen it", func() bool { return len(missing()) == 0 })
		if !a.Now().Equal(at) || !c.Now().Equal(at) {
			t.Errorf("it is %v and %v instead of %v", a.Now(), c.Now(), at)
		}
	}
	select {
	case <-jumped:
	default:
		t.Error("nobody was told of a jump")
	}
	if _, err := db.Exec(t.Context(), `INSERT INTO follower (id, process, services, epoch, busy, seen_at) VALUES (gen_random_uuid(), 'killed', '{}', 1, false, clock_timestamp() - interval '2 minutes')`); err != nil {
		t.Fatal(err)
	}
	leave()
	if left, err := postgres.All[string](t.Context(), db, `SELECT array_to_string(services, ' ') FROM follower`); err != nil || !slices.Equal(left, []string{"auth"}) {
		t.Errorf("rows of processes that are gone are kept: %q %v", left, err)
	}
	until(t, "who has left is not waited for as a process, but missed as a service", func() bool { return slices.Equal(missing(), []string{"booking"}) })
}

func TestWhoIsMissing(t *testing.T) {
	all := []rehearsal.Follower{
		{Process: "one", Services: []string{"auth", "booking"}, Epoch: 4}, {Process: "two", Services: []string{"booking"}, Epoch: 3}, {Process: "three", Epoch: 4, Busy: true},
	}
	for _, c := range []struct {
		epoch      int64
		idle       bool
		late, down []string
	}{
		{3, false, nil, []string{"escrow"}}, {4, false, []string{"two"}, []string{"escrow"}}, {4, true, []string{"three", "two"}, []string{"escrow"}},
	} {
		late, down := rehearsal.Missing(all, []string{"auth", "booking", "escrow"}, c.epoch, c.idle)
		if !slices.Equal(late, c.late) || !slices.Equal(down, c.down) {
			t.Errorf("%+v: %v %v", c, late, down)
		}
	}
}
