package booking_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/postgres/pgtest"
	"tulifo/services/booking"
)

func TestCreate(t *testing.T) {
	w := start(t)
	path := "/api/bookings"
	free := "2026-03-03T09:00:00+01:00"
	w.Calls(
		apitest.Call{What: "as a worker", As: w.asWorker, Path: path, Body: w.body(free, 120), Status: 403},
		apitest.Call{What: "as nobody", Path: path, Body: w.body(free, 120), Status: 401},
		apitest.Call{What: "with another rate", As: w.asClient, Path: path, Body: with(w.body(free, 120), "hourlyRate", 70), Status: 422, Has: "hourlyRate"},
		apitest.Call{What: "with another price", As: w.asClient, Path: path, Body: with(w.body(free, 120), "totalAmount", 150), Status: 409, Has: `"totalAmount":"160.00"`},
		apitest.Call{What: "with a price that is too fine", As: w.asClient, Path: path, Body: with(w.body(free, 120), "totalAmount", 160.001), Status: 422, Has: "totalAmount"},
		apitest.Call{What: "that ends before it starts", As: w.asClient, Path: path, Body: w.body(free, -60), Status: 422, Has: `"endTime":"is not after startTime"`},
		apitest.Call{What: "with a status of his own", As: w.asClient, Path: path, Body: with(w.body(free, 120), "status", "confirmed"), Status: 422},
		apitest.Call{What: "before hours", As: w.asClient, Path: path, Body: w.body("2026-03-03T08:00:00+01:00", 60), Status: 422, Has: "outside_hours"},
		apitest.Call{What: "off the grid", As: w.asClient, Path: path, Body: w.body("2026-03-03T09:10:00+01:00", 60), Status: 422, Has: "outside_hours"},
		apitest.Call{What: "of an unknown worker", As: w.asClient, Path: path, Body: with(w.body(free, 60), "workerId", uuid.New()), Status: 404},
		apitest.Call{What: "at the right price", As: w.asClient, Path: path, Body: with(with(w.body(free, 120), "totalAmount", 160), "hourlyRate", 80.00), Status: 201, Has: `"totalAmount":160.00,"currency":"USD","category":"engineering","status":"pending"`},
		apitest.Call{What: "what is taken", As: w.asClient, Path: path, Body: w.body("2026-03-03T10:00:00+01:00", 60), Status: 409, Has: `"busy"`},
		apitest.Call{What: "within the buffer", As: w.asClient, Path: path, Body: w.body("2026-03-03T11:00:00+01:00", 60), Status: 409, Has: `"busy"`},
		apitest.Call{What: "after the buffer", As: w.asClient, Path: path, Body: w.body("2026-03-03T11:30:00+01:00", 60), Status: 201},
	)
	b := w.book("2026-03-04T09:00:00+01:00", 120)
	w.tells(b, "booking.created", `"amount":{"currency":"USD","minor":16000}`)
	if want := w.clock.Now().Add(24 * time.Hour); b.ExpiresAt == nil || !b.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", b.ExpiresAt, want)
	}
}

func TestInstantBookingIsConfirmedAtOnce(t *testing.T) {
	w := start(t)
	w.workerUpdate.InstantBooking, w.workerUpdate.Version = true, 2
	w.hear(w.worker, w.workerUpdate)
	b := w.book("2026-03-03T09:00:00+01:00", 60)
	if b.Status != booking.Confirmed || !b.PayBy.Equal(w.clock.Now().Add(30*time.Minute)) {
		t.Errorf("%s, to be paid by %v", b.Status, b.PayBy)
	}
	w.tells(b, "booking.confirmed", `"payBy"`)
	w.until("2026-03-02T07:31:00Z")
	if b = w.get(b); b.Status != booking.Cancelled || b.Cause != "unpaid" {
		t.Errorf("half an hour later: %s by %s", b.Status, b.Cause)
	}
}

