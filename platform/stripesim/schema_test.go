package stripesim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
	"github.com/stripe/stripe-mock/spec"
)

// reference is Stripe's own description of its API: requests are judged by stripe-mock, answers by its schemas.
type reference struct {
	mu      sync.Mutex
	judge   *server.StubServer // stripe-mock's own name for what validates requests against Stripe's OpenAPI document
	schemas map[string]*spec.Schema
}

var loadReference = sync.OnceValues(func() (*reference, error) {
	sp, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		return nil, err
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		return nil, err
	}
	judge, err := server.NewStubServer(fixtures, sp, false, false)
	return &reference{judge: judge, schemas: sp.Components.Schemas}, err
})

// request is what stripe-mock says against r; empty when nothing.
func (ref *reference) request(r *http.Request) string {
	ref.mu.Lock()
	defer ref.mu.Unlock()
	w := httptest.NewRecorder()
	ref.judge.HandleRequest(w, r)
	if w.Code == http.StatusOK {
		return ""
	}
	return strings.TrimSpace(w.Body.String())
}

// answer is what Stripe's schemas say against a successful answer.
func (ref *reference) answer(body []byte) []string {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return []string{err.Error()}
	}
	return ref.object(v, "")
}

func (ref *reference) object(v any, at string) []string {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{at + ": not an object"}
	}
	name, _ := m["object"].(string)
	if name == "list" || name == "search_result" {
		var wrong []string
		for i, inner := range m["data"].([]any) {
			wrong = append(wrong, ref.object(inner, fmt.Sprintf("%s[%d]", at, i))...)
		}
		return wrong
	}
	schema := ref.schemas[name]
	if schema == nil {
		return []string{at + ": unknown object " + name}
	}
	wrong := ref.check(schema, v, at+name)
	if name == "event" {
		wrong = append(wrong, ref.object(m["data"].(map[string]any)["object"], at+"event.data.object:")...)
	}
	return wrong
}

func (ref *reference) check(s *spec.Schema, v any, at string) []string {
	for s.Ref != "" {
		s = ref.schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	if v == nil {
		if s.Nullable {
			return nil
		}
		return []string{at + ": null"}
	}
	if len(s.AnyOf) > 0 {
		var all []string
		for _, one := range s.AnyOf {
			wrong := ref.check(one, v, at)
			if len(wrong) == 0 {
				return nil
			}
			all = append(all, wrong...)
		}
		return all
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		return []string{fmt.Sprintf("%s: %v is not one of %v", at, v, s.Enum)}
	}
	var wrong []string
	switch v := v.(type) {
	case string:
		if s.Type != "string" {
			return []string{at + ": a string, not " + s.Type}
		}
	case bool:
		if s.Type != "boolean" {
			return []string{at + ": a boolean, not " + s.Type}
		}
	case float64:
		if s.Type != "integer" && s.Type != "number" {
			return []string{at + ": a number, not " + s.Type}
		}
	case []any:
		if s.Type != "array" {
			return []string{at + ": an array, not " + s.Type}
		}
		for i, inner := range v {
			wrong = append(wrong, ref.check(s.Items, inner, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		if s.Type != "object" {
			return []string{at + ": an object, not " + s.Type}
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				wrong = append(wrong, at+"."+name+": absent")
			}
		}
		for name, inner := range v {
			if p := s.Properties[name]; p != nil {
				wrong = append(wrong, ref.check(p, inner, at+"."+name)...)
			} else if len(s.Properties) > 0 && s.AdditionalProperties == nil {
				wrong = append(wrong, at+"."+name+": Stripe has no such field")
			}
		}
	}
	return wrong
}
