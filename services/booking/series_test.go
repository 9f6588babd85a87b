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
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/services/booking"
)

const seriesPath = "/api/bookings/series"

func (w *world) series(start string, minutes, weeks int, mode string) map[string]any {
	b := w.body(start, minutes)
	b["weeks"], b["mode"] = weeks, mode
	return b
}

func (w *world) bookSeries(start string, weeks int, mode string) booking.SeriesAnswer {
	w.t.Helper()
	var x booking.SeriesAnswer
	w.Call(apitest.Call{What: "a series", As: w.asClient, Path: seriesPath, Body: w.series(start, 60, weeks, mode), Status: 201}).Data(&x)
	return x
}

func (w *world) callOff(x booking.SeriesAnswer) {
	w.t.Helper()
	w.Call(apitest.Call{What: "it is called off", As: w.asClient, Method: "POST", Path: seriesPath + "/" + x.ID.String() + "/cancel", Status: 200})
}

func TestSeriesIsBookingsAtTheSameWallTime(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"horizonDays": 200})
	x := w.bookSeries("2026-03-17T09:00:00+01:00", 4, "all")
	var starts []string
	for _, b := range x.Bookings {
		starts = append(starts, b.Start.Format("01-02T15:04"))
		if b.SeriesID == nil || *b.SeriesID != x.ID || b.Status != booking.Pending || string(b.Amount) != "80.00" {
			t.Errorf("%+v", b)
		}
	}
	if got := strings.Join(starts, " "); got != "03-17T08:00 03-24T08:00 03-31T07:00 04-07T07:00" || len(x.Refused) > 0 {
		t.Errorf("starts %s, want 9:00 in Berlin across the change of the clocks; refused %v", got, x.Refused)
	}
	for i, b := range x.Bookings {
		w.tells(b, "booking.created", fmt.Sprintf(`"n":%d,"of":4`, i+1))
	}
	a := w.Call(apitest.Call{What: "its bookings", As: w.asClient, Path: "/api/bookings?seriesId=" + x.ID.String(), Status: 200})
	if n := strings.Count(string(a.Body), `"seriesId":"`+x.ID.String()); n != 4 {
		t.Errorf("%d bookings of the series in the list", n)
	}
	w.callOff(x)
	w.Call(apitest.Call{What: "by its dates", As: w.asClient, Path: seriesPath, Status: 201, Body: func() any {
		b := w.body("2026-03-18T09:00:00+01:00", 60)
		b["dates"], b["mode"] = []string{"2026-04-01", "2026-03-18", "2026-03-19"}, "all"
		return b
	}()})
}

func TestSeriesAllOrNothingAndWhatFits(t *testing.T) {
	w := start(t)
	w.book("2026-03-17T10:00:00+01:00", 60)
	w.Call(apitest.Call{What: "a block", As: w.asWorker, Path: w.calendar("/block"), Body: map[string]any{"startTime": "2026-03-24T00:00:00Z", "endTime": "2026-03-24T20:00:00Z", "reason": "secret"}, Status: 201})
	a := w.Call(apitest.Call{What: "all", As: w.asClient, Path: seriesPath, Body: w.series("2026-03-10T10:00:00+01:00", 60, 4, "all"), Status: 409, Has: `"code":"not_all_free"`, HasNot: "secret"})
	for _, want := range []string{`"2026-03-17T09:00:00Z":"busy: `, `"2026-03-24T09:00:00Z":"busy: `} {
		if !strings.Contains(string(a.Body), want) {
			t.Errorf("%s is not in %s", want, a.Body)
		}
	}
	if n := w.number(`SELECT count(*) FROM bookings`); n != 1 {
		t.Errorf("%d bookings after a series that could not be had", n)
	}
	x := w.bookSeries("2026-03-10T10:00:00+01:00", 4, "fit")
	if len(x.Bookings) != 2 || len(x.Refused) != 2 || x.Refused[0].Code != "busy" || !x.Refused[0].Start.Equal(at(t, "2026-03-17T09:00:00Z")) {
		t.Errorf("%d booked, refused %v", len(x.Bookings), x.Refused)
	}
	w.Call(apitest.Call{What: "nothing fits", As: w.asClient, Path: seriesPath, Body: w.series("2026-03-10T10:00:00+01:00", 60, 4, "fit"), Status: 409, Has: "not_all_free"})
	w.Call(apitest.Call{What: "past the horizon", As: w.asClient, Path: seriesPath, Body: w.series("2026-03-10T12:00:00+01:00", 60, 26, "all"), Status: 409, Has: "horizon: "})
}