func TestUnverifiedClientIsAskedAboutBeforeHeIsRefused(t *testing.T) {
	w := start(t)
	id := uuid.New()
	as := w.Token("client", id)
	w.Call(apitest.Call{What: "unverified", As: as, Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 403, Has: "email_unverified"})
	w.near.know(func(n *neighbours) { n.verified[id] = true })
	w.Call(apitest.Call{What: "verified just now", As: as, Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 201})
	w.near.know(func(n *neighbours) { n.away = true })
	w.Call(apitest.Call{What: "auth is away, the copy knows", As: as, Path: "/api/bookings", Body: w.body("2026-03-04T09:00:00+01:00", 60), Status: 201})
	w.Call(apitest.Call{What: "auth is away, nobody knows", As: w.stranger, Path: "/api/bookings", Body: w.body("2026-03-05T09:00:00+01:00", 60), Status: 503})
	heard := uuid.New()
	w.hear(heard, event.UserCreated{UserID: heard, Role: "client"}, event.UserVerified{UserID: heard})
	w.Call(apitest.Call{What: "auth is away, an event told", As: w.Token("client", heard), Path: "/api/bookings", Body: w.body("2026-03-05T09:00:00+01:00", 60), Status: 201})
}

func TestInactiveWorkerTakesNoBookings(t *testing.T) {
	w := start(t)
	w.workerUpdate.Active, w.workerUpdate.Version = false, 2
	old := w.workerUpdate
	w.hear(w.worker, w.workerUpdate)
	w.Call(apitest.Call{What: "inactive", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 409, Has: "inactive"})
	w.Call(apitest.Call{What: "nothing is listed", Path: w.calendar("/slots?date=2026-03-03"), Status: 200, Has: `"data":[]`})
	old.Active, old.Version = true, 1
	w.hear(w.worker, old)
	w.Call(apitest.Call{What: "an older event changes nothing", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 409, Has: "inactive"})
}

func TestSlotsOfAnOfferThatNoEventHasToldOfYet(t *testing.T) {
	w := start(t)
	slots := func(what, has string) {
		t.Helper()
		w.Call(apitest.Call{What: what, Path: w.calendar("/slots?date=2026-03-03"), Status: 200, Has: has})
	}
	offer := w.workerUpdate
	offer.Active, offer.Version = false, 2
	w.hear(w.worker, offer)
	w.near.know(func(n *neighbours) { n.away = true })
	slots("its owner is away", `"data":[]`)
	offer.Active, offer.Version = true, 3
	w.near.know(func(n *neighbours) { n.away, n.offers[w.worker] = false, offer })
	slots("asked for", `"startTime":"2026-03-03T`)
	w.near.know(func(n *neighbours) { n.away = true })
	slots("kept", `"startTime":"2026-03-03T`)
}

// race sends calls at the same time and counts the statuses.
func (w *world) race(calls []apitest.Call) map[int]int {
	var mu sync.Mutex
	got := map[int]int{}
	var all sync.WaitGroup
	gate := make(chan struct{})
	for _, c := range calls {
		all.Go(func() {
			<-gate
			a := w.Do(c)
			mu.Lock()
			defer mu.Unlock()
			if got[a.Status]++; a.Status >= 500 {
				w.t.Errorf("%s", a)
			}
		})
	}
	close(gate)
	all.Wait()
	return got
}

func TestTwoHundredFiftySixClientsOneSlot(t *testing.T) {
	w := start(t)
	var calls []apitest.Call
	for range 256 {
		calls = append(calls, apitest.Call{As: w.newClient(), Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 120)})
	}
	if got := w.race(calls); got[201] != 1 || got[409] != 255 {
		t.Errorf("%v, want one 201 and 255 × 409", got)
	}
}

func TestOverlappingTimesInTheSameMoment(t *testing.T) {
	w := start(t)
	var calls []apitest.Call
	for i := range 60 {
		start := at(t, "2026-03-03T08:00:00Z").Add(time.Duration(i%12) * 30 * time.Minute)
		calls = append(calls, apitest.Call{As: w.newClient(), Path: "/api/bookings", Body: w.body(start.Format(time.RFC3339), 90)})
	}
	if got := w.race(calls); got[201] == 0 || got[201]+got[409] != 60 {
		t.Errorf("%v", got)
	}
}

func TestLimitOfOneADayCannotRace(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"limits": map[string]any{"perDay": 1}, "weekly": []map[string]any{{"dayOfWeek": 2, "startTime": "00:00", "endTime": "24:00"}}, "bufferAfter": 0})
	var calls []apitest.Call
	for i := range 64 {
		start := at(t, "2026-03-03T00:00:00+01:00").Add(time.Duration(i%16) * time.Hour)
		calls = append(calls, apitest.Call{As: w.newClient(), Path: "/api/bookings", Body: w.body(start.Format(time.RFC3339), 60)})
	}
	if got := w.race(calls); got[201] != 1 || got[409] != 63 {
		t.Errorf("%v, want one 201 and 63 × 409", got)
	}
}

func TestTooManyHoldsCannotRace(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"bufferAfter": 0})
	var calls []apitest.Call
	for i := range 16 {
		start := at(t, "2026-03-03T08:00:00Z").Add(time.Duration(i%4)*2*time.Hour).AddDate(0, 0, i/4)
		calls = append(calls, apitest.Call{As: w.asClient, Path: "/api/bookings", Body: w.body(start.Format(time.RFC3339), 60)})
	}
	if got := w.race(calls); got[201] != 3 || got[409] != 13 {
		t.Errorf("%v, want 3 × 201 and 13 × 409", got)
	}
	w.Call(apitest.Call{What: "the fourth", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-09T09:00:00+01:00", 60), Status: 409, Has: "too_many_holds"})
}

func TestTenHoldsInAll(t *testing.T) {
	w := start(t)
	last := 0
	for n := range 4 {
		id := uuid.New()
		as := w.Token("worker", id)
		w.near.know(func(near *neighbours) {
			near.offers[id] = event.WorkerUpdated{WorkerID: id, Rate: money.Of(5000, "EUR"), Timezone: "Europe/Berlin", Active: true, Version: 1}
		})
		w.Call(apitest.Call{What: "hours", As: as, Method: "PUT", Path: "/api/availability/worker/me", Body: map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 2, "startTime": "09:00", "endTime": "17:00"}}}, Status: 200})
		for h := range 3 {
			start := at(t, "2026-03-03T08:00:00Z").Add(time.Duration(2*h) * time.Hour)
			a := w.Do(apitest.Call{As: w.asClient, Path: "/api/bookings", Body: with(w.body(start.Format(time.RFC3339), 60), "workerId", id)})
			if last = 3*n + h + 1; (a.Status == 201) != (last <= 10) || last > 10 && a.Code() != "too_many_holds" {
				t.Errorf("booking %d: %s", last, a)
			}
		}
	}
}

