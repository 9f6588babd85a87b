package app

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestHostileFields sends every operation bodies that are as they should be but for one field, so that what the check lets through reaches the service.
func TestHostileFields(t *testing.T) {
	n := everything(t)
	n.ready(true)
	tried := 0
	for _, r := range routes(n) {
		var good map[string]any
		if r.op.RequestBody == nil || json.Unmarshal(r.body(uuid.New()), &good) != nil {
			continue
		}
		role := r.roles[0]
		if i := slices.IndexFunc(r.roles, func(role string) bool { return role != "service" }); i >= 0 {
			role = r.roles[i]
		}
		token := r.anybody(t, n, role)
		for _, media := range r.op.RequestBody.Content {
			for name, field := range r.schema(media.Schema).Properties {
				for _, value := range hostile(field.Type, field.MaxLength) {
					body := maps.Clone(good)
					body[name] = value
					raw, err := json.Marshal(body)
					if err != nil {
						t.Fatal(err)
					}
					tried++
					r.survives(t, token, r.address(uuid.NewString()), raw)
				}
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d bodies were tried", tried)
	}
}

// hostile are values of a type that services tend to choke on.
func hostile(kind string, longest *int) []any {
	switch kind {
	case "string":
		size := 5000
		if longest != nil {
			size = *longest
		}
		return []any{"a\x00b", strings.Repeat("x", size), strings.Repeat("\U0001F600", size/2), "\u202e\ufeff", nil, "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01", "9999-12-31"}
	case "integer":
		return []any{math.MaxInt64, math.MinInt64, math.MaxInt32 + 1, -1, 0, nil}
	case "number":
		return []any{1e300, -1e300, 1e-300, 0, json.Number("99999999999999999999.99"), json.Number("0.0000000001"), nil}
	case "array":
		return []any{make([]any, 1000), []any{"a\x00b"}, []any{map[string]any{}}, nil}
	case "object":
		return []any{map[string]any{"a\x00b": "c"}, map[string]any{}, nil}
	}
	return []any{nil, "x"}
}
