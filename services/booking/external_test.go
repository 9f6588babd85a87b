package booking_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/services/booking"
)

// elsewhere is a server of somebody else's with one calendar, which can change, be away or be slow.
type elsewhere struct {
	*httptest.Server
	mu     sync.Mutex
	body   []byte
	status int
	asked  int
	fresh  int           // times that the whole calendar was sent
	hold   chan struct{} // answers wait for its end
	held   chan struct{} // hears of each that waits
}

func otherServer(t *testing.T, body []byte) *elsewhere {
	t.Helper()
	e := &elsewhere{body: body, status: http.StatusOK, held: make(chan struct{}, 100)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asked++
		body, status, hold := e.body, e.status, e.hold
		e.mu.Unlock()
		if hold != nil {
			e.held <- struct{}{}
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		tag := fmt.Sprintf(`"%x"`, len(body))
		w.Header().Set("ETag", tag)
		switch {
		case status != http.StatusOK:
			w.WriteHeader(status)
		case r.Header.Get("If-None-Match") == tag:
			w.WriteHeader(http.StatusNotModified)
		default:
			e.mu.Lock()
			e.fresh++
			e.mu.Unlock()
			w.Write(body)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *elsewhere) set(status int, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status, e.body = status, body
}

func (e *elsewhere) counts() (asked, fresh int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked, e.fresh
}

func (w *world) addCalendar(url string) booking.ExternalCalendar {
	w.t.Helper()
	var c booking.ExternalCalendar
	w.Call(apitest.Call{What: "add a calendar", As: w.asWorker, Path: w.calendar("/calendars"), Body: map[string]any{"url": url, "name": "Private"}, Status: 201}).Data(&c)
	return c
}

// readNow has the calendars that are known read once more, as if their time had come.
func (w *world) readNow() {
	w.t.Helper()
	w.exec(`UPDATE external_calendars SET next_try_at = '2000-01-01T00:00:00Z', tried_at = '2000-01-01T00:00:00Z'`)
	if err := w.service.Retry(w.t.Context(), time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) calendars() []booking.ExternalCalendar {
	w.t.Helper()
	var list []booking.ExternalCalendar
	w.Call(apitest.Call{What: "list calendars", As: w.asWorker, Path: w.calendar("/calendars"), Status: 200}).Data(&list)
	return list
}

// A worker's copy of what is held about him has his other calendars, without their secret addresses.
func TestExternalCalendarsAreInTheCopyOfMyData(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile("BEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260303T090000Z\r\nDURATION:PT1H\r\nEND:VEVENT"))
	c := w.addCalendar(s.URL + "/secret-0123456789/basic.ics")
	var found []string
	for part, after := 0, ""; part >= 0; {
		var page struct {
			Name  string
			Docs  []json.RawMessage
			Part  int
			After string
		}
		a := w.Call(apitest.Call{What: "a page of the copy", As: w.ServiceToken("user", "booking"), Path: fmt.Sprintf("%s%s/export?part=%d&after=%s", peoplePath, w.worker, part, after), Status: 200, HasNot: "0123456789"})
		a.Data(&page)
		for _, d := range page.Docs {
			if page.Name == "externalCalendars" {
				found = append(found, string(d))
			}
		}
		part, after = page.Part, page.After
	}
	if len(found) != 1 || !strings.Contains(found[0], c.ID.String()) || !strings.Contains(found[0], `"host":"127.0.0.1"`) || !strings.Contains(found[0], `"name":"Private"`) {
		t.Errorf("found %v", found)
	}
}

// Tuesday 10:00 to 11:00 in Berlin is taken elsewhere; with 15 minutes after each booking, one that ends at 10:00 does not fit either.
func TestEventsElsewhereAreBusyHere(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile("BEGIN:VEVENT\r\nUID:a\r\nSUMMARY:Dentist\r\nDTSTART:20260303T090000Z\r\nDURATION:PT1H\r\nEND:VEVENT"))
	c := w.addCalendar(s.URL + "/secret-0123456789/basic.ics")
	if c.Host != "127.0.0.1" || c.Status != "ok" || c.Events != 1 {
		t.Errorf("%+v", c)
	}
	path := "/api/bookings"
	w.Calls(
		apitest.Call{What: "at the same time", As: w.asClient, Path: path, Body: w.body("2026-03-03T10:00:00+01:00", 60), Status: 409, Has: `"busy"`},
		apitest.Call{What: "with the buffer in it", As: w.asClient, Path: path, Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 409, Has: `"busy"`},
		apitest.Call{What: "after it", As: w.asClient, Path: path, Body: w.body("2026-03-03T11:00:00+01:00", 60), Status: 201},
		apitest.Call{What: "explained to the worker", As: w.asWorker, Path: w.calendar("/slots?date=2026-03-03&explain=true"), Status: 200, Has: `An event of your calendar \"Private\", 10:00–11:00, blocks it.`},
		apitest.Call{What: "not explained to others", As: w.asClient, Path: w.calendar("/slots?date=2026-03-03&explain=true"), Status: 200, HasNot: "Private"},
	)
	if a := w.Call(apitest.Call{What: "the list", As: w.asWorker, Path: w.calendar("/calendars"), Status: 200, Has: `"lastFetchedAt"`}); strings.Contains(string(a.Body), "0123456789") {
		t.Errorf("the address is shown: %s", a.Body)
	}
	w.Calls(
		apitest.Call{What: "take it away", As: w.asWorker, Method: "DELETE", Path: w.calendar("/calendars/" + c.ID.String()), Status: 200},
		apitest.Call{What: "and it is free", As: w.asClient, Path: path, Body: w.body("2026-03-03T09:00:00+01:00", 60), Status: 201},
	)
}

func TestCalendarsAreNobodyElsesToSee(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile())
	c := w.addCalendar(s.URL)
	path := w.calendar("/calendars")
	for _, as := range []string{w.otherWorker, w.asClient, w.asAdmin, ""} {
		status := map[string]int{w.otherWorker: 404, w.asClient: 403, w.asAdmin: 403, "": 401}[as]
		w.Calls(
			apitest.Call{What: "list", As: as, Path: path, Method: "GET", Status: status},
			apitest.Call{What: "add", As: as, Path: path, Body: map[string]any{"url": s.URL + "/2"}, Status: status},
			apitest.Call{What: "refresh", As: as, Method: "POST", Path: path + "/" + c.ID.String() + "/refresh", Status: status},
			apitest.Call{What: "remove", As: as, Method: "DELETE", Path: path + "/" + c.ID.String(), Status: status},
		)
	}
	w.Calls(
		apitest.Call{What: "a stranger's id under one's own name", As: w.otherWorker, Method: "DELETE", Path: "/api/availability/worker/me/calendars/" + c.ID.String(), Status: 404},
		apitest.Call{What: "the same to refresh", As: w.otherWorker, Method: "POST", Path: "/api/availability/worker/me/calendars/" + c.ID.String() + "/refresh", Status: 404},
		apitest.Call{What: "no such calendar", As: w.asWorker, Method: "DELETE", Path: path + "/" + uuid.NewString(), Status: 404},
	)
	if asked, _ := s.counts(); asked != 1 {
		t.Errorf("the server was asked %d times", asked)
	}
}

func TestAddressesThatLeadInsideAreRefusedAlike(t *testing.T) {
	w := start(t)
	inside := httptest.NewServer(http.RedirectHandler("http://127.0.0.2/", http.StatusFound))
	t.Cleanup(inside.Close)
	path := w.calendar("/calendars")
	for _, url := range []string{
		inside.URL, "http://127.0.0.2/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://0x7f000001/", "http://2130706433/", "http://[::ffff:127.0.0.1]/", "http://localhost/", "webcal://127.0.0.2/a.ics",
		"http://10.0.0.1/", "http://[fd00::1]/", "http://printer.local/",
	} {
		w.Call(apitest.Call{What: url, As: w.asWorker, Path: path, Body: map[string]any{"url": url}, Status: 422, Has: `"url":"cannot be reached from the public internet"`})
	}
	w.Calls(
		apitest.Call{What: "a file", As: w.asWorker, Path: path, Body: map[string]any{"url": "file:///etc/passwd"}, Status: 422, Has: "is not an http or https address"},
		apitest.Call{What: "a password", As: w.asWorker, Path: path, Body: map[string]any{"url": "https://me:pw@example.com/"}, Status: 422, Has: "has a user name or a password in it"},
		apitest.Call{What: "too long", As: w.asWorker, Path: path, Body: map[string]any{"url": "https://example.com/" + strings.Repeat("a", 2000)}, Status: 422},
		apitest.Call{What: "nothing", As: w.asWorker, Path: path, Body: map[string]any{}, Status: 422},
		apitest.Call{What: "fields of the server", As: w.asWorker, Path: path, Body: map[string]any{"url": "https://example.com/", "status": "ok"}, Status: 422},
	)
	if n := len(w.calendars()); n > 0 {
		t.Errorf("%d calendars were kept", n)
	}
}

func TestWhatIsNoCalendarIsRefusedWithItsReason(t *testing.T) {
	w := start(t)
	path := w.calendar("/calendars")
	for reason, body := range map[string]string{
		"does not lead to what it should":                        "<html>Sign in</html>",
		"is not one that can be read":                            "BEGIN:VCALENDAR\nBEGIN:VEVENT\n",
		"has an event that repeats in a way that cannot be read": string(icsFile(vevent("DTSTART:20260303T090000Z", "DURATION:PT1H", "RRULE:FREQ=SECONDLY"))),
		"is larger than 2097152 bytes":                           "BEGIN:VCALENDAR" + strings.Repeat(" ", 3<<20),
	} {
		s := otherServer(t, []byte(body))
		w.Call(apitest.Call{What: reason, As: w.asWorker, Path: path, Body: map[string]any{"url": s.URL}, Status: 422, Has: reason})
	}
	s := otherServer(t, nil)
	s.set(http.StatusForbidden, nil)
	w.Call(apitest.Call{What: "refused there", As: w.asWorker, Path: path, Body: map[string]any{"url": s.URL}, Status: 422, Has: "is answered with the status 403"})
}

// Thirty readings an hour and five calendars: nobody's server is attacked from here.
func TestNobodyElsesServerIsFloodedFromHere(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile())
	path := w.calendar("/calendars")
	c := w.addCalendar(s.URL + "/0")
	w.Call(apitest.Call{What: "again at once", As: w.asWorker, Method: "POST", Path: path + "/" + c.ID.String() + "/refresh", Status: 429})
	w.Call(apitest.Call{What: "the same twice", As: w.asWorker, Path: path, Body: map[string]any{"url": s.URL + "/0"}, Status: 409})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			w.Do(apitest.Call{As: w.asWorker, Path: path, Body: map[string]any{"url": fmt.Sprintf("%s/%d", s.URL, i+1)}})
		})
	}
	wg.Wait()
	if n := len(w.calendars()); n != 5 {
		t.Errorf("%d calendars after 20 were added at once, want 5", n)
	}
	for i := range 20 {
		w.Do(apitest.Call{As: w.asWorker, Path: path, Body: map[string]any{"url": fmt.Sprintf("%s/x%d", s.URL, i)}})
	}
	w.Call(apitest.Call{What: "too many within the hour", As: w.asWorker, Path: path, Body: map[string]any{"url": s.URL + "/more"}, Status: 429})
	if asked, _ := s.counts(); asked > 30 {
		t.Errorf("the server was asked %d times", asked)
	}
}

