package notification_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/docdb"
	"tulifo/services/notification"
)

func badge(id uuid.UUID, n int) event.BadgeAwarded {
	return event.BadgeAwarded{UserID: id, Badge: "b", Name: fmt.Sprintf("Badge %02d", n)}
}

func TestThePagesOfTheApp(t *testing.T) {
	w := start(t, options{})
	id := w.someone("Ann", "UTC")
	for n := range 25 {
		w.tell(id, badge(id, n))
		w.clock.Advance(time.Minute)
	}
	as, stranger := w.Token("worker", id), w.Token("worker", w.someone("Eve", "UTC"))
	w.rest() // the loops share the pool
	var titles []string
	for path := "/api/notifications?limit=10"; path != ""; {
		var page []notification.Notification
		var answer apitest.Answer
		if trips := w.trips(func() { answer = w.Call(apitest.Call{What: "a page", As: as, Path: path, Status: 200}) }); trips > 1 {
			t.Errorf("%d round trips", trips)
		}
		answer.Data(&page)
		for _, n := range page {
			titles = append(titles, n.Title)
		}
		_, next, more := strings.Cut(string(answer.Body), `"nextCursor":"`)
		if path = ""; more {
			next, _, _ = strings.Cut(next, `"`)
			path = "/api/notifications?limit=10&cursor=" + url.QueryEscape(next)
		}
	}
	if len(titles) != 25 || !strings.HasSuffix(titles[0], "Badge 24") || !strings.HasSuffix(titles[24], "Badge 00") {
		t.Errorf("%d: %q", len(titles), titles)
	}
	if trips := w.trips(func() {
		w.Call(apitest.Call{What: "the bell", As: as, Path: "/api/notifications?unread=true&limit=1", Status: 200, Has: `"total":25`})
	}); trips > 2 {
		t.Errorf("%d round trips for the bell", trips)
	}
	var one []notification.Notification
	w.Call(apitest.Call{What: "the newest", As: as, Path: "/api/notifications?limit=1", Status: 200, HasNot: "userId"}).Data(&one)
	read := "/api/notifications/" + one[0].ID.String() + "/read"
	var first, second notification.Notification
	w.Call(apitest.Call{What: "read", As: as, Method: "PATCH", Path: read, Status: 200}).Data(&first)
	w.clock.Advance(time.Hour)
	w.Call(apitest.Call{What: "read twice", As: as, Method: "PATCH", Path: read, Status: 200}).Data(&second)
	if first.ReadAt == nil || second.ReadAt == nil || !first.ReadAt.Equal(*second.ReadAt) {
		t.Errorf("the first time counts: %v %v", first.ReadAt, second.ReadAt)
	}
	w.Calls(
		apitest.Call{What: "24 are left", As: as, Path: "/api/notifications?unread=true", Status: 200, Has: `"total":24`},
		apitest.Call{What: "a stranger sees none", As: stranger, Path: "/api/notifications", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "a stranger reads none", As: stranger, Method: "PATCH", Path: read, Status: 404},
		apitest.Call{What: "no such", As: as, Method: "PATCH", Path: "/api/notifications/" + uuid.NewString() + "/read", Status: 404},
		apitest.Call{What: "no id", As: as, Method: "PATCH", Path: "/api/notifications/x/read", Status: 422},
		apitest.Call{What: "a stranger's read-all", As: stranger, Method: "POST", Path: "/api/notifications/read-all", Status: 200, Has: `"read":0`},
		apitest.Call{What: "read-all", As: as, Method: "POST", Path: "/api/notifications/read-all", Status: 200, Has: `"read":24`},
		apitest.Call{What: "none is left", As: as, Path: "/api/notifications?unread=true", Status: 200, Has: `"total":0`},
		apitest.Call{What: "anonymous", Path: "/api/notifications", Status: 401},
		apitest.Call{What: "a service", As: w.ServiceToken("user", notification.Name), Path: "/api/notifications", Status: 403},
		apitest.Call{What: "a cursor of another list", As: as, Path: "/api/notifications?cursor=abc", Status: 400},
		apitest.Call{What: "a huge limit", As: as, Path: "/api/notifications?limit=1000000000", Status: 422},
		apitest.Call{What: "no limit", As: as, Path: "/api/notifications?limit=abc", Status: 422},
		apitest.Call{What: "unread of what", As: as, Path: "/api/notifications?unread=perhaps", Status: 422},
	)
}

