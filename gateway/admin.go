package gateway

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tulifo/platform/errs"
)

// Admin is the operator's door, for port 8001, in the shape of Kong's admin API. It only reads, and shows no key and no secret; still it belongs on loopback or a private network.
func (g *Gateway) Admin() http.Handler {
	mux := http.NewServeMux()
	show := func(path string, answer func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, answer()) })
	}
	show("/status", g.status)
	show("/services", g.listServices)
	show("/routes", g.listRoutes)
	show("/upstreams", g.listUpstreams)
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 5 * time.Second}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID(r.Header, time.Now())
		w.Header().Set("X-Request-Id", id)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, r, id, "", errs.New(errs.NotAllowed, "The admin API only reads: the routes are those of kong.yml."))
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			writeError(w, r, id, "", errs.New(errs.NotFound, "There is nothing at this address. There are /status, /services, /routes, /upstreams and /metrics."))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

// page is a list as Kong's admin API answers it.
type page struct {
	Data any     `json:"data"`
	Next *string `json:"next"`
}

// state is how a service is reached now.
func (s *service) state() string {
	switch {
	case s.local != nil && (s.local.Ready == nil || s.local.Ready()):
		return "ready"
	case s.local != nil:
		return "not_ready"
	case s.pool != nil:
		for _, t := range s.pool.targets {
			if !t.out.Load() {
				return "ready"
			}
		}
		return "not_ready"
	}
	return "not_installed"
}

func (g *Gateway) states() map[string]string {
	m := map[string]string{}
	for _, s := range g.config.services {
		m[s.name] = s.state()
	}
	return m
}

func (g *Gateway) status() any {
	state := "ready"
	if !g.Ready() {
		state = "draining"
	}
	return map[string]any{
		"database":            map[string]bool{"reachable": true}, // the routes come from a file: there is none to lose
		"status":              state,
		"uptime_seconds":      int64(time.Since(g.started).Seconds()),
		"services":            g.states(),
		"configuration_store": "kong.yml",
	}
}

func (g *Gateway) listServices() any {
	type row struct {
		Name     string `json:"name"`
		Host     string `json:"host"`
		Protocol string `json:"protocol"`
		Connect  int64  `json:"connect_timeout"`
		Read     int64  `json:"read_timeout"`
		Retries  int    `json:"retries"`
		Form     string `json:"form"`
		State    string `json:"state"`
	}
	rows := []row{}
	for _, s := range g.config.services {
		form := "none"
		switch {
		case s.local != nil:
			form = "in_process"
		case s.pool != nil:
			form = "socket"
		}
		rows = append(rows, row{s.name, s.host, "http", s.connectTimeout.Milliseconds(), s.deadline.Milliseconds(), s.retries, form, s.state()})
	}
	return page{Data: rows}
}

func (g *Gateway) listRoutes() any {
	type limit struct {
		Per   string `json:"per"`
		Max   int    `json:"max"`
		Scope string `json:"scope"`
	}
	type row struct {
		Name     string   `json:"name"`
		Paths    []string `json:"paths"`
		Service  named    `json:"service"`
		Strip    bool     `json:"strip_path"`
		Preserve bool     `json:"preserve_host"`
		Limits   []limit  `json:"limits"`
		Body     int64    `json:"max_body_bytes"`
		Key      bool     `json:"key_auth"`
	}
	rows := []row{}
	for _, s := range g.config.services {
		for _, r := range s.routes {
			v := row{Name: r.name, Paths: r.paths, Service: named{s.name}, Preserve: true, Limits: []limit{}, Body: defaultBody, Key: r.plugins.key != nil}
			if l := r.plugins.limit; l != nil {
				for _, w := range l.windows {
					v.Limits = append(v.Limits, limit{w.name, w.max, l.scope})
				}
			}
			if z := r.plugins.size; z != nil {
				v.Body = z.bytes
			}
			rows = append(rows, v)
		}
	}
	return page{Data: rows}
}

func (g *Gateway) listUpstreams() any {
	type tgt struct {
		Target string `json:"target"`
		Health string `json:"health"`
	}
	type row struct {
		Name      string `json:"name"`
		Algorithm string `json:"algorithm"`
		Targets   []tgt  `json:"targets"`
	}
	rows := []row{}
	for _, s := range g.config.services {
		v := row{Name: s.upstream.name, Algorithm: "round-robin", Targets: []tgt{}}
		switch {
		case s.local != nil:
			v.Targets = append(v.Targets, tgt{"in process", map[bool]string{true: "HEALTHY", false: "UNHEALTHY"}[s.state() == "ready"]})
		case s.pool != nil:
			for _, t := range s.pool.targets {
				v.Targets = append(v.Targets, tgt{t.name, map[bool]string{true: "UNHEALTHY", false: "HEALTHY"}[t.out.Load()]})
			}
		}
		rows = append(rows, v)
	}
	return page{Data: rows}
}
