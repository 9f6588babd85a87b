package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// refused is the cheapest answer that a service gives: it looks at no database, so what a door in front of it adds can be seen.
func refused(url string) func(int) call {
	return func(int) call { return call{method: http.MethodGet, url: url, want: http.StatusUnauthorized} }
}

const doorCalls = 30_000

// gatewayOne is what the gateway adds to a call in one process, beside nginx in front of the same service.
func gatewayOne(ctx context.Context, b *bench) ([]finding, error) {
	nginx, err := b.nginx(ctx, 3007+portBase)
	if err != nil {
		return nil, err
	}
	defer nginx.stop()
	through, direct := refused(b.at(8000, "/api/bookings")), refused(b.at(3007, "/api/bookings"))
	p, err := inTurns(b.pairs, func() (float64, error) {
		with, err := perCall(ctx, doorCalls, 64, b.appCPU, through)
		if err != nil {
			return 0, err
		}
		without, err := perCall(ctx, doorCalls, 64, b.appCPU, direct)
		return with - without, err
	}, func() (float64, error) {
		return perCall(ctx, doorCalls, 64, func() time.Duration { return cpuOfTree(nginx.pid()) }, refused(local(nginxPort, "/api/bookings")))
	})
	if err != nil {
		return nil, err
	}
	return []finding{{
		Job: "gateway in one process: CPU added to a call", Ours: micro(p.ours), Opponent: "nginx " + micro(p.theirs), Ratio: p.spread(), Target: "≤ 0.25 ×", Met: p.ratio <= 0.25,
		Bound: "net/http writing nine headers more (limits, CORS, ids, what browsers are told): their map is grown, copied and sorted; then the limit, ids, metrics and the deadline, which the bare proxy does not have; no access line is written on either side",
	}}, nil
}

// gatewaySplit is the gateway in a process of its own beside nginx and Caddy.
func gatewaySplit(ctx context.Context, b *bench) ([]finding, error) {
	gateway, port, err := b.split(ctx)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	ours := func() (float64, error) {
		return perCall(ctx, doorCalls, 64, func() time.Duration { return cpu(gateway.pid()) }, refused(local(port, "/api/bookings")))
	}
	var out []finding
	for _, o := range []struct {
		name  string
		start func(context.Context, int) (*process, error)
		port  int
		most  float64 // zero: no target
	}{{"nginx", b.nginx, nginxPort, 2.1}, {"Caddy", b.caddy, caddyPort, 0.8}, {"net/http's ReverseProxy", b.reverseProxy, proxyPort, 0}} {
		door, err := o.start(ctx, 3007+portBase)
		if err != nil {
			return nil, err
		}
		p, err := inTurns(b.pairs, ours, func() (float64, error) {
			return perCall(ctx, doorCalls, 64, func() time.Duration { return cpuOfTree(door.pid()) }, refused(local(o.port, "/api/bookings")))
		})
		door.stop()
		if err != nil {
			return nil, err
		}
		target := ""
		if o.most > 0 {
			target = fmt.Sprintf("≤ %.1f ×", o.most)
		}
		out = append(out, finding{Job: "gateway in a process of its own: CPU a call, beside " + o.name, Ours: micro(p.ours), Opponent: o.name + " " + micro(p.theirs), Ratio: p.spread(),
			Target: target, Met: p.ratio <= o.most, Bound: "net/http's server towards the client, with its own goroutines and a sorted header, and one write and one read of a socket towards the service"})
	}
	const rate, during = 1000, 5 * time.Second
	through, _, err := open(ctx, rate, during, refused(local(port, "/api/bookings")))
	if err != nil {
		return nil, err
	}
	direct, _, err := open(ctx, rate, during, refused(b.at(3007, "/api/bookings")))
	if err != nil {
		return nil, err
	}
	added := at(through, 0.99) - at(direct, 0.99)
	return append(out, finding{Job: "gateway in a process of its own: p99 added at 1,000 calls/s", Ours: at(through, 0.99).Round(10 * time.Microsecond).String(), Opponent: "without it " + at(direct, 0.99).Round(10*time.Microsecond).String(),
		Ratio: "+" + added.Round(10*time.Microsecond).String(), Target: "≤ 1 ms", Met: added <= time.Millisecond, Bound: "the load runs on the same cores"}), nil
}

func micro(us float64) string { return fmt.Sprintf("%.1f µs", us) }