func (w *world) number(sql string, args ...any) int64 {
	w.t.Helper()
	n, err := postgres.One[int64](w.t.Context(), w.db, sql, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Limits see the bookings of the series itself: two a week are let in, of three.
func TestSeriesOverALimitOfTheWeek(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"limits": map[string]any{"perWeek": 2}})
	body := w.body("2026-03-10T09:00:00+01:00", 60)
	body["dates"] = []string{"2026-03-10", "2026-03-11", "2026-03-12", "2026-03-17"}
	w.Call(apitest.Call{What: "all", As: w.asClient, Path: seriesPath, Body: with(body, "mode", "all"), Status: 409, Has: `"2026-03-12T08:00:00Z":"limit: `})
	var x booking.SeriesAnswer
	w.Call(apitest.Call{What: "fit", As: w.asClient, Path: seriesPath, Body: with(body, "mode", "fit"), Status: 201}).Data(&x)
	if len(x.Bookings) != 3 || len(x.Refused) != 1 || x.Refused[0].Code != "limit" {
		t.Errorf("%d booked, refused %v", len(x.Bookings), x.Refused)
	}
}

func TestSeriesRefusesHostileInput(t *testing.T) {
	w := start(t)
	free := "2026-03-10T09:00:00+01:00"
	dates := func(d ...string) map[string]any {
		return with(with(w.body(free, 60), "dates", d), "mode", "all")
	}
	for what, body := range map[string]map[string]any{
		"one week":             w.series(free, 60, 1, "all"),
		"27 weeks":             w.series(free, 60, 27, "all"),
		"a million weeks":      w.series(free, 60, 1_000_000, "all"),
		"fewer than none":      w.series(free, 60, -5, "all"),
		"neither":              with(w.body(free, 60), "mode", "all"),
		"both":                 with(dates("2026-03-10", "2026-03-11"), "weeks", 2),
		"no mode":              with(w.body(free, 60), "weeks", 2),
		"another mode":         w.series(free, 60, 2, "most"),
		"a date twice":         dates("2026-03-10", "2026-03-10"),
		"a date that is none":  dates("2026-03-10", "2026-02-30"),
		"another first date":   dates("2026-03-11", "2026-03-12"),
		"a date before":        dates("2026-03-03", "2026-03-10"),
		"a date years ahead":   dates("2026-03-10", "2029-03-10"),
		"a date of year 9999":  dates("2026-03-10", "9999-12-31"),
		"27 dates":             dates(strings.Split(strings.Repeat("2026-03-10,", 26)+"2026-03-10", ",")...),
		"backwards":            w.series(free, -60, 2, "all"),
		"ten years long":       w.series(free, 10*365*1440, 2, "all"),
		"seconds":              w.series("2026-03-10T09:00:30+01:00", 60, 2, "all"),
		"another rate":         with(w.series(free, 60, 2, "all"), "hourlyRate", 1),
		"an id of his own":     with(w.series(free, 60, 2, "all"), "seriesId", uuid.New()),
		"a status of his own":  with(w.series(free, 60, 2, "all"), "status", "confirmed"),
		"a title that is none": with(w.series(free, 60, 2, "all"), "title", " a "),
	} {
		w.Call(apitest.Call{What: what, As: w.asClient, Path: seriesPath, Body: body, Status: 422})
	}
	w.Calls(
		apitest.Call{What: "as a worker", As: w.asWorker, Path: seriesPath, Body: w.series(free, 60, 2, "all"), Status: 403},
		apitest.Call{What: "as nobody", Path: seriesPath, Body: w.series(free, 60, 2, "all"), Status: 401},
		apitest.Call{What: "unverified", As: w.stranger, Path: seriesPath, Body: w.series(free, 60, 2, "all"), Status: 403, Has: "email_unverified"},
		apitest.Call{What: "of nobody", As: w.asClient, Path: seriesPath, Body: with(w.series(free, 60, 2, "all"), "workerId", uuid.New()), Status: 404},
		apitest.Call{What: "a list of no series", As: w.asClient, Path: "/api/bookings?seriesId=x", Status: 422},
	)
	if n := w.number(`SELECT count(*) FROM bookings`); n != 0 {
		t.Errorf("%d bookings", n)
	}
}