func TestPreferencesHoldForEachCell(t *testing.T) {
	w := start(t, options{})
	id := w.someone("Ann", "Europe/Berlin")
	as := w.Token("client", id)
	put := func(what, body string, status int, has string) {
		t.Helper()
		w.Call(apitest.Call{What: what, As: as, Method: "PUT", Path: "/api/notifications/preferences", Body: body, Status: status, Has: has})
	}
	w.Call(apitest.Call{What: "everything is on", As: as, Path: "/api/notifications/preferences", Status: 200, Has: `"payments":{"email":true,"inApp":true}`})
	put("one cell", `{"matrix":{"payments":{"email":false}}}`, 200, `"payments":{"email":false,"inApp":true}`)
	put("another, and the first stays", `{"matrix":{"reviews":{"inApp":false}}}`, 200, `"payments":{"email":false,"inApp":true},"reminders":{"email":true,"inApp":true},"reviews":{"email":true,"inApp":false}`)
	put("quiet hours", `{"quietHours":{"start":"22:00","end":"07:00"}}`, 200, `"quietHours":{"start":"22:00","end":"07:00"},"timezone":"Europe/Berlin"`)
	put("nothing changes nothing", `{}`, 200, `"quietHours":{"start":"22:00"`)
	put("null clears", `{"quietHours":null}`, 200, `"quietHours":null`)
	put("security stays on", `{"matrix":{"account":{"email":false}}}`, 422, "matrix")
	put("security may be switched on", `{"matrix":{"account":{"email":true}}}`, 200, `"account":{"email":true,"inApp":true}`)
	put("no such category", `{"matrix":{"$ne":{"email":false}}}`, 422, "matrix")
	put("no such channel", `{"matrix":{"payments":{"off.x":true}}}`, 422, "matrix")
	put("no hour", `{"quietHours":{"start":"24:00","end":"07:00"}}`, 422, "quietHours")
	put("no length", `{"quietHours":{"start":"07:00","end":"07:00"}}`, 422, "quietHours")
	put("no bool", `{"matrix":{"payments":{"email":"no"}}}`, 422, "matrix")
	put("no such field", `{"userId":"x"}`, 422, "")
	put("no JSON", `{`, 400, "")

	w.tell(id, event.UserPasswordChanged{UserID: id}, badge(id, 1),
		event.PaymentCompleted{Payment: event.Payment{PaymentID: uuid.New(), BookingID: uuid.New(), ClientID: id, Amount: gig.Amount}})
	w.send(time.Second)
	var subjects []string
	for _, m := range w.mails(id) {
		subjects = append(subjects, m.Subject)
	}
	if len(subjects) != 2 || strings.Contains(fmt.Sprint(subjects), "Payment") || w.statuses("dropped") != 1 {
		t.Errorf("mails %q", subjects)
	}
	for _, n := range w.list(id) {
		if n.Type == "badge.awarded" {
			t.Error("a badge in the app, where reviews are off")
		}
	}
	var all sync.WaitGroup
	for _, c := range []string{"bookings", "reminders", "payments", "reviews"} {
		for _, ch := range []string{"email", "inApp"} {
			all.Go(func() {
				w.Do(apitest.Call{As: as, Method: "PUT", Path: "/api/notifications/preferences", Body: `{"matrix":{"` + c + `":{"` + ch + `":false}}}`})
			})
		}
	}
	all.Wait()
	w.Call(apitest.Call{What: "changes at once all count", As: as, Path: "/api/notifications/preferences", Status: 200, HasNot: `"reviews":{"email":true`,
		Has: `"bookings":{"email":false,"inApp":false},"payments":{"email":false,"inApp":false},"reminders":{"email":false,"inApp":false},"reviews":{"email":false,"inApp":false}`})
}

const (
	p256dh = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	secret = "BTBZMqHH6r4Tts7J_aSIgg"
)

