package auth_test

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/kv"
	"tulifo/platform/peer"
	"tulifo/platform/token"
	"tulifo/services/auth"
)

// neighbours are booking and payment, as routers of their own over what the test says they know.
type neighbours struct {
	mu      sync.Mutex
	tied    map[string]string // of booking, reasons by code
	owed    map[string]string // of payment
	closed  map[uuid.UUID]bool
	away    map[string]bool // by what is asked: booking's ties, close, reopen, and payment's money
	breaks  map[string]bool // they do what is asked, and the answer is lost
	asked   map[string]int
	onClose func() // what happens while booking closes
	toClose func() // and just before, while nobody is kept from asking
}

type personIn struct {
	ID uuid.UUID `path:"id"`
}

type reasons struct {
	Reasons map[string]string `json:"reasons"`
}

func (n *neighbours) know(fn func(*neighbours)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n)
}

var gone = errs.New(errs.Unavailable, "Away.")

// serve is a route that does act unless it is away.
func serve[T any](n *neighbours, what string, act func(id uuid.UUID) T) func(context.Context, *personIn) (T, error) {
	return func(_ context.Context, in *personIn) (out T, err error) {
		n.mu.Lock()
		before := n.toClose
		if what == "close" && before != nil {
			n.toClose = nil
			n.mu.Unlock()
			before()
			n.mu.Lock()
		}
		defer n.mu.Unlock()
		n.asked[what]++
		if n.away[what] {
			return out, gone
		}
		out = act(in.ID)
		if n.breaks[what] {
			return out, gone
		}
		return out, nil
	}
}

func (n *neighbours) handlers(t *testing.T) map[string]http.Handler {
	return map[string]http.Handler{
		"booking": apitest.New(t, apitest.Options{Service: "booking", Register: func(r *api.Router) {
			api.Get(r, "/api/bookings/people/{id}/ties", serve(n, "ties", func(uuid.UUID) reasons { return reasons{maps.Clone(n.tied)} }), api.For(token.Service))
			api.Post(r, "/api/bookings/people/{id}/close", serve(n, "close", func(id uuid.UUID) reasons {
				n.closed[id] = len(n.tied) == 0
				if n.onClose != nil {
					n.onClose()
				}
				return reasons{maps.Clone(n.tied)}
			}), api.For(token.Service))
			api.Post(r, "/api/bookings/people/{id}/reopen", serve(n, "reopen", func(id uuid.UUID) struct{} { n.closed[id] = false; return struct{}{} }), api.For(token.Service))
		}}).Router,
		"payment": apitest.New(t, apitest.Options{Service: "payment", Register: func(r *api.Router) {
			api.Get(r, "/api/payments/people/{id}/ties", serve(n, "money", func(uuid.UUID) reasons { return reasons{maps.Clone(n.owed)} }), api.For(token.Service))
		}}).Router,
	}
}

// leaving is a world in which accounts can be deleted.
func leaving(t *testing.T) (*world, *neighbours) {
	w := start(t)
	n := &neighbours{tied: map[string]string{}, owed: map[string]string{}, closed: map[uuid.UUID]bool{}, away: map[string]bool{}, breaks: map[string]bool{}, asked: map[string]int{}}
	w.auth = auth.New(w.db, clock.System, w.Keys, w.Revocations, kv.NewMemory(1000), peer.New("auth", w.Keys, n.handlers(t), nil), w.cfg)
	w.Server = apitest.New(t, apitest.Options{Service: "auth", Register: w.auth.Routes, DB: w.db, Keys: w.Keys, Revocations: w.Revocations})
	return w, n
}

func (w *world) deletes(s session) apitest.Answer {
	return w.Do(apitest.Call{As: s.AccessToken, Method: http.MethodDelete, Path: "/api/auth/me"})
}