// A series counts as one of the unpaid bookings that a client may have, until the last of it is paid or gone.
func TestSeriesHoldsAsOne(t *testing.T) {
	w := start(t)
	x := w.bookSeries("2026-03-09T09:00:00+01:00", 6, "all")
	w.book("2026-03-10T09:00:00+01:00", 60)
	w.book("2026-03-10T11:00:00+01:00", 60)
	w.Call(apitest.Call{What: "a fourth", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-10T13:00:00+01:00", 60), Status: 409, Has: "too_many_holds"})
	w.Call(apitest.Call{What: "another series", As: w.asClient, Path: seriesPath, Body: w.series("2026-03-11T09:00:00+01:00", 60, 3, "fit"), Status: 409, Has: "too_many_holds"})
	for _, b := range x.Bookings[:5] {
		w.do(w.asClient, b, "cancel", 200)
	}
	w.Call(apitest.Call{What: "with one left of it", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-10T13:00:00+01:00", 60), Status: 409, Has: "too_many_holds"})
	w.do(w.asClient, x.Bookings[5], "cancel", 200)
	w.Call(apitest.Call{What: "with none left of it", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-10T13:00:00+01:00", 60), Status: 201})
	y := w.number(`SELECT count(*) FROM bookings WHERE status = 'pending'`)
	w.until("2026-03-03T08:00:00Z")
	if left := w.number(`SELECT coalesce(sum(held), 0)::bigint FROM holds`); y != 3 || left != 0 {
		t.Errorf("%d pending, %d held after they have expired", y, left)
	}
}

// Series count as one booking each, and yet nobody holds months of a worker's calendar with several that he does not pay, asked for at once or in turn.
func TestUnpaidSeriesDoNotHoldAWholeCalendar(t *testing.T) {
	w := start(t)
	w.setHours(map[string]any{"horizonDays": 200})
	answers := make([]apitest.Answer, 3)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = w.Do(apitest.Call{As: w.asClient, Path: seriesPath, Body: w.series(fmt.Sprintf("2026-03-%02dT09:00:00+01:00", 9+i), 60, 20, "fit")})
		})
	}
	wg.Wait()
	var made booking.SeriesAnswer
	for _, a := range answers {
		switch a.Status {
		case 201:
			a.Data(&made)
		case 409:
			if !bytes.Contains(a.Body, []byte("too_many_holds")) {
				t.Errorf("%s", a.Body)
			}
		default:
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if n := w.number(`SELECT count(*) FROM series`); n != 1 {
		t.Fatalf("%d unpaid series of one client with one worker", n)
	}
	w.callOff(made)
	w.Call(apitest.Call{What: "another one then", As: w.asClient, Path: seriesPath, Body: w.series("2026-03-09T09:00:00+01:00", 60, 20, "fit"), Status: 201})
}

// The last two of a series leave it at the same moment, again and again: the hold is given back once.
func TestSeriesLeftByAllAtOnceGivesItsHoldBackOnce(t *testing.T) {
	w := start(t)
	for range 4 {
		x := w.bookSeries("2026-03-09T09:00:00+01:00", 6, "all")
		var wg sync.WaitGroup
		for _, b := range x.Bookings {
			wg.Go(func() {
				w.Do(apitest.Call{As: w.asClient, Method: "POST", Path: "/api/bookings/" + b.ID.String() + "/cancel"})
			})
		}
		wg.Go(func() {
			w.Do(apitest.Call{As: w.asWorker, Method: "POST", Path: seriesPath + "/" + x.ID.String() + "/cancel"})
		})
		wg.Wait()
		if held := w.number(`SELECT sum(held)::bigint FROM holds`); held != 0 {
			t.Errorf("%d held", held)
		}
	}
}

func TestSeriesReplayedByItsKeyIsOne(t *testing.T) {
	w := start(t)
	call := apitest.Call{What: "with a key", As: w.asClient, Path: seriesPath, Key: "series", Body: w.series("2026-03-09T09:00:00+01:00", 60, 3, "all"), Status: 201}
	var answers [8][]byte
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = w.Call(call).Body })
	}
	wg.Wait()
	for _, a := range answers {
		if !bytes.Equal(a, answers[0]) {
			t.Errorf("replays differ:\n%s\n%s", a, answers[0])
		}
	}
	if n := w.number(`SELECT count(*) FROM bookings`); n != 3 {
		t.Errorf("%d bookings, want 3", n)
	}
	call.Body, call.Status = w.series("2026-03-09T09:00:00+01:00", 60, 4, "all"), 422
	w.Call(call)
}

// 16 series of all or nothing and 16 single bookings fight for the same weeks: whatever comes out, no series is torn and no time is sold twice.
func TestSeriesRaceSingleBookings(t *testing.T) {
	w := start(t)
	const clients = 32
	as := make([]string, clients)
	for i := range as {
		as[i] = w.newClient()
	}
	w.book("2026-03-09T16:00:00+01:00", 60) // local copies are there from now on
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c := apitest.Call{As: as[i], Path: seriesPath, Key: fmt.Sprint(i), Body: w.series(fmt.Sprintf("2026-03-09T%02d:00:00+01:00", 9+i%4), 90, 5, map[bool]string{true: "all", false: "fit"}[i%3 > 0])}
			if i%2 == 1 {
				c.Path, c.Body = "/api/bookings", w.body(fmt.Sprintf("2026-03-%02dT%02d:30:00+01:00", 9+7*(i%3), 9+i%4), 60)
			}
			if a := w.Do(c); a.Status != 201 && a.Status != 409 {
				t.Errorf("%d: %s", i, a)
			}
		})
	}
	wg.Wait()
	torn := w.number(`SELECT count(*) FROM series s WHERE s.held <> (SELECT count(*) FROM bookings b WHERE b.series_id = s.id)`)
	made := w.number(`SELECT count(*) FROM bookings`)
	if torn > 0 || made < 6 {
		t.Errorf("%d torn series, %d bookings", torn, made)
	}
}

