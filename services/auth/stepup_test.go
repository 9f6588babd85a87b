package auth_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/token"
	"tulifo/services/auth"
)

// proof is when the bearer of an access token last proved who he is.
func (w *world) proof(access string) time.Time {
	w.t.Helper()
	c, err := w.Keys.Verify(access)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ProvedAt
}

// grows old: the sign-ins' proofs are of an hour ago.
func (w *world) agedProofs() {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), `UPDATE sessions SET proved_at = proved_at - interval '1 hour'`); err != nil {
		w.t.Fatal(err)
	}
}

// guarded are the requests that want a fresh proof.
var guarded = []apitest.Call{
	{Method: "POST", Path: "/api/auth/totp"}, {Path: "/api/auth/totp/confirm", Body: map[string]string{"code": "123456"}},
	{Method: "DELETE", Path: "/api/auth/totp", Body: map[string]string{"code": "123456"}}, {Method: "POST", Path: "/api/auth/totp/recovery-codes"},
	{Method: "POST", Path: "/api/auth/passkeys/options"}, {Path: "/api/auth/passkeys", Body: map[string]any{"name": "Phone", "credential": map[string]string{}}},
	{Method: "DELETE", Path: "/api/auth/passkeys/" + uuid.NewString()},
	{Path: "/api/auth/email", Body: map[string]string{"newEmail": "new@example.com", "password": password}},
}

func TestStepUp(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	if age := time.Since(w.proof(s.AccessToken)); age < 0 || age > time.Minute {
		t.Errorf("a new sign-in was proved %v ago", age)
	}
	w.agedProofs()
	old := w.session(w.refresh(s.RefreshToken))
	if age := time.Since(w.proof(old.AccessToken)); age < 59*time.Minute {
		t.Errorf("a refresh renewed the proof: %v old", age)
	}
	for _, c := range guarded {
		c.What, c.As, c.Status, c.Has = "with an old proof "+c.Path, old.AccessToken, 403, "step_up_required"
		w.Call(c)
	}
	w.is("a wrong password", w.stepUp(old.AccessToken, map[string]string{"password": "something else"}), 403, "wrong_password")
	w.is("a code without an app", w.stepUp(old.AccessToken, map[string]string{"totp": "123456"}), 403, "wrong_code")
	w.is("an empty proof", w.stepUp(old.AccessToken, map[string]string{"password": ""}), 422, "")
	a := w.stepUp(old.AccessToken, map[string]string{"password": password})
	up := w.session(a)
	if a.Status != 200 || up.RefreshToken != "" || up.ExpiresIn != 900 || time.Since(w.proof(up.AccessToken)) > time.Minute {
		t.Fatalf("step up: %d %s", a.Status, a.Body)
	}
	before, _ := w.Keys.Verify(old.AccessToken)
	if after, _ := w.Keys.Verify(up.AccessToken); after.Session != before.Session || after.ID != before.ID || after.Role != before.Role {
		t.Errorf("stepped up from %+v to %+v", before, after)
	}
	up.User = s.User
	w.withApp(up)
	w.Call(apitest.Call{What: "the token from before is as old as it was", As: old.AccessToken, Method: http.MethodPost, Path: "/api/auth/totp/recovery-codes", Status: 403, Has: "step_up_required"})
	if next := w.session(w.refresh(old.RefreshToken)); time.Since(w.proof(next.AccessToken)) > time.Minute {
		t.Error("a refresh lost the proof")
	}
	w.clean()
}

// Where there is a second factor, the password alone proves nothing any more.
func TestPasswordAloneIsNoProofWithASecondFactor(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	phone := w.withApp(s)
	w.agedProofs()
	old := w.session(w.refresh(s.RefreshToken))
	w.is("the password", w.stepUp(old.AccessToken, map[string]string{"password": password}), 403, "second_factor_required")
	w.is("a wrong password is answered alike", w.stepUp(old.AccessToken, map[string]string{"password": "something else"}), 403, "second_factor_required")
	changed := w.session(w.Call(apitest.Call{What: "a new password", As: old.AccessToken, Path: "/api/auth/password", Status: 200, Body: map[string]string{"currentPassword": password, "newPassword": "another long walk"}}))
	if time.Since(w.proof(changed.AccessToken)) < 59*time.Minute {
		t.Error("a new password made a fresh proof")
	}
	code := phone.code(0)
	w.is("the code", w.stepUp(changed.AccessToken, map[string]string{"totp": code}), 200, "accessToken")
	w.is("the code replayed", w.stepUp(changed.AccessToken, map[string]string{"totp": code}), 403, "wrong_code")
	w.is("the code at sign-in after its use here", w.loginWith("ada@example.com", "another long walk", code), 401, "wrong_code")
	w.is("a recovery code", w.stepUp(changed.AccessToken, map[string]string{"totp": phone.recovery[3]}), 200, "accessToken")
	w.clean()
}

