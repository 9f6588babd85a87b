package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// probe asks a target for its readiness again and again until ctx ends, and puts it in and out.
func (p *pool) probe(ctx context.Context, t *address) {
	a := p.service.upstream.active
	if a.healthyEvery == 0 && a.unhealthyEvery == 0 {
		return
	}
	well, broken, late, bad := 0, 0, 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		status, err := p.ask(ctx, t, a)
		var ne net.Error
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && status < 400:
			broken, late, bad = 0, 0, 0
			if well++; well >= a.successes {
				t.broken.Store(0)
				t.timeouts.Store(0)
				p.set(t, true, "it is ready")
			}
		default:
			well = 0
			out := false
			switch {
			case err == nil:
				bad++
				out = a.http > 0 && bad >= a.http
			case errors.As(err, &ne) && ne.Timeout():
				late++
				out = a.timeouts > 0 && late >= a.timeouts
			default:
				broken++
				out = a.tcp > 0 && broken >= a.tcp
			}
			if out {
				p.set(t, false, "it is not ready")
			}
		}
		every := a.healthyEvery
		if t.out.Load() {
			every = a.unhealthyEvery
		}
		if every == 0 {
			every = max(a.healthyEvery, a.unhealthyEvery)
		}
		timer.Reset(every)
	}
}

// ask is the status of one probe.
func (p *pool) ask(ctx context.Context, t *address, a active) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.scheme+"://"+t.name+a.path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("User-Agent", "tulifo-gateway")
	res, err := p.transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, res.Body.Close()
}
