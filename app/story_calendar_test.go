package app

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

// slot is a time of a listing.
type slot struct {
	StartTime, EndTime         time.Time
	Local, Reason, Explanation string
	IsAvailable                bool
}

// diary is a market whose workers' calendars are looked at.
type diary struct{ *market }

func (d diary) calendar(worker person, rules map[string]any) {
	d.t.Helper()
	d.put(worker, "/api/availability/worker/me", rules, http.StatusOK, nil)
}

func (d diary) slots(by, of person, query string) (list []slot) {
	d.t.Helper()
	d.get(by, "/api/availability/worker/"+of.id.String()+"/slots?"+query, &list)
	return list
}

// free are the starts that are listed, as the wall clock of tz shows them.
func (d diary) free(by, of person, query, tz string) string {
	d.t.Helper()
	var starts []string
	for _, s := range d.slots(by, of, query+"&tz="+url.QueryEscape(tz)) {
		starts = append(starts, s.Local)
	}
	return strings.Join(starts, " ")
}

// is compares what is listed with what has to be.
func (d diary) is(what, got, want string) {
	d.t.Helper()
	if got != want {
		d.t.Errorf("%s:\n%s\ninstead of\n%s", what, got, want)
	}
}

// at is what a listing with explain says of a time.
func (d diary) at(by, of person, start, query string) slot {
	d.t.Helper()
	at := d.time(start)
	for _, s := range d.slots(by, of, "explain=true&from="+at.Format(time.RFC3339)+"&to="+at.Add(time.Minute).Format(time.RFC3339)+query) {
		if s.StartTime.Equal(at) {
			return s
		}
	}
	d.t.Errorf("nothing is said of %s", start)
	return slot{}
}

func (d diary) time(text string) time.Time {
	d.t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	d.must(err)
	return at.UTC()
}

func (d diary) books(by, worker person, start string, minutes int, want int) (b struct {
	ID          uuid.UUID
	TotalAmount money.Decimal
}) {
	d.t.Helper()
	from := d.time(start)
	body := map[string]any{"workerId": worker.id, "title": "Calm the cluster", "startTime": from, "endTime": from.Add(time.Duration(minutes) * time.Minute)}
	d.post(by, "/api/bookings", body, want, &b)
	return b
}

// refused is a time that cannot be booked: the worker reads the sentence, others only the code, and booking it answers that code too.
func (d diary) refused(by, of person, start, code, sentence string) {
	d.t.Helper()
	own, others := d.at(of, of, start, "&duration=60"), d.at(by, of, start, "&duration=60")
	if own.IsAvailable || own.Reason != code || !strings.Contains(own.Explanation, sentence) {
		d.t.Errorf("of %s the worker reads %+v, which should say %q", start, own, sentence)
	}
	if others.IsAvailable || others.Reason != code || others.Explanation != "" {
		d.t.Errorf("of %s others read %+v, which should be the code %s alone", start, others, code)
	}
	status := http.StatusConflict
	if code == "outside_hours" {
		status = http.StatusUnprocessableEntity
	}
	d.books(by, of, start, 60, status)
}

// TestStoryJ5 looks at calendars where they are easily wrong.
func TestStoryJ5(t *testing.T) {
	onStages(t, time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC), func(t *testing.T, s *stage) {
		d := diary{&market{tour: s.tour(), t: t}}
		wanda, nora := d.person("Wanda", "worker"), d.person("Nora", "worker")
		carl, dora := d.person("Carl", "client"), d.person("Dora", "client")
		for _, w := range []person{wanda, nora} {
			d.must(d.until("/api/workers/me", w, `"id"`))
			d.offer(w, "80", "USD", false)
		}
		s.settle(t)
		d.clockChanges(wanda, nora, carl)
		d.oddZones(nora, carl)
		d.dayEndsWhereTheWorkerIs(nora, carl, dora)
		d.closedTimes(wanda, carl)
		d.moves(wanda, carl)

		// Nobody answers: a day later all that was held is free, and the limit has room.
		s.to(t, time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC))
		for who, start := range map[person]string{nora: "2026-03-10T08:00:00+13:00", wanda: "2026-03-12T10:00:00+01:00"} {
			if at := d.at(carl, who, start, "&duration=60"); !at.IsAvailable {
				t.Errorf("a day later %s is still not free: %+v\n%s", start, at, s.passed())
			}
		}
		s.intact(t)
	})
}