// A proof is of one sign-in; others stay as old as they are, and one that has ended gets none.
func TestStepUpOfAnotherSession(t *testing.T) {
	w := start(t)
	first := w.register("ada@example.com")
	second := w.session(w.login("ada@example.com", password, ""))
	w.agedProofs()
	w.is("of one", w.stepUp(first.AccessToken, map[string]string{"password": password}), 200, "")
	if next := w.session(w.refresh(second.RefreshToken)); time.Since(w.proof(next.AccessToken)) < 59*time.Minute {
		t.Error("the other is proved as well")
	}
	eve := w.register("eve@example.com")
	of, _ := w.Keys.Verify(first.AccessToken)
	forged, _, err := w.Keys.Issue(eve.User.ID, token.Worker, of.Session)
	if err != nil {
		t.Fatal(err)
	}
	w.is("one's own password on another's sign-in", w.stepUp(forged, map[string]string{"password": password}), 401, "")
	w.is("a sign-in that is not there", w.stepUp(w.Token(token.Worker, first.User.ID), map[string]string{"password": password}), 401, "")
	w.is("nobody's", w.stepUp(w.Token(token.Client, uuid.New()), map[string]string{"password": password}), 401, "")
	w.is("an anonymous one", w.stepUp("", map[string]string{"password": password}), 401, "")
	w.Call(apitest.Call{What: "sign out", As: first.AccessToken, Method: http.MethodPost, Path: "/api/auth/logout", Status: 200})
	w.is("after signing out", w.stepUp(first.AccessToken, map[string]string{"password": password}), 401, "")
	w.clean()
}

// Who is suspended neither proves anything nor signs in, by whichever factor.
func TestSuspendedUsersHaveNoFactor(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	phone := w.withApp(s)
	w.service("suspend", "POST", "/api/auth/users/"+s.User.ID.String()+"/suspend", map[string]string{"reason": "fraud"}, 200)
	for what, body := range map[string]map[string]string{"a code": {"totp": phone.code(0)}, "a recovery code": {"totp": phone.recovery[0]}, "the password": {"password": password}} {
		w.is(what, w.stepUp(s.AccessToken, body), 401, "")
		w.is(what+" with a token that outlived it", w.stepUp(w.Token(token.Worker, s.User.ID), body), 401, "")
	}
	w.is("refresh", w.refresh(s.RefreshToken), 401, "")
	w.is("a code", w.loginWith("ada@example.com", password, phone.code(0)), 403, "suspended")
	w.is("a recovery code", w.loginWith("ada@example.com", password, phone.recovery[0]), 403, "suspended")
	if n := w.count(`SELECT count(*) FROM recovery_codes`); n != 10 {
		t.Errorf("%d recovery codes are left", n)
	}
	w.clean()
}

func TestStepUpByCookie(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	a := w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/step-up", Header: map[string]string{"X-Session": "cookie"}, Body: map[string]string{"password": password}})
	c := cookie(a.Header, api.AccessCookie)
	if a.Status != 200 || c == nil || w.session(a).AccessToken != "" || cookie(a.Header, api.RefreshCookie) != nil {
		t.Fatalf("%d %s %v", a.Status, a.Body, a.Header)
	}
	if time.Since(w.proof(c.Value)) > time.Minute {
		t.Error("the cookie is not proved")
	}
}

// A provider vouches for one factor; where there is a second one, that is no proof for what asks for a fresh one.
func TestProviderIsNoProofWithASecondFactor(t *testing.T) {
	w, p, _ := withProviders(t)
	ada := w.verified("ada@example.com")
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	if a := w.add(p, ada, "g-1"); a.Status != 302 {
		t.Fatalf("add the provider: %v", a)
	}
	if s := w.session(w.with(p, "g-1", "")); time.Since(w.proof(s.AccessToken)) > time.Minute {
		t.Error("without a second factor a sign-in is no proof")
	}
	phone := w.withApp(ada)
	s := w.session(w.with(p, "g-1", ""))
	if at := w.proof(s.AccessToken); !at.IsZero() {
		t.Errorf("proved at %v", at)
	}
	w.Call(apitest.Call{What: "what asks for a proof", As: s.AccessToken, Method: http.MethodDelete, Path: "/api/auth/identities/google", Status: 403, Has: "step_up_required"})
	w.is("the second factor", w.stepUp(s.AccessToken, map[string]string{"totp": phone.code(0)}), 200, "accessToken")
	w.clean()
}

// Who has somebody's account at a provider signs in as often as he likes; each sign-in must not bring its own five guesses at the second factor.
func TestGuessesFromManySignIns(t *testing.T) {
	w, p, _ := withProviders(t, func(c *auth.Config) { c.IPFailures = 100 })
	ada := w.verified("ada@example.com")
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	if a := w.add(p, ada, "g-1"); a.Status != 302 {
		t.Fatalf("add the provider: %v", a)
	}
	phone := w.withApp(ada)
	wrong, evaluated := phone.wrong(), 0
	for range 4 {
		s := w.session(w.with(p, "g-1", ""))
		for range 4 {
			switch a := w.stepUp(s.AccessToken, map[string]string{"totp": wrong}); a.Status {
			case 403:
				evaluated++
			case 429:
			default:
				t.Fatalf("guess: %d %s", a.Status, a.Body)
			}
		}
	}
	if evaluated != 10 {
		t.Errorf("%d codes evaluated in four sign-ins, want 10", evaluated)
	}
	w.is("a sign-in that was proved is not locked by them", w.stepUp(ada.AccessToken, map[string]string{"totp": phone.code(0)}), 200, "accessToken")
	w.clean()
}
