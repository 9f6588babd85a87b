package auth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/token"
	"tulifo/services/auth"
)

func TestSuspension(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	id := s.User.ID.String()
	w.service("an account for a neighbour", "GET", "/api/auth/users/"+id, nil, 200)
	w.service("of nobody", "GET", "/api/auth/users/"+uuid.NewString(), nil, 404)
	w.Call(apitest.Call{What: "not for people", As: w.Token("admin", uuid.New()), Path: "/api/auth/users/" + id, Status: 403})
	w.Call(apitest.Call{What: "nor suspend", As: w.Token("admin", uuid.New()), Path: "/api/auth/users/" + id + "/suspend", Body: map[string]string{"reason": "spam"}, Status: 403})
	w.service("a reason is needed", "POST", "/api/auth/users/"+id+"/suspend", map[string]string{"reason": " "}, 422)
	for range 2 {
		w.service("suspend, twice the same", "POST", "/api/auth/users/"+id+"/suspend", map[string]string{"reason": "spam"}, 200)
	}
	w.Call(apitest.Call{What: "the access token ends at once", As: s.AccessToken, Path: "/api/auth/me", Status: 401})
	if a := w.refresh(s.RefreshToken); a.Status != 401 {
		t.Errorf("refresh of the suspended: %d", a.Status)
	}
	if a := w.login("ada@example.com", password, ""); a.Status != 403 || !strings.Contains(string(a.Body), "suspended") {
		t.Errorf("login of the suspended: %d %s", a.Status, a.Body)
	}
	if a := w.login("ada@example.com", "wrong one", ""); a.Status != 401 {
		t.Errorf("wrong password of the suspended: %d", a.Status)
	}
	w.service("reinstate", "POST", "/api/auth/users/"+id+"/reinstate", nil, 200)
	if a := w.login("ada@example.com", password, ""); a.Status != 200 {
		t.Errorf("login of the reinstated: %d %s", a.Status, a.Body)
	}
	if n := len(w.events("user.suspended")); n != 1 {
		t.Errorf("user.suspended told %d times", n)
	}
	if n := len(w.events("user.reinstated")); n != 1 {
		t.Errorf("user.reinstated told %d times", n)
	}
	var r []token.Revoked
	w.service("revocations for neighbours", "GET", "/api/auth/revocations", nil, 200).Data(&r)
	if len(r) != 1 || !r[0].Until.After(time.Now().Add(token.AccessLife)) {
		t.Errorf("revocations %v", r)
	}
	w.service("none since later", "GET", "/api/auth/revocations?since="+time.Now().Add(time.Minute).UTC().Format(time.RFC3339), nil, 200).Data(&r)
	if len(r) != 0 {
		t.Errorf("revocations since later %v", r)
	}
	w.service("no time", "GET", "/api/auth/revocations?since=yesterday", nil, 422)
	w.clean()
}

// A sign-in that races a suspension or a new password must not outlive it.
func TestSuspensionRacesLogin(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.OthersFailures, c.IPFailures = 1000, 1000 })
	s := w.register("ada@example.com")
	for range 10 {
		together(9, func(i int) {
			if i == 4 {
				if _, err := w.auth.Suspend(context.Background(), "", s.User.ID, "spam"); err != nil {
					t.Error(err)
				}
				return
			}
			if a := w.login("ada@example.com", password, ""); a.Status != 200 && a.Status != 403 && a.Status != 401 {
				t.Errorf("login: %d %s", a.Status, a.Body)
			}
		})
		if n := w.count(`SELECT count(*) FROM sessions WHERE revoked_at IS NULL`); n != 0 {
			t.Fatalf("%d live sessions of a suspended user", n)
		}
		if _, err := w.auth.Reinstate(context.Background(), "", s.User.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.clean()
}

// A sign-in that races another role must not go on in the old one: an administrator's, say, who is none any more.
func TestRoleChangeRacesLogin(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.OthersFailures, c.IPFailures = 1000, 1000 })
	if _, err := w.auth.CreateAdmin(t.Context(), "root@example.com", "Root", "admin", password); err != nil {
		t.Fatal(err)
	}
	s := w.register("ada@example.com")
	for round := range 10 {
		roles := [2]string{"worker", "admin"}
		was, is := roles[round%2], roles[1-round%2]
		answers := make([]apitest.Answer, 9)
		together(len(answers), func(i int) {
			if i == 4 {
				if err := w.auth.ChangeRole(context.Background(), s.User.ID, is); err != nil {
					t.Error(err)
				}
				return
			}
			answers[i] = w.login("ada@example.com", password, "")
		})
		for i, a := range answers {
			if i == 4 || a.Status == 401 {
				continue
			}
			if a.Status != 200 {
				t.Fatalf("login: %d %s", a.Status, a.Body)
			}
			in := w.session(a)
			me := w.Do(apitest.Call{What: "me", As: in.AccessToken, Path: "/api/auth/me"})
			if in.User.Role == was && me.Status != 401 {
				t.Fatalf("signed in as %s after the role was %s: %d", was, is, me.Status)
			}
		}
	}
	w.clean()
}

// The last administrator is neither suspended nor given another role; of two who do that to each other at once, one wins.
func TestLastAdminIsNotTakenAway(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	admin := func(email string) uuid.UUID {
		t.Helper()
		u, err := w.auth.CreateAdmin(ctx, email, "Root", "admin", password)
		if err != nil {
			t.Fatal(err)
		}
		return u.ID
	}
	last := admin("root@example.com")
	w.service("suspended by a neighbour", "POST", "/api/auth/users/"+last.String()+"/suspend", map[string]string{"reason": "spam"}, 409)
	if err := w.auth.ChangeRole(ctx, last, "worker"); errs.KindOf(err) != errs.Conflict {
		t.Errorf("another role: %v", err)
	}
	for round := range 8 {
		both := [2]uuid.UUID{last, admin("second" + string(rune('a'+round)) + "@example.com")}
		var won [2]error
		together(2, func(i int) {
			if (i+round)%3 == 0 {
				won[i] = w.auth.ChangeRole(context.Background(), both[1-i], "support")
				return
			}
			_, won[i] = w.auth.Suspend(context.Background(), both[i].String(), both[1-i], "spam")
		})
		if (won[0] == nil) == (won[1] == nil) {
			t.Fatalf("both or neither won: %v, %v", won[0], won[1])
		}
		for i, err := range won {
			if err == nil {
				last = both[i]
			} else if errs.KindOf(err) != errs.Conflict {
				t.Errorf("refused with %v", err)
			}
		}
		if n := w.count(`SELECT count(*) FROM users WHERE role = 'admin' AND status = 'active'`); n != 1 {
			t.Fatalf("%d administrators are left", n)
		}
	}
	w.clean()
}