// clockChanges has summer time begin in New York on the 8th and in Berlin on the 29th of March, and end in New York on the 1st of November.
func (d diary) clockChanges(wanda, nora, carl person) {
	d.t.Helper()
	sunday := func(start, end string) []map[string]any {
		return []map[string]any{{"dayOfWeek": 0, "startTime": start, "endTime": end}}
	}
	d.calendar(wanda, map[string]any{"timezone": "Europe/Berlin", "weekly": sunday("01:30", "04:00"), "horizonDays": 365})
	d.calendar(nora, map[string]any{"timezone": "America/New_York", "weekly": sunday("01:00", "04:00"), "horizonDays": 365})
	d.is("Berlin's night without 02:00 to 03:00, in Berlin", d.free(carl, wanda, "date=2026-03-29&duration=60", "Europe/Berlin"),
		"2026-03-29T01:30:00+01:00 2026-03-29T03:00:00+02:00")
	d.is("the same, in New York the evening before", d.free(carl, wanda, "date=2026-03-28&duration=60", "America/New_York"),
		"2026-03-28T20:30:00-04:00 2026-03-28T21:00:00-04:00")
	d.is("New York's night without 02:00 to 03:00", d.free(carl, nora, "date=2026-03-08&duration=60", "America/New_York"),
		"2026-03-08T01:00:00-05:00 2026-03-08T01:30:00-05:00 2026-03-08T03:00:00-04:00")
	d.is("the same, on a morning in Berlin", d.free(carl, nora, "date=2026-03-08&duration=60", "Europe/Berlin"),
		"2026-03-08T07:00:00+01:00 2026-03-08T07:30:00+01:00 2026-03-08T08:00:00+01:00")
	d.is("New York's night with two times 01:00 to 02:00", d.free(carl, nora, "date=2026-11-01&duration=60", "America/New_York"),
		"2026-11-01T01:00:00-04:00 2026-11-01T01:30:00-04:00 2026-11-01T02:00:00-05:00 2026-11-01T02:30:00-05:00 2026-11-01T03:00:00-05:00")
	// From 01:30 to 03:30 on the wall is one hour, and costs one.
	if b := d.books(carl, wanda, "2026-03-29T01:30:00+01:00", 60, http.StatusCreated); b.TotalAmount != "80.00" {
		d.t.Errorf("an hour over the gap costs %s", b.TotalAmount)
	}
	d.is("what is left of that night", d.free(carl, wanda, "date=2026-03-29&duration=30", "Europe/Berlin"), "2026-03-29T03:30:00+02:00")
}

func (d diary) oddZones(nora, carl person) {
	d.t.Helper()
	sunday := func(zone, start, end string) {
		d.calendar(nora, map[string]any{"timezone": zone, "weekly": []map[string]any{{"dayOfWeek": 0, "startTime": start, "endTime": end}}})
	}
	sunday("Asia/Kolkata", "09:00", "10:00")
	d.is("half an hour beside", d.free(carl, nora, "date=2026-03-15&duration=30", "UTC"), "2026-03-15T03:30:00Z 2026-03-15T04:00:00Z")
	sunday("Asia/Kathmandu", "09:00", "10:00")
	d.is("a quarter of an hour beside", d.free(carl, nora, "date=2026-03-15&duration=30", "UTC"), "2026-03-15T03:15:00Z 2026-03-15T03:45:00Z")
	sunday("Australia/Lord_Howe", "01:00", "03:00")
	d.is("a night in which half an hour comes twice", d.free(carl, nora, "date=2026-04-05&duration=60", "Australia/Lord_Howe"),
		"2026-04-05T01:00:00+11:00 2026-04-05T01:30:00+11:00 2026-04-05T02:00:00+10:30")
}

// dayEndsWhereTheWorkerIs fills a day in Auckland; a time of the next one there is free, though it is the same date elsewhere.
func (d diary) dayEndsWhereTheWorkerIs(nora, carl, dora person) {
	d.t.Helper()
	d.calendar(nora, map[string]any{"timezone": "Pacific/Auckland", "limits": map[string]any{"perDay": 4}, "weekly": []map[string]any{
		{"dayOfWeek": 2, "startTime": "00:00", "endTime": "24:00"}, {"dayOfWeek": 3, "startTime": "00:00", "endTime": "24:00"}}})
	for start, by := range map[string]person{"20:00": carl, "21:00": dora, "22:00": carl, "23:00": dora} {
		d.books(by, nora, "2026-03-10T"+start+":00+13:00", 60, http.StatusCreated)
	}
	d.refused(carl, nora, "2026-03-10T08:00:00+13:00", "limit", "Daily limit 4 of 4, set by you")
	d.books(carl, nora, "2026-03-11T00:30:00+13:00", 60, http.StatusCreated)
}

