package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
)

// A proof that is too old lets nobody in, and does not even get a stored answer.
func TestStepUp(t *testing.T) {
	t.Parallel()
	ran := 0
	s := apitest.New(t, apitest.Options{Service: "shop", DB: pgtest.DB(t, api.Migration("shop")), Register: func(r *api.Router) {
		api.Post(r, "/payouts", func(context.Context, *struct{}) (map[string]int, error) {
			ran++
			return map[string]int{"n": ran}, nil
		}, api.For(token.Worker, token.Service), api.Of(api.Self), api.StepUp, api.Once, api.Summary("Pay out"))
	}})
	who := token.Caller{ID: uuid.New(), Role: token.Worker, Session: uuid.New()}
	at := func(proved time.Time) string {
		who.ProvedAt = proved
		raw, _, err := s.Keys.Renew(who)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	now := time.Now()
	for _, c := range []apitest.Call{
		{What: "just proved", As: at(now), Key: "one", Status: 200, Has: `{"n":1}`},
		{What: "the replay", As: at(now.Add(-9 * time.Minute)), Key: "one", Status: 200, Has: `{"n":1}`},
		{What: "the replay with an old proof", As: at(now.Add(-token.ProofLife)), Key: "one", Status: 403, Has: "step_up_required", HasNot: `{"n":1}`},
		{What: "an old proof", As: at(now.Add(-token.ProofLife)), Status: 403, Has: "step_up_required"},
		{What: "never proved", As: at(time.Time{}), Status: 403, Has: "step_up_required"},
		{What: "another role", As: s.Token(token.Client, uuid.New()), Status: 403, HasNot: "step_up_required"},
		{What: "nobody", Status: 401},
		{What: "a service", As: s.ServiceToken("user", "shop"), Status: 200},
	} {
		c.Method, c.Path = http.MethodPost, "/payouts"
		s.Call(c)
	}
	if ran != 3 { // the replay runs until it meets the stored answer
		t.Errorf("the handler ran %d times", ran)
	}
	raw, err := json.Marshal(s.Router.Spec().Paths["/payouts"].Post.Extensions["x-authz"])
	if want := `{"relation":"self","roles":["worker","service"],"states":[],"stepUp":true}`; err != nil || string(raw) != want {
		t.Errorf("x-authz %s, want %s", raw, want)
	}
}

// Of some roles a fresh proof is asked, and of the others none.
func TestStepUpForARole(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, apitest.Options{Service: "shop", Register: func(r *api.Router) {
		api.Post(r, "/refunds", func(context.Context, *struct{}) (api.Nothing, error) { return api.Nothing{}, nil },
			api.For(token.Client, token.Admin, token.Service), api.Of(api.Owner, token.Admin), api.StepUpFor(token.Admin), api.Summary("Refund"))
	}})
	old := func(role string) string {
		raw, _, err := s.Keys.Renew(token.Caller{ID: uuid.New(), Role: role, Session: uuid.New(), ProvedAt: time.Now().Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, c := range []apitest.Call{
		{What: "an admin's old proof", As: old(token.Admin), Status: 403, Has: "step_up_required"},
		{What: "an admin's fresh one", As: s.Token(token.Admin, uuid.New()), Status: 200},
		{What: "a client's old proof", As: old(token.Client), Status: 200},
		{What: "a service", As: s.ServiceToken("user", "shop"), Status: 200},
	} {
		c.Method, c.Path = http.MethodPost, "/refunds"
		s.Call(c)
	}
	raw, err := json.Marshal(s.Router.Spec().Paths["/refunds"].Post.Extensions["x-authz"])
	if want := `{"besides":["admin"],"relation":"owner","roles":["client","admin","service"],"states":[],"stepUp":["admin"]}`; err != nil || string(raw) != want {
		t.Errorf("x-authz %s, want %s", raw, want)
	}
}

func TestStepUpIsNotAskedOfStrangers(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a public operation with a step-up was registered")
		}
	}()
	apitest.New(t, apitest.Options{Register: func(r *api.Router) {
		api.Get(r, "/x", func(context.Context, *struct{}) (api.Nothing, error) { return api.Nothing{}, nil }, api.Public, api.StepUp)
	}})
}
