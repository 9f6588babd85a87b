package docdb

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"tulifo/platform/errs"
)

// Filter says which documents are meant; the zero Filter holds for all. Fields go by their JSON names, dots lead into nested objects and maps.
// Values are scalars of the field's kind: strings, UUIDs, integers, floats, booleans, times. Text compares by its bytes.
// A field that is absent or null neither equals nor compares to anything.
type Filter struct {
	op     op
	field  string
	values []any
	parts  []Filter
}

type op string

const (
	opEq      op = "="
	opLt      op = "<"
	opLte     op = "<="
	opGt      op = ">"
	opGte     op = ">="
	opIn      op = "in"
	opHas     op = "has"
	opExists  op = "exists"
	opMissing op = "missing"
	opAnd     op = "and"
	opOr      op = "or"
)

// Eq holds where the field equals v.
func Eq(field string, v any) Filter { return Filter{op: opEq, field: field, values: []any{v}} }

// Lt holds where the field is less than v.
func Lt(field string, v any) Filter { return Filter{op: opLt, field: field, values: []any{v}} }

// Lte holds where the field is at most v.
func Lte(field string, v any) Filter { return Filter{op: opLte, field: field, values: []any{v}} }

// Gt holds where the field is greater than v.
func Gt(field string, v any) Filter { return Filter{op: opGt, field: field, values: []any{v}} }

// Gte holds where the field is at least v.
func Gte(field string, v any) Filter { return Filter{op: opGte, field: field, values: []any{v}} }

// In holds where the field equals one of values, at most MaxLimit of them; none: nowhere.
func In[V any](field string, values ...V) Filter {
	f := Filter{op: opIn, field: field, values: make([]any, len(values))}
	for i, v := range values {
		f.values[i] = v
	}
	return f
}

// Has holds where the field is a list of strings, UUIDs or integers that has v in it.
func Has(field string, v any) Filter { return Filter{op: opHas, field: field, values: []any{v}} }

// Exists holds where the field is there and not null.
func Exists(field string) Filter { return Filter{op: opExists, field: field} }

// Missing holds where the field is absent or null.
func Missing(field string) Filter { return Filter{op: opMissing, field: field} }

// And holds where all of fs hold.
func And(fs ...Filter) Filter { return Filter{op: opAnd, parts: fs} }

// Or holds where one of fs holds; none: nowhere.
func Or(fs ...Filter) Filter { return Filter{op: opOr, parts: fs} }

const maxDepth = 16

// check says whether f can be asked of the collection, so that engines need not.
func (s *schema) check(f Filter) error {
	if s.err != nil {
		return s.err
	}
	return s.checkAt(f, 0)
}

func (s *schema) checkAt(f Filter, depth int) error {
	if depth > maxDepth {
		return errors.New("docdb: a filter nested too deeply")
	}
	switch f.op {
	case "":
		return nil
	case opAnd, opOr:
		for _, p := range f.parts {
			if err := s.checkAt(p, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	at, err := s.field(f.field)
	if err != nil || f.op == opExists || f.op == opMissing {
		return err
	}
	if len(f.values) > MaxLimit {
		return fmt.Errorf("docdb: %d values for %s", len(f.values), f.field)
	}
	want := at.kind
	if f.op == opHas {
		if at.kind != list {
			return fmt.Errorf("docdb: %s.%s is not a list", s.name, f.field)
		}
		if want = kindOf(plain(at.typ.Elem())); want != text && want != integer {
			return fmt.Errorf("docdb: %s.%s is not a list of strings or integers", s.name, f.field)
		}
	}
	for _, v := range f.values {
		if _, err := scalar(want, v); err != nil {
			return fmt.Errorf("docdb: %s.%s: %w", s.name, f.field, err)
		}
	}
	return nil
}

// checkPartial says whether an index can be limited to f.
func (s *schema) checkPartial(f Filter) error {
	switch f.op {
	case opAnd:
		for _, p := range f.parts {
			if err := s.checkPartial(p); err != nil {
				return err
			}
		}
		return nil
	case "", opEq, opExists, opMissing:
		return s.checkAt(f, 0)
	}
	return fmt.Errorf("an index cannot be limited by %q", f.op)
}

// scalar is v as the one Go type that stands for a kind: string, int64, float64, bool or time.Time.
// What is none of them, an object for instance, is refused here, before any engine sees it.
func scalar(want kind, v any) (any, error) {
	bad := errs.New(errs.Invalid, "That is not a value to look for.").Because(fmt.Errorf("a %T for %s", v, want))
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	if !r.IsValid() || r.Kind() == reflect.Pointer || kindOf(r.Type()) != want && !(want == float && kindOf(r.Type()) == integer) {
		return nil, bad
	}
	switch want {
	case text:
		t := r.String()
		if m, ok := r.Interface().(encoding.TextMarshaler); ok {
			b, err := m.MarshalText()
			if err != nil {
				return nil, bad
			}
			t = string(b)
		}
		if strings.ContainsRune(t, 0) || !utf8.ValidString(t) {
			return nil, bad
		}
		return t, nil
	case integer:
		if r.CanUint() {
			return int64(r.Uint()), nil
		}
		return r.Int(), nil
	case float:
		return r.Convert(reflect.TypeFor[float64]()).Float(), nil
	case boolean:
		return r.Bool(), nil
	case instant:
		return r.Interface().(time.Time).UTC(), nil
	}
	return nil, bad
}

// key is an id as text.
func (s *schema) key(id any) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	k, err := scalar(text, id)
	if err != nil {
		return "", err
	}
	return k.(string), nil
}

func (s *schema) idOf(doc any) string {
	v := reflect.ValueOf(doc).FieldByIndex(s.id.at).Interface()
	if k, err := scalar(text, v); err == nil && k != zeroUUID {
		return k.(string)
	}
	return ""
}

const zeroUUID = "00000000-0000-0000-0000-000000000000"
