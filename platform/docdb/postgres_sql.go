package docdb

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tulifo/platform/errs"
)

// builder writes the pieces of one statement and numbers its parameters.
type builder struct {
	c    *schema
	args []any
	err  error
}

// param is the next parameter, cast so that its type does not depend on how the statement is sent.
func (b *builder) param(v any, sqlType string) string {
	b.args = append(b.args, v)
	return "$" + strconv.Itoa(len(b.args)) + "::" + sqlType
}

var sqlTypes = map[kind]string{text: "text", integer: "bigint", float: "float8", boolean: "boolean", instant: "timestamptz"}

// expr is the field as SQL. An index is used only where the same expression is written, so this is the only place that writes it.
func expr(f field) string {
	if f.name() == "id" {
		return "id"
	}
	raw := "doc->>'" + f.path[0] + "'"
	if len(f.path) > 1 {
		raw = "doc#>>'" + arrayPath(f) + "'"
	}
	switch f.kind {
	case text:
		return `((` + raw + `) COLLATE "C")`
	case integer, float, boolean:
		return "((" + raw + ")::" + sqlTypes[f.kind] + ")"
	case instant:
		return "docdb_time(" + raw + ")"
	}
	return "(doc#>'" + arrayPath(f) + "')"
}

// arrayPath is the field's path as a text array; its parts are letters, digits, _ and - only.
func arrayPath(f field) string { return "{" + strings.Join(f.path, ",") + "}" }

// exists is also right for lists and objects, where JSON's null is no SQL null.
func exists(f field) string {
	if f.name() == "id" {
		return "id IS NOT NULL"
	}
	return "(doc#>>'" + arrayPath(f) + "') IS NOT NULL"
}

func (b *builder) where(f Filter) string {
	switch f.op {
	case "":
		return "true"
	case opAnd, opOr:
		word, none := " AND ", "true"
		if f.op == opOr {
			word, none = " OR ", "false"
		}
		if len(f.parts) == 0 {
			return none
		}
		parts := make([]string, len(f.parts))
		for i, p := range f.parts {
			parts[i] = b.where(p)
		}
		return "(" + strings.Join(parts, word) + ")"
	}
	at, err := b.c.field(f.field)
	if err != nil {
		return b.fail(err)
	}
	switch f.op {
	case opExists:
		return exists(at)
	case opMissing:
		return "NOT (" + exists(at) + ")"
	case opIn:
		return expr(at) + " = ANY(" + b.list(at.kind, f.values) + ")"
	case opHas:
		v, err := scalar(kindOf(plain(at.typ.Elem())), f.values[0])
		if err != nil {
			return b.fail(err)
		}
		j, err := json.Marshal([]any{v})
		if err != nil {
			return b.fail(err)
		}
		return expr(at) + " @> " + b.param(string(j), "text") + "::jsonb"
	}
	v, err := scalar(at.kind, f.values[0])
	if err != nil {
		return b.fail(err)
	}
	return expr(at) + " " + string(f.op) + " " + b.param(v, sqlTypes[at.kind])
}

func (b *builder) fail(err error) string {
	if b.err == nil {
		b.err = err
	}
	return "false"
}

func (b *builder) list(k kind, values []any) string {
	switch k {
	case integer:
		return b.param(scalars[int64](b, k, values), "bigint[]")
	case float:
		return b.param(scalars[float64](b, k, values), "float8[]")
	case boolean:
		return b.param(scalars[bool](b, k, values), "boolean[]")
	case instant:
		return b.param(scalars[time.Time](b, k, values), "timestamptz[]")
	}
	return b.param(scalars[string](b, k, values), "text[]")
}

func scalars[T any](b *builder, k kind, values []any) []T {
	out := make([]T, 0, len(values))
	for _, v := range values {
		s, err := scalar(k, v)
		if err != nil {
			b.fail(err)
			return out
		}
		out = append(out, s.(T))
	}
	return out
}

// from leaves out what lacks the sorted field, and what lies before the place to start.
func (b *builder) from(o order) string {
	by := expr(o.by)
	if by == "id" {
		if o.after == nil {
			return ""
		}
		return " AND id " + beyond(o) + " " + b.param(o.after.id, "text")
	}
	if o.after == nil {
		return " AND " + by + " IS NOT NULL"
	}
	return " AND (" + by + ", id) " + beyond(o) + " (" + b.param(o.after.value, sqlTypes[o.by.kind]) + ", " + b.param(o.after.id, "text") + ")"
}

func beyond(o order) string {
	if o.desc {
		return "<"
	}
	return ">"
}

func (b *builder) orderBy(o order) string {
	way := ""
	if o.desc {
		way = " DESC"
	}
	by := expr(o.by)
	if by == "id" {
		return "id" + way
	}
	return by + way + ", id" + way
}

// apply is doc with the changes made, in their order.
func (b *builder) apply(doc string, changes []change) (string, error) {
	for _, c := range changes {
		path := "'" + arrayPath(c.at) + "'::text[]"
		switch c.op {
		case opInc:
			doc = "docdb_inc(" + doc + ", " + path + ", " + b.param(c.n, "bigint") + ")"
		case opUnset:
			doc = "(" + doc + " #- " + path + ")"
		default:
			j, err := json.Marshal(c.value)
			if err != nil {
				return "", fmt.Errorf("docdb: write %s: %w", c.field, err)
			}
			if len(j) > MaxDocument {
				return "", errs.New(errs.TooLarge, "That is too large to be kept.")
			}
			value := b.param(string(j), "text") + "::jsonb"
			if c.op == opSet {
				doc = "docdb_set(" + doc + ", " + path + ", " + value + ")"
			} else {
				doc = "docdb_push(" + doc + ", " + path + ", " + value + ", " + b.param(c.n, "bigint") + ")"
			}
		}
	}
	return doc, nil
}

// literal is a scalar written into DDL, which takes no parameters.
func literal(k kind, v any) (string, error) {
	s, err := scalar(k, v)
	if err != nil {
		return "", err
	}
	return "'" + strings.ReplaceAll(format(s), "'", "''") + "'::" + sqlTypes[k], nil
}

// partial is a filter that an index is limited by.
func (s *schema) partial(f Filter) (string, error) {
	switch f.op {
	case "":
		return "true", nil
	case opAnd:
		parts := []string{"true"}
		for _, p := range f.parts {
			t, err := s.partial(p)
			if err != nil {
				return "", err
			}
			parts = append(parts, t)
		}
		return strings.Join(parts, " AND "), nil
	}
	at, err := s.field(f.field)
	if err != nil {
		return "", err
	}
	switch f.op {
	case opExists:
		return exists(at), nil
	case opMissing:
		return "NOT (" + exists(at) + ")", nil
	}
	v, err := literal(at.kind, f.values[0])
	if err != nil {
		return "", err
	}
	return expr(at) + " = " + v, nil
}
