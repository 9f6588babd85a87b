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
	"tulifo/platform/token"
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
	p.Server = apitest.New(w.t, apitest.Options{Service: "booking", Register: p.service.Routes, DB: db, Keys: w.Keys, Revocations: w.news()})
	return p
}

// news of sessions, of which there are none, keep coming however long a soak goes on.
func (w *world) news() *token.Revocations {
	r := token.NewRevocations()
	go r.Follow(w.t.Context(), nil, func(context.Context, time.Time) ([]token.Revoked, error) { return nil, nil })
	return r
}

// wish is what somebody wants of a pending booking in the last moment before it expires; it says whether he was told yes.
type wish struct {
	name string
	do   func(w *world, p *process, b booking.Answer) bool
}

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
	{"confirm", func(w *world, p *process, b booking.Answer) bool { return w.moves(p, "worker", w.worker, b, "confirm") }},
	{"cancel", func(w *world, p *process, b booking.Answer) bool { return w.moves(p, "client", w.client, b, "cancel") }},
	{"expire", func(w *world, p *process, b booking.Answer) bool {
		if err := p.service.Fire(context.Background(), *b.ExpiresAt); err != nil {
			w.t.Errorf("fire: %v", err)
		}
		return true
	}},
	{"decline", func(w *world, p *process, b booking.Answer) bool { return w.moves(p, "worker", w.worker, b, "cancel") }},
	{"take", func(w *world, p *process, b booking.Answer) bool {
		rival := uuid.New()
		w.near.know(func(n *neighbours) { n.verified[rival] = true })
		return w.asks(p, w.Token("client", rival), "/api/bookings", w.body(b.Start.Format(time.RFC3339), 60), 201)
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
	yes := make([]bool, len(who))
	out := interleave.Play{After: func(steps string) {
		if err := w.lawful(b, who, yes); err != nil {
			w.t.Errorf("%v %v: %v after\n%s", who, yes, err, steps)
		}
		for _, id := range w.live() {
			home.Do(apitest.Call{As: w.Token("admin", uuid.New()), Method: "POST", Path: "/api/bookings/" + id.String() + "/cancel"})
		}
		if left := w.live(); len(left) > 0 {
			w.t.Fatalf("%d bookings stay", len(left))
		}
	}}
	for i, one := range who {
		out.Acts = append(out.Acts, func() { yes[i] = one.do(w, ps[i], b) })
	}
	return out
}

func (w wish) String() string { return w.name }

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
func (w *world) lawful(b booking.Answer, who []wish, yes []bool) error {
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
	won := map[string]int{}
	for i, r := range who {
		if yes[i] {
			won[r.name]++
		}
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
	n := soak.N(3, len(wishes))
	for i, first := range wishes[:n] {
		for _, second := range wishes[i:n] {
			t.Run(first.name+" × "+second.name, func(t *testing.T) {
				w := start(t)
				stage := interleave.New(t, w.url, 2)
				ps, home := []*process{w.process(stage.URL(0)), w.process(stage.URL(1))}, w.process(w.url)
				play := func() interleave.Play { return w.play(home, ps, first, second) }
				runs := 0
				if soak.On() && first.name != "take" && second.name != "take" {
					runs = stage.Every(play)
				} else {
					runs = soak.N(12, 2000)
					stage.Sample(runs, soak.Rand(t), play)
				}
				t.Logf("%d orders", runs)
			})
		}
	}
	t.Run("all", func(t *testing.T) {
		w, r := start(t), soak.Rand(t)
		stage := interleave.New(t, w.url, len(wishes))
		var ps []*process
		for i := range wishes {
			ps = append(ps, w.process(stage.URL(i)))
		}
		home := w.process(w.url)
		stage.Sample(soak.N(30, 10_000), r, func() interleave.Play {
			who := slices.Clone(wishes)
			r.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
			return w.play(home, ps, who...)
		})
	})
}
