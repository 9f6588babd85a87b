package booking_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/fetch"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/postgres/pgtest/interleave"
	"tulifo/platform/soak"
	"tulifo/services/booking"
)

// process is booking as it runs in a process of its own, with connections of its own.
type process struct {
	*apitest.Server
	service *booking.Service
}

func (w *world) process(url string) *process {
	w.t.Helper()
	db := pgtest.Open(w.t, url, schema)
	web, err := fetch.New(fetch.Options{Allow: []string{"127.0.0.1"}})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{service: booking.New(db, w.clock, peer.New("booking", w.Keys, w.near.handlers(w.t), nil), web, w.config)}
	p.Server = apitest.New(w.t, apitest.Options{Service: "booking", Register: p.service.Routes, DB: db, Keys: w.Keys})
	return p
}

// claim is a pending booking that somebody wants something of in the last moment before it expires.
type claim struct {
	w *world
	b booking.Answer
}

type wish = interleave.Contender[claim, *process]

func (w *world) asks(p *process, as, path string, body any, yes int) bool {
	a := p.Do(apitest.Call{As: as, Method: "POST", Path: path, Body: body})
	if a.Status != yes && a.Status != 409 {
		w.t.Errorf("%s is answered %d %s", path, a.Status, a.Body)
	}
	return a.Status == yes
}

func (w *world) moves(p *process, role string, who uuid.UUID, b booking.Answer, action string) bool {
	return w.asks(p, w.Token(role, who), "/api/bookings/"+b.ID.String()+"/"+action, nil, 200)
}

var wishes = []wish{
	{Name: "confirm", Do: func(c claim, p *process) bool { return c.w.moves(p, "worker", c.w.worker, c.b, "confirm") }},
	{Name: "cancel", Do: func(c claim, p *process) bool { return c.w.moves(p, "client", c.w.client, c.b, "cancel") }},
	{Name: "expire", Do: func(c claim, p *process) bool {
		if err := p.service.Fire(context.Background(), *c.b.ExpiresAt); err != nil {
			c.w.t.Errorf("fire: %v", err)
		}
		return true
	}},
	{Name: "decline", Do: func(c claim, p *process) bool { return c.w.moves(p, "worker", c.w.worker, c.b, "cancel") }},
	{Name: "take", Do: func(c claim, p *process) bool {
		return c.w.asks(p, c.w.newClient(), "/api/bookings", c.w.body(c.b.Start.Format(time.RFC3339), 60), 201)
	}},
}

// wished is the next working day's time that is more than two days away, so that an unpaid booking is not over as soon as it is confirmed. The
// clock only goes on.
func (w *world) wished() string {
	day := w.clock.Now().AddDate(0, 0, 4).Truncate(24 * time.Hour).Add(12 * time.Hour)
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, 1)
	}
	return day.Format(time.RFC3339)
}

// play is one struggle over a pending booking that expires within a microsecond.
func (w *world) play(home *process, ps []*process, who ...wish) interleave.Play {
	var b booking.Answer
	a := home.Do(apitest.Call{As: w.Token("client", w.client), Path: "/api/bookings", Body: w.body(w.wished(), 60)})
	if a.Status != 201 {
		w.t.Fatalf("booking is answered %d %s", a.Status, a.Body)
	}
	a.Data(&b)
	w.clock.Set(b.ExpiresAt.Add(-time.Microsecond))
	return interleave.Contest(w.t, claim{w, b}, ps, who, func(won map[string]int) error {
		err := w.lawful(b, won)
		for _, id := range w.live() {
			home.Do(apitest.Call{As: w.Token("admin", uuid.New()), Method: "POST", Path: "/api/bookings/" + id.String() + "/cancel"})
		}
		if left := w.live(); len(left) > 0 {
			w.t.Fatalf("%d bookings stay", len(left))
		}
		return err
	})
}

// live are the bookings that hold their time.
func (w *world) live() []uuid.UUID {
	w.t.Helper()
	ids, err := postgres.All[uuid.UUID](w.t.Context(), w.db, `SELECT id FROM bookings WHERE status IN ('pending', 'confirmed')`)
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// lawful compares what was told of the booking with the drawing of its states, with where it stands, and with what everybody was answered.
func (w *world) lawful(b booking.Answer, won map[string]int) error {
	told, err := postgres.All[string](w.t.Context(), w.db, `SELECT type FROM outbox WHERE subject = $1 ORDER BY seq`, b.ID)
	if err != nil {
		return err
	}
	path := strings.ReplaceAll(strings.Join(told, " "), "booking.", "")
	status, err := postgres.One[string](w.t.Context(), w.db, `SELECT status FROM bookings WHERE id = $1`, b.ID)
	if err != nil {
		return err
	}
	ends := map[string]string{"created": "pending", "created confirmed": "confirmed", "created cancelled": "cancelled", "created expired": "expired", "created confirmed cancelled": "cancelled"}
	if end, drawn := ends[path]; !drawn || end != status {
		return fmt.Errorf("it is %s, and told was %s", status, path)
	}
	live := w.live()
	switch {
	case won["confirm"] > 0 != strings.Contains(path, "confirmed"), won["cancel"]+won["decline"] > 0 != strings.Contains(path, "cancelled"):
		return fmt.Errorf("yes was told to %v, and told was %s", won, path)
	case len(live) > 1, won["take"] == 1 && slices.Contains(live, b.ID), won["take"] > 1:
		return fmt.Errorf("two have the time: %v with %v", live, won)
	}
	return nil
}

// TestEveryOrderOfConfirmCancelExpire takes each pair of wishes through all orders of their SQL statements, and all of them together through
// orders that are drawn by lot.
func TestEveryOrderOfConfirmCancelExpire(t *testing.T) {
	interleave.Pairs(t, wishes[:soak.N(3, len(wishes))], func(t *testing.T, first, second wish) {
		w := start(t)
		stage, ps := interleave.New(t, w.url, 2, w.process)
		home := w.process(w.url)
		play := func() interleave.Play { return w.play(home, ps, first, second) }
		runs := 0
		if soak.On() && first.Name != "take" && second.Name != "take" {
			runs = stage.Every(play)
		} else {
			runs = soak.N(12, 2000)
			stage.Sample(runs, soak.Rand(t), play)
		}
		t.Logf("%d orders", runs)
	})
	t.Run("all", func(t *testing.T) {
		w, r := start(t), soak.Rand(t)
		stage, ps := interleave.New(t, w.url, len(wishes), w.process)
		home := w.process(w.url)
		stage.Sample(soak.N(30, 10_000), r, func() interleave.Play {
			who := slices.Clone(wishes)
			r.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
			return w.play(home, ps, who...)
		})
	})
}
