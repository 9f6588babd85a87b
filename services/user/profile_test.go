package user_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/services/user"
)

func TestProfile(t *testing.T) {
	w := start(t)
	ada, bob := w.join("worker", "ada"), w.join("client", "bob")
	admin := w.Token("admin", uuid.New())
	me, adas := "/api/users/me", "/api/users/"+ada.id.String()
	put := func(what, body string, status int, has string) apitest.Call {
		return apitest.Call{What: what, As: ada.token, Method: "PUT", Path: me, Body: body, Status: status, Has: has}
	}
	w.Calls(
		apitest.Call{What: "a fresh profile", As: ada.token, Path: me, Status: 200, Has: `"name":"ada","role":"worker","status":"active","bio":"","skills":[]`},
		apitest.Call{What: "by its id", As: ada.token, Path: adas, Status: 200, Has: `"email":"ada@example.com"`},
		apitest.Call{What: "by an admin", As: admin, Path: adas, Status: 200, Has: `"email":"ada@example.com"`},
		apitest.Call{What: "by a stranger", As: bob.token, Path: adas, Status: 404, HasNot: `"ada`},
		apitest.Call{What: "of nobody, alike", As: bob.token, Path: "/api/users/" + uuid.NewString(), Status: 404},
		apitest.Call{What: "by nobody", Path: me, Status: 401},
		apitest.Call{What: "by a service", As: w.ServiceToken("booking", "user"), Path: adas, Status: 403},
		apitest.Call{What: "a bad id", As: ada.token, Path: "/api/users/42", Status: 422, Has: "must be a UUID, or me"},
		apitest.Call{What: "a stranger's change", As: bob.token, Method: "PUT", Path: adas, Body: `{"bio":"x"}`, Status: 404},

		put("everything", `{"name":" Ada  L. ","bio":"I count.\r\nA lot.","skills":[{"name":"Go","proficiency":5}],"experience":"10 years",
			"location":{"city":"Berlin","country":"de","lat":52.5,"lon":13.4},"timezone":"Europe/Berlin","locale":"de-DE",
			"portfolio":[{"title":"Engine","url":"https://example.com/e"}],"socialLinks":{"github":"https://github.com/ada"}}`, 200,
			`"location":{"city":"Berlin","country":"DE","lat":52.5,"lon":13.4},"timezone":"Europe/Berlin","locale":"de-DE"`),
		put("what is not sent stays", `{"experience":"11 years"}`, 200, `"bio":"I count.\nA lot.","skills":[{"name":"Go","proficiency":5}]`),
		put("a part of the location", `{"location":{"city":"Potsdam"}}`, 200, `"location":{"city":"Potsdam","country":"DE","lat":52.5,"lon":13.4}`),
		put("null clears", `{"bio":null,"skills":null,"location":{"lat":null,"lon":null},"socialLinks":null}`, 200, `"location":{"city":"Potsdam","country":"DE","lat":null,"lon":null}`),
		put("an empty change", `{}`, 200, `"experience":"11 years"`),
		put("one coordinate", `{"location":{"lat":1}}`, 422, `"location"`),
		put("off the globe", `{"location":{"lat":91,"lon":0}}`, 422, `"location.lat"`),
		put("no such country", `{"location":{"country":"XQ"}}`, 422, `"location.country"`),
		put("no such zone", `{"timezone":"Mars/Olympus"}`, 422, `"timezone"`),
		put("a path as a zone", `{"timezone":"../../etc/passwd"}`, 422, `"timezone"`),
		put("the server's zone", `{"timezone":"Local"}`, 422, `"timezone"`),
		put("no such language", `{"locale":"!!"}`, 422, `"locale"`),
		put("no name", `{"name":null}`, 422, `"name"`),
		put("a name of spaces", `{"name":"  "}`, 422, `"name"`),
		put("a name that turns the text around", `{"name":"ada\u202eexe"}`, 422, `"name"`),
		put("a name of two lines", `{"name":"ada\nBcc: x"}`, 422, `"name"`),
		put("NUL in a text", `{"bio":"a\u0000b"}`, 422, `"bio"`),
		put("a long text", `{"bio":"`+strings.Repeat("x", 4001)+`"}`, 422, `"bio"`),
		put("a huge body", `{"bio":"`+strings.Repeat("x", 300<<10)+`"}`, 413, ""),
		put("a skill twice", `{"skills":[{"name":"Go","proficiency":5},{"name":" go ","proficiency":1}]}`, 422, `"skills"`),
		put("a skill beyond the scale", `{"skills":[{"name":"Go","proficiency":6}]}`, 422, `"skills"`),
		put("several faults at once", `{"name":"","timezone":"x"}`, 422, `"timezone"`),
		put("not JSON", `{"bio"`, 400, ""),
		put("a number for a text", `{"bio":7}`, 422, "bio"),
	)
	for field, value := range map[string]string{
		"email": `"x@example.com"`, "emailVerified": "true", "role": `"admin"`, "status": `"active"`, "avatar": `"x"`, "avatarUrl": `"x"`, "averageRating": "5",
		"totalReviews": "9", "badges": "[]", "id": `"` + bob.id.String() + `"`, "userId": `"x"`, "createdAt": `"2020-01-01T00:00:00Z"`, "ratingSum": "1",
	} {
		w.Call(put("server-owned "+field, `{"`+field+`":`+value+`}`, 422, field))
	}
	for _, link := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\\nscript:alert(1)", " javascript:alert(1)", "data:text/html,x", "vbscript:x", "//example.com", "http:example.com",
		"https://", "https://user:secret@example.com", "https://exa mple.com", "https://example.com/\\\"><script>", "file:///etc/passwd", "ftp://example.com", "", "https://example.com/\\u0000"} {
		w.Calls(
			put("as a link: "+link, `{"socialLinks":{"web":"`+link+`"}}`, 422, "socialLinks.web"),
			put("in a site's name", `{"socialLinks":{"<b>":"https://example.com"}}`, 422, "socialLinks"),
		)
		if link != "" {
			w.Call(put("in the portfolio: "+link, `{"portfolio":[{"title":"x","url":"`+link+`"}]}`, 422, "portfolio.url"))
		}
	}
	for _, markup := range []string{`<script>alert(1)</script>`, `<img src=x onerror=alert(1)>`, `"><svg/onload=alert(1)>`, `{{7*7}}`, `'; DROP TABLE user_profiles; --`} {
		raw, _ := json.Marshal(map[string]string{"bio": markup})
		a := w.Call(put("markup is text", string(raw), 200, ""))
		var p user.Profile
		if a.Data(&p); p.Bio != markup || strings.Contains(string(a.Body), "<") || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s came back as %s", markup, a)
		}
	}
	w.Call(apitest.Call{What: "an admin's change", As: admin, Method: "PUT", Path: adas, Body: `{"bio":"tidied"}`, Status: 200})
	if n, err := postgres.One[int64](t.Context(), w.db, `SELECT count(*) FROM audit WHERE action = 'profile.edited' AND subject = $1`, ada.id); err != nil || n != 1 {
		t.Errorf("%d audit rows, %v", n, err)
	}
	w.clean()
}

