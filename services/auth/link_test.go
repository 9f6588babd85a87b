package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
)

func form(path string, fields url.Values, status int, has string) apitest.Call {
	if fields == nil {
		fields = url.Values{"press": {"yes"}}
	}
	return apitest.Call{What: "the page's button", Path: path, Body: fields.Encode(), Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}, Status: status, Has: has}
}

func TestVerifyEmail(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	path := w.link("verify")
	for range 3 {
		page := w.Call(apitest.Call{What: "a mail scanner looks", Path: path, Status: 200, Has: "<button", Header: map[string]string{"Host": "evil.example", "X-Forwarded-Host": "evil.example"}, HasNot: "evil"})
		checkPage(t, page)
	}
	w.Call(apitest.Call{What: "looking changes nothing", As: s.AccessToken, Path: "/api/auth/me", Has: `"emailVerified":false`})
	w.Call(form(path, nil, 200, "is confirmed"))
	w.Call(apitest.Call{What: "verified", As: s.AccessToken, Path: "/api/auth/me", Has: `"emailVerified":true`})
	w.Call(form(path, nil, 409, "used already"))
	checkPage(t, w.Call(apitest.Call{What: "its page afterwards", Path: path, Status: 409, Has: "used already", HasNot: "<button"}))
	if e := w.events("user.verified"); len(e) != 1 || e[0]["email"] != "ada@example.com" {
		t.Errorf("events %v", e)
	}
	w.Call(apitest.Call{What: "once more for the verified", Path: "/api/auth/verify-email", Body: map[string]string{"email": "ada@example.com"}, Status: 200})
	if n := len(w.events("link.issued")); n != 0 {
		t.Errorf("%d links for the verified", n)
	}
	w.clean()
}

// checkPage wants a page that needs no script, loads nothing, and whose style its policy allows.
func checkPage(t *testing.T, a apitest.Answer) {
	t.Helper()
	body := string(a.Body)
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(body)
	if style == nil {
		t.Fatalf("no style in %s", body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, base64.StdEncoding.EncodeToString(sum[:])) || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q does not fit the style", csp)
	}
	for name, want := range map[string]string{"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin"} {
		if a.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, a.Header.Get(name), want)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "src=") {
		t.Errorf("the page loads something: %s", body)
	}
}

func TestLinksThatAreNone(t *testing.T) {
	w := start(t)
	w.register("ada@example.com")
	good := w.link("verify")
	other := "x"
	if good[30:31] == other {
		other = "y"
	}
	for what, path := range map[string]string{
		"cut off": good[:len(good)-2], "flipped": good[:30] + other + good[31:], "of another id": "/api/auth/links/" + strings.Repeat("A", 64), "short": "/api/auth/links/x",
		"an id": "/api/auth/links/" + uuid.NewString(), "a zero byte": "/api/auth/links/%00",
	} {
		if a := w.Do(apitest.Call{Path: path}); a.Status != 404 {
			t.Errorf("%s: page %v", what, a)
		}
		if a := w.Do(apitest.Call{Path: path, Body: "{}"}); a.Status != 404 {
			t.Errorf("%s: button %v", what, a)
		}
	}
	w.pass(48 * time.Hour)
	w.Call(apitest.Call{What: "after two days", Path: good, Status: 409, Has: "expired"})
	w.Call(apitest.Call{What: "nor the button", Path: good, Body: "{}", Status: 409, Has: "link_expired"})
	w.service("nor in a mail", "GET", "/api/auth/links/"+w.anyLink().String()+"/url", nil, 409)
	w.service("of nothing", "GET", "/api/auth/links/"+uuid.NewString()+"/url", nil, 404)
	w.Call(apitest.Call{What: "people do not get links", As: w.Token("admin", uuid.New()), Path: "/api/auth/links/" + w.anyLink().String() + "/url", Status: 403})
}

func (w *world) anyLink() uuid.UUID {
	e := w.events("user.created")
	return uuid.MustParse(e[0]["linkId"].(string))
}