func TestCalendarIsReadAgainAndKeptWhenItCannotBe(t *testing.T) {
	w := start(t)
	tuesday := icsFile(vevent("DTSTART:20260303T090000Z", "DURATION:PT1H"))
	s := otherServer(t, tuesday)
	c := w.addCalendar(s.URL)
	w.readNow()
	if asked, fresh := s.counts(); asked != 2 || fresh != 1 {
		t.Errorf("asked %d times, sent whole %d times; want it asked whether it has changed", asked, fresh)
	}
	s.set(http.StatusInternalServerError, nil)
	w.readNow()
	got := w.calendars()[0]
	if got.Status != "failing" || got.FailingSince == nil || got.Error != "The calendar is answered with the status 500." || got.Events != 1 || !got.FetchedAt.After(c.FetchedAt) {
		t.Errorf("%+v", got)
	}
	w.Call(apitest.Call{What: "still busy", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T10:00:00+01:00", 60), Status: 409, Has: `"busy"`})
	first := got
	w.readNow()
	if got = w.calendars()[0]; !got.FailingSince.Equal(*first.FailingSince) || time.Until(got.NextFetchAt) < 20*time.Minute {
		t.Errorf("after two failures: %+v", got)
	}
	s.set(http.StatusOK, icsFile(vevent("DTSTART:20260304T090000Z", "DURATION:PT90M")))
	w.exec(`UPDATE external_calendars SET tried_at = '2000-01-01T00:00:00Z'`)
	w.Call(apitest.Call{What: "refreshed", As: w.asWorker, Method: "POST", Path: w.calendar("/calendars/" + c.ID.String() + "/refresh"), Status: 200, Has: `"status":"ok"`})
	w.Call(apitest.Call{What: "free now", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T10:00:00+01:00", 60), Status: 201})
	w.Call(apitest.Call{What: "busy now", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-04T11:00:00+01:00", 60), Status: 409, Has: `"busy"`})
	s.set(http.StatusOK, []byte("<html>"))
	w.exec(`UPDATE external_calendars SET tried_at = '2000-01-01T00:00:00Z'`)
	w.Call(apitest.Call{What: "refreshed in vain", As: w.asWorker, Method: "POST", Path: w.calendar("/calendars/" + c.ID.String() + "/refresh"), Status: 200, Has: `"status":"failing","error":"The calendar does not lead to what it should."`})
	w.Call(apitest.Call{What: "busy still", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-04T11:00:00+01:00", 60), Status: 409, Has: `"busy"`})
}

// An address that was harmless when it was added and leads inside later is not read.
func TestAddressThatTurnsInwardsLaterIsNotRead(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile())
	w.addCalendar(s.URL)
	w.exec(`UPDATE external_calendars SET url = 'http://127.0.0.2:' || $1 || '/'`, strings.Split(s.URL, ":")[2])
	w.readNow()
	if got := w.calendars()[0]; got.Error != "The calendar cannot be reached from the public internet." {
		t.Errorf("%+v", got)
	}
}

func TestOwnFeedImportedBackDoesNotBlock(t *testing.T) {
	w := start(t)
	b := w.book("2026-03-03T10:00:00+01:00", 60)
	var feed booking.Feed
	w.Call(apitest.Call{What: "feed", As: w.asWorker, Method: "POST", Path: "/api/bookings/calendar", Status: 201}).Data(&feed)
	page := w.Call(apitest.Call{What: "read it", Path: strings.TrimPrefix(feed.URL, "https://tulifo.test"), Status: 200})
	if !strings.Contains(string(page.Body), b.ID.String()) {
		t.Fatal("the booking is not in the feed")
	}
	w.addCalendar(otherServer(t, page.Body).URL)
	w.do(w.asClient, b, "cancel", 200)
	w.Call(apitest.Call{What: "the same time", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T10:00:00+01:00", 60), Status: 201})
	foreign := strings.ReplaceAll(string(page.Body), b.ID.String(), uuid.NewString())
	w.addCalendar(otherServer(t, []byte(strings.ReplaceAll(foreign, "20260303", "20260304"))).URL)
	w.Call(apitest.Call{What: "a booking that is not ours", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-04T10:00:00+01:00", 60), Status: 409})
}

func TestCalendarIsWorkedOutAnewWhenZoneOrHorizonChanges(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile(vevent("DTSTART:20260303T100000", "DURATION:PT1H"), vevent("DTSTART:20260615T100000", "DURATION:PT1H")))
	w.addCalendar(s.URL)
	for _, change := range []map[string]any{{"timezone": "America/New_York"}, {"timezone": "America/New_York", "horizonDays": 200}} {
		w.setHours(change)
		if err := w.service.Retry(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	w.Calls(
		apitest.Call{What: "10:00 in New York", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T10:00:00-05:00", 60), Status: 409},
		apitest.Call{What: "11:00 in New York", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T11:00:00-05:00", 60), Status: 201},
		apitest.Call{What: "10:00 in summer, which was too far ahead", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-06-15T10:00:00-04:00", 60), Status: 409},
		apitest.Call{What: "11:00 in summer", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-06-15T11:00:00-04:00", 60), Status: 201},
	)
}

// Eight processes whose timers come at once read each calendar once.
func TestManyProcessesReadACalendarOnce(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile())
	w.addCalendar(s.URL)
	w.exec(`UPDATE external_calendars SET next_try_at = '2000-01-01T00:00:00Z'`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := w.service.Retry(t.Context(), time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked, _ := s.counts(); asked != 2 {
		t.Errorf("the server was asked %d times, want once when it was added and once more", asked)
	}
}

// A reading that is under way while its calendar is removed brings nothing back.
func TestCalendarRemovedWhileItIsReadStaysRemoved(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile(vevent("DTSTART:20260303T090000Z", "DURATION:PT1H")))
	c := w.addCalendar(s.URL)
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold, s.body = hold, icsFile(vevent("DTSTART:20260303T090000Z", "DURATION:PT2H", "STATUS:CONFIRMED"))
	s.mu.Unlock()
	w.exec(`UPDATE external_calendars SET next_try_at = '2000-01-01T00:00:00Z'`)
	done := make(chan error, 1)
	go func() { done <- w.service.Retry(t.Context(), time.Now()) }()
	<-s.held
	w.Call(apitest.Call{What: "remove", As: w.asWorker, Method: "DELETE", Path: w.calendar("/calendars/" + c.ID.String()), Status: 200})
	close(hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	n, err := postgres.One[int](t.Context(), w.db, `SELECT count(*)::int FROM imported_busy`)
	if err != nil || n > 0 {
		t.Errorf("%d busy times of a calendar that is gone, %v", n, err)
	}
}

// Bookings that race the reading of a calendar: whoever is let in was decided before the events were known.
func TestBookingRacesTheReadingOfACalendar(t *testing.T) {
	w := start(t)
	s := otherServer(t, icsFile())
	w.addCalendar(s.URL)
	s.set(http.StatusOK, icsFile(vevent("DTSTART:20260303T080000Z", "DTEND:20260303T160000Z")))
	var wg sync.WaitGroup
	wg.Go(w.readNow)
	for i := range 8 {
		wg.Go(func() {
			w.Do(apitest.Call{As: w.asClient, Path: "/api/bookings", Body: w.body(fmt.Sprintf("2026-03-03T%02d:00:00+01:00", 9+i), 30)})
		})
	}
	wg.Wait()
	w.Call(apitest.Call{What: "afterwards", As: w.asClient, Path: "/api/bookings", Body: w.body("2026-03-03T16:30:00+01:00", 30), Status: 409, Has: `"busy"`})
}