func TestSeriesIsConfirmedAndCancelledAtOnce(t *testing.T) {
	w := start(t)
	x := w.bookSeries("2026-03-09T09:00:00+01:00", 4, "all")
	path := seriesPath + "/" + x.ID.String()
	for what, c := range map[string]apitest.Call{
		"a stranger confirms":        {As: w.otherWorker, Path: path + "/confirm", Status: 404},
		"a stranger cancels":         {As: w.stranger, Path: path + "/cancel", Status: 404},
		"another worker cancels":     {As: w.otherWorker, Path: path + "/cancel", Status: 404},
		"the client confirms":        {As: w.asClient, Path: path + "/confirm", Status: 403},
		"nobody":                     {Path: path + "/cancel", Status: 401},
		"no such series":             {As: w.asWorker, Path: seriesPath + "/" + uuid.NewString() + "/confirm", Status: 404},
		"a booking's id":             {As: w.asWorker, Path: seriesPath + "/" + x.Bookings[0].ID.String() + "/confirm", Status: 404},
		"no id":                      {As: w.asWorker, Path: seriesPath + "/1/confirm", Status: 422},
		"starts that are not it":     {As: w.asWorker, Path: path + "/confirm", Body: map[string]any{"startTimes": []string{"2026-03-09T09:00:00Z"}}, Status: 409, Has: "changed"},
		"a reason that is too long":  {As: w.asClient, Path: path + "/cancel", Body: map[string]any{"reason": strings.Repeat("x", 501)}, Status: 422},
		"the status among the input": {As: w.asWorker, Path: path + "/confirm", Body: map[string]any{"status": "completed"}, Status: 422},
	} {
		c.What, c.Method = what, "POST"
		w.Call(c)
	}
	w.do(w.asClient, x.Bookings[3], "cancel", 200)
	var after booking.SeriesAnswer
	w.Call(apitest.Call{What: "confirm", As: w.asWorker, Method: "POST", Path: path + "/confirm", Status: 200}).Data(&after)
	if len(after.Bookings) != 3 || after.Bookings[2].Status != booking.Confirmed || after.Bookings[0].PayBy == nil {
		t.Errorf("%+v", after)
	}
	w.tells(x.Bookings[1], "booking.confirmed", `"n":2,"of":3`)
	w.Call(apitest.Call{What: "confirm again", As: w.asWorker, Method: "POST", Path: path + "/confirm", Status: 409})
	// The first is paid and near, so it costs half; the others are far.
	for _, b := range after.Bookings {
		w.pay(b)
	}
	w.clock.Set(at(t, "2026-03-08T12:00:00Z"))
	w.Call(apitest.Call{What: "cancel", As: w.asClient, Method: "POST", Path: path + "/cancel", Body: map[string]any{"reason": "moved away"}, Status: 200}).Data(&after)
	var shares []string
	for _, b := range after.Bookings {
		shares = append(shares, fmt.Sprintf("%s %s/%s", b.Status, b.Shares.Client, b.Shares.Worker))
	}
	if got := strings.Join(shares, ", "); got != "cancelled 40.00/40.00, cancelled 80.00/0.00, cancelled 80.00/0.00" {
		t.Errorf("%s", got)
	}
	w.Call(apitest.Call{What: "cancel again", As: w.asClient, Method: "POST", Path: path + "/cancel", Status: 409})
}