func TestReset(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	for range 4 {
		w.Call(apitest.Call{What: "forgot", Path: "/api/auth/forgot-password", Body: map[string]string{"email": "ADA@example.com"}, Status: 200})
	}
	e := w.events("link.issued")
	if len(e) != 4 || e[3]["purpose"] != "reset" || e[3]["email"] != "ada@example.com" {
		t.Fatalf("events %v", e)
	}
	older := uuid.MustParse(e[0]["linkId"].(string))
	path := w.link("reset")
	checkPage(t, w.Call(apitest.Call{What: "the page asks for a password", Path: path, Status: 200, Has: `type="password"`}))
	checkPage(t, w.Call(form(path, url.Values{"password": {"short"}}, 422, "at least 8 characters")))
	checkPage(t, w.Call(form(path, url.Values{"password": {strings.Repeat("x1", 40)}}, 422, "at most 72 bytes")))
	w.Call(apitest.Call{What: "no password", Path: path, Body: "{}", Status: 422})
	w.Call(apitest.Call{What: "another field", Path: path, Body: `{"password":"another long walk","role":"admin"}`, Status: 400})
	w.Call(apitest.Call{What: "another kind", Path: path, Body: "password=another+long+walk", Header: map[string]string{"Content-Type": "text/plain"}, Status: 415})
	w.Call(apitest.Call{What: "from another site's page", Path: path, Body: "password=another+long+walk", Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Cookie": "tulifo_access=x", "Sec-Fetch-Site": "cross-site"}, Status: 403})
	got := statuses(8, func(int) apitest.Answer {
		return w.Do(form(path, url.Values{"password": {"another  long walk "}}, 0, ""))
	})
	if !maps.Equal(got, map[int]int{200: 1, 409: 7}) {
		t.Errorf("answered %v, want one that used it and seven that were told that it is used", got)
	}
	if a := w.login("ada@example.com", "another  long walk ", ""); a.Status != 200 || !strings.Contains(string(a.Body), `"emailVerified":true`) {
		t.Errorf("the new password: %v", a)
	}
	for what, a := range map[string]apitest.Answer{
		"the old password": w.login("ada@example.com", password, ""), "old refresh token": w.refresh(s.RefreshToken), "old access token": w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/me"}),
	} {
		if a.Status != 401 {
			t.Errorf("%s: %v", what, a)
		}
	}
	w.service("older links are void", "GET", "/api/auth/links/"+older.String()+"/url", nil, 409)
	if n := len(w.events("user.password_changed")); n != 1 {
		t.Errorf("user.password_changed told %d times", n)
	}
	for range 10 {
		w.Call(apitest.Call{What: "asking again and again", Path: "/api/auth/forgot-password", Body: map[string]string{"email": "ada@example.com"}, Status: 200})
	}
	if n := len(w.events("link.issued")); n != 5 {
		t.Errorf("%d mails in an hour, want 5", n)
	}
	w.pass(time.Hour)
	w.Call(apitest.Call{What: "an hour later", Path: "/api/auth/forgot-password", Body: map[string]string{"email": "ada@example.com"}, Status: 200})
	if n := len(w.events("link.issued")); n != 6 {
		t.Errorf("%d mails after an hour, want 6", n)
	}
	path = w.link("reset")
	w.pass(time.Hour)
	w.Call(form(path, url.Values{"password": {"yet another walk"}}, 409, "expired"))
	w.clean()
}

func TestChangeEmail(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	w.register("eve@example.com")
	change := func(to, pass string, status int) {
		t.Helper()
		w.Call(apitest.Call{What: "change to " + to, As: s.AccessToken, Path: "/api/auth/email", Body: map[string]string{"newEmail": to, "password": pass}, Status: status})
	}
	change("new@example.com", "not it", 403)
	change("new", password, 422)
	change("Eve@example.com", password, 200)
	if n := len(w.events("link.issued")); n != 0 {
		t.Errorf("%d links to an address that has an account", n)
	}
	change("first@example.com", password, 200)
	first := w.link("email")
	change("new@example.com", password, 200)
	w.Call(apitest.Call{What: "a newer one took its place", Path: first, Body: "{}", Status: 409})
	if e := w.events("link.issued"); len(e) != 2 || e[1]["email"] != "new@example.com" {
		t.Errorf("events %v", e)
	}
	if a := w.login("new@example.com", password, ""); a.Status != 401 {
		t.Errorf("the new address before it is proven: %v", a)
	}
	w.Call(form(w.link("email"), nil, 200, "sign in with this address"))
	w.service("links to the old address are void", "GET", "/api/auth/links/"+w.anyLink().String()+"/url", nil, 409)
	if e := w.events("user.email_changed"); len(e) != 1 || e[0]["email"] != "new@example.com" || e[0]["previous"] != "ada@example.com" {
		t.Errorf("events %v", e)
	}
	if a := w.login("NEW@example.com", password, ""); a.Status != 200 || !strings.Contains(string(a.Body), `"emailVerified":true`) {
		t.Errorf("the new address: %v", a)
	}
	if a := w.login("ada@example.com", password, ""); a.Status != 401 {
		t.Errorf("the old address: %v", a)
	}
	change("late@example.com", password, 200)
	late := w.link("email")
	w.register("late@example.com")
	w.Call(apitest.Call{What: "somebody was quicker", Path: late, Body: "{}", Status: 409, Has: "email_taken"})
	w.clean()
}