func TestProfileTellsOfItself(t *testing.T) {
	w := start(t)
	ada := w.join("worker", "ada")
	if first, n := lastTold[event.WorkerUpdated](w, ada.id); n != 1 || first.Version != 1 || first.Active {
		t.Errorf("a new worker: %d events, %+v", n, first)
	}
	put := func(body string) {
		w.Call(apitest.Call{What: "a change", As: ada.token, Method: "PUT", Path: "/api/users/me", Body: body, Status: 200})
	}
	put(`{"timezone":"Europe/Berlin","location":{"country":"DE"},"name":"Ada Lovelace","skills":[{"name":"Go","proficiency":5}]}`)
	told, n := lastTold[event.UserUpdated](w, ada.id)
	if want := (event.UserUpdated{UserID: ada.id, Name: "Ada Lovelace", Locale: "en", Timezone: "Europe/Berlin", Country: "DE", Version: 2}); n != 1 || told != want {
		t.Errorf("user.updated: %d, %+v", n, told)
	}
	offer, n := lastTold[event.WorkerUpdated](w, ada.id)
	if n != 2 || offer.Version != 2 || offer.Timezone != "Europe/Berlin" || offer.Country != "DE" || len(offer.Skills) != 1 {
		t.Errorf("worker.updated: %d, %+v", n, offer)
	}
	put(`{"bio":"nobody else cares"}`)
	put(`{"bio":"nobody else cares"}`)
	if _, n := lastTold[event.UserUpdated](w, ada.id); n != 1 {
		t.Errorf("a bio was told of")
	}
	if _, n := lastTold[event.WorkerUpdated](w, ada.id); n != 2 {
		t.Errorf("a bio was told of as an offer")
	}
	w.Call(apitest.Call{What: "the same again is no version", As: ada.token, Path: "/api/users/me", Status: 200, Has: `"version":3`})
}

