package user_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/services/user"
)

func TestOffer(t *testing.T) {
	w := start(t)
	ada, bob, cyn := w.join("worker", "ada"), w.join("client", "bob"), w.join("worker", "cyn")
	me, adas := "/api/workers/me", "/api/workers/"+ada.id.String()
	put := func(what, body string, status int, has string) apitest.Call {
		return apitest.Call{What: what, As: ada.token, Method: "PUT", Path: me, Body: body, Status: status, Has: has}
	}
	w.Calls(
		apitest.Call{What: "a fresh page", Path: adas, Status: 200, Has: `"hourlyRate":null,"currency":"USD","skills":[],"categories":[],"languages":[],"instantBooking":false,"available":true,"active":false`, HasNot: "example.com"},
		apitest.Call{What: "not listed yet", Path: "/api/workers", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "me, without a token", Path: me, Status: 401},
		apitest.Call{What: "a bad id", Path: "/api/workers/nobody", Status: 422},
		apitest.Call{What: "a path that means another", Path: "/api/workers/..%2f..%2fetc", Status: 404},
		apitest.Call{What: "me, of a client", As: bob.token, Path: me, Status: 404},
		apitest.Call{What: "a client is no worker", Path: "/api/workers/" + bob.id.String(), Status: 404},
		apitest.Call{What: "a client makes no offer", As: bob.token, Method: "PUT", Path: me, Body: `{}`, Status: 403},
		apitest.Call{What: "a client who forged nothing but changed roles", As: w.Token("worker", bob.id), Method: "PUT", Path: me, Body: `{"title":"x"}`, Status: 404},
		apitest.Call{What: "another worker's offer", As: cyn.token, Method: "PUT", Path: adas, Body: `{"title":"x"}`, Status: 404},
		apitest.Call{What: "without a token", Method: "PUT", Path: adas, Body: `{"title":"x"}`, Status: 401},

		put("all of it", `{"title":"Engineer","hourlyRate":75.5,"currency":"EUR","skills":[{"name":"Go","proficiency":5}],"categories":["Engineering","engineering"],"languages":["de","EN-us"],"instantBooking":true}`, 200,
			`"title":"Engineer","bio":"","hourlyRate":75.50,"currency":"EUR","skills":[{"name":"Go","proficiency":5}],"categories":["engineering"],"languages":["de","en-US"],"instantBooking":true,"available":true,"active":true`),
		put("what is not sent stays", `{"title":"Senior engineer"}`, 200, `"hourlyRate":75.50`),
		put("a stale version", `{"title":"x","version":1}`, 409, `"code":"changed"`),
		put("more digits than cents", `{"hourlyRate":75.505}`, 422, "hourlyRate"),
		put("yen have no digits", `{"hourlyRate":1000.5,"currency":"JPY"}`, 422, "hourlyRate"),
		put("dinars have three", `{"hourlyRate":10.125,"currency":"KWD"}`, 200, `"hourlyRate":10.125`),
		put("another currency without a rate", `{"currency":"USD"}`, 422, "hourlyRate"),
		put("no such currency", `{"hourlyRate":10,"currency":"ABC"}`, 422, "currency"),
		put("a currency of NUL", `{"hourlyRate":10,"currency":"U\u0000D"}`, 422, "currency"),
		put("zero", `{"hourlyRate":0}`, 422, "hourlyRate"),
		put("negative", `{"hourlyRate":-5}`, 422, "hourlyRate"),
		put("beyond all money", `{"hourlyRate":1e300}`, 422, "hourlyRate"),
		put("a million and a bit", `{"hourlyRate":1000000.01}`, 422, "hourlyRate"),
		put("a text", `{"hourlyRate":"80"}`, 422, "hourlyRate"),
		put("floats are exact", `{"hourlyRate":10.35,"currency":"USD"}`, 200, `"hourlyRate":10.35`),
		put("a language that is none", `{"languages":["<b>"]}`, 422, "languages"),
		put("a comma in a skill", `{"skills":[{"name":"Go,C","proficiency":1}]}`, 422, "skills"),
		put("the whole list of skills again", `{"skills":[{"name":"Rust","proficiency":2}]}`, 200, `"skills":[{"name":"Rust","proficiency":2}]`),
		put("no work at the moment", `{"available":false}`, 200, `"active":false`),
		apitest.Call{What: "then not listed", Path: "/api/workers", Status: 200, Has: `"data":[]`},
		put("work again", `{"available":true}`, 200, `"active":true`),
		put("no offer any more", `{"hourlyRate":null}`, 200, `"hourlyRate":null`),
		put("a rate again", `{"hourlyRate":80}`, 200, `"hourlyRate":80.00`),
	)
	for field, value := range map[string]string{"active": "true", "rateMinor": "1", "averageRating": "5", "rating": "5", "totalReviews": "9", "name": `"x"`, "workerId": `"x"`, "badges": "[]", "memberSince": `"x"`} {
		w.Call(put("server-owned "+field, `{"`+field+`":`+value+`}`, 422, field))
	}
	offer, _ := lastTold[event.WorkerUpdated](w, ada.id)
	if offer.Rate != money.Of(8000, "USD") || !offer.Active || !offer.InstantBooking || !slices.Equal(offer.Categories, []string{"engineering"}) {
		t.Errorf("told %+v", offer)
	}
	var asked event.WorkerUpdated
	w.Call(apitest.Call{What: "asked", As: w.ServiceToken("booking", "user"), Path: adas + "/offer", Status: 200}).Data(&asked)
	if fmt.Sprint(asked) != fmt.Sprint(offer) {
		t.Errorf("asked %+v, told %+v", asked, offer)
	}
	a := w.Call(apitest.Call{What: "an ETag", Path: adas, Status: 200})
	if a.Header.Get("ETag") != fmt.Sprintf(`"%d"`, offer.Version) {
		t.Errorf("ETag %q of version %d", a.Header.Get("ETag"), offer.Version)
	}
	w.clean()
}

