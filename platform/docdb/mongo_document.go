package docdb

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"tulifo/platform/errs"
)

// deepest is how far objects and lists may stand in one another; the server keeps no more than about a hundred levels.
const deepest = 80

var (
	errText  = errs.New(errs.Invalid, "Text may not contain null characters or bytes that are not UTF-8.")
	errDeep  = errs.New(errs.Invalid, "That is nested too deeply to be kept.")
	errCut   = errors.New("docdb: a document is cut off")
	errLarge = errs.New(errs.TooLarge, "That is too large to be kept.")
)

// shape is what is known of a place of a document by its Go type. Times are kept as whole microseconds since 1970, because a date of BSON has
// only milliseconds.
type shape struct {
	kind   kind
	typ    reflect.Type
	way    way
	fields map[string]*part // of a struct
	order  []*part
	elem   *shape // of a list or map
}

// part is a field of a struct.
type part struct {
	*shape
	name  string
	at    []int
	empty bool // is left out when it is empty
}

var anything = &shape{kind: object}

// shapes are those of all types that were asked for.
var shapes sync.Map

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s, _ := shapes.LoadOrStore(t, shapeIn(t, map[reflect.Type]*shape{}))
	return s.(*shape)
}

func shapeIn(t reflect.Type, seen map[reflect.Type]*shape) *shape {
	t = plain(t)
	if s, ok := seen[t]; ok {
		return s
	}
	s := &shape{kind: kindOf(t), typ: t, way: wayOf(t)}
	seen[t] = s
	switch {
	case s.kind == list, s.kind == object && t.Kind() == reflect.Map && !writesItself(t):
		s.elem = shapeIn(t.Elem(), seen)
	case s.kind == object && t.Kind() == reflect.Struct && !writesItself(t):
		s.fields = map[string]*part{}
		s.learn(t, nil, seen)
	}
	return s
}

func (s *shape) learn(t reflect.Type, at []int, seen map[reflect.Type]*shape) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		here := append(at[:len(at):len(at)], i)
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
			if f.Type.Kind() != reflect.Struct {
				s.way = byJSON
				continue
			}
			s.learn(f.Type, here, seen)
			continue
		case name == "":
			name = f.Name
		}
		if options != "" && options != "omitempty" {
			s.way = byJSON
		}
		p := &part{shapeIn(f.Type, seen), name, here, options == "omitempty"}
		if _, twice := s.fields[name]; twice {
			s.way = byJSON
		}
		s.fields[name] = p
		s.order = append(s.order, p)
	}
}

func (s *shape) of(name string) *shape {
	if s.elem != nil {
		return s.elem
	}
	if f, ok := s.fields[name]; ok {
		return f.shape
	}
	return anything
}

// toBSON is v as a BSON value: what encoding/json would write of it.
func toBSON(v any, s *shape, root bool) (bson.RawValue, error) {
	if r := reflect.ValueOf(v); r.IsValid() && plain(r.Type()) == s.typ {
		out, typ, err := put(make([]byte, 0, 512), r, s, 0, root)
		if err == nil && len(out) > MaxDocument {
			err = errLarge
		}
		return bson.RawValue{Type: typ, Value: out}, err
	}
	return throughJSON(v, s, root)
}

func throughJSON(v any, s *shape, root bool) (bson.RawValue, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return bson.RawValue{}, fmt.Errorf("docdb: write a document: %w", err)
	}
	if len(text) > MaxDocument {
		return bson.RawValue{}, errLarge
	}
	r := reader{in: text}
	out, typ, err := r.value(make([]byte, 0, len(text)+len(text)/4), s, 0, root)
	return bson.RawValue{Type: typ, Value: out}, err
}

// reader turns JSON, which json.Marshal wrote and which is therefore sound and without spaces, into BSON.
type reader struct {
	in []byte
	at int
}

