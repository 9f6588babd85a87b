package peer_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/obs"
	"tulifo/platform/peer"
	"tulifo/platform/token"
)

type seen struct {
	Caller  string `json:"caller"`
	Request string `json:"request"`
	Bounded bool   `json:"bounded"`
}

type in struct{}

type keyed struct {
	Key  string `header:"Idempotency-Key"`
	Body struct {
		N int `json:"n"`
	}
}

type own string

// escrow is a service that answers peers.
func escrow(t *testing.T) *apitest.Server {
	return apitest.New(t, apitest.Options{Service: "escrow", Register: func(r *api.Router) {
		api.Get(r, "/seen", func(ctx context.Context, _ *in) (seen, error) {
			_, bounded := ctx.Deadline()
			if ctx.Value(own("k")) != nil {
				return seen{}, errors.New("a value of the asker's context crossed")
			}
			return seen{token.From(ctx).String(), obs.RequestID(ctx), bounded}, nil
		}, api.For(token.Service))
		api.Post(r, "/keyed", func(_ context.Context, in *keyed) (int, error) { return in.Body.N + len(in.Key), nil }, api.For(token.Service))
		api.Get(r, "/frozen", func(context.Context, *in) (seen, error) {
			return seen{}, errs.Coded(errs.Conflict, "escrow_frozen", "It is frozen.").With("until", "a mediator decides")
		}, api.For(token.Service))
		api.Get(r, "/broken", func(context.Context, *in) (seen, error) { return seen{}, errors.New("boom") }, api.For(token.Service))
	}})
}

// forms are the two ways in which a service can be reached.
func forms(t *testing.T) map[string]*peer.Directory {
	s := escrow(t)
	over := httptest.NewServer(s.Router)
	t.Cleanup(over.Close)
	return map[string]*peer.Directory{
		"in process": peer.New("payment", s.Keys, map[string]http.Handler{"escrow": s.Router}, nil),
		"over HTTP":  peer.New("payment", s.Keys, nil, func(string) []string { return []string{over.URL} }),
	}
}

func TestAsk(t *testing.T) {
	for form, d := range forms(t) {
		t.Run(form, func(t *testing.T) {
			ctx := context.WithValue(obs.WithRequest(t.Context(), "r-1", obs.Span("")), own("k"), "v")
			got, err := peer.Get[seen](ctx, d.To("escrow"), "/seen")
			if err != nil || got != (seen{"service:payment", "r-1", true}) {
				t.Errorf("%+v, %v", got, err)
			}
			n, err := peer.Post[int](ctx, d.To("escrow"), "/keyed", "abc", map[string]int{"n": 4})
			if err != nil || n != 7 {
				t.Errorf("%d, %v", n, err)
			}
			_, err = peer.Get[seen](ctx, d.To("escrow"), "/frozen")
			if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Conflict || e.Code != "escrow_frozen" || e.Details["until"] == "" {
				t.Errorf("a refusal became %v", err)
			}
			if _, err = peer.Get[seen](ctx, d.To("escrow"), "/broken"); errs.KindOf(err) != errs.Unavailable {
				t.Errorf("a fault became %v", err)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	keys := apitest.Keys(t)
	for what, urls := range map[string][]string{"unknown": nil, "refused": {"http://127.0.0.1:1"}} {
		d := peer.New("payment", keys, nil, func(string) []string { return urls })
		if _, err := peer.Get[seen](t.Context(), d.To("escrow"), "/seen"); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSecondTargetIsTried(t *testing.T) {
	s := escrow(t)
	over := httptest.NewServer(s.Router)
	defer over.Close()
	d := peer.New("payment", s.Keys, nil, func(string) []string { return []string{"http://127.0.0.1:1", over.URL} })
	for range 6 {
		if _, err := peer.Get[seen](t.Context(), d.To("escrow"), "/seen"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnkeyedPostIsNotRepeated(t *testing.T) {
	var asked atomic.Int64
	drop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer drop.Close()
	d := peer.New("payment", apitest.Keys(t), nil, func(string) []string { return []string{drop.URL} })
	if _, err := peer.Post[int](t.Context(), d.To("escrow"), "/keyed", "", map[string]int{}); errs.KindOf(err) != errs.Unavailable || asked.Load() != 1 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
	if _, err := peer.Post[int](t.Context(), d.To("escrow"), "/keyed", "k", map[string]int{}); errs.KindOf(err) != errs.Unavailable || asked.Load() != 3 {
		t.Errorf("asked %d times with a key, %v", asked.Load()-1, err)
	}
}

func TestBreakerOpens(t *testing.T) {
	var asked atomic.Int64
	drop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	defer drop.Close()
	d := peer.New("payment", apitest.Keys(t), nil, func(string) []string { return []string{drop.URL} })
	began := time.Now()
	for range 100 {
		peer.Get[seen](t.Context(), d.To("escrow"), "/seen")
	}
	if n := asked.Load(); n > 60 && time.Since(began) < time.Second {
		t.Errorf("a dead service was asked %d times for 100 questions", n)
	}
}
