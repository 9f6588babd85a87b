package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

type thing struct {
	ID     uuid.UUID     `json:"id"`
	Price  money.Decimal `json:"price"`
	Tags   []string      `json:"tags"`
	Nested []part        `json:"nested"`
}

type part struct {
	Names []string `json:"names"`
}

type makeIn struct {
	Body struct {
		Title  string                      `json:"title" minLength:"3" maxLength:"10"`
		Price  money.Decimal               `json:"price,omitempty"`
		When   *time.Time                  `json:"when,omitempty"`
		Change api.Optional[string]        `json:"change" required:"false"`
		Fee    api.Optional[money.Decimal] `json:"fee" required:"false"`
		Owner  *uuid.UUID                  `json:"owner,omitempty"`
	}
}

type byID struct {
	ID uuid.UUID `path:"id"`
}

type listIn struct {
	api.Paging
}

func serve(t *testing.T) *apitest.Server {
	return apitest.New(t, apitest.Options{Service: "shop", Register: func(r *api.Router) {
		api.Post(r, "/things", func(_ context.Context, in *makeIn) (thing, error) {
			return thing{ID: uuid.Nil, Price: in.Body.Price, Nested: []part{{}}}, nil
		}, api.For(token.Client), api.Of(api.NoOne), api.Created, api.Summary("Make a thing"))
		api.Get(r, "/things/{id}", func(ctx context.Context, in *byID) (map[string]string, error) {
			return map[string]string{"caller": token.From(ctx).String(), "ip": api.ClientIP(ctx).String()}, nil
		}, api.Public)
		api.List(r, "/things", func(_ context.Context, in *listIn) (api.Page[thing], error) {
			return api.Page[thing]{Limit: in.Limit, NextCursor: api.EncodeCursor("a", int64(7))}, nil
		}, api.Anyone, api.Of(api.NoOne))
		api.Get(r, "/panic", func(context.Context, *struct{}) (thing, error) { panic("oh") }, api.Public)
		api.Get(r, "/fault", func(context.Context, *struct{}) (thing, error) { return thing{}, errors.New("secret cause") }, api.Public)
		api.Get(r, "/busy", func(context.Context, *struct{}) (thing, error) {
			return thing{}, errs.New(errs.TooMany, "Slow down.").After(1500 * time.Millisecond)
		}, api.Public)
		api.Get(r, "/service", func(context.Context, *struct{}) (thing, error) { return thing{}, nil }, api.For(token.Service))
		api.Get(r, "/named", func(context.Context, *struct{}) (thing, error) { return thing{}, nil }, api.For(token.Admin), api.ForService("escrow"), api.Of(api.NoOne))
	}})
}

