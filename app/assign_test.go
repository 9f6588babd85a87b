package app

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// owned are names that only the server sets, whatever an operation answers.
var owned = []string{"id", "userId", "clientId", "workerId", "role", "roles", "status", "rate", "hourlyRate", "amount", "fee", "net", "currency", "version", "paid", "emailVerified",
	"isAdmin", "admin", "balance", "createdAt", "__proto__", "constructor", "$set", "$ne"}

// assigns sends every operation, as whom it is for, each field that only the server sets, in every object of its body: all are refused by name.
func (m *matrix) assigns(r route) {
	s := r.input()
	if s == nil || s.Type != "object" {
		return
	}
	th, _ := m.about(r, r.first(), "")
	token := ""
	if in := m.inside(r, th); len(in) > 0 {
		token = m.token(r, in[0], th)
	} else if !r.public() {
		m.t.Errorf("%s: nobody is let in", r)
		return
	}
	var whole map[string]any
	m.must(json.Unmarshal(r.bodyWith(uuid.New(), th.body), &whole))
	names := slices.Clone(owned)
	for _, other := range r.schemas.Map() {
		for name := range other.Properties {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	m.into(r, s, th, token, whole, whole, slices.Compact(names))
}

// into puts names into the object, which is somewhere in whole, and then into the objects in it.
func (m *matrix) into(r route, s *huma.Schema, th thing, token string, whole, object map[string]any, names []string) {
	if s.AdditionalProperties == false || s.AdditionalProperties == nil {
		for _, name := range names {
			if s.Properties[name] != nil {
				continue
			}
			object[name] = "1"
			raw, err := json.Marshal(whole)
			m.must(err)
			delete(object, name)
			req := httptest.NewRequest(r.method, r.addressOf(th.params, uuid.NewString()), bytes.NewReader(raw))
			req.Header.Set("Content-Type", "application/json")
			m.cells["assigned"]++
			if a := r.do(req, token); a.Code != http.StatusUnprocessableEntity || !strings.Contains(a.Body.String(), name+`":"is not a field of this request"`) {
				m.t.Errorf("%s with %s, which only the server sets, answers %d: %.200s", r, name, a.Code, a.Body)
			}
		}
	}
	for name, part := range s.Properties {
		part = r.schema(part)
		if part.Type == "array" {
			part = r.schema(part.Items)
			if part.Type != "object" {
				continue
			}
			inner, _ := r.sample(part, uuid.New(), 0).(map[string]any)
			kept, had := object[name]
			object[name] = []any{inner}
			m.into(r, part, th, token, whole, inner, owned)
			restore(object, name, kept, had)
		} else if part.Type == "object" && part.Properties != nil {
			inner, _ := r.sample(part, uuid.New(), 0).(map[string]any)
			kept, had := object[name]
			object[name] = inner
			m.into(r, part, th, token, whole, inner, owned)
			restore(object, name, kept, had)
		}
	}
}

func restore(object map[string]any, name string, kept any, had bool) {
	if had {
		object[name] = kept
	} else {
		delete(object, name)
	}
}
