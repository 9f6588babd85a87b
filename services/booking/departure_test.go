package booking_test

import (
	"testing"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/postgres/pgtest/interleave"
	"tulifo/platform/soak"
	"tulifo/services/booking"
)

const peoplePath = "/api/bookings/people/"

// closes asks, as auth does, that somebody neither books nor is booked any more; it answers whether nothing tied him.
func (w *world) closes(s *apitest.Server, who uuid.UUID) bool {
	w.t.Helper()
	var found booking.Ties
	a := s.Do(apitest.Call{As: w.ServiceToken("auth", "booking"), Method: "POST", Path: peoplePath + who.String() + "/close"})
	if a.Status != 200 {
		w.t.Errorf("closing is answered %s", a)
		return false
	}
	a.Data(&found)
	return len(found.Reasons) == 0
}

// liveOf counts the bookings that somebody has before him, on either side.
func (w *world) liveOf(who uuid.UUID) int64 {
	w.t.Helper()
	return w.number(`SELECT count(*) FROM bookings WHERE $1 IN (worker_id, client_id) AND status IN ('pending', 'confirmed', 'in_progress')`, who)
}

// A closed account books nothing and is booked by nobody, alone or as a series, whatever is heard of its offer; opened again, it is as before.
func TestClosedAccountBooksNothing(t *testing.T) {
	w := start(t)
	one := w.body("2026-03-05T09:00:00+01:00", 60)
	series := func() map[string]any { return w.series("2026-03-09T09:00:00+01:00", 60, 3, "fit") }
	for _, c := range []struct {
		what   string
		who    uuid.UUID
		status int
	}{{"a worker", w.worker, 409}, {"a client", w.client, 403}} {
		if !w.closes(w.Server, c.who) {
			t.Fatalf("%s is tied", c.what)
		}
		w.Call(apitest.Call{What: c.what, As: w.asClient, Path: "/api/bookings", Body: one, Status: c.status})
		w.Call(apitest.Call{What: c.what + ", a series", As: w.asClient, Path: seriesPath, Body: series(), Status: c.status})
		w.hear(w.worker, w.workerUpdate)
		w.Call(apitest.Call{What: c.what + ", after news of the offer", As: w.asClient, Path: "/api/bookings", Body: one, Status: c.status})
		if n := w.liveOf(c.who); n != 0 {
			t.Errorf("%s has %d bookings", c.what, n)
		}
		w.Call(apitest.Call{What: "open again", As: w.ServiceToken("auth", "booking"), Method: "POST", Path: peoplePath + c.who.String() + "/reopen", Status: 200})
		b := w.book("2026-03-05T09:00:00+01:00", 60)
		if w.closes(w.Server, c.who) {
			t.Errorf("%s is closed with a booking", c.what)
		}
		w.do(w.asClient, b, "cancel", 200)
	}
	for _, as := range []string{w.asClient, w.asWorker, w.asAdmin} {
		w.Call(apitest.Call{What: "people close nobody", As: as, Method: "POST", Path: peoplePath + w.client.String() + "/close", Status: 403})
	}
}