// What others read carries neither an address nor coordinates (I17).
func TestPublicViews(t *testing.T) {
	w := start(t)
	ada, bob, cyn := w.join("worker", "ada"), w.join("client", "bob"), w.join("worker", "cyn")
	for _, p := range []someone{ada, bob} {
		w.Call(apitest.Call{What: "a location", As: p.token, Method: "PUT", Path: "/api/users/me", Body: `{"location":{"city":"Berlin","country":"DE","lat":52.51234,"lon":13.41234}}`, Status: 200, Has: "52.51234"})
	}
	w.offers(ada, map[string]any{"hourlyRate": 80})
	client := "/api/clients/" + bob.id.String()
	w.Calls(
		apitest.Call{What: "the client says", As: bob.token, Method: "PUT", Path: "/api/clients/me", Body: `{"company":"Acme","industry":"Rockets","size":"11-50"}`, Status: 200, Has: `"company":"Acme","industry":"Rockets","size":"11-50"`},
		apitest.Call{What: "a size that is none", As: bob.token, Method: "PUT", Path: client, Body: `{"size":"many"}`, Status: 422, Has: "size"},
		apitest.Call{What: "a server-owned field", As: bob.token, Method: "PUT", Path: client, Body: `{"totalReviews":9}`, Status: 422},
		apitest.Call{What: "a stale version", As: bob.token, Method: "PUT", Path: client, Body: `{"company":"x"}`, Header: map[string]string{"If-Match": `"1"`}, Status: 409},
		apitest.Call{What: "a part cleared", As: bob.token, Method: "PUT", Path: client, Body: `{"industry":null}`, Status: 200, Has: `"company":"Acme","industry":""`},
		apitest.Call{What: "a worker before they meet", As: ada.token, Path: client, Status: 404, HasNot: "Acme"},
		apitest.Call{What: "another client", As: w.join("client", "dan").token, Path: client, Status: 404},
		apitest.Call{What: "nobody", Path: client, Status: 401},
		apitest.Call{What: "a worker's change", As: ada.token, Method: "PUT", Path: client, Body: `{}`, Status: 403},
		apitest.Call{What: "another client's change", As: w.join("client", "eli").token, Method: "PUT", Path: client, Body: `{}`, Status: 404},
		apitest.Call{What: "a worker is no client", As: ada.token, Path: "/api/clients/me", Status: 404},
	)
	w.hear(uuid.New(), event.BookingCreated{Booking: event.Booking{WorkerID: ada.id, ClientID: bob.id}})
	seen := []apitest.Answer{
		w.Call(apitest.Call{What: "a worker who shares a booking", As: ada.token, Path: client, Status: 200, Has: `"company":"Acme"`}),
		w.Call(apitest.Call{What: "an admin", As: w.Token("admin", uuid.New()), Path: client, Status: 200}),
		w.Call(apitest.Call{What: "the list", Path: "/api/workers", Status: 200, Has: `"location":{"city":"Berlin","country":"DE"}`}),
		w.Call(apitest.Call{What: "the page", As: bob.token, Path: "/api/workers/" + ada.id.String(), Status: 200}),
		w.Call(apitest.Call{What: "the page to its owner", As: ada.token, Path: "/api/workers/me", Status: 200}),
		w.Call(apitest.Call{What: "the card", As: w.ServiceToken("notification", "user"), Path: "/api/users/" + ada.id.String() + "/card", Status: 200}),
	}
	w.Call(apitest.Call{What: "a worker who shares none", As: cyn.token, Path: client, Status: 404})
	for _, a := range seen {
		for _, secret := range []string{"example.com", "email", "52.512", "13.412", `"lat"`, `"lon"`, "status", "settings"} {
			if strings.Contains(string(a.Body), secret) {
				t.Errorf("%q is in %s", secret, a.Body)
			}
		}
	}
}

