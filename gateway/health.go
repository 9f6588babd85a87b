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
	res, err := p.probes.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, res.Body.Close()
}

// healthBound is how long the services of this process may take to say how they are; they bound their stores themselves.
const healthBound = 3 * time.Second

// asked is the state of every service, with stores_away for one of this process whose own /health says so or does not come in time.
func (g *Gateway) asked(ctx context.Context) map[string]string {
	states := g.states()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthBound)
	defer cancel()
	type answer struct {
		name string
		well bool
	}
	answers, waiting := make(chan answer, len(states)), map[string]bool{}
	for _, s := range g.config.services {
		if s.local == nil || states[s.name] != "ready" {
			continue
		}
		waiting[s.name] = true
		go func() { answers <- answer{s.name, s.local.well(ctx)} }()
	}
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			delete(waiting, a.name)
			if !a.well {
				states[a.name] = "stores_away"
			}
		case <-ctx.Done():
			for name := range waiting {
				states[name] = "stores_away"
			}
			return states
		}
	}
	return states
}

// well says whether the service's /health is not an error.
func (l *Local) well(ctx context.Context) (well bool) {
	defer func() {
		if recover() != nil {
			well = false
		}
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/health", http.NoBody)
	if err != nil {
		return false
	}
	r.RemoteAddr, r.RequestURI = loopback, "/health"
	w := &statusOnly{header: http.Header{}, status: http.StatusOK}
	l.Handler.ServeHTTP(w, r)
	return w.status < http.StatusInternalServerError
}

// statusOnly is a response of which only the status counts.
type statusOnly struct {
	header http.Header
	status int
}

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) WriteHeader(status int)      { w.status = status }
func (w *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
