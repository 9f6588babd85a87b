package docdb

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// way is how a type goes to BSON and back. What encoding/json does in a way of its own goes through it; the rest is spared that.
type way int

const (
	byJSON way = iota
	asTime
	asUUID
	asText
	asBool
	asInt
	asUint
	asFloat
	asList
	asMap
	asStruct
)

var (
	jsonReader = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func wayOf(t reflect.Type) way {
	switch t {
	case timeType:
		return asTime
	case uuidType:
		return asUUID
	}
	if p := reflect.PointerTo(t); p.Implements(jsonMaker) || p.Implements(textMaker) || p.Implements(jsonReader) || p.Implements(textReader) {
		return byJSON
	}
	switch t.Kind() {
	case reflect.String:
		if t != reflect.TypeFor[json.Number]() {
			return asText
		}
	case reflect.Bool:
		return asBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return asInt
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return asUint
	case reflect.Float64:
		return asFloat
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			return asList
		}
	case reflect.Map:
		if k := t.Key(); k.Kind() == reflect.String && !k.Implements(textMaker) && !reflect.PointerTo(k).Implements(textReader) {
			return asMap
		}
	case reflect.Struct:
		return asStruct
	}
	return byJSON
}

// put appends v.
func put(b []byte, v reflect.Value, s *shape, depth int, root bool) ([]byte, bson.Type, error) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return b, bson.TypeNull, nil
		}
		v = v.Elem()
	}
	if depth > deepest {
		return nil, 0, errDeep
	}
	switch s.way {
	case asTime:
		if t := v.Interface().(time.Time); t.Year() >= 0 && t.Year() <= 9999 {
			return appendInt(b, micros(t)), bson.TypeInt64, nil
		}
	case asUUID:
		return appendText(b, v.Interface().(uuid.UUID).String()), bson.TypeString, nil
	case asText:
		t := v.String()
		switch {
		case len(t) >= MaxDocument:
			return nil, 0, errLarge
		case strings.IndexByte(t, 0) >= 0:
			return nil, 0, errText
		case utf8.ValidString(t):
			return appendText(b, t), bson.TypeString, nil
		}
	case asBool:
		if v.Bool() {
			return append(b, 1), bson.TypeBoolean, nil
		}
		return append(b, 0), bson.TypeBoolean, nil
	case asInt:
		return appendInt(b, v.Int()), bson.TypeInt64, nil
	case asUint:
		return appendInt(b, int64(v.Uint())), bson.TypeInt64, nil
	case asFloat:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return appendInt(b, int64(math.Float64bits(f))), bson.TypeDouble, nil
		}
	case asList:
		if v.IsNil() {
			return b, bson.TypeNull, nil
		}
		b, from := open(b)
		for i := range v.Len() {
			var err error
			if b, err = putElement(b, strconv.Itoa(i), v.Index(i), s.elem, depth); err != nil {
				return nil, 0, err
			}
		}
		return shut(b, from), bson.TypeArray, nil
	case asMap:
		if v.IsNil() {
			return b, bson.TypeNull, nil
		}
		b, from := open(b)
		for i := v.MapRange(); i.Next(); {
			name := i.Key().String()
			if strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name) {
				return nil, 0, errText
			}
			var err error
			if b, err = putElement(b, name, i.Value(), s.elem, depth); err != nil {
				return nil, 0, err
			}
		}
		return shut(b, from), bson.TypeEmbeddedDocument, nil
	case asStruct:
		b, from := open(b)
		for _, p := range s.order {
			f := v.FieldByIndex(p.at)
			if p.empty && isEmpty(f) {
				continue
			}
			name := p.name
			if root && name == "id" {
				name = "_id"
			}
			var err error
			if b, err = putElement(b, name, f, p.shape, depth); err != nil {
				return nil, 0, err
			}
		}
		return shut(b, from), bson.TypeEmbeddedDocument, nil
	}
	r, err := throughJSON(v.Interface(), s, root)
	return append(b, r.Value...), r.Type, err
}

func putElement(b []byte, name string, v reflect.Value, s *shape, depth int) ([]byte, error) {
	at := len(b)
	b, typ, err := put(head(b, 0, name), v, s, depth+1, false)
	if err == nil {
		b[at] = byte(typ)
	}
	return b, err
}

// isEmpty is what encoding/json calls so.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// take sets v, which is zero, to what put wrote.
func take(v reflect.Value, r raw, s *shape, root bool) error {
	if r.Type == bson.TypeNull {
		return nil
	}
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case s.way == asTime && r.Type == bson.TypeInt64:
		v.Set(reflect.ValueOf(time.UnixMicro(integerOf(r)).UTC()))
		return nil
	case s.way == asUUID && r.Type == bson.TypeString:
		return v.Addr().Interface().(*uuid.UUID).UnmarshalText(r.Value[4 : len(r.Value)-1])
	case s.way == asText && r.Type == bson.TypeString:
		v.SetString(string(r.Value[4 : len(r.Value)-1]))
		return nil
	case s.way == asBool && r.Type == bson.TypeBoolean:
		v.SetBool(r.Value[0] != 0)
		return nil
	case s.way == asInt && r.Type == bson.TypeInt64 && !v.OverflowInt(integerOf(r)):
		v.SetInt(integerOf(r))
		return nil
	case s.way == asFloat && r.Type == bson.TypeDouble:
		v.SetFloat(math.Float64frombits(uint64(integerOf(r))))
		return nil
	case s.way == asList && r.Type == bson.TypeArray:
		v.Set(reflect.MakeSlice(v.Type(), 0, 4))
		return elements(r, func(_ []byte, e raw) error {
			item := reflect.New(v.Type().Elem()).Elem()
			err := take(item, e, s.elem, false)
			v.Set(reflect.Append(v, item))
			return err
		})
	case s.way == asMap && r.Type == bson.TypeEmbeddedDocument:
		v.Set(reflect.MakeMap(v.Type()))
		return elements(r, func(name []byte, e raw) error {
			item := reflect.New(v.Type().Elem()).Elem()
			err := take(item, e, s.elem, false)
			v.SetMapIndex(reflect.ValueOf(string(name)).Convert(v.Type().Key()), item)
			return err
		})
	case s.way == asStruct && r.Type == bson.TypeEmbeddedDocument:
		return elements(r, func(name []byte, e raw) error {
			if root && string(name) == "_id" {
				name = name[1:]
			}
			if p, ok := s.fields[string(name)]; ok {
				return take(v.FieldByIndex(p.at), e, p.shape, false)
			}
			return nil
		})
	}
	text, err := toJSON(make([]byte, 0, 2*len(r.Value)+8), r, s, root)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v.Addr().Interface())
}

func integerOf(r raw) int64 { return int64(binary.LittleEndian.Uint64(r.Value)) }

// elements are those of a document or list.
func elements(r raw, each func(name []byte, e raw) error) error {
	if len(r.Value) < 5 {
		return errCut
	}
	for rest := r.Value[4 : len(r.Value)-1]; len(rest) > 0; {
		zero := bytes.IndexByte(rest, 0)
		if zero < 1 {
			return errCut
		}
		typ, name := bson.Type(rest[0]), rest[1:zero]
		value, after, ok := split(typ, rest[zero+1:])
		if !ok {
			return errCut
		}
		if err := each(name, raw{Type: typ, Value: value}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rest = after
	}
	return nil
}