func (r *reader) value(b []byte, s *shape, depth int, root bool) ([]byte, bson.Type, error) {
	if depth > deepest {
		return nil, 0, errDeep
	}
	switch r.in[r.at] {
	case '{':
		b, err := r.object(b, s, depth, root)
		return b, bson.TypeEmbeddedDocument, err
	case '[':
		b, err := r.list(b, s, depth)
		return b, bson.TypeArray, err
	case '"':
		t, err := r.text()
		if err != nil {
			return nil, 0, err
		}
		if s.kind != instant {
			return appendText(b, t), bson.TypeString, nil
		}
		at, err := time.Parse(time.RFC3339Nano, string(t))
		if err != nil {
			return nil, 0, fmt.Errorf("docdb: write a time: %w", err)
		}
		return appendInt(b, micros(at)), bson.TypeInt64, nil
	case 't':
		r.at += len("true")
		return append(b, 1), bson.TypeBoolean, nil
	case 'f':
		r.at += len("false")
		return append(b, 0), bson.TypeBoolean, nil
	case 'n':
		r.at += len("null")
		return b, bson.TypeNull, nil
	}
	return r.number(b, s)
}

func (r *reader) object(b []byte, s *shape, depth int, root bool) ([]byte, error) {
	b, from := open(b)
	r.at++
	for r.in[r.at] != '}' {
		if r.in[r.at] == ',' {
			r.at++
		}
		name, err := r.text()
		if err != nil {
			return nil, err
		}
		of := s.of(string(name))
		if root && string(name) == "id" {
			name = []byte("_id")
		}
		r.at++ // the colon
		typ := len(b)
		b = append(append(append(b, 0), name...), 0)
		var kind bson.Type
		if b, kind, err = r.value(b, of, depth+1, false); err != nil {
			return nil, err
		}
		b[typ] = byte(kind)
	}
	r.at++
	return shut(b, from), nil
}

func (r *reader) list(b []byte, s *shape, depth int) ([]byte, error) {
	of := anything
	if s.elem != nil {
		of = s.elem
	}
	b, from := open(b)
	r.at++
	for n := 0; r.in[r.at] != ']'; n++ {
		if r.in[r.at] == ',' {
			r.at++
		}
		typ := len(b)
		b = append(strconv.AppendInt(append(b, 0), int64(n), 10), 0)
		var kind bson.Type
		var err error
		if b, kind, err = r.value(b, of, depth+1, false); err != nil {
			return nil, err
		}
		b[typ] = byte(kind)
	}
	r.at++
	return shut(b, from), nil
}

// text reads a string. A null character is refused: Postgres cannot keep one, and it would end a name.
func (r *reader) text() ([]byte, error) {
	r.at++
	rest := r.in[r.at:]
	end := bytes.IndexByte(rest, '"')
	if bytes.IndexByte(rest[:end], '\\') < 0 {
		r.at += end + 1
		return rest[:end], nil
	}
	var out []byte
	for i := 0; ; i++ {
		c := rest[i]
		switch c {
		case '"':
			r.at += i + 1
			return out, nil
		case '\\':
			i++
			switch rest[i] {
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'u':
				u := hex4(rest[i+1:])
				i += 4
				if utf16.IsSurrogate(u) {
					var low rune
					if bytes.HasPrefix(rest[i+1:], []byte(`\u`)) {
						low = hex4(rest[i+3:])
					}
					if u = utf16.DecodeRune(u, low); u == utf8.RuneError {
						return nil, errText
					}
					i += 6
				}
				if u == 0 {
					return nil, errText
				}
				out = utf8.AppendRune(out, u)
				continue
			default:
				c = rest[i]
			}
		}
		out = append(out, c)
	}
}

func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n)
}