// Whoever comes before the news of their registration is found at auth.
func TestFirstTouch(t *testing.T) {
	w := start(t)
	id := uuid.Must(uuid.NewV7())
	w.peers.accounts[id] = account{id, "eve@example.com", "Eve", "worker", true, "active", monday}
	tok := w.Token("worker", id)
	w.peers.away = true
	w.Call(apitest.Call{What: "while auth is away", As: tok, Path: "/api/users/me", Status: 503})
	w.peers.away = false
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			w.Call(apitest.Call{What: "many at once", As: tok, Method: "PUT", Path: "/api/workers/me", Body: `{"hourlyRate":80,"currency":"USD"}`, Status: 200, Has: `"name":"Eve"`})
		})
	}
	all.Wait()
	w.hear(id, event.UserCreated{UserID: id, Email: "eve@example.com", Name: "Eve", Role: "worker"})
	w.Call(apitest.Call{What: "the news changes nothing", As: tok, Path: "/api/users/me", Status: 200, Has: `"emailVerified":true`})
	if offer, n := lastTold[event.WorkerUpdated](w, id); n != 2 || offer.Version != 2 || !offer.Active {
		t.Errorf("%d events, the last %+v", n, offer)
	}
	gone := uuid.New()
	asked := w.peers.asked
	w.Calls(
		apitest.Call{What: "a token of nobody", As: w.Token("client", gone), Path: "/api/users/me", Status: 404},
		apitest.Call{What: "a token of nobody", As: w.Token("client", gone), Method: "PUT", Path: "/api/users/me", Body: `{}`, Status: 404},
	)
	if w.peers.asked != asked+2 {
		t.Errorf("auth was asked %d times", w.peers.asked-asked)
	}
	w.Calls(
		apitest.Call{What: "a made-up worker", Path: "/api/workers/" + gone.String(), Status: 404},
		apitest.Call{What: "a made-up client", As: tok, Path: "/api/clients/" + gone.String(), Status: 404},
	)
	if w.peers.asked != asked+2 {
		t.Error("auth was asked about an id that a stranger made up")
	}
	other := uuid.Must(uuid.NewV7())
	w.peers.accounts[other] = account{other, "f@example.com", "Fay", "worker", false, "active", monday}
	w.Calls(
		apitest.Call{What: "another service asks first", As: w.ServiceToken("booking", "user"), Path: "/api/workers/" + other.String() + "/offer", Status: 200, Has: `"version":1`},
		apitest.Call{What: "a card", As: w.ServiceToken("notification", "user"), Path: "/api/users/" + other.String() + "/card", Status: 200, Has: `"name":"Fay","role":"worker","timezone":"UTC","locale":"en","country":"","avatarUrl":""`},
		apitest.Call{What: "a card is not for people", As: tok, Path: "/api/users/" + other.String() + "/card", Status: 403},
		apitest.Call{What: "an offer is not for people", As: tok, Path: "/api/workers/" + other.String() + "/offer", Status: 403},
	)
}

