package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"tulifo/platform/clock"
)

// route is one operation of one service, as its OpenAPI document has it.
type route struct {
	service string
	handler http.Handler
	method  string
	path    string
	op      *huma.Operation
	schemas huma.Registry
}

func (r route) String() string { return r.method + " " + r.path }

func (r route) roles() []string {
	authz := r.op.Extensions["x-authz"].(map[string]any)
	return authz["roles"].([]string)
}

func (r route) public() bool { return slices.Contains(r.roles(), "anonymous") }

func routes(n *node) []route {
	var out []route
	for _, r := range n.rooms {
		spec := r.router.Spec()
		for path, item := range spec.Paths {
			for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
				if op != nil {
					out = append(out, route{r.name, r.router, method, path, op, spec.Components.Schemas})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b route) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// sample is a value that the schema accepts; ids become id.
func (r route) sample(s *huma.Schema, id uuid.UUID, depth int) any {
	if s == nil || depth > 6 {
		return nil
	}
	if s.Ref != "" {
		s = r.schemas.SchemaFromRef(s.Ref)
	}
	if len(s.Enum) > 0 {
		return s.Enum[0]
	}
	switch s.Type {
	case "object":
		out := map[string]any{}
		for _, name := range s.Required {
			out[name] = r.sample(s.Properties[name], id, depth+1)
		}
		return out
	case "array":
		out := []any{}
		for n := 0; s.MinItems != nil && n < *s.MinItems; n++ {
			out = append(out, r.sample(s.Items, id, depth+1))
		}
		return out
	case "integer", "number":
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case "boolean":
		return true
	}
	switch s.Format {
	case "uuid":
		return id
	case "date-time":
		return time.Date(2026, 3, 9, 9, 0, 0, 0, time.UTC)
	case "date":
		return "2026-03-09"
	case "email":
		return "stranger@matrix.example"
	case "uri":
		return "https://matrix.example/"
	}
	text := "Europe/Berlin"
	if s.MinLength != nil && *s.MinLength > len(text) {
		text += strings.Repeat("x", *s.MinLength-len(text))
	}
	if s.MaxLength != nil && *s.MaxLength < len(text) {
		text = text[:*s.MaxLength]
	}
	return text
}

// body is a request body that validation lets through.
func (r route) body(id uuid.UUID) []byte {
	if r.op.RequestBody == nil {
		return nil
	}
	for _, media := range r.op.RequestBody.Content {
		raw, err := json.Marshal(r.sample(media.Schema, id, 0))
		if err == nil {
			return raw
		}
	}
	return []byte("{}")
}

// address is the path with its parameters filled in, and the query that the operation requires.
func (r route) address(id string) string {
	path := r.path
	for strings.Contains(path, "{") {
		from, to := strings.Index(path, "{"), strings.Index(path, "}")
		path = path[:from] + id + path[to+1:]
	}
	query := ""
	for _, p := range r.op.Parameters {
		if p.In == "query" && p.Required {
			query += fmt.Sprintf("&%s=%v", p.Name, r.sample(p.Schema, uuid.Nil, 0))
		}
	}
	return path + strings.Replace(query, "&", "?", 1)
}

func (r route) call(token, address string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(r.method, address, bytes.NewReader(body))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w
}

// TestStrangers calls every operation about things that exist with the tokens of people whom they do not concern.
func TestStrangers(t *testing.T) {
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	tour := p.tour(v)
	if err := tour.walk(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := p.machine.node
	about := map[string][]uuid.UUID{
		"auth": {tour.worker.id}, "user": {tour.worker.id, tour.client.id}, "payment": {tour.payment}, "booking": {tour.booking}, "escrow": {tour.escrow}, "review": {tour.worker.id}, "notification": {uuid.New()},
	}
	tokens := map[string]string{"": "", "garbage": "a.b.c"}
	for _, role := range []string{"worker", "client", "support"} {
		signed, _, err := n.keys.Issue(uuid.New(), role, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		tokens[role] = signed
	}
	elsewhere, err := n.keys.ServiceToken("search", "search")
	if err != nil {
		t.Fatal(err)
	}
	tokens["service of another target"] = elsewhere
	tried := 0
	for _, r := range routes(n) {
		if r.public() || !strings.Contains(r.path, "{") {
			continue
		}
		ids := about[r.service]
		if strings.HasPrefix(r.path, "/api/availability") {
			ids = []uuid.UUID{tour.worker.id}
		}
		for _, id := range ids {
			for who, token := range tokens {
				tried++
				w := r.call(token, r.address(id.String()), r.body(id))
				allowed := []int{403, 404}
				if who == "" || who == "garbage" || strings.HasPrefix(who, "service") {
					allowed = []int{401}
				}
				if !slices.Contains(allowed, w.Code) {
					t.Errorf("%s %s as %q answered %d: %s", r.service, r, who, w.Code, w.Body)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d calls were tried", tried)
	}
	p.intact(t)
}

// TestHostileInput sends every operation what it must not choke on, as everybody who may call it.
func TestHostileInput(t *testing.T) {
	n := everything(t)
	n.ready(true)
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	bodies := []string{``, `{`, `null`, `[]`, `"x"`, `1`, `{"a":1,"a":2}`, `{"$ne":null}`, deep, `{"title":"` + strings.Repeat("x", 200_000) + `"}`,
		"{\"title\":\"\\u0000\"}", "\xff\xfe", `{"id":null,"startTime":"0000-00-00","amount":1e999,"limit":-1}`}
	ids := []string{"x", "00000000-0000-0000-0000-000000000000", "%00", "..%2f..%2fetc", strings.Repeat("9", 3000), "me", "%F0%9F%92%A5", "'%20OR%201=1--"}
	queries := []string{"?limit=-1", "?limit=abc", "?limit=99999999999999999999", "?cursor=!", "?cursor=" + strings.Repeat("A", 600), "?from=x&to=y&tz=Nowhere%2FLand&duration=0&date=0000-00-00", "?offset=-1&status=%00"}
	for _, r := range routes(n) {
		var who []string
		for _, role := range append(r.roles(), "") {
			switch role {
			case "", "anonymous":
				who = append(who, "")
			case "service":
				token, err := n.keys.ServiceToken("payment", r.service)
				if err != nil {
					t.Fatal(err)
				}
				who = append(who, token)
			default:
				token, _, err := n.keys.Issue(uuid.New(), role, uuid.New())
				if err != nil {
					t.Fatal(err)
				}
				who = append(who, token)
			}
		}
		for _, token := range who {
			for _, id := range ids {
				r.survives(t, token, r.address(id), r.body(uuid.New()))
			}
			sane := r.address(uuid.NewString())
			for _, query := range queries {
				if strings.Contains(sane, "?") {
					query = "&" + query[1:]
				}
				r.survives(t, token, sane+query, r.body(uuid.New()))
			}
			if r.op.RequestBody == nil {
				continue
			}
			for _, body := range bodies {
				r.survives(t, token, sane, []byte(body))
			}
		}
	}
}

// survives fails the test when the answer is a fault of ours, or an error that is not in the envelope.
func (r route) survives(t *testing.T, token, address string, body []byte) {
	t.Helper()
	w := r.call(token, address, body)
	if w.Code < 400 || w.Code >= 300 && w.Code < 400 {
		return
	}
	var p struct {
		Success *bool
		Error   struct{ Code, Message string }
	}
	html := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html")
	if err := json.Unmarshal(w.Body.Bytes(), &p); !html && (err != nil || p.Success == nil || *p.Success || p.Error.Code == "" || p.Error.Message == "") {
		t.Errorf("%s %.100s with %.60q answered %d outside of the envelope: %.200s", r.method, address, body, w.Code, w.Body)
	}
	// A neighbour that is not asked here is away; everything else of the 5xx is ours.
	if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
		t.Errorf("%s %.100s with %.60q answered %d: %.200s", r.method, address, body, w.Code, w.Body)
	}
}
