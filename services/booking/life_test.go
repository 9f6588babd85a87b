package booking_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tulifo/platform/api/apitest"
	"tulifo/services/booking"
)

// TestManyLives has people do whatever comes to their mind while time passes: nothing of it may break what always holds.
func TestManyLives(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := start(t)
			r := rand.New(rand.NewPCG(seed, 7))
			every := []map[string]any{}
			for d := range 7 {
				every = append(every, map[string]any{"dayOfWeek": d, "startTime": "06:00", "endTime": "23:00"})
			}
			w.setHours(map[string]any{"weekly": every, "bufferAfter": 10, "limits": map[string]any{"perDay": 5, "minutesPerWeek": 1500}})
			clients := []string{w.asClient}
			for range 4 {
				clients = append(clients, w.newClient())
			}
			type deal struct {
				booking.Answer
				as string
			}
			var deals []deal
			some := func() string {
				day := w.clock.Now().AddDate(0, 0, r.IntN(4)).Truncate(24 * time.Hour)
				return day.Add(time.Duration(5*60+30*r.IntN(34)) * time.Minute).Format(time.RFC3339)
			}
			answers := map[int]int{}
			do := func(c apitest.Call) apitest.Answer {
				a := w.Do(c)
				if answers[a.Status]++; a.Status >= 500 {
					t.Errorf("%s %s %v: %s", c.Method, c.Path, c.Body, a)
				}
				return a
			}
			for range 400 {
				switch kind := r.IntN(14); {
				case kind < 4 || len(deals) == 0:
					as := clients[r.IntN(len(clients))]
					if a := do(apitest.Call{As: as, Path: "/api/bookings", Body: w.body(some(), 30*(1+r.IntN(5)))}); a.Status == 201 {
						var b booking.Answer
						a.Data(&b)
						deals = append(deals, deal{b, as})
					}
				case kind == 4:
					w.clock.Advance(time.Duration(r.IntN(500)) * time.Minute)
				case kind == 5:
					if err := w.service.Fire(t.Context(), w.clock.Now()); err != nil {
						t.Error(err)
					}
				case kind == 6:
					from := at(t, some())
					body := map[string]any{"startTime": from, "endTime": from.Add(time.Hour)}
					if r.IntN(4) == 0 {
						body["recurring"] = map[string]any{"daysOfWeek": []int{r.IntN(7)}, "until": "2026-03-20"}
					}
					do(apitest.Call{As: w.asWorker, Path: w.calendar("/block"), Body: body})
				case kind == 7:
					zones := []string{"Europe/Berlin", "Asia/Kathmandu", "Pacific/Auckland", "America/Los_Angeles"}
					do(apitest.Call{As: w.asWorker, Method: "PUT", Path: w.calendar(""), Body: map[string]any{"timezone": zones[r.IntN(4)], "bufferBefore": 5 * r.IntN(3)}})
				default:
					x := deals[len(deals)-1-r.IntN(min(8, len(deals)))]
					as := []string{x.as, w.asWorker}[r.IntN(2)]
					if r.IntN(2) == 0 {
						w.near.know(func(n *neighbours) { n.paid[x.ID] = w.clock.Now() })
					}
					action := []string{"confirm", "confirm", "cancel", "start", "complete", "no-show", "no-show/contest", "reschedule", "reschedule/accept"}[r.IntN(9)]
					c := apitest.Call{As: as, Method: "POST", Path: "/api/bookings/" + x.ID.String() + "/" + action, Key: []string{"", "k"}[r.IntN(2)]}
					switch action {
					case "reschedule":
						c.Body = map[string]any{"startTime": some()}
					case "no-show/contest":
						c.Body = map[string]any{"reason": "I was there."}
					}
					do(c)
				}
			}
			w.check()
			if answers[201] == 0 || answers[200] == 0 || answers[409] == 0 {
				t.Errorf("too little happened: %v", answers)
			}
			reached := map[booking.Status]int{}
			for _, x := range deals {
				var b booking.Answer
				w.Call(apitest.Call{As: x.as, Path: "/api/bookings/" + x.ID.String(), Status: 200}).Data(&b)
				reached[b.Status]++
			}
			if !slices.Contains([]bool{reached[booking.Completed] > 0, reached[booking.Cancelled] > 0}, true) {
				t.Errorf("no booking ended: %v", reached)
			}
			t.Logf("%v %v", answers, reached)
		})
	}
}
