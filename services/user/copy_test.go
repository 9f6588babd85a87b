package user_test

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/export"
	"tulifo/platform/kv"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/services/user"
)

// While any service that holds something is away there is no copy, and it is said; half a copy is never handed out, nor noted as one.
func TestNoCopyWhileAServiceIsAway(t *testing.T) {
	w := start(t)
	var away atomic.Value
	away.Store("")
	others := map[string]string{"auth": "/api/auth", "booking": "/api/bookings", "payment": "/api/payments", "escrow": "/api/v1/escrow", "review": "/api/v1/reviews", "notification": "/api/notifications"}
	near := map[string]http.Handler{}
	for name, prefix := range others {
		part := func(what string) export.Part {
			return export.Part{Name: what, Rows: func(_ context.Context, who uuid.UUID, _ string, _ int) ([]json.RawMessage, string, error) {
				if away.Load() == name {
					return nil, "", errs.New(errs.Unavailable, "Away.")
				}
				return []json.RawMessage{json.RawMessage(`"` + what + " of " + name + " for " + who.String() + `"`)}, "", nil
			}}
		}
		near[name] = apitest.New(t, apitest.Options{Service: name, Keys: w.Keys, Register: func(r *api.Router) { export.Routes(r, prefix, part("first"), part("second")) }}).Router
	}
	s := user.New(w.db, w.clock, peer.New("user", w.Keys, near, nil), w.files, kv.NewMemory(1<<10))
	w.Server = apitest.New(t, apitest.Options{Service: "user", Register: s.Routes, DB: w.db, Keys: w.Keys})
	ann := w.join("client", "ann")
	noted := func() int64 {
		n, err := postgres.One[int64](t.Context(), w.db, `SELECT count(*) FROM audit WHERE action = 'data.exported'`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name := range others {
		away.Store(name)
		a := w.Call(apitest.Call{What: name + " is away", As: ann.token, Path: "/api/users/me/export", Status: 503, Has: `"message":"`, HasNot: " for " + ann.id.String()})
		if a.Header.Get("Content-Disposition") != "" || a.Header.Get("Retry-After") == "" || noted() != 0 {
			t.Errorf("%s is away: %v, %d copies are noted", name, a.Header, noted())
		}
	}
	away.Store("")
	var copy user.Copy
	a := w.Call(apitest.Call{What: "all are there", As: ann.token, Path: "/api/users/me/export", Status: 200})
	if err := json.Unmarshal(a.Body, &copy); err != nil || len(copy.Services) != 1+len(others) || noted() != 1 {
		t.Fatalf("%d services, %d copies are noted, %v", len(copy.Services), noted(), err)
	}
	for name := range others {
		if held := copy.Services[name]; len(held.Parts) != 2 || string(held.Parts["second"][0]) != `"second of `+name+" for "+ann.id.String()+`"` {
			t.Errorf("%s: %v", name, held)
		}
	}
}