func ids(a apitest.Answer) (out []uuid.UUID) {
	var found []user.Worker
	a.Data(&found)
	for _, w := range found {
		out = append(out, w.ID)
	}
	return out
}

func TestFilters(t *testing.T) {
	w := start(t)
	worker := func(name string, rate float64, currency, country, title string, skills ...string) uuid.UUID {
		p := w.join("worker", name)
		list := []event.Skill{}
		for _, s := range skills {
			list = append(list, event.Skill{Name: s, Proficiency: 3})
		}
		w.Call(apitest.Call{What: name, As: p.token, Method: "PUT", Path: "/api/users/me", Body: map[string]any{"location": map[string]any{"country": country}, "bio": name + " likes Größe and C++"}, Status: 200})
		w.offers(p, map[string]any{"hourlyRate": rate, "currency": currency, "title": title, "skills": list})
		return p.id
	}
	ada := worker("ada", 80, "USD", "DE", "Platform engineer", "Go", "Kubernetes")
	bea := worker("bea", 60.5, "USD", "US", "Data engineer", "Go", "node.js")
	cyn := worker("cyn", 70, "EUR", "DE", "Designer", "Adobe  Photoshop")
	all := []uuid.UUID{ada, bea, cyn}
	for _, c := range []struct {
		what, query string
		want        []uuid.UUID
	}{
		{"all", "", all},
		{"a skill in any case", "skills=gO", []uuid.UUID{ada, bea}},
		{"all skills", "skills=Go,%20kubernetes", []uuid.UUID{ada}},
		{"empty names do not matter", "skills=,,Go,", []uuid.UUID{ada, bea}},
		{"spaces do not matter", "skills=adobe+photoshop", []uuid.UUID{cyn}},
		{"no such skill", "skills=Go,Knitting", nil},
		{"a country in any case", "country=de", []uuid.UUID{ada, cyn}},
		{"a currency", "currency=EUR", []uuid.UUID{cyn}},
		{"from a rate on, in dollars when nothing is said", "minRate=60.50", []uuid.UUID{ada, bea}},
		{"up to a rate", "maxRate=60.5", []uuid.UUID{bea}},
		{"between", "minRate=61&maxRate=80&currency=USD", []uuid.UUID{ada}},
		{"between, in euros", "minRate=61&maxRate=80&currency=EUR", []uuid.UUID{cyn}},
		{"none between", "minRate=90&maxRate=61", nil},
		{"a word", "q=engineer", []uuid.UUID{ada, bea}},
		{"the beginning of one", "q=kube", []uuid.UUID{ada}},
		{"words of different fields, in any case", "q=ENGINEER+bea", []uuid.UUID{bea}},
		{"a dotted word", "q=node.js", []uuid.UUID{bea}},
		{"letters beyond ASCII", "q=" + url.QueryEscape("GRÖßE"), all},
		{"a letter alone", "q=c", all},
		{"a name", "q=cyn", []uuid.UUID{cyn}},
		{"no such word", "q=xylophone", nil},
		{"no word at all", "q=" + url.QueryEscape("!?&|':*"), nil},
		{"operators are letters or nothing", "q=" + url.QueryEscape("engineer | designer"), nil},
		{"a quote", "q=" + url.QueryEscape("eng'ineer"), nil},
		{"everything at once", "q=platform&skills=go&country=DE&minRate=1&maxRate=1000&sort=rate&limit=100", []uuid.UUID{ada}},
		{"the cheapest first", "sort=rate", []uuid.UUID{bea, ada}},
		{"the newest first", "sort=newest", []uuid.UUID{cyn, bea, ada}},
	} {
		got := ids(w.Call(apitest.Call{What: c.what, Path: "/api/workers?" + c.query, Status: 200}))
		if !strings.Contains(c.query, "sort") {
			slices.SortFunc(got, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	for what, query := range map[string]string{
		"a limit beyond": "limit=1000000000", "a limit of none": "limit=0", "a limit of letters": "limit=abc", "a negative limit": "limit=-1",
		"a rate of letters": "minRate=abc", "a negative rate": "minRate=-1", "a rate with an exponent": "minRate=1e9", "too many digits": "minRate=1.005", "a long number": "maxRate=99999999999999999999",
		"no such currency": "minRate=1&currency=ABC", "a currency in small letters": "currency=usd", "no such country": "country=XQ", "a country of letters": "country=Germany",
		"no such order": "sort=password", "a long text": "q=" + strings.Repeat("x", 201), "NUL in a skill": "skills=%00",
	} {
		w.Call(apitest.Call{What: what, Path: "/api/workers?" + query, Status: 422})
	}
	for _, q := range []string{"q=%00", "q=%ff%fe", "q=" + url.QueryEscape("'; DROP TABLE workers; --"), "skills=" + url.QueryEscape("{go}"), "skills=%ff"} {
		if a := w.Do(apitest.Call{Path: "/api/workers?" + q}); a.Status != 200 && a.Status != 422 {
			t.Errorf("%s: %s", q, a)
		}
	}
	w.clean()
}

// Every worker comes once in each order, whatever joins, leaves or is edited behind the reader's back.
func TestPaging(t *testing.T) {
	w := start(t)
	var people []someone
	for i := range 11 {
		w.clock.Advance(time.Minute)
		p := w.join("worker", fmt.Sprintf("w%d", i))
		w.offers(p, map[string]any{"hourlyRate": 50 + i%3})
		if i%2 == 0 {
			w.hear(uuid.New(), event.ReviewRevealed{Review: event.Review{RevieweeID: p.id}, Rating: 4, Sum: int64(5 + i/4), Count: 2, Version: 1})
		}
		people = append(people, p)
	}
	cursors := map[string]string{}
	for _, order := range []string{"rating", "rate", "newest"} {
		seen := map[uuid.UUID]int{}
		var in []user.Worker
		path := "/api/workers?limit=3&sort=" + order
		for next := path; next != ""; {
			a := w.Call(apitest.Call{What: order, Path: next, Status: 200})
			var page []user.Worker
			a.Data(&page)
			for _, p := range page {
				seen[p.ID]++
			}
			in = append(in, page...)
			var meta struct {
				Meta struct{ NextCursor string }
			}
			if err := json.Unmarshal(a.Body, &meta); err != nil {
				t.Fatal(err)
			}
			if next = ""; meta.Meta.NextCursor != "" {
				next = path + "&cursor=" + meta.Meta.NextCursor
				cursors[order] = meta.Meta.NextCursor
			}
			// Somebody leaves whom the reader has seen, edits, and comes back.
			w.Call(apitest.Call{What: "a leave", As: w.Token("worker", page[0].ID), Method: "PUT", Path: "/api/workers/me", Body: `{"available":false}`, Status: 200})
			w.Call(apitest.Call{What: "a return", As: w.Token("worker", page[0].ID), Method: "PUT", Path: "/api/workers/me", Body: `{"available":true,"title":"back"}`, Status: 200})
		}
		for _, p := range people {
			if seen[p.id] != 1 {
				t.Errorf("by %s a worker came %d times", order, seen[p.id])
			}
		}
		sorted := slices.IsSortedFunc(in, func(a, b user.Worker) int {
			switch order {
			case "rate":
				return strings.Compare(string(*a.HourlyRate), string(*b.HourlyRate))
			case "newest":
				return b.MemberSince.Compare(a.MemberSince)
			}
			return int(b.AverageRating*100) - int(a.AverageRating*100)
		})
		if !sorted {
			t.Errorf("not in the order of %s", order)
		}
	}
	w.Calls(
		apitest.Call{What: "another order's cursor", Path: "/api/workers?sort=newest&cursor=" + cursors["rate"], Status: 400},
		apitest.Call{What: "another order's cursor", Path: "/api/workers?cursor=" + cursors["newest"], Status: 400},
		apitest.Call{What: "another currency's cursor", Path: "/api/workers?sort=rate&currency=EUR&cursor=" + cursors["rate"], Status: 400},
		apitest.Call{What: "a cursor that is none", Path: "/api/workers?cursor=%00", Status: 400},
		apitest.Call{What: "a cursor made up", Path: "/api/workers?cursor=WyJyYXRpbmciLCJ4IiwieSIsInoiXQ", Status: 400},
	)
}
