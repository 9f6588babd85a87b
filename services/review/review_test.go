package review_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

const path = "/api/v1/reviews"

func TestBothBecomeVisibleTogether(t *testing.T) {
	w := start(t)
	b := w.completed(w.client)[0]
	mine := w.write(w.asClient, b, 5)
	if mine.RevealedAt != nil || mine.Private == "" || mine.Category != "engineering" || mine.RevieweeID != w.worker {
		t.Errorf("%+v", mine)
	}
	if n := len(w.about("", w.worker)) + len(w.about(w.asWorker, w.worker)) + len(w.about(w.asAdmin, w.worker)); n != 0 {
		t.Errorf("%d can be read before both have written", n)
	}
	if list := w.about(w.asClient, w.worker); len(list) != 1 || list[0].RevealedAt != nil {
		t.Errorf("the author reads %+v", list)
	}
	w.rated(w.worker, `"averageRating":0.00,"totalReviews":0`)
	w.tells(b, "review.created")
	created, err := postgres.One[string](t.Context(), w.db, `SELECT data::text FROM outbox WHERE subject = $1`, b)
	if err != nil || strings.Contains(created, "rating") || strings.Contains(created, "Calm") {
		t.Errorf("told %s, %v", created, err)
	}

	theirs := w.write(w.asWorker, b, 4)
	if theirs.RevealedAt == nil || theirs.RevieweeID != w.client {
		t.Errorf("%+v", theirs)
	}
	w.rated(w.worker, `"averageRating":5.00,"totalReviews":1,"breakdown":{"1":0,"2":0,"3":0,"4":0,"5":1}`)
	w.rated(w.client, `"averageRating":4.00,"totalReviews":1`)
	w.tells(b, "review.created", "review.created", "review.revealed", "review.revealed")
	for _, as := range []string{"", w.asWorker, w.stranger} {
		list := w.about(as, w.worker)
		if len(list) != 1 || list[0].Private != "" || (list[0].BookingID != nil) != (as == w.asWorker) {
			t.Errorf("%+v", list)
		}
	}
	if list := w.about(w.asAdmin, w.worker); len(list) != 1 || list[0].Private == "" {
		t.Errorf("an admin reads %+v", list)
	}
	var e event.ReviewRevealed
	raw, err := postgres.One[string](t.Context(), w.db, `SELECT data::text FROM outbox WHERE type = 'review.revealed' AND data::jsonb ->> 'revieweeId' = $1`, w.worker.String())
	if err != nil || json.Unmarshal([]byte(raw), &e) != nil || e.Rating != 5 || e.Sum != 5 || e.Count != 1 || e.Version != 1 || e.ReviewID != mine.ID {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestRevealedAfterFourteenDays(t *testing.T) {
	w := start(t)
	b := w.completed(w.client)[0]
	at := w.clock.Now().Add(14 * 24 * time.Hour)
	w.write(w.asClient, b, 3)
	w.until(at.Add(-time.Microsecond))
	if n := len(w.about("", w.worker)); n != 0 {
		t.Errorf("%d can be read too early", n)
	}
	w.clock.Set(at.Add(time.Hour))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := w.service.Fire(context.Background(), w.clock.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list := w.about("", w.worker)
	if len(list) != 1 || list[0].RevealedAt == nil || !list[0].RevealedAt.Equal(at) {
		t.Errorf("%+v, want revealed at %v", list, at)
	}
	w.rated(w.worker, `"averageRating":3.00,"totalReviews":1`)
	w.write(w.asWorker, b, 5)
	w.rated(w.client, `"averageRating":5.00,"totalReviews":1`)
	w.rated(w.worker, `"averageRating":3.00,"totalReviews":1`)
	w.tells(b, "review.created", "review.revealed", "review.created", "review.revealed")
}

func TestWhoMayNotReview(t *testing.T) {
	w := start(t)
	b := w.completed(w.client)[0]
	cancelled, running, unheard, now := uuid.New(), uuid.New(), uuid.New(), w.clock.Now()
	w.bookings.know(func(k *bookings) {
		k.known[cancelled] = bookingAnswer{w.worker, w.client, "cancelled", nil, ""}
		k.known[running] = bookingAnswer{w.worker, w.client, "in_progress", nil, ""}
		k.known[unheard] = bookingAnswer{w.worker, w.client, "completed", &now, "plumbing"}
	})
	w.Calls(
		apitest.Call{What: "nobody", Path: path, Body: body(b, 5), Status: 401},
		apitest.Call{What: "a stranger", As: w.stranger, Path: path, Body: body(b, 1), Status: 404},
		apitest.Call{What: "a stranger to a booking that is not known here", As: w.stranger, Path: path, Body: body(unheard, 1), Status: 404},
		apitest.Call{What: "a stranger to a cancelled one", As: w.stranger, Path: path, Body: body(cancelled, 1), Status: 404},
		apitest.Call{What: "an admin", As: w.asAdmin, Path: path, Body: body(b, 1), Status: 403},
		apitest.Call{What: "a service", As: w.ServiceToken("booking", "review"), Path: path, Body: body(b, 1), Status: 403},
		apitest.Call{What: "no booking", As: w.asClient, Path: path, Body: body(uuid.New(), 5), Status: 404},
		apitest.Call{What: "a cancelled booking", As: w.asClient, Path: path, Body: body(cancelled, 1), Status: 409, Has: "not_completed"},
		apitest.Call{What: "one that is running", As: w.asWorker, Path: path, Body: body(running, 5), Status: 409, Has: "not_completed"},
		apitest.Call{What: "one that no event has told of yet", As: w.asClient, Path: path, Body: body(unheard, 5), Status: 201, Has: `"category":"plumbing"`},
		apitest.Call{What: "twice", As: w.asClient, Path: path, Body: body(unheard, 1), Status: 409, Has: "already_reviewed"},
	)
	w.bookings.know(func(k *bookings) { k.away = true })
	w.Calls(
		apitest.Call{What: "booking is away, the copy knows", As: w.asClient, Path: path, Body: body(b, 5), Status: 201},
		apitest.Call{What: "booking is away, nobody knows", As: w.asClient, Path: path, Body: body(uuid.New(), 5), Status: 503},
	)
}

func TestHostileReviews(t *testing.T) {
	w := start(t)
	b := w.completed(w.client)[0]
	with := func(key string, v any) map[string]any {
		m := body(b, 5)
		m[key] = v
		return m
	}
	for _, bad := range []map[string]any{
		with("rating", 0), with("rating", 6), with("rating", -1), with("rating", 4.5), with("rating", "5"), with("rating", 1e99), with("rating", nil),
		with("comment", strings.Repeat("ä", 2001)), with("private", strings.Repeat("x", 2001)), with("category", strings.Repeat("x", 61)), with("comment", "a\x00b"), with("comment", "\x1b[31m"), with("comment", "good\u202edab"),
		with("reviewerId", uuid.New()), with("revieweeId", w.client), with("revealedAt", monday), with("bookingId", "1"), with("bookingId", map[string]any{"$ne": nil}),
	} {
		w.Call(apitest.Call{What: "a bad review", As: w.asClient, Path: path, Body: bad, Status: 422})
	}
	w.Calls(
		apitest.Call{What: "no rating", As: w.asClient, Path: path, Body: map[string]any{"bookingId": b}, Status: 422},
		apitest.Call{What: "broken", As: w.asClient, Path: path, Body: `{"rating":`, Status: 400},
		apitest.Call{What: "as long as it may be, with marks", As: w.asClient, Path: path, Body: with("comment", "<script>alert(1)</script>"+strings.Repeat("ä", 1975)), Status: 201, HasNot: "<script>"},
		apitest.Call{What: "too far", Path: path + "/user/" + w.worker.String() + "?offset=10001", Status: 422},
		apitest.Call{What: "before the beginning", Path: path + "/user/" + w.worker.String() + "?offset=-1", Status: 422},
		apitest.Call{What: "too many", Path: path + "/user/" + w.worker.String() + "?limit=1000000000", Status: 422},
		apitest.Call{What: "no number", Path: path + "/user/" + w.worker.String() + "?limit=abc", Status: 422},
		apitest.Call{What: "no cursor of ours", Path: path + "/user/" + w.worker.String() + "?cursor=abc", Status: 400},
		apitest.Call{What: "no id", Path: path + "/stats/1", Status: 422},
		apitest.Call{What: "somebody unknown", Path: "/api/v1/badges/" + uuid.NewString(), Status: 200, Has: `"data":[]`},
	)
}

func TestOneKeyOneReview(t *testing.T) {
	w := start(t)
	b := w.completed(w.client)[0]
	call := apitest.Call{What: "with a key", As: w.asClient, Path: path, Body: body(b, 5), Key: "k", Status: 201}
	first := w.Call(call)
	if again := w.Call(call); !bytes.Equal(first.Body, again.Body) {
		t.Errorf("replay differs:\n%s\n%s", first.Body, again.Body)
	}
	call.Body, call.Status = body(b, 1), 422
	w.Call(call)
	w.tells(b, "review.created")
}

func TestTenTabsWriteOnce(t *testing.T) {
	w := start(t)
	b := w.completed(w.client)[0]
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range 10 {
		for _, as := range []string{w.asClient, w.asWorker} {
			all.Go(func() {
				a := w.Do(apitest.Call{As: as, Path: path, Body: body(b, 5)})
				mu.Lock()
				defer mu.Unlock()
				got[a.Status]++
			})
		}
	}
	all.Wait()
	if got[201] != 2 || got[409] != 18 {
		t.Errorf("%v, want 2 × 201 and 18 × 409", got)
	}
	w.rated(w.worker, `"totalReviews":1`)
	w.rated(w.client, `"totalReviews":1`)
}

// Many clients and the worker write at the same time, both sides of every booking, while the timer reveals: the numbers are exact.
func TestManyClientsAtOnce(t *testing.T) {
	w := start(t)
	var clients []uuid.UUID
	for range 60 {
		clients = append(clients, uuid.New())
	}
	bookings := w.completed(clients...)
	sum, stars := 0, [6]int{}
	var all sync.WaitGroup
	for i, b := range bookings {
		rating := 1 + i%5
		sum, stars[rating] = sum+rating, stars[rating]+1
		for as, rating := range map[string]int{w.Token("client", clients[i]): rating, w.asWorker: 5} {
			all.Go(func() {
				if a := w.Do(apitest.Call{As: as, Path: path, Body: body(b, rating)}); a.Status != 201 {
					t.Errorf("%s", a)
				}
			})
		}
		if i%10 == 0 {
			all.Go(func() {
				if err := w.service.Fire(context.Background(), w.clock.Now().Add(15*24*time.Hour)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	w.rated(w.worker, fmt.Sprintf(`"averageRating":3.00,"totalReviews":60,"breakdown":{"1":%d,"2":%d,"3":%d,"4":%d,"5":%d}`, stars[1], stars[2], stars[3], stars[4], stars[5]))
	told, err := postgres.All[string](t.Context(), w.db, `SELECT format('%s/%s@%s', data ->> 'sum', data ->> 'count', data ->> 'version')
		FROM (SELECT data::jsonb AS data FROM outbox WHERE type = 'review.revealed') e WHERE data ->> 'revieweeId' = $1 ORDER BY (data ->> 'version')::int`, w.worker.String())
	if err != nil || len(told) != 60 || told[59] != fmt.Sprintf("%d/60@60", sum) {
		t.Errorf("told %v, %v", told, err)
	}
	if a := w.about("", w.worker); len(a) != 20 {
		t.Errorf("%d on the first page", len(a))
	}
}

// give has n new clients rate the worker.
func (w *world) give(n, rating int) {
	w.t.Helper()
	var clients []uuid.UUID
	for range n {
		clients = append(clients, uuid.New())
	}
	for i, b := range w.completed(clients...) {
		w.write(w.Token("client", clients[i]), b, rating)
		w.write(w.asWorker, b, 5)
	}
}

func TestBadges(t *testing.T) {
	for name, steps := range map[string][]struct {
		n, rating int
		has       string
	}{
		"a rounded average is not enough": {{9, 5, ""}, {1, 5, "five_star_achiever"}, {1, 4, ""}, {38, 5, ""}, {1, 1, "top_performer"}, {2, 1, ""}, {47, 4, ""}, {40, 5, "trusted_professional"}},
		"exactly at the edges":            {{40, 5, "five_star_achiever"}, {9, 4, ""}, {1, 4, "top_performer"}, {10, 5, "top_performer"}, {39, 4, ""}, {1, 4, "trusted_professional"}, {1, 4, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			for i, step := range steps {
				w.give(step.n, step.rating)
				var list []struct{ Type string }
				w.Call(apitest.Call{What: "badges", Path: "/api/v1/badges/" + w.worker.String(), Status: 200}).Data(&list)
				var got []string
				for _, b := range list {
					got = append(got, b.Type)
				}
				if strings.Join(got, " ") != step.has {
					t.Errorf("step %d: badges %v, want %q", i, got, step.has)
				}
			}
			awarded, revoked := 0, 0
			for _, e := range w.told(w.worker) {
				switch e {
				case "badge.awarded":
					awarded++
				case "badge.revoked":
					revoked++
				}
			}
			if want := steps[len(steps)-1].has; awarded-revoked != len(strings.Fields(want)) || awarded != 3 {
				t.Errorf("%d awarded, %d revoked", awarded, revoked)
			}
		})
	}
}

func TestPages(t *testing.T) {
	w := start(t)
	var clients []uuid.UUID
	for range 7 {
		clients = append(clients, uuid.New())
	}
	for i, b := range w.completed(clients...) {
		w.clock.Advance(time.Minute)
		w.write(w.Token("client", clients[i]), b, 5)
		w.write(w.asWorker, b, 5)
	}
	user := path + "/user/" + w.worker.String()
	var byOffset, byCursor []string
	read := func(query string, into *[]string) string {
		a := w.Call(apitest.Call{What: "a page", Path: user + query, Status: 200, Has: `"total":7`})
		var page struct {
			Data []struct{ ID string }       `json:"data"`
			Meta struct{ NextCursor string } `json:"meta"`
		}
		if err := json.Unmarshal(a.Body, &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Data {
			*into = append(*into, r.ID)
		}
		return page.Meta.NextCursor
	}
	for offset := 0; offset < 7; offset += 3 {
		read(fmt.Sprintf("?limit=3&offset=%d", offset), &byOffset)
	}
	for cursor := read("?limit=3", &byCursor); cursor != ""; {
		cursor = read("?limit=3&cursor="+cursor, &byCursor)
	}
	if len(byOffset) != 7 || strings.Join(byOffset, " ") != strings.Join(byCursor, " ") {
		t.Errorf("by offset %v, by cursor %v", byOffset, byCursor)
	}
	w.deaf() // the inbox shares the pool
	for _, page := range []string{user, path + "/stats/" + w.worker.String(), "/api/v1/badges/" + w.worker.String()} {
		if n := pgtest.Trips(w.db, func() { w.Do(apitest.Call{Path: page}) }); n > 2 {
			t.Errorf("%s takes %d round trips", page, n)
		}
	}
}
