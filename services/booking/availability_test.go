package booking_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/services/booking"
)

func (w *world) slots(query string) []booking.Slot {
	w.t.Helper()
	var out []booking.Slot
	w.Call(apitest.Call{What: "slots " + query, Path: w.calendar("/slots?" + query), Status: 200}).Data(&out)
	return out
}

func TestWorkerInBerlinClientInNewYork(t *testing.T) {
	w := start(t)
	slots := w.slots("date=2026-03-10&duration=120&tz=America/New_York")
	if len(slots) != 13 {
		t.Fatalf("%d slots, want 13 (9:00 to 15:00 in Berlin, every half hour)", len(slots))
	}
	// Summer time has begun in New York and not in Berlin: five hours apart.
	first, last := slots[0], slots[12]
	if !first.Start.Equal(at(t, "2026-03-10T09:00:00+01:00")) || first.Local != "2026-03-10T04:00:00-04:00" || last.Local != "2026-03-10T10:00:00-04:00" {
		t.Errorf("from %v (%s) to %s", first.Start, first.Local, last.Local)
	}
	b := w.book(first.Start.Format(time.RFC3339), 120)
	if !b.Start.Equal(first.Start) || string(b.Amount) != "160.00" {
		t.Errorf("%+v", b)
	}
	for _, s := range w.slots("date=2026-03-10&duration=120&tz=America/New_York") {
		if s.Start.Before(at(t, "2026-03-10T11:15:00+01:00")) {
			t.Errorf("%s is offered", s.Local)
		}
	}
}

func TestListedIsBookableOverHTTP(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"minNotice": 60, "limits": map[string]any{"perDay": 3}, "overrides": []map[string]any{{"date": "2026-03-04", "windows": []any{map[string]any{"startTime": "22:00", "endTime": "02:00"}}}}})
	w.paid("2026-03-03T11:00:00+01:00", 60)
	listed := map[string]bool{}
	for _, s := range w.slots("from=2026-03-02T00:00:00Z&to=2026-03-06T00:00:00Z&duration=90") {
		listed[s.Start.UTC().Format(time.RFC3339)] = s.IsAvailable
	}
	if len(listed) == 0 {
		t.Fatal("nothing is listed")
	}
	for from := at(t, "2026-03-02T00:00:00Z"); from.Before(at(t, "2026-03-06T00:00:00Z")); from = from.Add(30 * time.Minute) {
		key := from.Format(time.RFC3339)
		var b booking.Answer
		a := w.Do(apitest.Call{As: w.asClient, Path: "/api/bookings", Body: w.body(key, 90)})
		if (a.Status == 201) != listed[key] {
			t.Errorf("%s is listed: %t, booking it answers %s", key, listed[key], a)
		}
		if a.Status == 201 {
			a.Data(&b)
			w.do(w.asClient, b, "cancel", 200)
		}
	}
}

func TestExplain(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"limits": map[string]any{"perDay": 1}, "overrides": []map[string]any{{"date": "2026-03-05", "windows": []any{}}}})
	w.paid("2026-03-03T11:00:00+01:00", 60)
	w.Call(apitest.Call{What: "block", As: w.asWorker, Path: w.calendar("/block"), Body: map[string]any{"startTime": "2026-03-04T12:00:00+01:00", "endTime": "2026-03-04T13:00:00+01:00", "reason": "dentist"}, Status: 201})
	full, public := w.calendar("/slots?from=2026-03-03&to=2026-03-05&explain=true"), w.calendar("/slots?from=2026-03-03&to=2026-03-05&explain=true")
	w.Calls(
		apitest.Call{What: "the worker reads why", As: w.asWorker, Path: full, Status: 200, Has: "Daily limit 1 of 1, set by you; this would add 1."},
		apitest.Call{What: "the worker reads the block's reason", As: w.asWorker, Path: full, Status: 200, Has: "dentist"},
		apitest.Call{What: "the worker reads of the override", As: w.asWorker, Path: full, Status: 200, Has: "Closed on 2026-03-05, set by you."},
		apitest.Call{What: "an admin too", As: w.asAdmin, Path: full, Status: 200, Has: "dentist"},
		apitest.Call{What: "others see a code", As: w.asClient, Path: public, Status: 200, Has: `"reason":"busy"`, HasNot: "dentist"},
		apitest.Call{What: "and no sentence", Path: public, Status: 200, Has: `"reason":"limit"`, HasNot: "explanation"},
		apitest.Call{What: "nor does a refused booking say", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-04T12:00:00+01:00", 60), Status: 409, HasNot: "dentist"},
		apitest.Call{What: "without explain only free times", As: w.asWorker, Path: w.calendar("/slots?from=2026-03-03&to=2026-03-05"), Status: 200, HasNot: `"isAvailable":false`},
	)
}

