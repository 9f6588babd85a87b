package api_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/token"
)

// However many ask for what is heavy, they find no more places than it has, are told to come back, and find them again afterwards.
func TestHeavyOperationsShareTheirPlaces(t *testing.T) {
	t.Parallel()
	begun, let := make(chan struct{}, 50), make(chan struct{})
	wait := func(ctx context.Context, _ *struct{}) (map[string]bool, error) {
		begun <- struct{}{}
		select {
		case <-let:
			return map[string]bool{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s := apitest.New(t, apitest.Options{Register: func(r *api.Router) {
		api.Get(r, "/heavy", wait, api.Anyone, api.Of(api.NoOne), api.Heavy)
		api.Get(r, "/other", wait, api.Anyone, api.Of(api.NoOne), api.Heavy)
		api.Get(r, "/light", func(context.Context, *struct{}) (map[string]bool, error) { return map[string]bool{}, nil }, api.Anyone, api.Of(api.NoOne))
	}})
	as := s.Token(token.Client, uuid.New())
	var first, others sync.WaitGroup
	// A router without a database has three places.
	for range 3 {
		first.Go(func() {
			if a := s.Do(apitest.Call{As: as, Path: "/heavy"}); a.Status != http.StatusOK {
				t.Errorf("one that has a place: %d %s", a.Status, a.Body)
			}
		})
		<-begun
	}
	for range 10 {
		others.Go(func() {
			a := s.Do(apitest.Call{As: as, Path: "/other"})
			if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("one too many: %d %v %s", a.Status, a.Header, a.Body)
			}
		})
	}
	s.Call(apitest.Call{What: "what is light is answered", As: as, Path: "/light", Status: http.StatusOK})
	others.Wait()
	if len(begun) > 0 {
		t.Error("one too many was begun")
	}
	close(let)
	first.Wait()
	s.Call(apitest.Call{What: "the place is free again", As: as, Path: "/other", Status: http.StatusOK})
}