func TestPayingGivesAHoldBack(t *testing.T) {
	w := start(t)
	w.book("2026-03-03T09:00:00+01:00", 60)
	w.book("2026-03-03T10:30:00+01:00", 60)
	w.paid("2026-03-03T12:00:00+01:00", 60)
	b := w.book("2026-03-03T13:30:00+01:00", 60)
	w.Call(apitest.Call{What: "a fourth unpaid one", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-04T09:00:00+01:00", 60), Status: 409, Has: "too_many_holds"})
	w.do(w.asClient, b, "cancel", 200)
	w.book("2026-03-04T09:00:00+01:00", 60)
}

func TestIdempotencyKey(t *testing.T) {
	w := start(t)
	call := apitest.Call{What: "first", As: w.asClient, Path: "/api/bookings", Key: "k-1", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 201}
	first := w.Call(call)
	for range 3 {
		if again := w.Call(call); !bytes.Equal(first.Body, again.Body) || again.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Errorf("the replay differs:\n%s\n%s", first.Body, again.Body)
		}
	}
	call.Body, call.Status = w.body("2026-03-03T13:00:00+01:00", 60), 422
	w.Call(call)
	var calls []apitest.Call
	for range 16 {
		calls = append(calls, apitest.Call{As: w.asClient, Path: "/api/bookings", Key: "k-2", Body: w.body("2026-03-04T09:00:00+01:00", 60)})
	}
	if got := w.race(calls); got[201] != 16 {
		t.Errorf("twins: %v", got)
	}
	w.Call(apitest.Call{What: "a key of somebody else", As: w.newClient(), Path: "/api/bookings", Key: "k-1", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 409})
	var b booking.Answer
	first.Data(&b)
	confirm := apitest.Call{What: "confirm", As: w.asWorker, Method: "POST", Path: "/api/bookings/" + b.ID.String() + "/confirm", Key: "c", Status: 200}
	if one, two := w.Call(confirm), w.Call(confirm); !bytes.Equal(one.Body, two.Body) {
		t.Errorf("the replay of an action differs:\n%s\n%s", one.Body, two.Body)
	}
}

func TestRoundTrips(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-03T09:00:00+01:00", 60) // local copies are there from now on
	trips := func(what string, most int64, c apitest.Call) {
		t.Helper()
		if n := pgtest.Trips(w.db, func() { w.Call(c) }); n > most {
			t.Errorf("%s took %d round trips, want at most %d", what, n, most)
		}
	}
	trips("a booking with its key", 3, apitest.Call{As: w.asClient, Path: "/api/bookings", Key: "k", Body: w.body("2026-03-03T11:00:00+01:00", 60), Status: 201})
	trips("a booking", 3, apitest.Call{As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T13:00:00+01:00", 60), Status: 201})
	trips("a refused one", 1, apitest.Call{As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 409})
	trips("a confirmation", 3, apitest.Call{As: w.asWorker, Method: "POST", Path: "/api/bookings/" + b.ID.String() + "/confirm", Status: 200})
	for _, path := range []string{"/api/bookings", "/api/bookings?status=pending", "/api/bookings/" + b.ID.String(), "/api/bookings/" + b.ID.String() + "/ics"} {
		trips(path, 2, apitest.Call{As: w.asClient, Path: path, Status: 200})
	}
	for _, path := range []string{"", "/slots?date=2026-03-04", "/slots?from=2026-03-02&to=2026-05-01&explain=true", "/blocks"} {
		trips(path, 2, apitest.Call{As: w.asWorker, Path: w.calendar(path), Status: 200})
	}
}

func TestListAndEdit(t *testing.T) {
	w := start(t)
	w.paid("2026-03-03T09:00:00+01:00", 60)
	w.paid("2026-03-04T09:00:00+01:00", 60)
	b := w.book("2026-03-05T09:00:00+01:00", 60)
	var seen []booking.Answer
	path := "/api/bookings?limit=2"
	for path != "" {
		a := w.Call(apitest.Call{What: "a page", As: w.asClient, Path: path, Status: 200})
		var page []booking.Answer
		a.Data(&page)
		seen = append(seen, page...)
		path = ""
		if _, rest, more := strings.Cut(string(a.Body), `"nextCursor":"`); more {
			cursor, _, _ := strings.Cut(rest, `"`)
			path = "/api/bookings?limit=2&cursor=" + cursor
		}
	}
	if len(seen) != 3 || seen[0].ID != b.ID {
		t.Errorf("pages show %d bookings", len(seen))
	}
	one := "/api/bookings/" + b.ID.String()
	w.Calls(
		apitest.Call{What: "by status", As: w.asWorker, Path: "/api/bookings?status=pending", Status: 200, Has: b.ID.String()},
		apitest.Call{What: "by time", As: w.asWorker, Path: "/api/bookings?from=2026-03-05&to=2026-03-06", Status: 200, Has: b.ID.String()},
		apitest.Call{What: "by a time without any", As: w.asWorker, Path: "/api/bookings?from=2026-03-06", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "on the other side", As: w.asWorker, Path: "/api/bookings?role=client", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "a stranger's list", As: w.stranger, Path: "/api/bookings", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "an admin's list", As: w.asAdmin, Path: "/api/bookings", Status: 200, Has: b.ID.String()},
		apitest.Call{What: "for another service", As: w.ServiceToken("payment", "booking"), Path: one, Status: 200, Has: b.ID.String()},
		apitest.Call{What: "edit", As: w.asClient, Method: "PUT", Path: one, Body: map[string]any{"notes": "bring tea", "meetingUrl": "https://meet.example/x"}, Status: 200, Has: "bring tea"},
		apitest.Call{What: "absent stays, null clears", As: w.asWorker, Method: "PUT", Path: one, Body: map[string]any{"meetingUrl": nil}, Status: 200, Has: `"meetingUrl":"","notes":"bring tea"`},
		apitest.Call{What: "an old version", As: w.asWorker, Method: "PUT", Path: one, Body: map[string]any{"notes": "x", "version": 1}, Status: 409},
		apitest.Call{What: "an old version in the header", As: w.asWorker, Method: "PUT", Path: one, Body: map[string]any{"notes": "x"}, Header: map[string]string{"If-Match": `"1"`}, Status: 409, Has: "changed"},
		apitest.Call{What: "the version in the header", As: w.asWorker, Method: "PUT", Path: one, Body: map[string]any{"notes": "bring tea"}, Header: map[string]string{"If-Match": `"3"`}, Status: 200, Has: `"version":4`},
		apitest.Call{What: "a script as address", As: w.asClient, Method: "PUT", Path: one, Body: map[string]any{"meetingUrl": "javascript:alert(1)"}, Status: 422},
		apitest.Call{What: "no title", As: w.asClient, Method: "PUT", Path: one, Body: map[string]any{"title": nil}, Status: 422},
		apitest.Call{What: "a server-owned field", As: w.asClient, Method: "PUT", Path: one, Body: map[string]any{"totalAmount": 1}, Status: 422},
		apitest.Call{What: "by an admin", As: w.asAdmin, Method: "PUT", Path: one, Body: map[string]any{"notes": "x"}, Status: 403},
	)
}

func TestStrangersSeeNothing(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-03T09:00:00+01:00", 60)
	one := "/api/bookings/" + b.ID.String()
	bodies := map[string]any{"/no-show/contest": map[string]any{"reason": "I was there"}, "/reschedule": map[string]any{"startTime": "2026-03-04T09:00:00+01:00"}}
	for _, as := range []string{w.stranger, w.otherWorker} {
		for _, action := range []string{"/confirm", "/cancel", "/start", "/complete", "/no-show", "/no-show/contest", "/reschedule", "/reschedule/accept"} {
			if a := w.Do(apitest.Call{As: as, Method: "POST", Path: one + action, Body: bodies[action]}); a.Status != 404 && a.Status != 403 {
				t.Errorf("%s: %s", action, a)
			}
		}
		w.Calls(
			apitest.Call{What: "get", As: as, Path: one, Status: 404},
			apitest.Call{What: "ics", As: as, Path: one + "/ics", Status: 404},
			apitest.Call{What: "put", As: as, Method: "PUT", Path: one, Body: map[string]any{"notes": "x"}, Status: 404},
		)
		for _, c := range []apitest.Call{
			{Method: "PUT", Path: w.calendar(""), Body: map[string]any{"slotStep": 15}},
			{Method: "POST", Path: w.calendar("/block"), Body: map[string]any{"startTime": "2026-03-04T09:00:00Z", "endTime": "2026-03-04T10:00:00Z"}},
			{Method: "GET", Path: w.calendar("/blocks")}, {Method: "DELETE", Path: w.calendar("/block/" + uuid.NewString())},
		} {
			if c.As = as; true {
				if a := w.Do(c); a.Status != 404 && a.Status != 403 {
					t.Errorf("%s %s: %s", c.Method, c.Path, a)
				}
			}
		}
	}
	w.Calls(
		apitest.Call{What: "a booking that is not there", As: w.stranger, Path: "/api/bookings/" + uuid.NewString(), Status: 404},
		apitest.Call{What: "nobody", Path: one, Status: 401}, apitest.Call{What: "nobody's ics", Path: one + "/ics", Status: 401},
		apitest.Call{What: "a mediator", As: w.Token("support", uuid.New()), Path: one, Status: 403},
		apitest.Call{What: "an admin confirms", As: w.asAdmin, Method: "POST", Path: one + "/confirm", Status: 403},
	)
	same := func(path string) string {
		body := string(w.Do(apitest.Call{As: w.stranger, Path: path}).Body)
		body, _, _ = strings.Cut(body, "requestId")
		return body
	}
	if a, b := same(one), same("/api/bookings/"+uuid.NewString()); a != b {
		t.Errorf("a stranger can tell a booking from none: %s, %s", a, b)
	}
}

func TestHostileInput(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-03T09:00:00+01:00", 60)
	long := strings.Repeat("x", 1<<16)
	free := func() map[string]any { return w.body("2026-03-04T09:00:00+01:00", 60) }
	times := func(from, to string) map[string]any { return with(with(free(), "startTime", from), "endTime", to) }
	bodies := []any{
		"{", "null", "[]", `"x"`, "{}", `{"workerId":1}`, strings.Repeat("[", 10000), free(), with(free(), "title", long), with(free(), "title", "a\x00b"), with(free(), "title", "good\u202edab"), with(free(), "title", "   "),
		with(free(), "description", long), with(free(), "workerId", "x"), with(free(), "workerId", nil), with(free(), "projectId", "1"), with(free(), "hourlyRate", "80"),
		with(free(), "hourlyRate", -1), with(free(), "totalAmount", 1e300), with(free(), "totalAmount", 0), with(free(), "workerId", w.client), with(free(), "$ne", nil),
		times("2026-03-04T09:00:00+01:00", "2036-03-04T09:00:00+01:00"), times("2026-03-04T09:00:00+01:00", "2026-03-04T09:01:00+01:00"),
		times("2020-03-04T09:00:00+01:00", "2020-03-04T10:00:00+01:00"), times("2026-03-04T09:00:00+01:00", "2026-03-04T09:00:00+01:00"),
		times("2026-03-04T10:00:00+01:00", "2026-03-04T09:00:00+01:00"), times("2026-03-04T23:00:00+01:00", "2026-03-05T01:00:00+01:00"),
		times("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), times("0000-01-01T00:00:00Z", "0000-01-01T01:00:00Z"), times("9999-12-31T22:00:00Z", "9999-12-31T23:00:00Z"),
		times("2026-03-04T09:00:00.5+01:00", "2026-03-04T10:00:00.5+01:00"), times("2026-13-40T09:00:00Z", "yesterday"), times("", ""),
		map[string]any{"reason": long}, map[string]any{"reason": "\x00\x1b[31m"}, map[string]any{"startTime": "0000-01-01T00:00:00Z"}, map[string]any{"startTime": "9999-12-31T23:59:59Z"},
		map[string]any{"notes": "\x00"}, map[string]any{"meetingUrl": "http://x"}, map[string]any{"meetingUrl": "https://" + long}, map[string]any{"version": -1},
		map[string]any{"version": 1e30}, map[string]any{"timezone": "Mars/Olympus"}, map[string]any{"timezone": "../../etc/passwd"}, map[string]any{"timezone": ""}, map[string]any{"timezone": "Local"}, map[string]any{"timezone": "\x00"},
		map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 7, "startTime": "09:00", "endTime": "10:00"}}}, map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 1, "startTime": "25:00", "endTime": "26:00"}}},
		map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 1, "startTime": "09:00", "endTime": "11:00"}, map[string]any{"dayOfWeek": 1, "startTime": "09:00", "endTime": "10:00"}}},
		map[string]any{"weekly": nil}, map[string]any{"limits": map[string]any{"perDay": -1}}, map[string]any{"slotStep": 0}, map[string]any{"slotStep": 1}, map[string]any{"horizonDays": 1e9}, map[string]any{"slotLengths": []int{0}},
		map[string]any{"slotLengths": []int{1 << 40}}, map[string]any{"overrides": []any{map[string]any{"date": "2026-02-30", "windows": []any{}}}}, map[string]any{"overrides": []any{map[string]any{"date": "0000-01-01", "windows": []any{}}}},
		map[string]any{"overrides": []any{map[string]any{"date": "2026-03-04", "windows": []any{}}, map[string]any{"date": "2026-03-04", "windows": []any{}}}},
		map[string]any{"startTime": "2026-03-04T09:00:00Z", "endTime": "2026-03-04T08:00:00Z"}, map[string]any{"startTime": "0000-01-01T00:00:00Z", "endTime": "9999-12-31T00:00:00Z"},
		map[string]any{"startTime": "2026-03-07T09:00:00Z", "endTime": "2026-03-07T10:00:00Z", "recurring": map[string]any{"daysOfWeek": []int{9}}},
		map[string]any{"startTime": "2026-03-07T09:00:00Z", "endTime": "2026-03-17T10:00:00Z", "recurring": map[string]any{"daysOfWeek": []int{1}}},
		map[string]any{"startTime": "2026-03-07T09:00:00Z", "endTime": "2026-03-07T10:00:00Z", "recurring": map[string]any{"daysOfWeek": []int{6}, "until": "9999-99-99"}},
		map[string]any{"startTime": "2026-03-07T09:00:00Z", "endTime": "2026-03-07T10:00:00Z", "reason": long},
		bytes.Repeat([]byte(" "), 2<<20), []byte{0xff, 0xfe},
	}
	one := "/api/bookings/" + b.ID.String()
	routes := []apitest.Call{{Method: "POST", Path: "/api/bookings"}, {Method: "PUT", Path: one}, {Method: "PUT", Path: w.calendar("")}, {Method: "POST", Path: w.calendar("/block")}, {Method: "POST", Path: "/api/bookings/calendar"}}
	for _, action := range []string{"/confirm", "/start", "/complete", "/no-show", "/no-show/contest", "/reschedule", "/reschedule/accept", "/cancel"} {
		routes = append(routes, apitest.Call{Method: "POST", Path: one + action}, apitest.Call{Method: "POST", Path: "/api/bookings/not-a-uuid" + action})
	}
	for _, r := range routes {
		for _, as := range []string{w.asClient, w.asWorker} {
			for _, body := range bodies {
				r.As, r.Body = as, body
				if a := w.Do(r); a.Status >= 500 {
					t.Errorf("%s %s with %.120v: %s", r.Method, r.Path, body, a)
				} else if a.Status >= 400 && !strings.Contains(string(a.Body), `"success":false`) {
					t.Errorf("%s %s: no envelope: %s", r.Method, r.Path, a)
				} else if strings.Contains(string(a.Body), long) {
					t.Errorf("%s %s echoes what was sent", r.Method, r.Path)
				}
			}
		}
	}
	for _, path := range []string{
		"/api/bookings?limit=0", "/api/bookings?limit=1e9", "/api/bookings?limit=abc", "/api/bookings?limit=-1", "/api/bookings?cursor=%00", "/api/bookings?cursor=" + strings.Repeat("A", 600), "/api/bookings?cursor=W10",
		"/api/bookings?status=x", "/api/bookings?role=admin", "/api/bookings?from=x", "/api/bookings?to=99999-01-01", "/api/bookings/x", "/api/bookings/%00", "/api/bookings/" + long[:300], "/api/bookings/x/ics", one + "/x",
		"/api/bookings/calendar/%00.ics", "/api/bookings/calendar/x.ics", "/api/bookings/calendar/" + long[:200] + ".ics",
		"/api/availability/worker/x", "/api/availability/worker/%00/slots", w.calendar("/slots?tz=Nowhere"), w.calendar("/slots?tz=%00"), w.calendar("/slots?tz=../../etc/passwd"), w.calendar("/slots?from=2026-03-02&to=2027-03-02"),
		w.calendar("/slots?from=0000-01-01&to=0000-01-02"), w.calendar("/slots?from=9999-12-31"), w.calendar("/slots?from=8999-12-31&explain=true"), w.calendar("/slots?date=2026-02-30"), w.calendar("/slots?duration=-5"),
		w.calendar("/slots?duration=99999999999999999999"), w.calendar("/slots?duration=7&explain=true"), w.calendar("/slots?from=2026-03-05&to=2026-03-04"), w.calendar("/slots?explain=maybe"), w.calendar("/blocks?cursor=x"), w.calendar("/blocks?limit=101"),
	} {
		for _, as := range []string{w.asClient, w.asWorker, ""} {
			if a := w.Do(apitest.Call{As: as, Path: path}); a.Status >= 500 || a.Status >= 400 && !strings.Contains(string(a.Body), `"success":false`) {
				t.Errorf("%s: %s", path, a)
			}
		}
	}
	w.Call(apitest.Call{What: "a block that is no id", As: w.asWorker, Method: "DELETE", Path: w.calendar("/block/x"), Status: 422})
	w.Call(apitest.Call{What: "nothing was lost", As: w.asClient, Path: one, Status: 200})
}