func TestBlocks(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-03T09:00:00+01:00", 60)
	block := func(what, from, to string, status int, has string) string {
		var made booking.BlockedSlot
		a := w.Call(apitest.Call{What: what, As: w.asWorker, Path: w.calendar("/block"), Body: map[string]any{"startTime": from, "endTime": to, "reason": "private"}, Status: status, Has: has})
		if a.Status == 201 {
			a.Data(&made)
		}
		return made.ID.String()
	}
	block("over a booking", "2026-03-03T08:00:00+01:00", "2026-03-03T12:00:00+01:00", 409, b.ID.String())
	block("over its buffer", "2026-03-03T10:05:00+01:00", "2026-03-03T12:00:00+01:00", 409, "Calm the cluster")
	one := block("beside it", "2026-03-03T10:15:00+01:00", "2026-03-03T12:00:00+01:00", 201, "private")
	block("over a block", "2026-03-03T11:00:00+01:00", "2026-03-03T13:00:00+01:00", 201, "")
	w.Calls(
		apitest.Call{What: "booking over a block", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T11:00:00+01:00", 60), Status: 409, Has: "busy"},
		apitest.Call{What: "list", As: w.asWorker, Path: w.calendar("/blocks"), Status: 200, Has: one},
		apitest.Call{What: "page", As: w.asWorker, Path: w.calendar("/blocks?limit=1"), Status: 200, Has: "nextCursor"},
		apitest.Call{What: "a client lists", As: w.asClient, Path: w.calendar("/blocks"), Status: 403},
		apitest.Call{What: "another worker lists", As: w.otherWorker, Path: w.calendar("/blocks"), Status: 404},
		apitest.Call{What: "another worker deletes", As: w.otherWorker, Method: "DELETE", Path: "/api/availability/worker/me/block/" + one, Status: 404},
		apitest.Call{What: "delete", As: w.asWorker, Method: "DELETE", Path: "/api/availability/worker/me/block/" + one, Status: 200},
		apitest.Call{What: "delete again", As: w.asWorker, Method: "DELETE", Path: "/api/availability/worker/me/block/" + one, Status: 404},
		apitest.Call{What: "in what it opened", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T10:30:00+01:00", 15), Status: 201},
		apitest.Call{What: "past", As: w.asWorker, Path: w.calendar("/block"), Body: map[string]any{"startTime": "2026-03-01T10:00:00Z", "endTime": "2026-03-01T11:00:00Z"}, Status: 422},
	)
	w.do(w.asClient, b, "cancel", 200)
	block("where a cancelled booking was", "2026-03-03T08:00:00+01:00", "2026-03-03T10:00:00+01:00", 201, "")
}

// A block eight hours before a time, or eight hours after the end of the last one that is listed, is in its buffers.
func TestListingSeesAsFarAsBuffersReach(t *testing.T) {
	w := start(t)
	weekly := []map[string]any{}
	for d := range 7 {
		weekly = append(weekly, map[string]any{"dayOfWeek": d, "startTime": "00:00", "endTime": "24:00"})
	}
	w.setHours(map[string]any{"timezone": "UTC", "weekly": weekly, "bufferBefore": 480, "bufferAfter": 480})
	w.Call(apitest.Call{What: "block", As: w.asWorker, Path: w.calendar("/block"), Body: map[string]any{"startTime": "2026-03-10T00:00:00Z", "endTime": "2026-03-10T00:10:00Z"}, Status: 201})
	for from, free := range map[string]bool{"2026-03-09T15:00:00Z": true, "2026-03-09T15:30:00Z": false, "2026-03-10T08:00:00Z": false, "2026-03-10T08:30:00Z": true} {
		list := w.slots("?duration=60&from=" + from + "&to=" + at(t, from).Add(time.Minute).Format(time.RFC3339))
		if len(list) == 1 != free {
			t.Errorf("%s is listed as %+v, free is %t", from, list, free)
		}
	}
}

func TestBlockRacesBooking(t *testing.T) {
	w := start(t)
	calls := []apitest.Call{}
	for range 12 {
		calls = append(calls,
			apitest.Call{As: w.newClient(), Path: "/api/bookings", Body: w.body("2026-03-03T09:00:00+01:00", 60)},
			apitest.Call{As: w.asWorker, Path: w.calendar("/block"), Body: map[string]any{"startTime": "2026-03-03T09:30:00+01:00", "endTime": "2026-03-03T09:45:00+01:00"}})
	}
	if got := w.race(calls); got[201] != 1 && got[201] != 12 || got[201]+got[409] != 24 {
		t.Errorf("%v, want one booking or twelve blocks", got)
	}
}

func TestRecurringBlock(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-05T12:00:00+01:00", 60)
	lunch := map[string]any{"startTime": "2026-03-02T12:00:00+01:00", "endTime": "2026-03-02T13:00:00+01:00", "reason": "lunch", "recurring": map[string]any{"daysOfWeek": []int{1, 2, 3, 4, 5}, "until": "2026-04-30"}}
	w.Call(apitest.Call{What: "over a booking", As: w.asWorker, Path: w.calendar("/block"), Body: lunch, Status: 409, Has: b.ID.String()})
	w.do(w.asWorker, b, "cancel", 200)
	w.Call(apitest.Call{What: "lunch", As: w.asWorker, Path: w.calendar("/block"), Body: lunch, Status: 201, Has: `"daysOfWeek":[1,2,3,4,5],"until":"2026-04-30"`})
	for _, c := range []struct {
		start  string
		status int
	}{
		{"2026-03-05T12:00:00+01:00", 409}, {"2026-03-05T11:00:00+01:00", 409}, {"2026-03-05T10:30:00+01:00", 201},
		{"2026-03-30T12:00:00+02:00", 409}, {"2026-03-31T13:00:00+02:00", 201}, // the same wall time in summer
	} {
		w.Call(apitest.Call{What: "book " + c.start, As: w.asClient, Path: "/api/bookings", Body: w.body(c.start, 60), Status: c.status})
	}
}

func TestAvailabilityIsPatched(t *testing.T) {
	w := start(t)
	var c booking.Calendar
	w.Call(apitest.Call{What: "get", Path: w.calendar(""), Status: 200, Has: `"timezone":"Europe/Berlin"`}).Data(&c)
	if len(c.Weekly) != 5 || c.BufferAfter != 15 || c.HorizonDays != 60 || c.SlotStep != 30 || c.Version != 1 {
		t.Errorf("%+v", c)
	}
	put := func(what string, body map[string]any, header map[string]string, status int, has string) {
		t.Helper()
		w.Call(apitest.Call{What: what, As: w.asWorker, Method: "PUT", Path: "/api/availability/worker/me", Body: body, Header: header, Status: status, Has: has})
	}
	put("one field; the rest stays", map[string]any{"slotStep": 15, "version": 1}, nil, 200, `"bufferAfter":15`)
	put("a version that is gone", map[string]any{"slotStep": 20, "version": 1}, nil, 409, "version_conflict")
	put("If-Match that is gone", map[string]any{"slotStep": 20}, map[string]string{"If-Match": `"1"`}, 409, "version_conflict")
	put("If-Match", map[string]any{"slotStep": 20, "limits": map[string]any{"perDay": 2}}, map[string]string{"If-Match": `"2"`}, 200, `"perDay":2`)
	put("null clears", map[string]any{"limits": nil}, nil, 200, `"limits":{}`)
	put("windows that overlap", map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 1, "startTime": "09:00", "endTime": "11:00"}, map[string]any{"dayOfWeek": 1, "startTime": "10:00", "endTime": "12:00"}}}, nil, 422, "overlap")
	put("a zone that is none", map[string]any{"timezone": "Local"}, nil, 422, "timezone")
	put("24:00", map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 1, "startTime": "18:00", "endTime": "24:00"}}}, nil, 200, `"endTime":"24:00"`)
	put("the next day", map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 1, "startTime": "22:00", "endTime": "06:00"}}}, nil, 200, `"endTime":"06:00"`)
	put("what was answered, sent back", func() map[string]any {
		var all map[string]any
		w.Call(apitest.Call{Path: w.calendar(""), Status: 200}).Data(&all)
		return all
	}(), nil, 200, "")
	w.Call(apitest.Call{What: "a client", As: w.asClient, Method: "PUT", Path: "/api/availability/worker/me", Body: map[string]any{"slotStep": 15}, Status: 403})
	w.Call(apitest.Call{What: "an unknown worker", Path: "/api/availability/worker/" + uuid.NewString(), Status: 404})
	w.Call(apitest.Call{What: "me, whoever that is", Path: "/api/availability/worker/me", Status: 401})
	var calls []apitest.Call
	for range 8 {
		calls = append(calls, apitest.Call{As: w.asWorker, Method: "PUT", Path: w.calendar(""), Body: map[string]any{"slotStep": 45, "version": 7}})
	}
	w.Call(apitest.Call{What: "the version", Path: w.calendar(""), Status: 200, Has: `"version":7`})
	if got := w.race(calls); got[200] != 1 || got[409] != 7 {
		t.Errorf("%v, want one 200 and 7 × 409", got)
	}
}

