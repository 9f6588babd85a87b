package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"
)

const (
	healthBound = 2 * time.Second
	healthAge   = 500 * time.Millisecond
	well        = "ok"
)

// Health is what /health answers under data.
type Health struct {
	Status  string            `json:"status"` // ok, degraded
	Service string            `json:"service"`
	Stores  map[string]string `json:"stores"` // connected or disconnected
	// Rehearsal is business time, where it is virtual.
	Rehearsal *time.Time `json:"rehearsal,omitempty"`
}

// healthCache keeps the last answer for half a second, so that asking often does not load the stores.
type healthCache struct {
	mu   sync.Mutex
	at   time.Time
	last Health
	fit  bool // all are connected without which requests are not answered
}

func (r *Router) getHealth(w http.ResponseWriter, req *http.Request) {
	h, _ := r.check(req.Context())
	status := http.StatusOK
	if h.Status != well {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, envelope{Success: h.Status == well, Data: h})
}

func (r *Router) getReady(w http.ResponseWriter, req *http.Request) {
	_, fit := r.check(req.Context())
	if ready := r.ready.Load(); !ready || !fit {
		w.Header().Set("Retry-After", "1")
		writeJSON(w, http.StatusServiceUnavailable, envelope{Success: false, Data: map[string]bool{"ready": false}})
		return
	}
	writeJSON(w, http.StatusOK, envelope{Success: true, Data: map[string]bool{"ready": true}})
}

// check asks every store at once and gives each two seconds.
func (r *Router) check(ctx context.Context) (h Health, fit bool) {
	c := &r.health
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < healthAge {
		return c.last, c.fit
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthBound)
	defer cancel()
	type result struct {
		name string
		err  error
	}
	all := map[string]func(context.Context) error{}
	maps.Copy(all, r.o.Spared)
	maps.Copy(all, r.o.Stores)
	results := make(chan result, len(all))
	for name, ask := range all {
		go func() { results <- result{name, ask(ctx)} }()
	}
	h, fit = Health{Status: well, Service: r.o.Service, Stores: map[string]string{}}, true
	for name := range all {
		h.Stores[name] = "disconnected"
	}
	if r.o.Rehearsal != nil {
		now := r.o.Rehearsal()
		h.Rehearsal = &now
	}
	for range all {
		select {
		case got := <-results:
			if got.err == nil {
				h.Stores[got.name] = "connected"
			}
		case <-ctx.Done():
		}
	}
	for name, state := range h.Stores {
		if state != "connected" {
			h.Status = "degraded"
			if _, spared := r.o.Spared[name]; !spared {
				fit = false
			}
		}
	}
	c.at, c.last, c.fit = time.Now(), h, fit
	return h, fit
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(raw)
}
