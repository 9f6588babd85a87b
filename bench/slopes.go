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

// rounds of the slopes; the first is dropped.
const rounds = 6

// slopes is how the cost of reading grows with the data: CPU of platform and Postgres together, at one, ten and a hundred times the bookings. The
// sizes are measured in turns, and the ratios are those of one round.
func slopes(ctx context.Context, b *bench) ([]finding, error) {
	postmaster, err := b.postmaster()
	if err != nil {
		return nil, err
	}
	spent := func() time.Duration { return b.appCPU() + cpuOfTree(postmaster) }
	const small = 1000
	measured := []slope{{name: "read by id", calls: 3000, most: 1.15}, {name: "first page of a list", calls: 1500, most: 1.15},
		{name: "last page of a list", calls: 1500, most: 1.15}, {name: "free starts of 30 days", calls: 100, most: 1.25}}
	for size := range sizes {
		worker, client, err := b.booked(ctx, small*times[size])
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
		for j, path := range []func(int) string{
			func(i int) string { return "/api/bookings/" + ids[i%len(ids)].String() },
			func(int) string { return "/api/bookings?limit=20" },
			func(int) string { return "/api/bookings?limit=20&cursor=" + url.QueryEscape(last) },
			func(int) string { return month(worker) },
		} {
			measured[j].next[size] = func(i int) call {
				return call{method: http.MethodGet, url: b.at(8000, path(i)), token: signed, want: http.StatusOK}
			}
		}
	}
	// Postgres would do it by itself, in the middle of what is measured.
	for _, table := range []string{"bookings", "busy"} {
		if err := b.exec(ctx, "VACUUM (FREEZE, ANALYZE) tulifo_booking."+table); err != nil {
			return nil, err
		}
	}
	for range rounds {
		for j := range measured {
			if err := measured[j].round(ctx, spent); err != nil {
				return nil, err
			}
		}
	}
	var out []finding
	for _, j := range measured {
		ten, hundred := compared(j.us[1], j.us[0]), compared(j.us[2], j.us[0])
		out = append(out, finding{Job: j.name + ": CPU of app and Postgres at 10 and 100 times the bookings", Ours: fmt.Sprintf("%s, %s, %s", micro(ten.theirs), micro(ten.ours), micro(hundred.ours)), Opponent: fmt.Sprintf("at %d bookings of one client", small),
			Ratio: ten.spread() + ", " + hundred.spread(), Target: fmt.Sprintf("10 ×: ≤ %.2f ×", j.most), Met: ten.ratio <= j.most, Bound: "the depth of the indexes, and how much of the worker's month is booked"})
	}
	first, last := measured[1], measured[2]
	deep := compared(last.us[2], first.us[2])
	return append(out, finding{Job: "last page of 5,000 beside the first: CPU of app and Postgres", Ours: micro(deep.ours), Opponent: micro(deep.theirs), Ratio: deep.spread(), Target: "≤ 1.15 ×", Met: deep.ratio <= 1.15, Bound: "keyset paging: no row before the cursor is read"}), nil
}

const sizes = 3

var times = [sizes]int{1, 10, 100}

// slope is a call whose cost is measured at each size.
type slope struct {
	name  string
	calls int // of a round
	most  float64
	next  [sizes]func(int) call
	us    [sizes][]float64 // by round
}

// round measures each size once.
func (s *slope) round(ctx context.Context, spent func() time.Duration) error {
	for size, next := range s.next {
		us, err := perCall(ctx, s.calls, 4, spent, next)
		if err != nil {
			return err
		}
		s.us[size] = append(s.us[size], us)
	}
	return nil
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
