// Package apitest calls a service's real router the way the gateway does, for tests: a row a promise.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/obs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Options say what is served.
type Options struct {
	Service     string // the default is test
	Register    func(*api.Router)
	DB          *postgres.DB       // for api.Once
	Keys        *token.Keys        // the default is Keys(t)
	Revocations *token.Revocations // the default hears that there are none as long as the test goes on
	Bound       bool               // as api.Options has it
}

// Server is a service behind its router.
type Server struct {
	Router      *api.Router
	Keys        *token.Keys
	Revocations *token.Revocations
	t           testing.TB
}

// Keys are keys for tests.
func Keys(t testing.TB) *token.Keys {
	t.Helper()
	k, err := token.NewKeys(token.Config{Secret: strings.Repeat("test-access-", 3), ServiceSecret: strings.Repeat("test-service-", 3)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// New is a ready server.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Service == "" {
		o.Service = "test"
	}
	if o.Keys == nil {
		o.Keys = Keys(t)
	}
	if o.Revocations == nil {
		o.Revocations = token.NewRevocations()
		go o.Revocations.Follow(t.Context(), nil, func(context.Context, time.Time) ([]token.Revoked, error) { return nil, nil })
	}
	s := &Server{Keys: o.Keys, Revocations: o.Revocations, t: t}
	s.Router = api.NewRouter(api.Options{Service: o.Service, Keys: o.Keys, Revocations: s.Revocations, DB: o.DB, Metrics: obs.NewMetrics(o.Service), Bound: o.Bound})
	o.Register(s.Router)
	s.Router.SetReady(true)
	return s
}

// Token is an access token of a user.
func (s *Server) Token(role string, id uuid.UUID) string {
	raw, _, err := s.Keys.Issue(id, role, uuid.New())
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

// ServiceToken is a token with which the service from calls service.
func (s *Server) ServiceToken(from, service string) string {
	raw, err := s.Keys.ServiceToken(from, service)
	if err != nil {
		s.t.Fatal(err)
	}
	return raw
}

// Call is one request and what its answer must be.
type Call struct {
	What   string // the promise
	As     string // bearer token; empty is anonymous
	Method string // GET unless there is a Body, then POST
	Path   string
	Body   any // a string or []byte is sent as it is, anything else as JSON
	Key    string
	Header map[string]string
	Status int    // 0: any
	Has    string // must stand in the body
	HasNot string
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	t      testing.TB
}

// Do sends c and answers whatever comes; it may be called from many goroutines.
func (s *Server) Do(c Call) Answer {
	var body io.Reader
	switch b := c.Body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			s.t.Errorf("%s: %v", c.What, err)
		}
		body = bytes.NewReader(raw)
	}
	if c.Method == "" {
		c.Method = http.MethodGet
		if c.Body != nil {
			c.Method = http.MethodPost
		}
	}
	req := httptest.NewRequest(c.Method, c.Path, body)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.As != "" {
		req.Header.Set("Authorization", "Bearer "+c.As)
	}
	if c.Key != "" {
		req.Header.Set("Idempotency-Key", c.Key)
	}
	for name, v := range c.Header {
		req.Header.Set(name, v)
	}
	w := httptest.NewRecorder()
	s.Router.ServeHTTP(w, req)
	return Answer{w.Code, w.Header(), w.Body.Bytes(), s.t}
}

// Call sends c and fails the test when the answer is not as promised.
func (s *Server) Call(c Call) Answer {
	s.t.Helper()
	a := s.Do(c)
	switch body := string(a.Body); {
	case c.Status != 0 && a.Status != c.Status:
		s.t.Errorf("%s: %s %s answered %d, want %d: %s", c.What, c.Method, c.Path, a.Status, c.Status, body)
	case !strings.Contains(body, c.Has):
		s.t.Errorf("%s: %s %s: %q is not in %s", c.What, c.Method, c.Path, c.Has, body)
	case c.HasNot != "" && strings.Contains(body, c.HasNot):
		s.t.Errorf("%s: %s %s: %q is in %s", c.What, c.Method, c.Path, c.HasNot, body)
	}
	return a
}

// Calls sends a table of calls in order.
func (s *Server) Calls(calls ...Call) {
	s.t.Helper()
	for _, c := range calls {
		s.Call(c)
	}
}

// Data decodes what stands under data into v.
func (a Answer) Data(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body, &struct{ Data any }{v}); err != nil {
		a.t.Fatalf("%v in %s", err, a.Body)
	}
}

// Code is the error code, empty when there is none.
func (a Answer) Code() string {
	var p struct{ Error struct{ Code string } }
	if json.Unmarshal(a.Body, &p) != nil {
		return ""
	}
	return p.Error.Code
}

// String shows the answer in failures.
func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }
