package docdb

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"tulifo/platform/errs"
)

// Order is the order of an answer; documents with equal fields follow in the order of their ids, in the same direction.
type Order struct {
	field string
	desc  bool
}

// Asc sorts by an indexed field, smallest first.
func Asc(field string) Order { return Order{field, false} }

// Desc sorts by an indexed field, greatest first.
func Desc(field string) Order { return Order{field, true} }

// order is an Order whose field was found, and where in it to start.
type order struct {
	by    field
	desc  bool
	after *position
}

// position is a document's place in an order: the scalar of its field, and its id.
type position struct {
	value any
	id    string
}

// cursor is what Page.Next carries: the field, the direction, the value and the id.
type cursor [4]string

func (s *schema) order(o Order, after string) (order, error) {
	if s.err != nil {
		return order{}, s.err
	}
	if o.field == "" {
		o.field = "id"
	}
	if !s.sorts[o.field] {
		return order{}, fmt.Errorf("docdb: %s has no index with %q to sort by", s.name, o.field)
	}
	out := order{by: s.fields[o.field], desc: o.desc}
	if after == "" {
		return out, nil
	}
	bad := errs.New(errs.Malformed, "The cursor is not one of this list.")
	b, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		return out, bad
	}
	var c cursor
	if json.Unmarshal(b, &c) != nil || c[0] != o.field || c[1] != strconv.FormatBool(o.desc) {
		return out, bad
	}
	v, err := parse(out.by.kind, c[2])
	if err != nil {
		return out, bad
	}
	if _, err := scalar(text, c[3]); err != nil {
		return out, bad
	}
	out.after = &position{v, c[3]}
	return out, nil
}

func (s *schema) cursor(o Order, doc any) (string, error) {
	if o.field == "" {
		o.field = "id"
	}
	f := s.fields[o.field]
	r, err := reflect.ValueOf(doc).FieldByIndexErr(f.at)
	if err != nil {
		return "", fmt.Errorf("docdb: %s has a document without %s in its index: %w", s.name, o.field, err)
	}
	v, err := scalar(f.kind, r.Interface())
	if err != nil {
		return "", fmt.Errorf("docdb: %s.%s: %w", s.name, o.field, err)
	}
	b, err := json.Marshal(cursor{o.field, strconv.FormatBool(o.desc), format(v), s.idOf(doc)})
	return base64.RawURLEncoding.EncodeToString(b), err
}

func format(v any) string {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.Round(time.Microsecond).Format(time.RFC3339Nano)
	}
	return v.(string)
}

func parse(k kind, t string) (any, error) {
	switch k {
	case integer:
		return strconv.ParseInt(t, 10, 64)
	case float:
		return strconv.ParseFloat(t, 64)
	case boolean:
		return strconv.ParseBool(t)
	case instant:
		return time.Parse(time.RFC3339Nano, t)
	}
	return scalar(text, t)
}