// Of those who change the same version at once one wins, and of those who change different fields nobody loses.
func TestChangesAtOnce(t *testing.T) {
	w := start(t)
	ada := w.join("worker", "ada")
	var mu sync.Mutex
	count := map[int]int{}
	at := func(path string, body string, header map[string]string) {
		a := w.Do(apitest.Call{As: ada.token, Method: "PUT", Path: path, Body: body, Header: header})
		mu.Lock()
		defer mu.Unlock()
		count[a.Status]++
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() { at("/api/users/me", fmt.Sprintf(`{"bio":"%d","version":1}`, i), nil) })
	}
	all.Wait()
	if count[200] != 1 || count[409] != 15 {
		t.Errorf("one version: %v", count)
	}
	clear(count)
	for i := range 16 {
		all.Go(func() { at("/api/workers/me", fmt.Sprintf(`{"title":"%d"}`, i), map[string]string{"If-Match": `"1"`}) })
	}
	all.Wait()
	if count[200] != 1 || count[409] != 15 {
		t.Errorf("one offer: %v", count)
	}
	clear(count)
	for i := range 8 {
		all.Go(func() { at("/api/users/me", fmt.Sprintf(`{"socialLinks":{"a":"https://example.com/%d"}}`, i), nil) })
		all.Go(func() { at("/api/users/me", fmt.Sprintf(`{"experience":"%d"}`, i), nil) })
		all.Go(func() { at("/api/workers/me", fmt.Sprintf(`{"hourlyRate":%d}`, i+1), nil) })
		all.Go(func() { at("/api/users/me/settings", fmt.Sprintf(`{"privacy":{"k%d":true}}`, i), nil) })
	}
	all.Wait()
	if count[200] != 32 {
		t.Errorf("different fields: %v", count)
	}
	var p user.Profile
	w.Call(apitest.Call{What: "all of it is there", As: ada.token, Path: "/api/users/me", Status: 200}).Data(&p)
	if p.Version != 18 || p.Experience == "" || p.SocialLinks["a"] == "" {
		t.Errorf("%+v", p)
	}
	var s user.Settings
	w.Call(apitest.Call{What: "all settings are there", As: ada.token, Path: "/api/users/me/settings", Status: 200}).Data(&s)
	if len(s.Privacy) != 8 || s.Version != 8 {
		t.Errorf("%+v", s)
	}
	versions := map[int64]bool{}
	for _, raw := range w.told(ada.id, "worker.updated") {
		var e event.WorkerUpdated
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if versions[e.Version] || e.Version != int64(len(versions))+1 {
			t.Errorf("version %d after %d others", e.Version, len(versions))
		}
		versions[e.Version] = true
	}
	w.Calls(
		apitest.Call{What: "header and body differ", As: ada.token, Method: "PUT", Path: "/api/users/me", Body: `{"version":18}`, Header: map[string]string{"If-Match": `"17"`}, Status: 409},
		apitest.Call{What: "a header that is none", As: ada.token, Method: "PUT", Path: "/api/users/me", Body: `{}`, Header: map[string]string{"If-Match": `"x"`}, Status: 409},
		apitest.Call{What: "any version", As: ada.token, Method: "PUT", Path: "/api/users/me", Body: `{}`, Header: map[string]string{"If-Match": `*`}, Status: 200},
	)
	w.clean()
}

