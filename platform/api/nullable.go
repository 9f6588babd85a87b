package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// admitNull has the schemas of what is answered say where null is answered: in a field that is a pointer and is not left out when it is nil. Of
// pointers to structs, and to the types that newRegistry describes, huma does not say so itself.
func (r *Router) admitNull(t reflect.Type, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	switch reflect.New(t).Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler, huma.SchemaProvider:
		return
	}
	seen[t] = true
	schemas := r.api.OpenAPI().Components.Schemas
	s := schemas.Schema(t, true, "")
	if s.Ref != "" {
		s = schemas.SchemaFromRef(s.Ref)
	}
	for _, f := range reflect.VisibleFields(t) {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		field := s.Properties[name]
		if field != nil && f.Type.Kind() == reflect.Pointer && !strings.Contains(rest, "omit") {
			if field.Ref != "" {
				s.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{field, {Type: "null"}}}
			} else if field.Type != "" {
				field.Nullable = true
			}
		}
		if !f.Anonymous { // what is embedded is among the visible fields
			r.admitNull(f.Type, seen)
		}
	}
}
