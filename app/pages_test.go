package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestPages walks every list as everybody, in pages of any size, while rows come in: what was there at first is seen once, and in the same order.
// The business clock stands still, so that many rows are of one instant.
func TestPages(t *testing.T) {
	w := openWorld(t, 8)
	for range 3 {
		w.reuse = true // so that what is made stays
		w.pending(w.start())
	}
	d := w.bookingIn("completed")
	w.p.settle(t)
	w.post(w.of[d.booking], "/api/v1/reviews", map[string]any{"bookingId": d.booking, "rating": 5}, http.StatusCreated, nil)
	w.post(w.worker, "/api/v1/reviews", map[string]any{"bookingId": d.booking, "rating": 5}, http.StatusCreated, nil)
	w.p.settle(t)
	type list struct {
		route                route
		role, token, address string
		rows                 []string
	}
	var lists []list
	rows := 0
	for _, r := range routes(w.p.machine.node) {
		if !paged(r) || strings.Contains(r.path, "/export") {
			continue
		}
		for _, role := range append([]string{""}, personRoles...) {
			if role == "" != r.public() || role != "" && !r.lets(role) {
				continue
			}
			token := ""
			if role != "" {
				token = w.fresh(w.mine[role], role)
			}
			address := r.addressOf(map[string]string{"id": "me", "userId": w.worker.id.String()}, uuid.NewString())
			all, err := w.walk(r, token, address, func() int { return 100 }, nil)
			if err != nil {
				t.Errorf("%s as %q: %v", r, role, err)
				continue
			}
			rows += len(all)
			lists = append(lists, list{r, role, token, address, all})
		}
	}
	rapid.Check(t, func(s *rapid.T) {
		l := lists[rapid.IntRange(0, len(lists)-1).Draw(s, "list")]
		var once sync.Once
		some, err := w.walk(l.route, l.token, l.address, func() int { return rapid.IntRange(1, 4).Draw(s, "limit") }, func() {
			once.Do(func() { w.drop(w.pending(w.start())) })
		})
		seen := slices.DeleteFunc(some, func(row string) bool { return !slices.Contains(l.rows, row) })
		if err != nil || !slices.Equal(seen, l.rows) {
			s.Fatalf("%s as %q: %v in small pages instead of %v, %v", l.route, l.role, seen, l.rows, err)
		}
	})
	t.Logf("%d lists of people with %d rows in all", len(lists), rows)
	if len(lists) < 15 || rows < 60 {
		t.Errorf("only %d lists with %d rows", len(lists), rows)
	}
}

// paged says whether the operation answers pages.
func paged(r route) bool {
	return slices.ContainsFunc(r.op.Parameters, func(p *huma.Param) bool { return p.Name == "cursor" })
}

// walk goes from page to page and answers what names each row.
func (w *world) walk(r route, token, address string, limit func() int, between func()) (rows []string, err error) {
	cursor := ""
	for range 1000 {
		query := url.Values{"limit": {fmt.Sprint(limit())}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		joint := "?"
		if strings.Contains(address, "?") {
			joint = "&"
		}
		a := r.do(httptest.NewRequest(http.MethodGet, address+joint+query.Encode(), nil), token)
		var page struct {
			Data []map[string]json.RawMessage
			Meta struct{ NextCursor string }
		}
		if err := json.Unmarshal(a.Body.Bytes(), &page); err != nil || a.Code != http.StatusOK {
			return rows, fmt.Errorf("%d %s", a.Code, a.Body)
		}
		for _, row := range page.Data {
			name := row["id"]
			if name == nil {
				name = row["bookingId"]
			}
			if name == nil {
				if name, err = json.Marshal(row); err != nil {
					return rows, err
				}
			}
			rows = append(rows, string(name))
		}
		if cursor = page.Meta.NextCursor; cursor == "" {
			return rows, nil
		}
		if between != nil {
			between()
		}
	}
	return rows, fmt.Errorf("%s has no end", r)
}
