package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

// slopes is how the cost of reading grows with the data: CPU of platform and Postgres together, at one, ten and a hundred times the bookings.
func slopes(ctx context.Context, b *bench) ([]finding, error) {
	postmaster, err := b.postmaster()
	if err != nil {
		return nil, err
	}
	spent := func() time.Duration { return b.appCPU() + cpuOfTree(postmaster) }
	const small = 1000
	names := []string{"read by id", "first page of a list", "last page of a list", "free starts of 30 days"}
	measured := map[string][]float64{}
	for _, times := range []int{1, 10, 100} {
		worker, client, err := b.booked(ctx, small*times)
		if err != nil {
			return nil, err
		}
		ids, err := b.idsOf(ctx, client, 500)
		if err != nil {
			return nil, err
		}
		last, err := b.lastPage(ctx, client)
		if err != nil {
			return nil, err
		}
		signed := b.token(client, "client")
		for _, one := range []struct {
			name string
			n    int
			path func(int) string
		}{
			{names[0], 3000, func(i int) string { return "/api/bookings/" + ids[i%len(ids)].String() }},
			{names[1], 1000, func(int) string { return "/api/bookings?limit=20" }},
			{names[2], 1000, func(int) string { return "/api/bookings?limit=20&cursor=" + url.QueryEscape(last) }},
			{names[3], 300, func(int) string { return month(worker) }},
		} {
			next := func(i int) call {
				return call{method: http.MethodGet, url: b.at(8000, one.path(i)), token: signed, want: http.StatusOK}
			}
			if _, err := perCall(ctx, one.n/4, 4, spent, next); err != nil {
				return nil, err
			}
			us, err := perCall(ctx, one.n, 4, spent, next)
			if err != nil {
				return nil, err
			}
			measured[one.name] = append(measured[one.name], us)
		}
	}
	var out []finding
	for _, name := range names {
		m := measured[name]
		most := 1.15
		if name == names[3] {
			most = 1.25
		}
		ten, hundred := m[1]/m[0], m[2]/m[0]
		out = append(out, finding{Job: name + ": CPU of app and Postgres at 10 and 100 times the bookings", Ours: fmt.Sprintf("%s, %s, %s", micro(m[0]), micro(m[1]), micro(m[2])), Opponent: fmt.Sprintf("at %d bookings of one client", small),
			Ratio: fmt.Sprintf("%.2f, %.2f", ten, hundred), Target: fmt.Sprintf("10 ×: ≤ %.2f ×", most), Met: ten <= most, Bound: "the depth of the indexes; whatever else Postgres does meanwhile, such as vacuuming what was just put in, is in the figures"})
	}
	deep := measured[names[2]][2] / measured[names[1]][2]
	return append(out, finding{Job: "last page of 5,000 beside the first: CPU of app and Postgres", Ours: micro(measured[names[2]][2]), Opponent: micro(measured[names[1]][2]), Ratio: fmt.Sprintf("%.2f", deep), Target: "≤ 1.15 ×", Met: deep <= 1.15, Bound: "keyset paging: no row before the cursor is read"}), nil
}

// lastPage is the cursor of a page near the end of the client's bookings, as the platform writes cursors.
func (b *bench) lastPage(ctx context.Context, client uuid.UUID) (string, error) {
	var edge time.Time
	if err := b.db.QueryRow(ctx, `SELECT starts_at FROM tulifo_booking.bookings WHERE client_id = $1 ORDER BY starts_at, id OFFSET 21 LIMIT 1`, client).Scan(&edge); err != nil {
		return "", err
	}
	door := newClient(1)
	defer door.CloseIdleConnections()
	answer, err := must(ctx, door, call{method: http.MethodGet, url: b.at(8000, "/api/bookings?limit=1&to="+url.QueryEscape(edge.Add(time.Minute).UTC().Format(time.RFC3339))), token: b.token(client, "client"), want: http.StatusOK})
	if err != nil {
		return "", err
	}
	var page struct{ Meta struct{ NextCursor string } }
	err = json.Unmarshal(answer, &page)
	return page.Meta.NextCursor, err
}
