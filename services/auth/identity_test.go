package auth_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
)

// verified is an account with a password whose owner has confirmed the address.
func (w *world) verified(email string) session {
	w.t.Helper()
	s := w.register(email)
	w.Call(form(w.link("verify"), nil, 200, "confirmed"))
	return s
}

// beginToAdd is the browser of somebody who adds a way to sign in.
func (w *world) beginToAdd(as session) browser {
	w.t.Helper()
	var to struct{ URL string }
	a := w.Call(apitest.Call{What: "begin to add", As: as.AccessToken, Path: "/api/auth/oauth/google/link", Body: map[string]string{"next": "/settings/security"}, Status: 200})
	a.Data(&to)
	return browser{w, cookie(a.Header, "tulifo_oauth").Value, to.URL}
}

// add adds the provider's account of subject to that of as.
func (w *world) add(p *idp, as session, subject string) apitest.Answer {
	w.t.Helper()
	b := w.beginToAdd(as)
	return b.back("google", p.visit(b.at, subject), map[string]string{"Authorization": "Bearer " + as.AccessToken})
}

func TestProviderDoesNotTakeOverAnAccount(t *testing.T) {
	w, p, _ := withProviders(t)
	ada := w.verified("ada@example.com")
	p.has(account{"g-1", "ADA@example.com", "Ada", true})
	if a := w.with(p, "g-1", "client"); a.Status != 409 || a.Code() != "identity_not_linked" {
		t.Errorf("somebody with the address at the provider: %v", a)
	}
	p.has(account{"g-2", "ada@example.com", "Eve", false})
	if a := w.with(p, "g-2", "client"); a.Status != 403 || a.Code() != "provider_email_unverified" {
		t.Errorf("an unverified address: %v", a)
	}
	if a := w.add(p, ada, "g-1"); a.Status != 302 || a.Header.Get("Location") != "http://tulifo.test/settings/security" {
		t.Errorf("the owner adds it: %v", a)
	}
	if a := w.add(p, ada, "g-1"); a.Status != 302 {
		t.Errorf("twice is once: %v", a)
	}
	if e := w.events("user.identity_added"); len(e) != 1 || e[0]["provider"] != "google" {
		t.Errorf("events %v", e)
	}
	if a := w.add(p, ada, "g-2"); a.Status != 409 || !strings.Contains(string(a.Body), "Remove it first") {
		t.Errorf("a second one of a provider: %v", a)
	}
	if s := w.session(w.with(p, "g-1", "")); s.User.ID != ada.User.ID {
		t.Errorf("signed in as %+v", s.User)
	}
	if a := w.login("ada@example.com", password, ""); a.Status != 200 {
		t.Errorf("the password still works: %v", a)
	}
	eve := w.verified("eve@example.com")
	if a := w.add(p, eve, "g-1"); a.Status != 409 || !strings.Contains(string(a.Body), "belongs to somebody else") {
		t.Errorf("an identity of another: %v", a)
	}
	w.Call(apitest.Call{What: "not hers to remove", As: eve.AccessToken, Method: "DELETE", Path: "/api/auth/identities/google", Status: 404})
	w.Call(apitest.Call{What: "removed", As: ada.AccessToken, Method: "DELETE", Path: "/api/auth/identities/google", Status: 200})
	w.Call(apitest.Call{What: "once", As: ada.AccessToken, Method: "DELETE", Path: "/api/auth/identities/google", Status: 404})
	if a := w.with(p, "g-1", ""); a.Status != 409 || a.Code() != "identity_not_linked" {
		t.Errorf("after it was removed: %v", a)
	}
	w.clean()
}

// Who registers a stranger's address and waits must be out before the stranger comes.
func TestPreHijackedAccount(t *testing.T) {
	w, p, _ := withProviders(t)
	eve := w.register("ada@example.com")
	verify := w.link("verify")
	w.Call(apitest.Call{What: "a link to an address of hers", As: eve.AccessToken, Path: "/api/auth/email", Body: map[string]string{"newEmail": "eve@example.com", "password": password}, Status: 200})
	move := w.link("email")
	p.has(account{"eve", "eve@example.com", "Eve", true})
	trojan := w.beginToAdd(eve)
	if a := trojan.back("google", p.visit(trojan.at, "eve"), map[string]string{"Authorization": "Bearer " + eve.AccessToken, "Accept": "application/json"}); a.Status != 403 || a.Code() != "email_unverified" {
		t.Errorf("a provider added to an unproven address: %v", a)
	}
	p.has(account{"ada", "Ada@example.com", "Ada", true})
	ada := w.session(w.with(p, "ada", "client"))
	if ada.User.ID != eve.User.ID || !ada.User.EmailVerified {
		t.Errorf("signed in %+v", ada.User)
	}
	w.Call(apitest.Call{What: "her access token", As: eve.AccessToken, Path: "/api/auth/me", Status: 401})
	if a := w.refresh(eve.RefreshToken); a.Status != 401 {
		t.Errorf("her refresh token: %v", a)
	}
	if a := w.login("ada@example.com", password, ""); a.Status != 401 {
		t.Errorf("her password: %v", a)
	}
	for _, path := range []string{verify, move} {
		w.Call(apitest.Call{What: "her links", Path: path, Body: "{}", Status: 409})
	}
	if a := w.with(p, "eve", ""); a.Status != 422 {
		t.Errorf("her provider: %v", a)
	}
	w.Call(apitest.Call{What: "the owner", As: ada.AccessToken, Path: "/api/auth/me", Status: 200})
	w.Call(apitest.Call{What: "a password by mail", Path: "/api/auth/forgot-password", Body: map[string]string{"email": "ada@example.com"}, Status: 200})
	w.Call(form(w.link("reset"), url.Values{"password": {"a new long walk"}}, 200, "Done"))
	if a := w.login("ada@example.com", "a new long walk", ""); a.Status != 200 {
		t.Errorf("the owner's new password: %v", a)
	}
	w.clean()
}