func TestCalendarFiles(t *testing.T) {
	w := start(t)
	var b booking.Answer
	body := with(w.body("2026-03-03T09:00:00+01:00", 60), "title", "Tea; and\nBEGIN:VEVENT, cake")
	w.Call(apitest.Call{What: "book", As: w.asClient, Path: "/api/bookings", Body: body, Status: 201}).Data(&b)
	one := "/api/bookings/" + b.ID.String()
	a := w.Call(apitest.Call{What: "ics", As: w.asWorker, Path: one + "/ics", Status: 200, Has: "DTSTART:20260303T080000Z"})
	if n := strings.Count(string(a.Body), "\nBEGIN:VEVENT"); n != 1 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/calendar") {
		t.Errorf("%d events: %s", n, a.Body)
	}
	feed := func() string {
		var f booking.Feed
		w.Call(apitest.Call{What: "new feed", As: w.asClient, Method: "POST", Path: "/api/bookings/calendar", Status: 201, Has: "https://tulifo.test/api/bookings/calendar/"}).Data(&f)
		return strings.TrimPrefix(f.URL, "https://tulifo.test")
	}
	first := feed()
	w.Call(apitest.Call{What: "the feed", Path: first, Status: 200, Has: b.ID.String()})
	second := feed()
	w.Calls(
		apitest.Call{What: "the old address", Path: first, Status: 404},
		apitest.Call{What: "the new address", Path: second, Status: 200, Has: b.ID.String()},
		apitest.Call{What: "close it", As: w.asClient, Method: "DELETE", Path: "/api/bookings/calendar", Status: 200},
		apitest.Call{What: "closed", Path: second, Status: 404},
	)
}

func TestTheWorldIsPriced(t *testing.T) {
	for _, c := range []struct {
		rate    money.Amount
		minutes int
		has     string
	}{
		{money.Of(10, "USD"), 15, `"totalAmount":0.03`}, {money.Of(1035, "USD"), 20, `"totalAmount":3.45`}, {money.Of(5000, "JPY"), 90, `"totalAmount":7500,`}, {money.Of(12345, "KWD"), 60, `"totalAmount":12.350`},
	} {
		t.Run(fmt.Sprint(c.rate, c.minutes), func(t *testing.T) {
			w := start(t)
			w.workerUpdate.Rate, w.workerUpdate.Version = c.rate, 2
			w.hear(w.worker, w.workerUpdate)
			w.Call(apitest.Call{What: "price", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", c.minutes), Status: 201, Has: c.has})
		})
	}
}