// Every order of the statements of a departure with those of a booking, a series, the last cancellation and the first news of an offer: an account is
// closed, or it has bookings, and what auth is told is what is so.
func TestEveryOrderOfDepartureAndBooking(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*world) booking.Answer
		other  func(*world, *process, booking.Answer)
	}{
		{"series", nil, func(w *world, p *process, _ booking.Answer) {
			if a := p.Do(apitest.Call{As: w.Token("client", w.client), Path: seriesPath, Body: w.series(w.wished(), 60, 3, "fit")}); a.Status != 201 && a.Status != 409 && a.Status != 403 {
				w.t.Errorf("a series is answered %s", a)
			}
		}},
		{"booking", nil, func(w *world, p *process, _ booking.Answer) {
			if a := p.Do(apitest.Call{As: w.Token("client", w.client), Path: "/api/bookings", Body: w.body(w.wished(), 60)}); a.Status != 201 && a.Status != 409 && a.Status != 403 {
				w.t.Errorf("a booking is answered %s", a)
			}
		}},
		{"cancellation", func(w *world) booking.Answer { return w.book(w.wished(), 60) }, func(w *world, p *process, b booking.Answer) {
			w.moves(p, "client", w.client, b, "cancel")
		}},
	} {
		for _, side := range []string{"worker", "client"} {
			t.Run(side+" × "+c.name, func(t *testing.T) {
				w := start(t)
				who := w.client
				stage, ps := interleave.New(t, w.url, 2, w.process)
				if b := w.book(w.wished(), 60); true { // local copies are there from now on
					w.do(w.asClient, b, "cancel", 200)
				}
				play := func() interleave.Play {
					if side == "worker" {
						who = w.worker
					}
					var b booking.Answer
					if c.before != nil {
						b = c.before(w)
					}
					var closed bool
					return interleave.Play{
						Acts: []func(){func() { closed = w.closes(ps[0].Server, who) }, func() { c.other(w, ps[1], b) }},
						After: func(steps string) {
							live := w.liveOf(who)
							shut := w.number(`SELECT count(*) FROM holds WHERE client_id = $1 AND closed`, who) == 1
							if closed != shut || closed && live > 0 {
								w.t.Errorf("auth was told that it is closed: %v, it is: %v, with %d bookings, after\n%s", closed, shut, live, steps)
							}
							w.Call(apitest.Call{What: "open again", As: w.ServiceToken("auth", "booking"), Method: "POST", Path: peoplePath + who.String() + "/reopen", Status: 200})
							for _, id := range w.live() {
								w.Do(apitest.Call{As: w.Token("admin", uuid.New()), Method: "POST", Path: "/api/bookings/" + id.String() + "/cancel"})
							}
							w.workerUpdate.Version++
							w.near.know(func(n *neighbours) { n.offers[w.worker] = w.workerUpdate })
							w.hear(w.worker, w.workerUpdate)
						},
					}
				}
				stage.Sample(soak.N(8, 2000), soak.Rand(t), play)
			})
		}
	}
}

// A worker of whom nothing was heard yet opens a calendar, with a token that is still good, while her account is closed: nobody books her afterwards.
func TestDepartureRacingTheFirstNewsOfAnOffer(t *testing.T) {
	w := start(t)
	stage, ps := interleave.New(t, w.url, 2, w.process)
	stage.Sample(soak.N(12, 2000), soak.Rand(t), func() interleave.Play {
		worker := uuid.New()
		offer := event.WorkerUpdated{WorkerID: worker, Title: "Engineer", Rate: money.Of(8000, "USD"), Timezone: "Europe/Berlin", Active: true, Version: 1}
		w.near.know(func(n *neighbours) { n.offers[worker] = offer })
		body := with(w.body("2026-03-06T12:00:00+01:00", 60), "workerId", worker)
		var closed bool
		return interleave.Play{
			Acts: []func(){func() { closed = w.closes(ps[0].Server, worker) }, func() {
				ps[1].Do(apitest.Call{As: w.Token("worker", worker), Method: "PUT", Path: "/api/availability/worker/" + worker.String(),
					Body: map[string]any{"timezone": "Europe/Berlin", "weekly": []map[string]any{{"dayOfWeek": 5, "startTime": "09:00", "endTime": "17:00"}}}})
				ps[1].Do(apitest.Call{As: w.asClient, Path: "/api/bookings", Body: body})
			}},
			After: func(steps string) {
				if live := w.liveOf(worker); closed == (live > 0) {
					w.t.Errorf("closed: %v, with %d bookings, after\n%s", closed, live, steps)
				}
				for _, id := range w.live() {
					w.Do(apitest.Call{As: w.asAdmin, Method: "POST", Path: "/api/bookings/" + id.String() + "/cancel"})
				}
			},
		}
	})
}
