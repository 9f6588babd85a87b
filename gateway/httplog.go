package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// sink ships access lines to a collector, as Kong's http-log does. It never slows a request: what does not fit into its queue is dropped and counted.
type sink struct {
	g     *Gateway
	to    *logSink
	queue chan line
	http  *http.Client
}

// line has the names of Kong's log serializer. It holds no header, query or body, which may carry secrets.
type line struct {
	Request struct {
		ID     string `json:"id"`
		Method string `json:"method"`
		URI    string `json:"uri"`
	} `json:"request"`
	Response struct {
		Status int   `json:"status"`
		Size   int64 `json:"size"`
	} `json:"response"`
	Latencies struct {
		Request int64 `json:"request"` // milliseconds
	} `json:"latencies"`
	Service   named  `json:"service"`
	Route     named  `json:"route"`
	ClientIP  string `json:"client_ip"`
	StartedAt int64  `json:"started_at"` // milliseconds since 1970
	TraceID   string `json:"trace_id"`
}

type named struct {
	Name string `json:"name"`
}

const (
	mostQueued = 4096
	mostBatch  = 200
)

func newSink(g *Gateway, to *logSink) *sink {
	return &sink{g: g, to: to, queue: make(chan line, mostQueued), http: &http.Client{Timeout: to.timeout}}
}

func (s *sink) add(x *exchange, path string, took time.Duration) {
	var l line
	l.Request.ID, l.Request.Method, l.Request.URI = x.id, x.r.Method, path
	l.Response.Status, l.Response.Size = x.status, x.bytes
	l.Latencies.Request = took.Milliseconds()
	l.Service.Name, l.Route.Name = x.route.service.name, x.route.name
	l.ClientIP, l.StartedAt, l.TraceID = x.address, x.start.UnixMilli(), traceID(x.trace)
	select {
	case s.queue <- l:
	default:
		s.g.metrics.dropped.Inc()
	}
}

// run ships until ctx ends, and then what is queued, once.
func (s *sink) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var batch []line
	for {
		select {
		case l := <-s.queue:
			if batch = append(batch, l); len(batch) < mostBatch {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			for len(batch) < mostBatch && len(s.queue) > 0 {
				batch = append(batch, <-s.queue)
			}
			s.ship(batch)
			return
		}
		s.ship(batch)
		batch = batch[:0]
	}
}

func (s *sink) ship(batch []line) {
	if len(batch) == 0 {
		return
	}
	if err := s.post(batch); err != nil {
		s.g.metrics.dropped.Add(float64(len(batch)))
		s.g.log.Warn("the log collector took no lines", "lines", len(batch), "error.message", err.Error())
	}
}

func (s *sink) post(batch []line) error {
	var what any = batch
	if len(batch) == 1 {
		what = batch[0] // as Kong does
	}
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(s.to.method, s.to.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", s.to.contentType)
	res, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode >= 300 {
		return errors.New("it answered " + res.Status)
	}
	return nil
}