func TestSubscriptionsAreCheckedAndTheirOwners(t *testing.T) {
	w := start(t, options{})
	id, other := w.someone("Ann", "UTC"), w.someone("Eve", "UTC")
	as, eve := w.Token("client", id), w.Token("client", other)
	body := func(endpoint, key, auth string) string {
		return fmt.Sprintf(`{"endpoint":%q,"expirationTime":null,"keys":{"p256dh":%q,"auth":%q}}`, endpoint, key, auth)
	}
	const good = "https://fcm.googleapis.com/fcm/send/abc"
	post := func(what, as, body string, status int) {
		t.Helper()
		w.Call(apitest.Call{What: what, As: as, Method: "POST", Path: "/api/notifications/subscriptions", Body: body, Status: status, HasNot: "/fcm/send/abc"})
	}
	post("a browser", as, body(good, p256dh, secret), 201)
	post("again", as, body(good, p256dh, secret), 201)
	for _, endpoint := range []string{
		"http://fcm.googleapis.com/x", "https://localhost/x", "https://127.0.0.1/x", "https://[::1]/x", "https://[::ffff:10.0.0.1]/x", "https://2130706433/x", "https://0x7f.1/x",
		"https://10.0.0.1/x", "https://user:pw@fcm.googleapis.com/x", "https://fcm.googleapis.com:8443/x", "https://metadata.google.internal/x", "https://printer.local/x", "ftp://x.example/", "//x.example", "javascript:alert(1)", "https://", "",
	} {
		post(endpoint, as, body(endpoint, p256dh, secret), 422)
	}
	post("no point of the curve", as, body(good, strings.Repeat("A", 87), secret), 422)
	post("no base64", as, body(good, "!", secret), 422)
	post("a short secret", as, body(good, p256dh, "AAAA"), 422)
	post("anonymous", "", body(good, p256dh, secret), 401)
	if n := len(w.kept("subscriptions", docdb.Filter{})); n != 1 {
		t.Errorf("%d are kept", n)
	}
	drop := func(what, as string, status int) {
		t.Helper()
		w.Call(apitest.Call{What: what, As: as, Method: "DELETE", Path: "/api/notifications/subscriptions", Body: `{"endpoint":"` + good + `"}`, Status: status})
	}
	drop("a stranger's", eve, 404)
	drop("one's own", as, 200)
	drop("gone", as, 404)
	for n := range 25 {
		post("many", as, body(fmt.Sprintf("https://push.example/%d", n), p256dh, secret), 201)
		w.clock.Advance(time.Second)
	}
	if n := len(w.kept("subscriptions", docdb.Filter{})); n != 20 {
		t.Errorf("%d of 25 are kept", n)
	}
}

func TestFactsAboutPeopleComeInAnyOrder(t *testing.T) {
	w := start(t, options{})
	id := uuid.New()
	w.tell(id, event.UserUpdated{UserID: id, Name: "Ann B.", Locale: "en", Timezone: "Asia/Tokyo", Version: 2})
	w.tell(id, event.UserVerified{UserID: id, Email: address(id)})
	w.tell(id, event.UserCreated{UserID: id, Email: address(id), Name: "Ann", Role: "client"})
	w.tell(id, event.UserUpdated{UserID: id, Name: "Old", Locale: "en", Timezone: "UTC", Version: 1})
	if n := len(w.kept("people", docdb.And(docdb.Eq("email", address(id)), docdb.Eq("verified", true), docdb.Eq("timezone", "Asia/Tokyo"), docdb.Eq("name", "Ann B.")))); n != 1 {
		t.Error("a later fact was lost")
	}
	w.tell(id, badge(id, 1))
	w.Call(apitest.Call{What: "a wish", As: w.Token("client", id), Method: "PUT", Path: "/api/notifications/preferences", Body: `{"quietHours":{"start":"22:00","end":"07:00"}}`, Status: 200})
	w.tell(id, event.UserDeleted{UserID: id})
	for _, collection := range []string{"people", "notifications", "deliveries", "preferences"} {
		if n := len(w.kept(collection, docdb.Filter{})); n != 0 {
			t.Errorf("%d %s stay after the user has gone", n, collection)
		}
	}
}

func TestNobodyIsAskedForAReviewTheyHaveWritten(t *testing.T) {
	w := start(t, options{})
	client, worker := w.someone("Ann", "UTC"), w.someone("Bob", "UTC")
	first, second := uuid.New(), uuid.New()
	by := func(id, writer, about uuid.UUID) event.ReviewCreated {
		return event.ReviewCreated{Review: event.Review{ReviewID: uuid.New(), BookingID: id, ReviewerID: writer, RevieweeID: about}}
	}
	w.tell(first, by(first, client, worker), by(first, worker, client))
	w.tell(second, by(second, worker, client))
	if toClient, toWorker := w.list(client), w.list(worker); len(toWorker) != 1 || len(toClient) != 1 || !strings.HasSuffix(toClient[0].Link, second.String()) {
		t.Errorf("the client is asked %d times, the worker %d times", len(toClient), len(toWorker))
	}
}