// Cancelling races confirming, of the series and of its bookings: each booking goes one way.
func TestSeriesCancelRacesConfirm(t *testing.T) {
	w := start(t)
	for range 3 {
		x := w.bookSeries("2026-03-09T09:00:00+01:00", 5, "all")
		path := seriesPath + "/" + x.ID.String()
		var wg sync.WaitGroup
		for _, c := range []apitest.Call{{As: w.asClient, Path: path + "/cancel"}, {As: w.asWorker, Path: path + "/confirm"},
			{As: w.asWorker, Path: "/api/bookings/" + x.Bookings[3].ID.String() + "/confirm"}, {As: w.asClient, Path: "/api/bookings/" + x.Bookings[1].ID.String() + "/cancel"}} {
			wg.Go(func() {
				c.Method = "POST"
				if a := w.Do(c); a.Status != 200 && a.Status != 409 {
					t.Errorf("%s: %s", c.Path, a)
				}
			})
		}
		wg.Wait()
		w.Do(apitest.Call{As: w.asClient, Method: "POST", Path: path + "/cancel"})
		if held := w.number(`SELECT count(*) FROM busy WHERE live`) + w.number(`SELECT sum(held)::bigint FROM holds`); held != 0 {
			t.Errorf("%d held after all is cancelled", held)
		}
	}
}

