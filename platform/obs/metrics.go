package obs

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are one service's series. Each service has a registry of its own, so that in one process each port shows its own.
type Metrics struct {
	Registry *prometheus.Registry
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

// NewMetrics are the series of a service; every one carries the label service.
func NewMetrics(service string) *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	labels := prometheus.Labels{"service": service}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tulifo_http_requests_total", Help: "Requests answered, by route and status.", ConstLabels: labels,
	}, []string{"method", "route", "status"})
	m.latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tulifo_http_request_seconds", Help: "Time to answer a request, by route.", ConstLabels: labels,
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"method", "route"})
	m.Registry.MustRegister(m.requests, m.latency)
	return m
}

// Process adds the series of the Go runtime and of the process; once a process.
func (m *Metrics) Process() {
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// Observe counts one answered request. route is the pattern, never the path, so that the number of series is bounded;
// a method that HTTP does not know counts as "other" for the same reason.
func (m *Metrics) Observe(method, route string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.latency.WithLabelValues(method, route).Observe(took.Seconds())
}

// Handler answers the series in Prometheus' format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 5 * time.Second})
}
