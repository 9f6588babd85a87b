package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the gateway's series. Their labels come from the route table and from closed lists, never from a request.
type metrics struct {
	registry prometheus.Gatherer
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	limited  *prometheus.CounterVec
	dropped  prometheus.Counter
	pages    sync.Map // series of the gateway's own pages, by their names
}

func newMetrics(r *prometheus.Registry, g *Gateway) *metrics {
	m := &metrics{
		registry: r,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tulifo_gateway_requests_total", Help: "Requests answered, by service, route, method and status.",
		}, []string{"service", "route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tulifo_gateway_request_duration_seconds", Help: "Time from the end of a request's header to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"service", "route"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tulifo_gateway_limited_total", Help: "Requests refused because their client was over the limit of the route.",
		}, []string{"route"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tulifo_gateway_log_dropped_total", Help: "Access lines that the log collector did not take in time.",
		}),
	}
	r.MustRegister(m.requests, m.seconds, m.limited, m.dropped, &targetGauge{g})
	return m
}

var targetHealthy = prometheus.NewDesc("tulifo_gateway_target_healthy", "1 while a target of a remote service is in use, 0 while it is out.", []string{"service", "target"}, nil)

// targetGauge reads the state of the targets when it is asked.
type targetGauge struct{ g *Gateway }

func (t *targetGauge) Describe(c chan<- *prometheus.Desc) { c <- targetHealthy }

func (t *targetGauge) Collect(c chan<- prometheus.Metric) {
	for _, s := range t.g.config.services {
		if s.pool == nil {
			continue
		}
		for _, a := range s.pool.targets {
			v := 1.0
			if a.out.Load() {
				v = 0
			}
			c <- prometheus.MustNewConstMetric(targetHealthy, prometheus.GaugeValue, v, s.name, a.name)
		}
	}
}

// series are those of one route, found once: a look-up by labels costs more than counting.
type series struct {
	m              *metrics
	service, route string
	seconds        prometheus.Observer
	requests       [8]atomic.Pointer[byStatus] // by method
}

type byStatus [600]atomic.Pointer[prometheus.Counter]

// of are the series of a route, or of a page of the gateway's own.
func (m *metrics) of(service, name string, r *route) *series {
	if r != nil {
		if s := r.series.Load(); s != nil {
			return s
		}
		r.series.CompareAndSwap(nil, &series{m: m, service: service, route: name, seconds: m.seconds.WithLabelValues(service, name)})
		return r.series.Load()
	}
	if s, ok := m.pages.Load(name); ok {
		return s.(*series)
	}
	s, _ := m.pages.LoadOrStore(name, &series{m: m, service: service, route: name, seconds: m.seconds.WithLabelValues(service, name)})
	return s.(*series)
}

// count counts a request and answers the name that its method has among the labels.
func (s *series) count(method string, status int, took time.Duration) string {
	i := slices.Index(methods[:], method)
	if i < 0 {
		i = len(methods) - 1
	}
	all := s.requests[i].Load()
	if all == nil {
		s.requests[i].CompareAndSwap(nil, new(byStatus))
		all = s.requests[i].Load()
	}
	at := &all[status]
	c := at.Load()
	if c == nil {
		made := s.m.requests.WithLabelValues(s.service, s.route, methods[i], statusText[status])
		at.Store(&made)
		c = &made
	}
	(*c).Inc()
	s.seconds.Observe(took.Seconds())
	return methods[i]
}

var methods = [8]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions, "OTHER"}

var statusText = func() (t [600]string) {
	for i := range t {
		t[i] = strconv.Itoa(i)
	}
	return t
}()

// Longer paths are cut in logs.
const mostLogged = 512

// record counts an exchange and writes its access line. The query is left out, because it may hold secrets.
func (g *Gateway) record(x *exchange) {
	took := time.Since(x.start)
	service, route := "gateway", "none"
	switch {
	case x.route != nil:
		service, route = x.route.service.name, x.route.name
	case x.page != "":
		route = x.page
	}
	status := max(0, min(x.status, len(statusText)-1))
	method := g.metrics.of(service, route, x.route).count(x.r.Method, status, took)
	level := slog.LevelInfo
	switch {
	case status >= 500 && x.err != nil && x.err != errNotInstalled:
		level = slog.LevelWarn
	case x.page == "health":
		level = slog.LevelDebug
	}
	shipped := x.route != nil && x.route.plugins.log != nil
	ctx := context.Background()
	logged := g.log.Enabled(ctx, level)
	if !shipped && !logged {
		return
	}

	path := masked(x.r.URL.Path)
	if len(path) > mostLogged {
		path = path[:mostLogged]
	}
	if shipped {
		x.route.plugins.log.sink.add(x, path, took)
	}
	if !logged {
		return
	}
	attrs := [11]slog.Attr{
		slog.String("http.request.method", method), slog.String("url.path", path), slog.Int("http.response.status_code", status),
		slog.Int64("event.duration", int64(took)), slog.Int64("http.response.body.bytes", x.bytes), slog.String("client.ip", x.address),
		slog.String("http.request.id", x.id), slog.String("trace.id", traceID(x.trace)), slog.String("tulifo.service", service), slog.String("tulifo.route", route),
	}
	n := 10
	if x.err != nil && status >= 500 {
		attrs[n] = slog.String("error.message", x.err.Error())
		n++
	}
	g.log.LogAttrs(ctx, level, "request", attrs[:n]...)
}

// longestID is the length of a UUID; a longer segment of a path is a secret, such as a link from a mail or a calendar's address.
const longestID = 36

// masked is the path without the secrets that stand in it.
func masked(path string) string {
	long, run := false, 0
	for i := range len(path) {
		if path[i] == '/' {
			run = 0
			continue
		}
		if run++; run > longestID {
			long = true
			break
		}
	}
	if !long {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if len(s) > longestID {
			segments[i] = "[masked]"
		}
	}
	return strings.Join(segments, "/")
}
