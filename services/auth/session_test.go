package auth_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/services/auth"
)

func TestParallelRefreshes(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	var mu sync.Mutex
	children := map[string]int{}
	together(32, func(int) {
		a := w.refresh(s.RefreshToken)
		if a.Status != 200 {
			t.Errorf("refresh: %d %s", a.Status, a.Body)
			return
		}
		child := w.session(a)
		mu.Lock()
		defer mu.Unlock()
		children[child.RefreshToken]++
		if got := w.Do(apitest.Call{As: child.AccessToken, Path: "/api/auth/me"}); got.Status != 200 {
			t.Errorf("access token of a twin: %d", got.Status)
		}
	})
	if len(children) != 1 {
		t.Errorf("%d different children", len(children))
	}
	if n := w.count(`SELECT count(*) FROM sessions`); n != 1 {
		t.Errorf("%d rows", n)
	}
	if n := len(w.events("session.stolen")); n != 0 {
		t.Errorf("%d thefts told", n)
	}
	for child := range children {
		if a := w.refresh(child); a.Status != 200 {
			t.Errorf("refresh of the child: %d", a.Status)
		}
	}
	w.clean()
}

func TestStolenRefreshToken(t *testing.T) {
	for _, c := range []struct {
		what  string
		reuse func(w *world, first session) // what happens between the rotation and the second use
		stays bool
	}{
		{"at once", func(*world, session) {}, true},
		{"after five seconds", func(w *world, _ session) { w.pass(5 * time.Second) }, true},
		{"after ten seconds", func(w *world, _ session) { w.pass(10 * time.Second) }, false},
		{"at once, but the child was used", func(w *world, child session) { w.session(w.refresh(child.RefreshToken)) }, false},
		{"after three days of use", func(w *world, child session) {
			for range 3 {
				w.pass(24 * time.Hour)
				child = w.session(w.refresh(child.RefreshToken))
			}
		}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := start(t)
			first := w.register("ada@example.com")
			other := w.session(w.login("ada@example.com", password, ""))
			child := w.session(w.refresh(first.RefreshToken))
			if child.User.ID != uuid.Nil || child.RefreshToken == first.RefreshToken {
				t.Errorf("refreshed %+v", child)
			}
			c.reuse(w, child)
			again := w.refresh(first.RefreshToken)
			if c.stays {
				if again.Status != 200 || w.session(again).RefreshToken != child.RefreshToken {
					t.Errorf("second use: %d %s", again.Status, again.Body)
				}
				return
			}
			if again.Status != 401 {
				t.Errorf("second use: %d %s", again.Status, again.Body)
			}
			if a := w.refresh(child.RefreshToken); a.Status != 401 {
				t.Errorf("the family lives: %d", a.Status)
			}
			w.Call(apitest.Call{What: "access tokens of the family", As: child.AccessToken, Path: "/api/auth/me", Status: 401})
			w.Call(apitest.Call{What: "the other device stays", As: other.AccessToken, Path: "/api/auth/me", Status: 200})
			if e := w.events("session.stolen"); len(e) != 1 || e[0]["userId"] != first.User.ID.String() {
				t.Errorf("events %v", e)
			}
			if e := w.events("session.revoked"); len(e) != 1 {
				t.Errorf("broadcasts %v", e)
			}
			if a := w.refresh(first.RefreshToken); a.Status != 401 || len(w.events("session.stolen")) != 1 {
				t.Errorf("a third use told it again: %d", a.Status)
			}
			w.clean()
		})
	}
}