func TestEnvelope(t *testing.T) {
	s := serve(t)
	client, worker := s.Token(token.Client, uuid.New()), s.Token(token.Worker, uuid.New())
	s.Calls(
		apitest.Call{What: "a made thing, with exact numbers and no null lists", As: client, Path: "/things", Body: `{"title":"book","price":10.35}`, Status: 201,
			Has: `{"success":true,"data":{"id":"00000000-0000-0000-0000-000000000000","price":10.35,"tags":[],"nested":[{"names":[]}]}}`},
		apitest.Call{What: "an optional exact number", As: client, Path: "/things", Body: `{"title":"book","fee":1.5}`, Status: 201},
		apitest.Call{What: "an optional exact number cleared", As: client, Path: "/things", Body: `{"title":"book","fee":null}`, Status: 201},
		apitest.Call{What: "an optional number that is a text", As: client, Path: "/things", Body: `{"title":"book","fee":"1.5"}`, Status: 422},
		apitest.Call{What: "an empty list", As: worker, Path: "/things?limit=5", Status: 200, Has: `"data":[],"meta":{"limit":5,"nextCursor":`},
		apitest.Call{What: "the default limit", As: worker, Path: "/things", Status: 200, Has: `"limit":20`},
		apitest.Call{What: "no token", Path: "/things", Body: `{}`, Status: 401, Has: `"code":"unauthorized"`},
		apitest.Call{What: "a bad token", As: "x.y.z", Path: "/things", Body: `{}`, Status: 401},
		apitest.Call{What: "another role, before the body is looked at", As: worker, Path: "/things", Body: `{"`, Status: 403},
		apitest.Call{What: "a short title", As: client, Path: "/things", Body: `{"title":"b"}`, Status: 422, Has: `"title":"must have at least 3 characters`, HasNot: `"b"`},
		apitest.Call{What: "the value is never echoed", As: client, Path: "/things", Body: `{"title":"much-too-long-and-secret"}`, Status: 422, HasNot: "secret"},
		apitest.Call{What: "an unknown field", As: client, Path: "/things", Body: `{"title":"book","isAdmin":true}`, Status: 422, Has: "isAdmin"},
		apitest.Call{What: "bad JSON", As: client, Path: "/things", Body: `{"title":`, Status: 400, Has: `"code":"malformed"`},
		apitest.Call{What: "a price in quotes", As: client, Path: "/things", Body: `{"title":"book","price":"1"}`, Status: 422},
		apitest.Call{What: "a bad time", As: client, Path: "/things", Body: `{"title":"book","when":"tomorrow"}`, Status: 422},
		apitest.Call{What: "a bad UUID in the body", As: client, Path: "/things", Body: `{"title":"book","owner":"me"}`, Status: 422},
		apitest.Call{What: "a bad UUID in the path", Path: "/things/1", Status: 422},
		apitest.Call{What: "limit over the maximum", As: worker, Path: "/things?limit=1000000000", Status: 422},
		apitest.Call{What: "limit that is no number", As: worker, Path: "/things?limit=abc", Status: 422},
		apitest.Call{What: "a body that is too large", As: client, Path: "/things", Body: `{"title":"` + strings.Repeat("a", 2<<20) + `"}`, Status: 413, Has: `"code":"too_large"`},
		apitest.Call{What: "a body of another kind", As: client, Path: "/things", Body: `a=b`, Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, Status: 415},
		apitest.Call{What: "no such path", Path: "/nowhere", Status: 404, Has: `"code":"not_found"`},
		apitest.Call{What: "no such method", Method: "DELETE", Path: "/things", Status: 405, Has: `"code":"method_not_allowed"`},
		apitest.Call{What: "a panic", Path: "/panic", Status: 500, Has: `"code":"internal"`, HasNot: "oh"},
		apitest.Call{What: "a fault of ours", Path: "/fault", Status: 500, Has: `"code":"internal"`, HasNot: "secret cause"},
		apitest.Call{What: "over a limit", Path: "/busy", Status: 429},
		apitest.Call{What: "a user where only services may go", As: client, Path: "/service", Status: 403},
		apitest.Call{What: "a service", As: s.ServiceToken("escrow", "shop"), Path: "/service", Status: 200},
		apitest.Call{What: "a service's token for another target", As: s.ServiceToken("escrow", "auth"), Path: "/service", Status: 401},
		apitest.Call{What: "the service that is named", As: s.ServiceToken("escrow", "shop"), Path: "/named", Status: 200},
		apitest.Call{What: "another service than is named", As: s.ServiceToken("user", "shop"), Path: "/named", Status: 403},
		apitest.Call{What: "a service where only people may go", As: s.ServiceToken("escrow", "shop"), Path: "/things", Status: 403},
	)
	if a := s.Do(apitest.Call{Path: "/busy"}); a.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
}