func TestSeriesTakesAsManyRoundTripsAsABooking(t *testing.T) {
	w := start(t)
	w.book("2026-03-03T09:00:00+01:00", 60)
	for key, weeks := range map[string]int{"two": 2, "eight": 8} {
		body := w.series("2026-03-09T"+map[string]string{"two": "09", "eight": "11"}[key]+":00:00+01:00", 60, weeks, "all")
		var x booking.SeriesAnswer
		if n := pgtest.Trips(w.db, func() {
			w.Call(apitest.Call{As: w.asClient, Path: seriesPath, Key: key, Body: body, Status: 201}).Data(&x)
		}); n > 3 {
			t.Errorf("a series of %d took %d round trips, want at most 3", weeks, n)
		}
		w.callOff(x)
	}
}

// A start that the clocks skip is refused, and one that they show twice is the first.
func TestSeriesAcrossTheChangesOfTheClocks(t *testing.T) {
	w := start(t)
	sundays := []map[string]any{{"dayOfWeek": 0, "startTime": "00:00", "endTime": "06:00"}}
	w.setHours(map[string]any{"weekly": sundays, "horizonDays": 300, "bufferAfter": 0})
	var x booking.SeriesAnswer
	w.Call(apitest.Call{What: "2:30 on Sundays", As: w.asClient, Path: seriesPath, Body: w.series("2026-03-22T02:30:00+01:00", 30, 3, "fit"), Status: 201}).Data(&x)
	if len(x.Bookings) != 2 || len(x.Refused) != 1 || !x.Refused[0].Start.Equal(at(t, "2026-03-29T01:00:00Z")) || x.Refused[0].Code != "outside_hours" || !x.Bookings[1].Start.Equal(at(t, "2026-04-05T00:30:00Z")) {
		t.Errorf("%+v", x)
	}
	w.callOff(x)
	w.Call(apitest.Call{What: "2:30 in October", As: w.asClient, Path: seriesPath, Body: w.series("2026-10-18T02:30:00+02:00", 30, 2, "all"), Status: 201}).Data(&x)
	if !x.Bookings[1].Start.Equal(at(t, "2026-10-25T00:30:00Z")) {
		t.Errorf("the repeated hour: %s", x.Bookings[1].Start)
	}
}

// A client who cancels on a suspended worker pays nothing, however late; once the worker is back, the policy counts again.
func TestCancellingOnASuspendedWorkerCostsNothing(t *testing.T) {
	w := start(t)
	one, two := w.paid("2026-03-03T09:00:00+01:00", 60), w.paid("2026-03-03T11:00:00+01:00", 60)
	w.clock.Set(at(t, "2026-03-03T07:00:00Z"))
	w.hear(w.worker, event.UserSuspended{UserID: w.worker})
	after := w.do(w.asClient, one, "cancel", 200)
	if after.Cause != "suspended" || string(after.Shares.Client) != "80.00" {
		t.Errorf("%s %v", after.Cause, after.Shares)
	}
	w.hear(w.worker, event.UserReinstated{UserID: w.worker})
	if after = w.do(w.asClient, two, "cancel", 200); after.Cause != "client" || string(after.Shares.Client) != "40.00" {
		t.Errorf("%s %v", after.Cause, after.Shares)
	}
}

func TestPayByIsNeverAfterTheStartOfAMovedBooking(t *testing.T) {
	w := start(t)
	b := w.do(w.asWorker, w.book("2026-03-05T09:00:00+01:00", 60), "confirm", 200)
	if want := w.clock.Now().Add(24 * time.Hour); !b.PayBy.Equal(want) {
		t.Fatalf("pay by %s", b.PayBy)
	}
	w.Call(apitest.Call{What: "propose this afternoon", As: w.asClient, Path: "/api/bookings/" + b.ID.String() + "/reschedule", Body: map[string]any{"startTime": "2026-03-02T15:00:00+01:00"}, Status: 200})
	moved := w.do(w.asWorker, b, "reschedule/accept", 200)
	if !moved.PayBy.Equal(moved.Start) {
		t.Errorf("pay by %s, starts %s", moved.PayBy, moved.Start)
	}
	w.tells(b, "booking.rescheduled", `"payBy":"2026-03-02T14:00:00Z"`)
}
