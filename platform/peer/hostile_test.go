package peer_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/peer"
	"tulifo/platform/token"
)

func over(t *testing.T, h http.HandlerFunc) *peer.Client {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return peer.New("payment", apitest.Keys(t), nil, func(string) []string { return []string{s.URL} }).To("escrow")
}

// Strangers who hang up while their request asks a neighbour must not cut the services off from each other.
func TestHangUpsDoNotOpenTheBreaker(t *testing.T) {
	arrived := make(chan struct{}, 1)
	slow := atomic.Bool{}
	slow.Store(true)
	c := over(t, func(w http.ResponseWriter, req *http.Request) {
		if slow.Load() {
			arrived <- struct{}{}
			<-req.Context().Done()
			return
		}
		w.Write([]byte(`{"success":true,"data":7}`))
	})
	for range 30 {
		ctx, hangUp := context.WithCancel(t.Context())
		go func() { <-arrived; hangUp() }()
		if _, err := peer.Get[int](ctx, c, "/seen"); err == nil {
			t.Fatal("an answer to who hung up")
		}
	}
	slow.Store(false)
	if n, err := peer.Get[int](t.Context(), c, "/seen"); err != nil || n != 7 {
		t.Errorf("the service is cut off: %d, %v", n, err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for what, answer := range map[string]string{"empty": "", "an object": "{}", "null": "null", "a page": "<html>", "no success": `{"success":false,"data":7}`} {
		c := over(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answer)) })
		if n, err := peer.Get[int](t.Context(), c, "/seen"); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: %d, %v", what, n, err)
		}
		if items, _, err := peer.List[int](t.Context(), c, "/seen", ""); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s as a list: %v, %v", what, items, err)
		}
	}
}

func TestRefusalsOfOurOwn(t *testing.T) {
	s := apitest.New(t, apitest.Options{Service: "escrow", Register: func(r *api.Router) {
		api.Get(r, "/seen", func(context.Context, *in) (int, error) { return 7, nil }, api.For(token.Service))
		api.Get(r, "/busy", func(context.Context, *in) (int, error) {
			return 0, errs.New(errs.TooMany, "Slow down.").After(90 * time.Second)
		}, api.For(token.Service))
	}})
	other, err := token.NewKeys(token.Config{Secret: strings.Repeat("other-access-", 3), ServiceSecret: strings.Repeat("other-service-", 3)})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Router)
	defer h.Close()
	for form, asker := range map[string]func(*token.Keys) *peer.Client{
		"in process": func(k *token.Keys) *peer.Client {
			return peer.New("payment", k, map[string]http.Handler{"escrow": s.Router}, nil).To("escrow")
		},
		"over HTTP": func(k *token.Keys) *peer.Client {
			return peer.New("payment", k, nil, func(string) []string { return []string{h.URL} }).To("escrow")
		},
	} {
		if _, err := peer.Get[int](t.Context(), asker(other), "/seen"); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: a person is told of a secret that services do not share: %v", form, err)
		}
		_, err := peer.Get[int](t.Context(), asker(s.Keys), "/busy")
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.TooMany || e.RetryAfter != 90*time.Second {
			t.Errorf("%s: a limit became %v", form, err)
		}
	}
}
