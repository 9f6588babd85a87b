package peer_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/peer"
	"tulifo/platform/token"
)

func TestListReadsPageByPage(t *testing.T) {
	s := apitest.New(t, apitest.Options{Service: "payment", Register: func(r *api.Router) {
		api.List(r, "/numbers", func(_ context.Context, in *api.Paging) (api.Page[int], error) {
			from := 0
			if in.Cursor != "" {
				if err := api.DecodeCursor(in.Cursor, &from); err != nil {
					return api.Page[int]{}, err
				}
			}
			var rows []int
			for n := from; n < 7 && len(rows) <= in.Limit; n++ {
				rows = append(rows, n)
			}
			return api.Slice(rows, in.Limit, func(n int) string { return api.EncodeCursor(n + 1) }), nil
		}, api.For(token.Service))
	}})
	payment := peer.New("escrow", s.Keys, map[string]http.Handler{"payment": s.Router}, nil).To("payment")
	for _, path := range []string{"/numbers", "/numbers?limit=3"} {
		var got []int
		for cursor := ""; ; {
			rows, next, err := peer.List[int](t.Context(), payment, path, cursor)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rows...)
			if cursor = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6}) {
			t.Errorf("%s: %v", path, got)
		}
	}
	if _, _, err := peer.List[int](t.Context(), payment, "/numbers", "broken"); errs.KindOf(err) != errs.Malformed {
		t.Errorf("a bad cursor: %v", err)
	}
	if _, _, err := peer.List[string](t.Context(), payment, "/numbers", ""); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("items of another kind: %v", err)
	}
}
