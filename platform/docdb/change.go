package docdb

import (
	"errors"
	"fmt"
	"reflect"
)

// Change is one change to a document. Fields go by their JSON names, as in a Filter; objects on the way to a field are made when they are missing.
// Changes are made in the order given. The id never changes.
type Change struct {
	op    changeOp
	field string
	value any
	n     int64
}

type changeOp string

const (
	opSet   changeOp = "set"
	opInc   changeOp = "inc"
	opPush  changeOp = "push"
	opUnset changeOp = "unset"
)

// Set makes the field v, which has to be of the field's type.
func Set(field string, v any) Change { return Change{op: opSet, field: field, value: v} }

// Inc adds n to an integer field; an absent one counts as 0.
func Inc(field string, n int64) Change { return Change{op: opInc, field: field, n: n} }

// Push appends v to a list, and keeps only its last items; 0: all. An absent list counts as empty.
func Push(field string, v any, last int) Change {
	return Change{op: opPush, field: field, value: v, n: int64(last)}
}

// Unset removes the field.
func Unset(field string) Change { return Change{op: opUnset, field: field} }

// change is a Change whose field was found.
type change struct {
	Change
	at field
}

func (s *schema) some(where Filter, changes []Change) ([]change, error) {
	if err := s.check(where); err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return nil, errors.New("docdb: an update that changes nothing")
	}
	return s.changes(changes)
}

func (s *schema) changes(changes []Change) ([]change, error) {
	if s.err != nil {
		return nil, s.err
	}
	out := make([]change, len(changes))
	for i, c := range changes {
		at, err := s.field(c.field)
		if err != nil {
			return nil, err
		}
		ok := c.field != "id"
		switch c.op {
		case opSet:
			ok = ok && fits(at.typ, c.value)
		case opPush:
			ok = ok && at.kind == list && at.typ.Kind() == reflect.Slice && fits(plain(at.typ.Elem()), c.value) && c.n >= 0
		case opInc:
			ok = ok && at.kind == integer
		case opUnset:
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("docdb: %s cannot %s %s with a %T", s.name, c.op, c.field, c.value)
		}
		out[i] = change{c, at}
	}
	return out, nil
}

// fits says whether v, written as JSON, can be read as a t.
func fits(t reflect.Type, v any) bool {
	if v == nil {
		return false
	}
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return false
		}
		r = r.Elem()
	}
	if r.Type().AssignableTo(t) {
		return true
	}
	k := kindOf(t)
	return k != list && k != object && (k == kindOf(r.Type()) || k == float && kindOf(r.Type()) == integer)
}