// The attacker signs in while the owner comes: whatever comes first, nothing of hers is left.
func TestPreHijackerRacesTheOwner(t *testing.T) {
	w, p, _ := withProviders(t)
	w.register("ada@example.com")
	p.has(account{"ada", "ada@example.com", "Ada", true})
	b := w.begin("google", "role=client")
	q := p.visit(b.at, "ada")
	var mu sync.Mutex
	var hers []session
	together(9, func(i int) {
		if i == 0 {
			if a := b.back("google", q, asJSON); a.Status != 200 {
				t.Errorf("the owner: %v", a)
			}
			return
		}
		if a := w.login("ada@example.com", password, ""); a.Status == 200 {
			mu.Lock()
			hers = append(hers, w.session(a))
			mu.Unlock()
		}
	})
	for _, s := range hers {
		if a := w.refresh(s.RefreshToken); a.Status != 401 {
			t.Errorf("a sign-in of hers lives: %v", a)
		}
	}
	if n := w.count(`SELECT count(*) FROM sessions WHERE revoked_at IS NULL`); n != 1 {
		t.Errorf("%d sign-ins live, want the owner's", n)
	}
	w.clean()
}

func TestOneIdentityAtOnceMakesOneAccount(t *testing.T) {
	w, p, _ := withProviders(t)
	p.has(account{"g-1", "ada@example.com", "\u202eadA", true})
	type trip struct {
		b browser
		q url.Values
	}
	var trips []trip
	for range 8 {
		b := w.begin("google", "role=worker")
		trips = append(trips, trip{b, p.visit(b.at, "g-1")})
	}
	together(len(trips), func(i int) {
		if a := trips[i].b.back("google", trips[i].q, asJSON); a.Status != 200 {
			t.Errorf("%v", a)
		}
	})
	if n := w.count(`SELECT count(*) FROM users`); n != 1 || len(w.events("user.created")) != 1 {
		t.Errorf("%d accounts, %d events", n, len(w.events("user.created")))
	}
	if e := w.events("user.created"); e[0]["name"] != "ada" {
		t.Errorf("a name that shows as another was taken over: %v", e)
	}
	w.clean()
}

func TestSuspendedWithProvider(t *testing.T) {
	w, p, _ := withProviders(t)
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	s := w.session(w.with(p, "g-1", "client"))
	w.service("suspend", "POST", "/api/auth/users/"+s.User.ID.String()+"/suspend", map[string]string{"reason": "spam"}, 200)
	b := w.begin("google", "role=client")
	if a := b.back("google", p.visit(b.at, "g-1"), nil); a.Status != 403 || !strings.Contains(string(a.Body), "suspended") || cookie(a.Header, "tulifo_access") != nil {
		t.Errorf("the suspended: %v", a)
	}
	eve := w.register("eve@example.com")
	w.service("suspend", "POST", "/api/auth/users/"+eve.User.ID.String()+"/suspend", map[string]string{"reason": "spam"}, 200)
	p.has(account{"g-2", "eve@example.com", "Eve", true})
	if a := w.with(p, "g-2", "client"); a.Status != 403 || a.Code() != "suspended" {
		t.Errorf("a suspended account that was never verified: %v", a)
	}
	if err := audit.Flush(t.Context(), w.db); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`SELECT count(*) FROM audit WHERE action = 'login.refused' AND actor = subject::text AND detail::jsonb ?& '{ip,provider}'`); n != 2 {
		t.Errorf("%d audit rows say who was refused, from where and with which provider, want 2", n)
	}
	w.clean()
}

// Somebody who begins to add his provider must not have it end up in the account of who finishes in the same browser.
func TestAddedToWhoBegan(t *testing.T) {
	w, p, _ := withProviders(t)
	ada, eve := w.verified("ada@example.com"), w.verified("eve@example.com")
	p.has(account{"eve", "eve2@example.com", "Eve", true})
	b := w.beginToAdd(eve)
	q := p.visit(b.at, "eve")
	for what, as := range map[string]string{"another": ada.AccessToken, "nobody": ""} {
		header := map[string]string{"Accept": "application/json"}
		if as != "" {
			header["Authorization"] = "Bearer " + as
		}
		if a := b.back("google", q, header); a.Status != 403 || a.Code() != "state_invalid" {
			t.Errorf("%s finishes: %v", what, a)
		}
	}
	w.Call(apitest.Call{What: "strangers do not begin", Method: http.MethodPost, Path: "/api/auth/oauth/google/link", Body: "{}", Status: 401})
	w.clean()
}