func TestWorkerWithoutProfileCanSetHours(t *testing.T) {
	w := start(t)
	id := uuid.New()
	as := w.Token("worker", id)
	w.Call(apitest.Call{What: "hours first", As: as, Method: "PUT", Path: "/api/availability/worker/me", Body: map[string]any{"weekly": []any{map[string]any{"dayOfWeek": 2, "startTime": "09:00", "endTime": "17:00"}}}, Status: 200, Has: `"timezone":"UTC"`})
	path := "/api/availability/worker/" + id.String() + "/slots?date=2026-03-03"
	w.Call(apitest.Call{What: "no offer, no slots", Path: path, Status: 200, Has: `"data":[]`})
	w.hear(id, event.WorkerUpdated{WorkerID: id, Rate: money.Of(5000, "EUR"), Timezone: "Europe/Berlin", Active: true, Version: 1})
	w.Call(apitest.Call{What: "with an offer", Path: path, Status: 200, Has: `"startTime":"2026-03-03T09:00:00Z"`})
}

func TestLimitsFollowTheZone(t *testing.T) {
	w := start(t)
	night := []map[string]any{}
	for d := range 7 {
		night = append(night, map[string]any{"dayOfWeek": d, "startTime": "00:00", "endTime": "24:00"})
	}
	w.setHours(map[string]any{"weekly": night, "limits": map[string]any{"perDay": 1}, "bufferAfter": 0})
	w.paid("2026-03-03T23:00:00+01:00", 60)
	w.Call(apitest.Call{What: "a second on the third in Berlin", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T10:00:00+01:00", 60), Status: 409, Has: "limit"})
	w.Call(apitest.Call{What: "move to Tokyo", As: w.asWorker, Method: "PUT", Path: w.calendar(""), Body: map[string]any{"timezone": "Asia/Tokyo"}, Status: 200})
	w.book("2026-03-03T10:00:00+09:00", 60)
	w.Call(apitest.Call{What: "in Tokyo it is the fourth", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-04T12:00:00+09:00", 60), Status: 409, Has: "limit"})
}

func TestCalendarChangesWhileBooking(t *testing.T) {
	w := start(t)
	var calls []apitest.Call
	for i := range 20 {
		start := at(t, "2026-03-03T08:00:00Z").AddDate(0, 0, 7*(i/4)).Add(time.Duration(i%4) * 2 * time.Hour)
		calls = append(calls, apitest.Call{As: w.newClient(), Path: "/api/bookings", Key: []string{"", "k"}[i%2], Body: w.body(start.Format(time.RFC3339), 60)})
		calls = append(calls, apitest.Call{As: w.asWorker, Method: "PUT", Path: w.calendar(""), Body: map[string]any{"minNotice": i}})
	}
	if got := w.race(calls); got[201]+got[200]+got[409] != 40 || got[201] == 0 {
		t.Errorf("%v", got)
	}
}

func TestClockChangeOverHTTP(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"weekly": []map[string]any{{"dayOfWeek": 0, "startTime": "01:00", "endTime": "04:00"}}, "bufferAfter": 0, "horizonDays": 300})
	var locals []string
	for _, s := range w.slots("date=2026-03-29&duration=60") {
		locals = append(locals, s.Local)
	}
	if got := strings.Join(locals, " "); got != "2026-03-29T01:00:00+01:00 2026-03-29T01:30:00+01:00 2026-03-29T03:00:00+02:00" {
		t.Errorf("when an hour is skipped: %s", got)
	}
	locals = nil
	for _, s := range w.slots("date=2026-10-25&duration=60") {
		locals = append(locals, s.Local)
	}
	if got := strings.Join(locals, " "); got != "2026-10-25T01:00:00+02:00 2026-10-25T01:30:00+02:00 2026-10-25T02:00:00+02:00 2026-10-25T02:30:00+02:00 2026-10-25T03:00:00+01:00" {
		t.Errorf("when an hour comes twice: %s", got)
	}
	w.Call(apitest.Call{What: "over the end of a short night", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-29T03:30:00+02:00", 60), Status: 422, Has: "outside_hours"})
	w.Call(apitest.Call{What: "the second of two", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-10-25T02:00:00+01:00", 60), Status: 422, Has: "outside_hours"})
	w.book("2026-10-25T02:30:00+02:00", 60)
}
