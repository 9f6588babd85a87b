package app

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// route is one operation of one service, as its OpenAPI document has it.
type route struct {
	service string
	handler http.Handler
	method  string
	path    string
	op      *huma.Operation
	schemas huma.Registry
	authz
}

// authz is what x-authz says.
type authz struct {
	roles    []string
	relation string
	besides  []string
	states   []string
	stepUp   []string // roles of which a fresh proof is asked
}

func (r route) String() string { return r.method + " " + r.path }

func (r route) public() bool { return slices.Contains(r.roles, "anonymous") }

// first is a state in which the operation can be done; empty when states have no say.
func (r route) first() string {
	if len(r.states) == 0 {
		return ""
	}
	return r.states[0]
}

// routes are all operations of all services.
func routes(n *node) []route {
	var out []route
	for _, r := range n.rooms {
		spec := r.router.Spec()
		for path, item := range spec.Paths {
			for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
				if op != nil {
					out = append(out, route{r.name, r.router, method, path, op, spec.Components.Schemas, authzOf(op)})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b route) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func authzOf(op *huma.Operation) authz {
	said := op.Extensions["x-authz"].(map[string]any)
	besides, _ := said["besides"].([]string)
	stepUp, _ := said["stepUp"].([]string)
	if all, _ := said["stepUp"].(bool); all {
		stepUp = personRoles
	}
	return authz{said["roles"].([]string), said["relation"].(string), besides, said["states"].([]string), stepUp}
}

// schema is s itself, or what it refers to.
func (r route) schema(s *huma.Schema) *huma.Schema {
	if s != nil && s.Ref != "" {
		return r.schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// sample is a value that the schema accepts; ids become id.
func (r route) sample(s *huma.Schema, id uuid.UUID, depth int) any {
	if s = r.schema(s); s == nil || depth > 6 {
		return nil
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

// input is the schema of the JSON body; nil when the operation takes none.
func (r route) input() *huma.Schema {
	if r.op.RequestBody == nil {
		return nil
	}
	media := r.op.RequestBody.Content["application/json"]
	if media == nil {
		return nil
	}
	return r.schema(media.Schema)
}

// body is a request body that validation lets through.
func (r route) body(id uuid.UUID) []byte { return r.bodyWith(id, nil) }

// bodyWith is body with some fields of its own.
func (r route) bodyWith(id uuid.UUID, fields map[string]any) []byte {
	if r.op.RequestBody == nil {
		return nil
	}
	for _, media := range r.op.RequestBody.Content {
		made := r.sample(media.Schema, id, 0)
		if object, ok := made.(map[string]any); ok {
			maps.Copy(object, fields)
		} else if len(fields) > 0 {
			made = fields
		}
		if raw, err := json.Marshal(made); err == nil {
			return raw
		}
	}
	return []byte("{}")
}

// address is the path with every parameter replaced by id, and the query that the operation requires.
func (r route) address(id string) string { return r.addressOf(nil, id) }

// addressOf is the path with its parameters filled in, those that params does not have with id.
func (r route) addressOf(params map[string]string, id string) string {
	path := r.path
	for strings.Contains(path, "{") {
		from, to := strings.Index(path, "{"), strings.Index(path, "}")
		value, ok := params[path[from+1:to]]
		if !ok {
			value = id
		}
		path = path[:from] + value + path[to+1:]
	}
	query := ""
	for _, p := range r.op.Parameters {
		if p.In == "query" && p.Required {
			query += fmt.Sprintf("&%s=%v", p.Name, r.sample(p.Schema, uuid.Nil, 0))
		}
	}
	return path + strings.Replace(query, "&", "?", 1)
}

// media is the type in which the operation takes a body.
func (r route) media() string {
	if r.op.RequestBody != nil && r.op.RequestBody.Content["application/json"] == nil {
		for kind := range r.op.RequestBody.Content {
			return strings.Replace(kind, "*", "png", 1)
		}
	}
	return "application/json"
}

func (r route) call(token, address string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(r.method, address, bytes.NewReader(body))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return r.do(req, token)
}

func (r route) do(req *http.Request, token string) *httptest.ResponseRecorder {
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w
}

// anybody is a token of somebody in the role whom nobody knows.
func (r route) anybody(t testing.TB, n *node, role string) string {
	t.Helper()
	name, service := strings.CutPrefix(role, "service")
	var raw string
	var err error
	switch {
	case role == "" || role == "anonymous":
	case service:
		raw, err = n.keys.ServiceToken(cmp.Or(strings.TrimPrefix(name, ":"), "search"), r.service)
	default:
		raw, _, err = n.keys.Issue(uuid.New(), role, uuid.New())
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