func TestSettings(t *testing.T) {
	w := start(t)
	ada, bob := w.join("worker", "ada"), w.join("client", "bob")
	path := "/api/users/me/settings"
	put := func(what, body string, status int, has string) apitest.Call {
		return apitest.Call{What: what, As: ada.token, Method: "PUT", Path: path, Body: body, Status: status, Has: has}
	}
	deep := strings.Repeat(`{"a":`, 10) + "1" + strings.Repeat("}", 10)
	w.Calls(
		apitest.Call{What: "nothing set", As: ada.token, Path: path, Status: 200, Has: `{"notifications":{},"privacy":{},"preferences":{},"version":0}`},
		put("a member", `{"preferences":{"theme":"dark","tour":{"done":true}}}`, 200, `"preferences":{"theme":"dark","tour":{"done":true}},"version":1`),
		put("others stay", `{"preferences":{"tour":null},"privacy":{"city":false}}`, 200, `"privacy":{"city":false},"preferences":{"theme":"dark"},"version":2`),
		put("an old version", `{"preferences":null,"version":1}`, 409, `"code":"changed"`),
		put("a part emptied", `{"preferences":null,"version":2}`, 200, `"preferences":{}`),
		put("not an object", `{"privacy":[1]}`, 422, ""),
		put("an unknown part", `{"billing":{}}`, 422, ""),
		put("NUL in a text", `{"privacy":{"a":"\u0000"}}`, 422, "privacy"),
		put("NUL in a name", `{"privacy":{"a\u0000":1}}`, 422, "privacy"),
		put("a number beyond reach", `{"privacy":{"a":1e999}}`, 0, ""),
		put("too deep", `{"privacy":`+deep+`}`, 422, "privacy"),
		put("far too deep", `{"privacy":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)+`}`, 0, `"success":false`),
		put("too large", `{"privacy":{"a":"`+strings.Repeat("x", 17<<10)+`"}}`, 422, "privacy"),
		put("a body too large", `{"privacy":{"a":"`+strings.Repeat("x", 70<<10)+`"}}`, 413, ""),
		apitest.Call{What: "a stranger", As: bob.token, Path: "/api/users/" + ada.id.String() + "/settings", Status: 404},
		apitest.Call{What: "a stranger's change", As: bob.token, Method: "PUT", Path: "/api/users/" + ada.id.String() + "/settings", Body: `{}`, Status: 404},
	)
}

func TestAdmin(t *testing.T) {
	w := start(t)
	ada, bob := w.join("worker", "ada"), w.join("client", "bob")
	boss := w.join("admin", "boss")
	w.offers(ada, map[string]any{"hourlyRate": json.Number("80"), "title": "Engineer"})
	status := func(what string, id uuid.UUID, body string, code int, has string) apitest.Call {
		return apitest.Call{What: what, As: boss.token, Method: "PUT", Path: "/api/users/" + id.String() + "/status", Body: body, Status: code, Has: has}
	}
	w.Calls(
		apitest.Call{What: "not for workers", As: ada.token, Path: "/api/users", Status: 403},
		apitest.Call{What: "all", As: boss.token, Path: "/api/users", Status: 200, Has: `bob@example.com`},
		apitest.Call{What: "part of an address", As: boss.token, Path: "/api/users?q=ADA@EX", Status: 200, Has: `"name":"ada"`, HasNot: "bob"},
		apitest.Call{What: "wildcards are letters", As: boss.token, Path: "/api/users?q=%25", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "NUL", As: boss.token, Path: "/api/users?q=%00", Status: 422},
		apitest.Call{What: "bytes that are no text", As: boss.token, Path: "/api/users?q=%ff", Status: 422},
		apitest.Call{What: "a role", As: boss.token, Path: "/api/users?role=client", Status: 200, Has: "bob@example.com", HasNot: "ada@example.com"},
		apitest.Call{What: "no such role", As: boss.token, Path: "/api/users?role=king", Status: 422},
		apitest.Call{What: "a bad cursor", As: boss.token, Path: "/api/users?cursor=AAAA", Status: 400},

		status("without a reason", ada.id, `{"status":"suspended"}`, 422, "reason"),
		status("another status", ada.id, `{"status":"deleted"}`, 422, ""),
		status("oneself", boss.id, `{"status":"suspended","reason":"x"}`, 409, ""),
		status("nobody", uuid.New(), `{"status":"suspended","reason":"x"}`, 404, ""),
		apitest.Call{What: "by a worker", As: bob.token, Method: "PUT", Path: "/api/users/" + ada.id.String() + "/status", Body: `{"status":"suspended","reason":"x"}`, Status: 403},
		status("suspended", ada.id, `{"status":"suspended","reason":"spam"}`, 200, `"status":"suspended"`),
		apitest.Call{What: "not listed any more", Path: "/api/workers", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "no page any more", Path: "/api/workers/" + ada.id.String(), Status: 404},
		apitest.Call{What: "found by status", As: boss.token, Path: "/api/users?status=suspended", Status: 200, Has: "ada", HasNot: "bob"},
	)
	if e, _ := lastTold[event.WorkerUpdated](w, ada.id); e.Active {
		t.Error("the others think that the worker is active")
	}
	before := len(w.told(ada.id, "worker.updated"))
	w.hear(ada.id, event.UserSuspended{UserID: ada.id, Reason: "spam"})
	if n := len(w.told(ada.id, "worker.updated")); n != before {
		t.Errorf("the news of what is known was told of again")
	}
	w.Calls(
		status("reinstated", ada.id, `{"status":"active"}`, 200, `"status":"active"`),
		apitest.Call{What: "listed again", Path: "/api/workers", Status: 200, Has: ada.id.String()},
	)
	w.peers.away = true
	w.Call(status("auth away", ada.id, `{"status":"suspended","reason":"x"}`, 503, ""))
	w.Call(apitest.Call{What: "then nothing has changed", Path: "/api/workers/" + ada.id.String(), Status: 200})
	want := []string{"suspended " + ada.id.String() + " by " + boss.id.String() + " spam", "active " + ada.id.String() + " by " + boss.id.String() + " "}
	if fmt.Sprint(w.peers.turns) != fmt.Sprint(want) {
		t.Errorf("auth was told %v", w.peers.turns)
	}
	if n, err := postgres.One[int64](t.Context(), w.db, `SELECT count(*) FROM audit WHERE action = 'user.status_set' AND actor = $1`, boss.id.String()); err != nil || n != 2 {
		t.Errorf("%d audit rows, %v", n, err)
	}
	w.clean()
}

func TestRoundTrips(t *testing.T) {
	w := start(t)
	ada, bob := w.join("worker", "ada"), w.join("client", "bob")
	w.offers(ada, map[string]any{"hourlyRate": json.Number("80"), "skills": []event.Skill{{Name: "Go", Proficiency: 5}}})
	w.hear(uuid.New(), event.BookingCreated{Booking: event.Booking{WorkerID: ada.id, ClientID: bob.id}})
	w.deaf() // the inbox shares the pool
	for _, c := range []struct {
		most int64
		call apitest.Call
	}{
		{1, apitest.Call{What: "own profile", As: ada.token, Path: "/api/users/me", Status: 200}},
		{1, apitest.Call{What: "worker's page", Path: "/api/workers/" + ada.id.String(), Status: 200}},
		{1, apitest.Call{What: "list", Path: "/api/workers?skills=Go&minRate=10&q=ada&sort=rate", Status: 200}},
		{2, apitest.Call{What: "settings", As: ada.token, Path: "/api/users/me/settings", Status: 200}},
		{2, apitest.Call{What: "client's page for a worker", As: ada.token, Path: "/api/clients/" + bob.id.String(), Status: 200}},
		{1, apitest.Call{What: "users", As: w.Token("admin", uuid.New()), Path: "/api/users", Status: 200}},
		{2, apitest.Call{What: "a change", As: ada.token, Method: "PUT", Path: "/api/users/me", Body: `{"timezone":"Europe/Berlin"}`, Status: 200}},
		{2, apitest.Call{What: "a changed offer", As: ada.token, Method: "PUT", Path: "/api/workers/me", Body: `{"title":"x"}`, Status: 200}},
	} {
		if n := pgtest.Trips(w.db, func() { w.Call(c.call) }); n > c.most {
			t.Errorf("%s: %d round trips, want %d at most", c.call.What, n, c.most)
		}
	}
}