// number keeps whole numbers as 64 bit and others as they read: as a double when that is exact, else as a decimal of 34 digits.
func (r *reader) number(b []byte, s *shape) ([]byte, bson.Type, error) {
	from := r.at
	whole := true
	for ; r.at < len(r.in); r.at++ {
		c := r.in[r.at]
		if c == '.' || c == 'e' || c == 'E' {
			whole = false
		} else if c != '-' && c != '+' && (c < '0' || c > '9') {
			break
		}
	}
	t := string(r.in[from:r.at])
	if whole && s.kind != float {
		if n, err := strconv.ParseInt(t, 10, 64); err == nil {
			return appendInt(b, n), bson.TypeInt64, nil
		}
	}
	f, err := strconv.ParseFloat(t, 64)
	if err == nil && (s.kind == float || len(t) <= 15 && f != 0 || f == 0 && strings.Trim(t, "-0.") == "" || string(appendFloat(nil, f)) == t) {
		return appendInt(b, int64(math.Float64bits(f))), bson.TypeDouble, nil
	}
	d, err := bson.ParseDecimal128(t)
	if err != nil || d.IsNaN() || d.IsInf() != 0 {
		return nil, 0, errs.New(errs.Invalid, "The number is too large.").Because(err)
	}
	high, low := d.GetBytes()
	return appendInt(appendInt(b, int64(low)), int64(high)), bson.TypeDecimal128, nil
}

// toJSON is a BSON value as the JSON that it was written from.
func toJSON(b []byte, v bson.RawValue, s *shape, root bool) ([]byte, error) {
	in := v.Value
	switch v.Type {
	case bson.TypeNull:
		return append(b, "null"...), nil
	case bson.TypeBoolean:
		return strconv.AppendBool(b, in[0] != 0), nil
	case bson.TypeInt32:
		return strconv.AppendInt(b, int64(int32(binary.LittleEndian.Uint32(in))), 10), nil
	case bson.TypeInt64:
		n := int64(binary.LittleEndian.Uint64(in))
		if s.kind == instant {
			return quotedTime(b, time.UnixMicro(n)), nil
		}
		return strconv.AppendInt(b, n, 10), nil
	case bson.TypeDateTime:
		return quotedTime(b, time.UnixMilli(int64(binary.LittleEndian.Uint64(in)))), nil
	case bson.TypeDouble:
		return appendFloat(b, math.Float64frombits(binary.LittleEndian.Uint64(in))), nil
	case bson.TypeDecimal128:
		return append(b, bson.NewDecimal128(binary.LittleEndian.Uint64(in[8:]), binary.LittleEndian.Uint64(in)).String()...), nil
	case bson.TypeString:
		return appendQuoted(b, in[4:len(in)-1]), nil
	case bson.TypeEmbeddedDocument, bson.TypeArray:
	default:
		return nil, fmt.Errorf("docdb: a document has a value of the BSON type %s", v.Type)
	}
	ends := "{}"
	if v.Type == bson.TypeArray {
		ends = "[]"
	}
	b = append(b, ends[0])
	first := true
	err := elements(v, func(name []byte, e raw) (err error) {
		if !first {
			b = append(b, ',')
		}
		first = false
		of := s.elem
		if v.Type == bson.TypeEmbeddedDocument {
			if root && string(name) == "_id" {
				name = name[1:]
			}
			b = append(appendQuoted(b, name), ':')
			of = s.of(string(name))
		} else if of == nil {
			of = anything
		}
		b, err = toJSON(b, e, of, false)
		return err
	})
	return append(b, ends[1]), err
}

// split cuts the value of the type off b.
func split(typ bson.Type, b []byte) (value, rest []byte, ok bool) {
	n := 0
	switch typ {
	case bson.TypeNull:
	case bson.TypeBoolean:
		n = 1
	case bson.TypeInt32:
		n = 4
	case bson.TypeInt64, bson.TypeDouble, bson.TypeDateTime:
		n = 8
	case bson.TypeDecimal128:
		n = 16
	case bson.TypeString, bson.TypeEmbeddedDocument, bson.TypeArray:
		if len(b) < 5 {
			return nil, nil, false
		}
		n = int(binary.LittleEndian.Uint32(b))
		if typ == bson.TypeString {
			n += 4
		}
		if n < 5 {
			return nil, nil, false
		}
	default:
		// Nothing of ours; toJSON says so.
		return b, nil, true
	}
	if n < 0 || n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