// Only a token that was ours may end a sign-in: its id alone, which others may see, must not.
func TestForgedRefreshTokens(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	flipped := []byte(s.RefreshToken)
	flipped[30] ^= 1
	for what, tok := range map[string]string{
		"empty": "", "noise": "noise", "cut": s.RefreshToken[:60], "flipped": string(flipped), "longer": s.RefreshToken + "AAAA", "padded": s.RefreshToken + "==",
		"right id, other secret": s.RefreshToken[:22] + strings.Repeat("A", len(s.RefreshToken)-22), "a zero byte": "\x00",
	} {
		if a := w.refresh(tok); a.Status != 401 {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	w.pass(7*24*time.Hour - time.Second)
	s = w.session(w.refresh(s.RefreshToken))
	w.pass(7 * 24 * time.Hour)
	if a := w.refresh(s.RefreshToken); a.Status != 401 || len(w.events("session.stolen")) != 0 {
		t.Errorf("after seven days: %d", a.Status)
	}
	w.Call(apitest.Call{What: "no body, no cookie", Method: "POST", Path: "/api/auth/refresh", Status: 401})
}

func TestDevices(t *testing.T) {
	w := start(t)
	first := w.register("ada@example.com")
	phone := w.session(w.Call(apitest.Call{What: "login", Path: "/api/auth/login", Status: 200,
		Header: map[string]string{"User-Agent": "Mozilla/5.0 (Linux; Android 14) Gecko/130 Firefox/130.0\xff"},
		Body:   map[string]string{"email": "ada@example.com", "password": password}}))
	stranger := w.register("eve@example.com")
	list := func(as, query string) (found []auth.Device, next string) {
		t.Helper()
		a := w.Call(apitest.Call{What: "devices", As: as, Path: "/api/auth/sessions" + query, Status: 200})
		var page struct {
			Data []auth.Device
			Meta struct{ NextCursor string }
		}
		if err := json.Unmarshal(a.Body, &page); err != nil {
			t.Fatal(err)
		}
		return page.Data, page.Meta.NextCursor
	}
	found, _ := list(phone.AccessToken, "")
	if len(found) != 2 || !found[0].Current || found[1].Current || found[0].Device != "Firefox on Android" || found[0].IP != "192.0.2.1" {
		t.Fatalf("devices %+v", found)
	}
	page, next := list(phone.AccessToken, "?limit=1")
	if len(page) != 1 || next == "" {
		t.Fatalf("page %+v %q", page, next)
	}
	rest, end := list(phone.AccessToken, "?limit=1&cursor="+next)
	if len(rest) != 1 || rest[0].ID != found[1].ID || end != "" {
		t.Errorf("second page %+v %q", rest, end)
	}
	for _, c := range []apitest.Call{
		{What: "a made-up cursor", As: phone.AccessToken, Method: "GET", Path: "/api/auth/sessions?cursor=bm8", Status: 400},
		{What: "no limit", As: phone.AccessToken, Method: "GET", Path: "/api/auth/sessions?limit=1000000000", Status: 422},
		{What: "anonymous", Method: "GET", Path: "/api/auth/sessions", Status: 401},
		{What: "a stranger's device", As: stranger.AccessToken, Method: "DELETE", Path: "/api/auth/sessions/" + found[1].ID.String(), Status: 404},
		{What: "nobody's device", As: phone.AccessToken, Method: "DELETE", Path: "/api/auth/sessions/" + uuid.Nil.String(), Status: 404},
		{What: "no id", As: phone.AccessToken, Method: "DELETE", Path: "/api/auth/sessions/1", Status: 422},
		{What: "still signed in", As: first.AccessToken, Method: "GET", Path: "/api/auth/me", Status: 200},
		{What: "one's own", As: phone.AccessToken, Method: "DELETE", Path: "/api/auth/sessions/" + found[1].ID.String(), Status: 200},
		{What: "signed out at once", As: first.AccessToken, Method: "GET", Path: "/api/auth/me", Status: 401},
		{What: "not twice", As: phone.AccessToken, Method: "DELETE", Path: "/api/auth/sessions/" + found[1].ID.String(), Status: 404},
		{What: "logout", As: phone.AccessToken, Method: "POST", Path: "/api/auth/logout", Status: 200},
		{What: "ends it at once", As: phone.AccessToken, Method: "GET", Path: "/api/auth/me", Status: 401},
		{What: "a stranger stays", As: stranger.AccessToken, Method: "GET", Path: "/api/auth/me", Status: 200},
	} {
		w.Call(c)
	}
	for _, s := range []session{first, phone} {
		if a := w.refresh(s.RefreshToken); a.Status != 401 {
			t.Errorf("refresh after signing out: %d", a.Status)
		}
	}
	a, b := w.session(w.login("ada@example.com", password, "")), w.session(w.login("ada@example.com", password, ""))
	w.Call(apitest.Call{What: "logout with a stranger's refresh token", As: a.AccessToken, Path: "/api/auth/logout", Body: map[string]string{"refreshToken": stranger.RefreshToken}, Status: 200})
	w.Call(apitest.Call{What: "leaves him alone", As: stranger.AccessToken, Path: "/api/auth/me", Status: 200})
	w.Call(apitest.Call{What: "logout-all", As: b.AccessToken, Method: "POST", Path: "/api/auth/logout-all", Status: 200})
	if n := w.count(`SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL`, first.User.ID); n != 0 {
		t.Errorf("%d live sessions after logout-all", n)
	}
	w.clean()
}

func TestCookies(t *testing.T) {
	for _, c := range []struct {
		origin, prefix string
		secure         bool
	}{{"http://tulifo.test", "", false}, {"https://tulifo.test", "__Host-", true}} {
		t.Run(c.origin, func(t *testing.T) {
			w := start(t, func(cfg *auth.Config) { cfg.PublicURL = c.origin })
			w.register("ada@example.com")
			in := w.Call(apitest.Call{What: "login for a browser", Path: "/api/auth/login", Header: map[string]string{"X-Session": "cookie"},
				Body: map[string]string{"email": "ada@example.com", "password": password}, Status: 200, HasNot: "oken\":"})
			if in.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("the answer may be stored: %v", in.Header)
			}
			jar := func(a apitest.Answer) (access, refresh *http.Cookie) {
				for _, name := range []string{"tulifo_access", "tulifo_refresh", "tulifo_device"} {
					k := cookie(a.Header, c.prefix+name)
					if name == "tulifo_device" && k == nil {
						continue
					}
					if k == nil || !k.HttpOnly || k.Secure != c.secure || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || k.MaxAge <= 0 {
						t.Fatalf("cookie %s: %+v", name, k)
					}
				}
				return cookie(a.Header, c.prefix+"tulifo_access"), cookie(a.Header, c.prefix+"tulifo_refresh")
			}
			access, refresh := jar(in)
			with := func(k *http.Cookie, more ...string) map[string]string {
				h := map[string]string{"Cookie": k.Name + "=" + k.Value}
				for i := 0; i < len(more); i += 2 {
					h[more[i]] = more[i+1]
				}
				return h
			}
			w.Call(apitest.Call{What: "the access cookie is enough", Path: "/api/auth/me", Header: with(access), Status: 200})
			w.Call(apitest.Call{What: "another site may not refresh", Method: "POST", Path: "/api/auth/refresh", Header: with(refresh, "Sec-Fetch-Site", "cross-site"), Status: 403})
			w.Call(apitest.Call{What: "nor sign out", Method: "POST", Path: "/api/auth/logout", Header: with(access, "Sec-Fetch-Site", "cross-site"), Status: 403})
			w.Call(apitest.Call{What: "the refresh token is no access token", Path: "/api/auth/me", Header: map[string]string{"Cookie": access.Name + "=" + refresh.Value}, Status: 401})
			turned := w.Call(apitest.Call{What: "refresh without saying cookie", Method: "POST", Path: "/api/auth/refresh", Header: with(refresh, "Sec-Fetch-Site", "same-origin"), Status: 200, HasNot: "oken\":"})
			access, _ = jar(turned)
			if c.secure {
				w.Call(apitest.Call{What: "a neighbour's cookie without the prefix", Method: "POST", Path: "/api/auth/refresh", Header: map[string]string{"Cookie": "tulifo_refresh=" + refresh.Value}, Status: 401})
			}
			out := w.Call(apitest.Call{What: "logout", Method: "POST", Path: "/api/auth/logout", Header: with(access), Status: 200})
			if k := cookie(out.Header, c.prefix+"tulifo_refresh"); k == nil || k.MaxAge >= 0 {
				t.Errorf("the refresh cookie stays: %+v", k)
			}
			w.Call(apitest.Call{What: "signed out", Path: "/api/auth/me", Header: with(access), Status: 401})
			w.Call(apitest.Call{What: "no other mode", Path: "/api/auth/login", Header: map[string]string{"X-Session": "body"}, Body: map[string]string{"email": "ada@example.com", "password": password}, Status: 422})
		})
	}
}

func TestPasswordChange(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	other := w.session(w.login("ada@example.com", password, ""))
	change := func(as, current, next string, status int, has string) apitest.Answer {
		t.Helper()
		return w.Call(apitest.Call{What: "change " + current + " to " + next, As: as, Path: "/api/auth/password", Body: map[string]string{"currentPassword": current, "newPassword": next}, Status: status, Has: has})
	}
	change(s.AccessToken, "not it", "another long walk", 403, "wrong_password")
	change(s.AccessToken, password, "password1", 422, "newPassword")
	change(s.AccessToken, password, "ada@example.com", 422, "newPassword")
	change("", password, "another long walk", 401, "")
	fresh := w.session(change(s.AccessToken, password, "another long walk", 200, ""))
	for what, tok := range map[string]string{"its own old token": s.AccessToken, "another device": other.AccessToken} {
		w.Call(apitest.Call{What: what, As: tok, Path: "/api/auth/me", Status: 401})
	}
	w.Call(apitest.Call{What: "the new sign-in", As: fresh.AccessToken, Path: "/api/auth/me", Status: 200})
	if a := w.login("ada@example.com", password, ""); a.Status != 401 {
		t.Errorf("the old password: %d", a.Status)
	}
	if a := w.refresh(other.RefreshToken); a.Status != 401 {
		t.Errorf("another device's refresh token: %d", a.Status)
	}
	for range 5 {
		change(fresh.AccessToken, "guess", "another long walk 2", 403, "wrong_password")
	}
	change(fresh.AccessToken, "another long walk", "another long walk 2", 429, "too_many_attempts")
	if n := len(w.events("user.password_changed")); n != 1 {
		t.Errorf("user.password_changed told %d times", n)
	}
	w.clean()
}