func TestCallerAndAddress(t *testing.T) {
	s := serve(t)
	id := uuid.New()
	tok := s.Token(token.Client, id)
	path := "/things/" + uuid.NewString()
	s.Calls(
		apitest.Call{What: "anonymous, from an untrusted peer that forges its address", Path: path, Header: map[string]string{"X-Forwarded-For": "9.9.9.9"}, Status: 200, Has: `"ip":"192.0.2.1"`},
		apitest.Call{What: "known on a public path", As: tok, Path: path, Has: id.String()},
		apitest.Call{What: "a bad token on a public path", As: "x.y.z", Path: path, Status: 200, Has: "anonymous"},
		apitest.Call{What: "by cookie", Header: map[string]string{"Cookie": api.AccessCookie + "=" + tok}, Path: path, Has: id.String()},
		apitest.Call{What: "by cookie from another site", Header: map[string]string{"Cookie": api.AccessCookie + "=" + tok, "Sec-Fetch-Site": "cross-site"}, Path: "/things", Body: `{"title":"book"}`, Status: 403, Has: "cross_origin"},
		apitest.Call{What: "by cookie from our own site", Header: map[string]string{"Cookie": api.AccessCookie + "=" + tok, "Sec-Fetch-Site": "same-origin"}, Path: "/things", Body: `{"title":"book"}`, Status: 201},
	)
	c, err := s.Keys.Verify(tok)
	if err != nil {
		t.Fatal(err)
	}
	s.Revocations.Add(c.Session, time.Now().Add(time.Minute))
	s.Call(apitest.Call{What: "signed out", As: tok, Path: "/things", Status: 401, Has: "signed out"})
}

// Over TLS a cookie that a neighbour's page may have set signs nobody in, beside the bound one or alone.
func TestOverTLSOnlyTheBoundCookieCounts(t *testing.T) {
	t.Parallel()
	s := apitest.New(t, apitest.Options{Bound: true, Register: func(r *api.Router) {
		api.Get(r, "/me", func(ctx context.Context, _ *struct{}) (map[string]string, error) {
			return map[string]string{"caller": token.From(ctx).String()}, nil
		}, api.Anyone, api.Of(api.NoOne))
	}})
	mine, planted := uuid.New(), uuid.New()
	raw, other := s.Token(token.Client, mine), s.Token(token.Client, planted)
	s.Calls(
		apitest.Call{What: "the plain one", Header: map[string]string{"Cookie": api.AccessCookie + "=" + other}, Path: "/me", Status: 401},
		apitest.Call{What: "the bound one", Header: map[string]string{"Cookie": "__Host-" + api.AccessCookie + "=" + raw}, Path: "/me", Status: 200, Has: mine.String()},
		apitest.Call{What: "both", Header: map[string]string{"Cookie": api.AccessCookie + "=" + other + "; __Host-" + api.AccessCookie + "=" + raw}, Path: "/me", Status: 200, Has: mine.String()},
		apitest.Call{What: "a bearer", As: raw, Path: "/me", Status: 200, Has: mine.String()},
	)
	req := httptest.NewRequest(http.MethodGet, "/socket", nil)
	req.Header.Set("Cookie", api.AccessCookie+"="+other)
	if _, ok := api.SignIn(req, s.Keys, true); ok {
		t.Error("a connection that stays open was taken for the planted sign-in's")
	}
}

func TestRequestID(t *testing.T) {
	s := serve(t)
	for sent, kept := range map[string]bool{"abc-1_Z": true, "": false, "a b": false, strings.Repeat("x", 65): false, "a\"b": false} {
		a := s.Do(apitest.Call{Path: "/nowhere", Header: map[string]string{"X-Request-Id": sent}})
		got := a.Header.Get("X-Request-Id")
		if (got == sent) != kept || !strings.Contains(string(a.Body), `"requestId":"`+got+`"`) {
			t.Errorf("%q became %q", sent, got)
		}
	}
}

func TestSpecSaysWhoMayCall(t *testing.T) {
	s := serve(t)
	a := s.Do(apitest.Call{Path: "/openapi.json"})
	var spec struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Authz     struct{ Roles []string } `json:"x-authz"`
			Responses map[string]any
		}
	}
	if err := json.Unmarshal(a.Body, &spec); err != nil {
		t.Fatal(err)
	}
	if spec.OpenAPI != "3.1.0" || len(spec.Paths) == 0 {
		t.Errorf("%s with %d paths", spec.OpenAPI, len(spec.Paths))
	}
	for path, ops := range spec.Paths {
		for method, op := range ops {
			if len(op.Authz.Roles) == 0 || op.Responses["422"] == nil {
				t.Errorf("%s %s: %+v", method, path, op)
			}
		}
	}
	if strings.Contains(string(a.Body), `"array","null"`) {
		t.Error("a list may be null")
	}
}

