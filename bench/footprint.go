package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// idle is how long the platform is left alone before its memory is read.
const idle = time.Minute

// footprint is what the platform costs when nothing happens, beside as many Express services as it has.
func footprint(ctx context.Context, b *bench) ([]finding, error) {
	const services = 7
	before := b.appCPU()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(idle):
	}
	busy := float64(b.appCPU()-before) / float64(idle) * 100
	ours := rss(b.app.pid()) >> 20
	var theirs int64
	var others []*process
	for i := range services {
		p, err := b.express(ctx, expressPort+1+i)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		others = append(others, p)
	}
	for _, p := range others { // once all run, so that each has its share of what they share
		theirs += pss(p.pid())
	}
	theirs >>= 20
	return []finding{
		{Job: "memory of all services, gateway, simulator and inbox after a minute idle", Ours: fmt.Sprintf("%d MB RSS", ours), Opponent: fmt.Sprintf("%d Express services %d MB PSS", services, theirs), Ratio: fmt.Sprintf("%.2f", float64(ours)/float64(theirs)), Target: "≤ 96 MB", Met: ours <= 96, Bound: "one process, Postgres not in it; the Express services have just started and only answered one call each"},
		{Job: "CPU of the platform when nothing happens", Ours: fmt.Sprintf("%.1f %% of a core", busy), Bound: "timers, and loops that poll beside NOTIFY"},
		{Job: "until healthy, Postgres initialised", Ours: b.warm.Round(time.Millisecond).String(), Target: "≤ 1 s", Met: b.warm <= time.Second, Bound: "the start of Postgres, the migrations' check and all services, until the gateway answers from the database"},
		{Job: "until healthy, first time", Ours: b.first.Round(time.Millisecond).String(), Target: "≤ 3 s", Met: b.first <= 3*time.Second, Bound: "the same, with initdb and all migrations before it"},
	}, nil
}

// overload sends twice as many calls as are answered at most.
func overload(ctx context.Context, b *bench) ([]finding, error) {
	worker, _, err := b.booked(ctx, 200)
	if err != nil {
		return nil, err
	}
	url := b.at(8000, month(worker))
	ask := func(int) call { return call{method: http.MethodGet, url: url, want: http.StatusOK} }
	const calls = 2000
	took, err := closed(ctx, calls, 8, ask)
	if err != nil {
		return nil, err
	}
	peak := calls / took.Seconds()
	const during = 5 * time.Second
	began := time.Now()
	answers, status, err := open(ctx, int(2*peak), during, ask)
	if err != nil {
		return nil, err
	}
	lasted := max(time.Since(began), during)
	good, refused := 0, 0
	for _, s := range status {
		switch s {
		case http.StatusOK:
			good++
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			refused++
		}
	}
	rate := float64(good) / lasted.Seconds()
	return []finding{{Job: "slots at twice the capacity: good answers a second", Ours: fmt.Sprintf("%.0f/s, %d refused, p50 %s", rate, refused, at(answers, 0.5).Round(time.Millisecond)), Opponent: "its own peak " + perSecond(peak),
		Ratio: fmt.Sprintf("%.2f", rate/peak), Target: "≥ 0.9 ×", Met: rate/peak >= 0.9, Bound: "the load runs on the same cores"}}, nil
}
