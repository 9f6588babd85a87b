package outbox

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tulifo/platform/bus"
)

const scrapeBound = 2 * time.Second

var (
	depthDesc  = prometheus.NewDesc("tulifo_outbox_depth", "Events committed and not yet on the bus.", []string{"service"}, nil)
	lagDesc    = prometheus.NewDesc("tulifo_bus_lag", "Events on the bus that the consumer has not handled.", []string{"consumer"}, nil)
	parkedDesc = prometheus.NewDesc("tulifo_parked_events", "Events that failed and are tried again, and those behind them.", []string{"consumer"}, nil)
	deadDesc   = prometheus.NewDesc("tulifo_dead_letters", "Events given up until they are replayed.", []string{"consumer"}, nil)
)

type collector struct {
	in  *Inbox
	bus bus.Bus
}

// Collector shows the inbox's service to Prometheus: tulifo_outbox_depth, tulifo_bus_lag, tulifo_parked_events, tulifo_dead_letters.
// What cannot be read within two seconds is left out of the answer.
func (in *Inbox) Collector(b bus.Bus) prometheus.Collector { return collector{in, b} }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- depthDesc
	ch <- lagDesc
	ch <- parkedDesc
	ch <- deadDesc
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeBound)
	defer cancel()
	gauge := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), c.in.service)
	}
	d, err := c.in.events.depths(ctx)
	if err == nil {
		gauge(depthDesc, d.Outbox)
		gauge(parkedDesc, d.Parked)
		gauge(deadDesc, d.Dead)
	}
	if lag, err := c.bus.Lag(ctx, c.in.service); err == nil {
		gauge(lagDesc, lag)
	}
}