func TestOperationMustSayWhoMayCallIt(t *testing.T) {
	for what, opts := range map[string][]api.Option{
		"no roles": nil, "roles beside everybody": {api.Public, api.Anyone}, "no relation": {api.Anyone}, "no relation of the people beside a service": {api.For(token.Admin, token.Service)},
		"a relation that does not exist": {api.Anyone, api.Of("friend")},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("an operation with %s was registered", what)
				}
			}()
			apitest.New(t, apitest.Options{Register: func(r *api.Router) {
				api.Get(r, "/open", func(context.Context, *struct{}) (thing, error) { return thing{}, nil }, opts...)
			}})
		}()
	}
}

func TestOperationSaysWhoMayCallIt(t *testing.T) {
	type state string
	s := apitest.New(t, apitest.Options{Service: "shop", Register: func(r *api.Router) {
		api.Get(r, "/open", func(context.Context, *struct{}) (thing, error) { return thing{}, nil }, api.For(token.Client, token.Admin), api.ForService("escrow"),
			api.Of(api.Owner, token.Admin), api.While(state("new"), state("old")))
	}})
	a := s.Do(apitest.Call{Path: "/openapi.json"})
	want := `"x-authz":{"besides":["admin"],"relation":"owner","roles":["client","admin","service:escrow"],"states":["new","old"]}`
	if !strings.Contains(string(a.Body), want) {
		t.Errorf("%s does not say %s", a.Body, want)
	}
}

func TestHealth(t *testing.T) {
	r := api.NewRouter(api.Options{Service: "shop", Keys: apitest.Keys(t), Stores: map[string]func(context.Context) error{
		"postgres": func(context.Context) error { return nil },
		"mongo":    func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	}})
	s := &apitest.Server{Router: r}
	if a := s.Do(apitest.Call{Path: "/health"}); a.Status != 503 || !strings.Contains(string(a.Body), `"mongo":"disconnected"`) || !strings.Contains(string(a.Body), `"postgres":"connected"`) {
		t.Errorf("health: %v", a)
	}
	if a := s.Do(apitest.Call{Path: "/readyz"}); a.Status != http.StatusServiceUnavailable {
		t.Errorf("ready before SetReady: %v", a)
	}
}

// What a service can do without for a while does not take it out of the gateway's rotation, and is told of.
func TestHealthWithoutWhatIsSpared(t *testing.T) {
	away := map[string]func(context.Context) error{"rabbitmq": func(context.Context) error { return errors.New("away") }}
	r := api.NewRouter(api.Options{Service: "shop", Keys: apitest.Keys(t), Spared: away, Stores: map[string]func(context.Context) error{"postgres": func(context.Context) error { return nil }}})
	r.SetReady(true)
	s := &apitest.Server{Router: r}
	if a := s.Do(apitest.Call{Path: "/health"}); a.Status != 503 || !strings.Contains(string(a.Body), `"rabbitmq":"disconnected"`) || !strings.Contains(string(a.Body), `"degraded"`) {
		t.Errorf("health: %v", a)
	}
	if a := s.Do(apitest.Call{Path: "/readyz"}); a.Status != http.StatusOK {
		t.Errorf("not ready: %v", a)
	}
}

func TestCursor(t *testing.T) {
	at, id := time.Date(2026, 3, 2, 9, 0, 0, 123000, time.UTC), uuid.New()
	c := api.EncodeCursor(at, id, int64(7), "x")
	var at2 time.Time
	var id2 uuid.UUID
	var n int64
	var x string
	if err := api.DecodeCursor(c, &at2, &id2, &n, &x); err != nil || !at2.Equal(at) || id2 != id || n != 7 || x != "x" {
		t.Errorf("%v %v %d %q, %v", at2, id2, n, x, err)
	}
	for _, bad := range []string{"!", "e30", c + "A", api.EncodeCursor("a")} {
		if err := api.DecodeCursor(bad, &at2, &id2); errs.KindOf(err) != errs.Malformed {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