func (w *world) status(id uuid.UUID) (status string) {
	w.t.Helper()
	a, err := w.auth.Account(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Status
}

// A deletion that is broken off after any of its steps ends the sign-ins at once, is taken up again when it is due and not before, by however many
// processes, and is told once.
func TestDeletionBrokenOffIsResumedOnce(t *testing.T) {
	for what, step := range map[string]func(*neighbours){
		"before booking has closed":          func(n *neighbours) { n.away["close"] = true },
		"after booking has closed":           func(n *neighbours) { n.breaks["close"] = true },
		"before payment is asked again":      func(n *neighbours) { n.onClose = func() { n.away["money"] = true } },
		"after a tie, before booking opens":  func(n *neighbours) { n.onClose = func() { n.owed["debt"], n.away["reopen"] = "Owed.", true } },
		"after a tie, after booking is open": func(n *neighbours) { n.onClose = func() { n.owed["debt"], n.breaks["reopen"] = "Owed.", true } },
	} {
		t.Run(what, func(t *testing.T) {
			w, n := leaving(t)
			s := w.register("ada@example.com")
			n.know(step)
			w.is("the deletion", w.deletes(s), 200, `"leaving"`)
			w.is("the access token", w.deletes(s), 401, "")
			w.is("a refresh", w.refresh(s.RefreshToken), 401, "")
			if a := w.login("ada@example.com", password, ""); a.Status/100 != 4 {
				t.Errorf("a sign-in is answered %s", a)
			}
			if got := w.status(s.User.ID); got != "leaving" {
				t.Fatalf("the account is %s", got)
			}
			due, err := w.auth.RetryDue(t.Context())
			if err != nil || !due.After(time.Now()) || time.Until(due) > time.Minute {
				t.Fatalf("due at %s, %v", due, err)
			}
			if err := w.auth.Retry(t.Context(), due.Add(-time.Second)); err != nil || w.status(s.User.ID) != "leaving" {
				t.Errorf("before it is due: %v, %s", err, w.status(s.User.ID))
			}
			if err := w.auth.Retry(t.Context(), due); err == nil || w.status(s.User.ID) != "leaving" {
				t.Errorf("still away: %v, %s", err, w.status(s.User.ID))
			}
			n.know(func(n *neighbours) {
				clear(n.away)
				clear(n.breaks)
				clear(n.owed)
				n.onClose = nil
			})
			if due, err = w.auth.RetryDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			together(4, func(int) {
				if err := w.auth.Retry(t.Context(), due); err != nil {
					t.Error(err)
				}
			})
			if got := w.status(s.User.ID); got != "deleted" || !n.closed[s.User.ID] {
				t.Errorf("the account is %s, closed: %v", got, n.closed[s.User.ID])
			}
			before := n.asked["close"]
			if err := w.auth.Retry(t.Context(), due.Add(time.Hour)); err != nil || n.asked["close"] != before {
				t.Errorf("once more: %v, asked %d times, then %d", err, before, n.asked["close"])
			}
			if left, err := w.auth.RetryDue(t.Context()); err != nil || !left.IsZero() {
				t.Errorf("due at %s, %v", left, err)
			}
			if told := w.events("user.deleted"); len(told) != 1 || told[0]["email"] != "ada@example.com" {
				t.Errorf("told %v", told)
			}
			w.clean()
		})
	}
}

// While a service that knows of ties is away at the start, nothing is done, and it is said.
func TestDeletionWithAServiceAwayDoesNothing(t *testing.T) {
	w, n := leaving(t)
	s := w.register("ada@example.com")
	for _, what := range []string{"ties", "money"} {
		n.know(func(n *neighbours) { n.away[what] = true })
		w.is(what+" away", w.deletes(s), 503, `"message":"`)
		n.know(func(n *neighbours) { clear(n.away) })
	}
	w.is("still signed in", w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/me"}), 200, "")
	if w.status(s.User.ID) != "active" || n.asked["close"] != 0 {
		t.Errorf("the account is %s, closing was asked %d times", w.status(s.User.ID), n.asked["close"])
	}
	w.is("when all are back", w.deletes(s), 200, `"deleted"`)
	w.clean()
}

// What ties somebody after all, found when a broken-off deletion is taken up again, opens the account, and nothing was deleted.
func TestTieFoundByARetryOpensTheAccount(t *testing.T) {
	w, n := leaving(t)
	s := w.register("ada@example.com")
	n.know(func(n *neighbours) { n.away["close"] = true })
	w.is("the deletion", w.deletes(s), 200, `"leaving"`)
	n.know(func(n *neighbours) { clear(n.away); n.owed["debt"] = "You owe money." })
	due, err := w.auth.RetryDue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.auth.Retry(t.Context(), due); err != nil {
		t.Fatal(err)
	}
	if n.closed[s.User.ID] || n.asked["reopen"] != 1 {
		t.Errorf("booking is closed: %v, opened %d times", n.closed[s.User.ID], n.asked["reopen"])
	}
	again := w.session(w.login("ada@example.com", password, ""))
	w.is("signed in anew", w.Do(apitest.Call{As: again.AccessToken, Path: "/api/auth/me"}), 200, "")
	w.is("and told why", w.deletes(again), 409, `"debt":"You owe money."`)
	if told := w.events("user.deletion_refused"); len(told) != 1 || told[0]["userId"] != s.User.ID.String() || told[0]["reason"] != "You owe money." {
		t.Errorf("told %v", told)
	}
	if due, err := w.auth.RetryDue(t.Context()); err != nil || !due.IsZero() || len(w.events("user.deleted")) != 0 {
		t.Errorf("due at %s, %v; told %v", due, err, w.events("user.deleted"))
	}
	w.clean()
}

// Two processes go on with one deletion. While one asks booking to close, the other finds a debt and opens the account; then the debt is paid. Booking is not
// left closed to somebody who stays, also when it is away at first.
func TestDeletionThatRunsTwiceLeavesNothingClosed(t *testing.T) {
	for what, away := range map[string]bool{"booking answers": false, "booking is away when it is to open": true} {
		t.Run(what, func(t *testing.T) {
			w, n := leaving(t)
			s := w.register("ada@example.com")
			n.know(func(n *neighbours) { n.away["close"] = true })
			w.is("the deletion", w.deletes(s), 200, `"leaving"`)
			due, err := w.auth.RetryDue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n.know(func(n *neighbours) {
				clear(n.away)
				n.owed["debt"] = "You owe money."
				n.toClose = func() {
					if err := w.auth.Retry(t.Context(), due.Add(time.Minute)); err != nil {
						t.Error(err)
					}
					n.know(func(n *neighbours) { clear(n.owed); n.away["reopen"] = away })
				}
			})
			if err := w.auth.Retry(t.Context(), due); (err != nil) != away {
				t.Error(err)
			}
			if away {
				n.know(func(n *neighbours) { clear(n.away) })
				if due, err = w.auth.RetryDue(t.Context()); err != nil || due.IsZero() {
					t.Fatalf("due at %s, %v", due, err)
				}
				if err := w.auth.Retry(t.Context(), due); err != nil {
					t.Error(err)
				}
			}
			if got := w.status(s.User.ID); got != "active" || n.closed[s.User.ID] {
				t.Errorf("the account is %s, and booking closed: %v", got, n.closed[s.User.ID])
			}
			if due, err := w.auth.RetryDue(t.Context()); err != nil || !due.IsZero() {
				t.Errorf("due at %s, %v", due, err)
			}
			w.is("a deletion later", w.deletes(w.session(w.login("ada@example.com", password, ""))), 200, `"deleted"`)
			w.clean()
		})
	}
}

// The last administrator who can sign in stays, and of the last two who leave at the same moment one does.
func TestLastAdminStays(t *testing.T) {
	w, _ := leaving(t)
	admin := func(email string) session {
		t.Helper()
		if _, err := w.auth.CreateAdmin(t.Context(), email, "Root", "admin", password); err != nil {
			t.Fatal(err)
		}
		return w.session(w.login(email, password, ""))
	}
	last := admin("root@example.com")
	w.is("the only one", w.deletes(last), 409, "last_admin")
	other := admin("suspended@example.com")
	if _, err := w.auth.Suspend(t.Context(), last.User.ID.String(), other.User.ID, "spam"); err != nil {
		t.Fatal(err)
	}
	w.is("beside one who is suspended", w.deletes(last), 409, "last_admin")
	w.is("somebody else", w.deletes(w.register("ada@example.com")), 200, `"deleted"`)
	for round := range 4 {
		both := [2]session{last, admin("second" + string(rune('a'+round)) + "@example.com")}
		var left, stayed atomic.Int64
		together(2, func(i int) {
			switch a := w.deletes(both[i]); {
			case a.Status == 200:
				left.Add(1)
			case a.Status == 409 && a.Code() == "last_admin":
				stayed.Add(1)
				last = both[i]
			default:
				t.Errorf("answered %s", a)
			}
		})
		if n := w.count(`SELECT count(*) FROM users WHERE role = 'admin' AND status = 'active'`); left.Load() != 1 || stayed.Load() != 1 || n != 1 {
			t.Fatalf("%d left, %d stayed, %d are there", left.Load(), stayed.Load(), n)
		}
	}
	w.is("who stayed is signed in", w.Do(apitest.Call{As: last.AccessToken, Path: "/api/auth/me"}), 200, "")
	w.clean()
}