// closedTimes are a vacation, lunch, and what another calendar says.
func (d diary) closedTimes(wanda, carl person) {
	d.t.Helper()
	weekly := []map[string]any{}
	for day := 1; day <= 5; day++ {
		weekly = append(weekly, map[string]any{"dayOfWeek": day, "startTime": "09:00", "endTime": "17:00"})
	}
	overrides := []map[string]any{{"date": "2026-03-13", "windows": []map[string]string{{"startTime": "22:00", "endTime": "02:00"}}}}
	for _, day := range []string{"16", "17", "18", "19", "20"} {
		overrides = append(overrides, map[string]any{"date": "2026-03-" + day, "windows": []any{}})
	}
	d.calendar(wanda, map[string]any{"weekly": weekly, "overrides": overrides, "bufferAfter": 15})
	d.is("the week of her vacation", d.free(carl, wanda, "from=2026-03-16&to=2026-03-22&duration=60", "Europe/Berlin"), "")
	d.refused(carl, wanda, "2026-03-17T10:00:00+01:00", "outside_hours", "Closed on 2026-03-17, set by you.")

	d.post(wanda, "/api/availability/worker/me/block", map[string]any{"startTime": d.time("2026-03-03T12:00:00+01:00"), "endTime": d.time("2026-03-03T13:00:00+01:00"), "reason": "Lunch",
		"recurring": map[string]any{"daysOfWeek": []int{1, 2, 3, 4, 5}}}, http.StatusCreated, nil)
	d.refused(carl, wanda, "2026-03-30T12:00:00+02:00", "busy", "Lunch, 12:00–13:00, blocks it.")
	d.refused(carl, wanda, "2026-03-12T11:00:00+01:00", "busy", "Lunch, 12:00–13:00, is too close")

	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/calendar")
		w.Write([]byte(strings.ReplaceAll("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//elsewhere//EN\nBEGIN:VEVENT\nUID:a@elsewhere\nDTSTAMP:20260301T000000Z\nSUMMARY:Dentist\n"+
			"DTSTART:20260311T080000Z\nDTEND:20260311T100000Z\nEND:VEVENT\nEND:VCALENDAR\n", "\n", "\r\n")))
	}))
	d.t.Cleanup(elsewhere.Close)
	d.post(wanda, "/api/availability/worker/me/calendars", map[string]any{"url": elsewhere.URL + "/private.ics", "name": "Home"}, http.StatusCreated, nil)
	d.refused(carl, wanda, "2026-03-11T10:00:00+01:00", "busy", `An event of your calendar "Home", 09:00–11:00, blocks it.`)
}

// moves has a booking over midnight move to where there is room, and nowhere else.
func (d diary) moves(wanda, carl person) {
	d.t.Helper()
	b := d.books(carl, wanda, "2026-03-13T23:00:00+01:00", 120, http.StatusCreated)
	d.refused(carl, wanda, "2026-03-14T00:30:00+01:00", "busy", `The booking "Calm the cluster", 2026-03-13 23:00–01:00, blocks it.`)
	move := func(to string, want int) {
		d.t.Helper()
		d.post(carl, bookingPath(b.ID)+"/reschedule", map[string]any{"startTime": d.time(to)}, want, nil)
	}
	move("2026-03-17T10:00:00+01:00", http.StatusUnprocessableEntity) // her vacation
	move("2026-03-11T10:00:00+01:00", http.StatusConflict)            // the event elsewhere
	move("2026-03-12T09:30:00+01:00", http.StatusOK)
	if at := d.at(carl, wanda, "2026-03-13T23:00:00+01:00", "&duration=120"); !at.IsAvailable {
		d.t.Errorf("where it was is not free: %+v", at)
	}
	d.refused(carl, wanda, "2026-03-12T10:00:00+01:00", "busy", `The booking "Calm the cluster", 09:30–11:30, blocks it.`)
}
