package docdb

import (
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// place is the field's name in the database, where an id is _id.
func (f field) place() string {
	if f.name() == "id" {
		return "_id"
	}
	return f.name()
}

// value is the one value that scalar made.
func value(v any) raw {
	switch v := v.(type) {
	case int64:
		return whole(v)
	case float64:
		return double(v)
	case bool:
		return truth(v)
	case time.Time:
		return whole(micros(v))
	}
	return str(v.(string))
}

// kept are the types of BSON that documents have, but for null.
var kept = arr(str("object"), str("array"), str("string"), str("long"), str("int"), str("double"), str("decimal"), str("bool"))

// there holds where the field is and is not null. Comparisons stay within a type, so the least value of it means any: an index that is limited by
// the same is known to have all that is asked for, and comes in order.
func there(f field) raw {
	least := raw{}
	switch f.kind {
	case text:
		least = str("")
	case integer, float, instant:
		least = double(math.Inf(-1))
	case boolean:
		least = truth(false)
	default:
		return obj(f.place(), obj("$type", kept))
	}
	return obj(f.place(), obj("$gte", least))
}

func absent(f field) raw {
	none := obj(f.place(), obj("$eq", null))
	if f.kind != list && f.kind != object {
		return none
	}
	// A list with a null in it equals null too.
	return obj("$and", arr(none, obj(f.place(), obj("$not", obj("$type", str("array"))))))
}

var nowhere = obj("_id", obj("$in", arr()))

// match is the filter in the language of queries. Whatever stands in f.values goes through scalar, so that it can be nothing but a value.
func match(s *schema, f Filter) (raw, error) {
	switch f.op {
	case "":
		return obj(), nil
	case opAnd, opOr:
		if len(f.parts) == 0 {
			if f.op == opOr {
				return nowhere, nil
			}
			return obj(), nil
		}
		parts := make([]raw, len(f.parts))
		for i, p := range f.parts {
			var err error
			if parts[i], err = match(s, p); err != nil {
				return raw{}, err
			}
		}
		return obj("$"+string(f.op), arr(parts...)), nil
	}
	at, err := s.field(f.field)
	if err != nil {
		return raw{}, err
	}
	want := at.kind
	switch f.op {
	case opExists:
		return there(at), nil
	case opMissing:
		return absent(at), nil
	case opHas:
		want = kindOf(plain(at.typ.Elem()))
	}
	vs := make([]raw, len(f.values))
	for i, v := range f.values {
		c, err := scalar(want, v)
		if err != nil {
			return raw{}, err
		}
		vs[i] = value(c)
	}
	if f.op == opIn {
		return obj(at.place(), obj("$in", arr(vs...))), nil
	}
	return obj(at.place(), obj(operators[f.op], vs[0])), nil
}

var operators = map[op]string{opEq: "$eq", opLt: "$lt", opLte: "$lte", opGt: "$gt", opGte: "$gte", opHas: "$eq"}

// both holds where all of them do; empty ones are left out.
func both(all ...raw) raw {
	some := all[:0:0]
	for _, r := range all {
		if len(r.Value) > 5 {
			some = append(some, r)
		}
	}
	switch len(some) {
	case 0:
		return obj()
	case 1:
		return some[0]
	}
	return obj("$and", arr(some...))
}

// ordered is the filter with what leaves out documents that lack the sorted field, or lie before the place to start, and the order.
func ordered(s *schema, f Filter, o order) (where, sort raw, err error) {
	if where, err = match(s, f); err != nil {
		return where, sort, err
	}
	by, way, beyond := o.by.place(), whole(1), "$gt"
	if o.desc {
		way, beyond = whole(-1), "$lt"
	}
	if by == "_id" {
		if o.after != nil {
			where = both(where, obj("_id", obj(beyond, str(o.after.id))))
		}
		return where, obj("_id", way), nil
	}
	alone := s.alone(f, o.by.name())
	sort = obj(by, way, "_id", way)
	if alone {
		sort = obj(by, way)
	}
	where = both(where, there(o.by))
	if o.after == nil {
		return where, sort, nil
	}
	v := value(o.after.value)
	if alone {
		return both(where, obj(by, obj(beyond, v))), sort, nil
	}
	// The first condition alone bounds the index; the second leaves out the ties that came already.
	return both(where, obj(by, obj(beyond+"e", v)), obj("$or", arr(obj(by, obj(beyond, v)), obj("_id", obj(beyond, str(o.after.id)))))), sort, nil
}

// alone says that no two documents of an answer have the same value of the field, because a unique index ends with it and f pins all before it.
// Ids need not break ties then, and the index, which has no ids, gives the order.
func (s *schema) alone(f Filter, field string) bool {
	pinned := map[string]bool{}
	pins(f, pinned)
	for _, x := range s.indexes {
		n := len(x.Fields) - 1
		if !x.Unique || x.Where.op != "" || x.Fields[n] != field {
			continue
		}
		all := true
		for _, name := range x.Fields[:n] {
			all = all && pinned[name]
		}
		if all {
			return true
		}
	}
	return false
}

func pins(f Filter, into map[string]bool) {
	switch f.op {
	case opEq:
		into[f.field] = true
	case opAnd:
		for _, p := range f.parts {
			pins(p, into)
		}
	}
}

// fresh is a field that no document has. A query that asks for its absence finds every document, and one that is put in where none was found
// starts with it as null: so a pipeline can tell.
const fresh = "_new"

var isFresh = obj("$eq", arr(obj("$type", str("$"+fresh)), str("null")))

func verbatim(v raw) raw { return obj("$literal", v) }

// stages are the changes as stages of a pipeline, each of which makes the objects on the way to its field.
func stages(changes []change) ([]raw, error) {
	out := make([]raw, 0, len(changes))
	for _, c := range changes {
		name := c.at.place()
		var becomes raw
		switch c.op {
		case opUnset:
			out = append(out, obj("$unset", str(name)))
			continue
		case opInc:
			// A sum that is too large for 64 bits would go on as a double: it is an error instead.
			sum := obj("$add", arr(obj("$ifNull", arr(str("$"+name), whole(0))), whole(c.n)))
			tooLarge := obj("$toLong", obj("$concat", arr(str("overflow "), str("$_id"))))
			becomes = obj("$let", obj("vars", obj("sum", sum), "in", obj("$cond", arr(obj("$eq", arr(obj("$type", str("$$sum")), str("long"))), str("$$sum"), tooLarge))))
		default:
			s := shapeOf(c.at.typ)
			if c.op == opPush && s.elem != nil {
				s = s.elem
			}
			v, err := toBSON(c.value, s, false)
			if err != nil {
				return nil, err
			}
			becomes = verbatim(v)
			if c.op == opPush {
				items := obj("$concatArrays", arr(obj("$cond", arr(obj("$isArray", arr(str("$"+name))), str("$"+name), arr())), arr(becomes)))
				if becomes = items; c.n > 0 {
					becomes = obj("$slice", arr(items, whole(-c.n)))
				}
			}
		}
		out = append(out, obj("$set", obj(name, becomes)))
	}
	return out, nil
}

// document is a record in BSON, its id as _id.
func document(s *schema, r record) (raw, error) {
	v, err := toBSON(r.doc, s.shape, true)
	if err == nil && v.Type != bson.TypeEmbeddedDocument {
		err = errText
	}
	return v, err
}
