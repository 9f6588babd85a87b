package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// docs is the OpenAPI document of the whole platform, put together from those of its services.
type docs struct {
	g       *Gateway
	mu      sync.Mutex
	parts   map[string]part
	merged  []byte
	fresh   time.Time // until when merged needs no look at the parts
	flights chan struct{}
}

// part is one service's own document.
type part struct {
	doc   map[string]any
	until time.Time
}

const (
	mostDocument  = 4 << 20
	documentWait  = 3 * time.Second
	documentFresh = time.Minute
	documentRetry = 5 * time.Second
)

func newDocs(g *Gateway) *docs {
	return &docs{g: g, parts: map[string]part{}, flights: make(chan struct{}, 1)}
}

func (d *docs) serve(x *exchange) {
	doc, err := d.document(x.r.Context())
	if err != nil {
		x.fail(err)
		return
	}
	h := x.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(doc))}
	h["Cache-Control"] = []string{"no-cache"}
	secure(h)
	_, _ = x.Write(doc) // a client that is gone needs no answer
}

// document is the merged document, at most a minute old. Services that do not answer in time are left out until they do.
func (d *docs) document(ctx context.Context) ([]byte, error) {
	select {
	case d.flights <- struct{}{}: // one request at a time asks the services; the others wait for what it finds
		defer func() { <-d.flights }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := time.Now()
	if d.merged != nil && now.Before(d.fresh) {
		return d.merged, nil
	}
	var due []*service
	for _, s := range d.g.config.services {
		if s.name != "web" && (s.local != nil || s.pool != nil) && now.After(d.parts[s.name].until) {
			due = append(due, s)
		}
	}
	var wg sync.WaitGroup
	for _, s := range due {
		wg.Go(func() { d.fetch(s) })
	}
	wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	m := newMerge()
	d.fresh = now.Add(documentFresh)
	for _, s := range d.g.config.services {
		if p, ok := d.parts[s.name]; ok {
			if p.doc != nil {
				m.add(s.name, p.doc, func(path string) bool {
					r := d.g.table.find(path)
					return r != nil && r.service == s
				})
			}
			if p.until.Before(d.fresh) {
				d.fresh = p.until
			}
		}
	}
	merged, err := json.Marshal(m.doc)
	if err != nil {
		return nil, err
	}
	d.merged = merged
	return merged, nil
}

// fetch asks one service for its document and keeps the old one when it does not answer.
func (d *docs) fetch(s *service) {
	ctx, cancel := context.WithTimeout(context.Background(), documentWait)
	defer cancel()
	raw, err := s.openAPI(ctx)
	var doc map[string]any
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		err = dec.Decode(&doc)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.g.log.Debug("a service has no OpenAPI document", "service", s.name, "error.message", err.Error())
		d.parts[s.name] = part{d.parts[s.name].doc, time.Now().Add(documentRetry)}
		return
	}
	d.parts[s.name] = part{doc, time.Now().Add(documentFresh)}
}

func (s *service) openAPI(ctx context.Context) (raw []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.host+"/openapi.json", nil)
	if err != nil {
		return nil, err
	}
	if s.local != nil {
		r.RemoteAddr = loopback
		w := &memory{header: http.Header{}, status: http.StatusOK}
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("it panicked: %v", v)
			}
		}()
		if s.local.Handler.ServeHTTP(w, r); w.status != http.StatusOK {
			return nil, errors.New("it answered " + strconv.Itoa(w.status))
		}
		return w.Bytes(), nil
	}
	res, err := s.pool.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New("it answered " + strconv.Itoa(res.StatusCode))
	}
	raw, err = io.ReadAll(io.LimitReader(res.Body, mostDocument+1))
	if err == nil && len(raw) > mostDocument {
		err = errors.New("it is too large")
	}
	return raw, err
}

// merged puts documents together: operation ids and components get their service's name in front, so that equal names of two services stay apart.
type merged struct {
	doc        map[string]any
	paths      map[string]any
	components map[string]any
	tags       []any
}

func newMerge() *merged {
	m := &merged{paths: map[string]any{}, components: map[string]any{}, tags: []any{}}
	m.doc = map[string]any{
		"openapi":    "3.1.0",
		"info":       map[string]any{"title": "Tulifo", "version": "1.0", "description": "The API of the platform, all services behind one door."},
		"paths":      m.paths,
		"components": m.components,
		"tags":       m.tags,
	}
	return m
}

// add takes in the paths of doc that are routed to the service, and all of its components.
func (m *merged) add(service string, doc map[string]any, routed func(path string) bool) {
	info, _ := doc["info"].(map[string]any)
	m.tags = append(m.tags, map[string]any{"name": service, "description": info["description"]})
	m.doc["tags"] = m.tags
	kinds, _ := doc["components"].(map[string]any)
	for kind, v := range kinds {
		to, _ := m.components[kind].(map[string]any)
		if to == nil {
			to = map[string]any{}
			m.components[kind] = to
		}
		all, _ := v.(map[string]any)
		for n, c := range all {
			if kind != "securitySchemes" { // operations name these without a reference, and they are the same everywhere
				n = service + "." + n
			}
			to[n] = rename(c, service)
		}
	}
	paths, _ := doc["paths"].(map[string]any)
	for path, v := range paths {
		ops, ok := v.(map[string]any)
		if !ok || !routed(path) {
			continue
		}
		ops, _ = rename(ops, service).(map[string]any)
		for _, o := range ops {
			if op, ok := o.(map[string]any); ok {
				if id, ok := op["operationId"].(string); ok {
					op["operationId"] = service + "." + id
				}
				op["tags"] = []any{service}
			}
		}
		m.paths[path] = ops
	}
}

// rename is a copy of v whose references lead to the service's components.
func rename(v any, service string) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			if s, ok := e.(string); ok && k == "$ref" {
				c[k] = renameRef(s, service)
				continue
			}
			if k == "mapping" {
				if m, ok := e.(map[string]any); ok {
					refs := map[string]any{}
					for n, r := range m {
						s, _ := r.(string)
						refs[n] = renameRef(s, service)
					}
					c[k] = refs
					continue
				}
			}
			c[k] = rename(e, service)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = rename(e, service)
		}
		return c
	}
	return v
}

func renameRef(ref, service string) string {
	rest, ok := strings.CutPrefix(ref, "#/components/")
	kind, n, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return ref
	}
	return "#/components/" + kind + "/" + service + "." + n
}
