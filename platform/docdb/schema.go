package docdb

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Index is declared with the collection; a query may sort by a field only if an index has it.
type Index struct {
	Name   string   // unique within the service; what Violates asks for
	Fields []string // JSON names, dots into nested objects; a field that holds a list stands alone, for Has
	Unique bool     // documents that lack one of the fields are not bound by it
	Expire bool     // the one field is the time from which Collection.Expire removes the document
	Where  Filter   // only documents that this holds for are in the index; of Eq, Exists, Missing and And
}

type kind string

const (
	text    kind = "text"
	integer kind = "integer"
	float   kind = "float"
	boolean kind = "boolean"
	instant kind = "instant"
	list    kind = "list"
	object  kind = "object" // also what writes its own JSON
)

// field is a place in the documents of a collection.
type field struct {
	path []string
	kind kind
	typ  reflect.Type
	at   []int // where reflection finds it; nil inside a map
}

func (f field) name() string { return strings.Join(f.path, ".") }

// schema is a collection as its declaration describes it.
type schema struct {
	name    string
	indexes []Index
	fields  map[string]field
	id      field
	sorts   map[string]bool
	expires string
	shape   *shape
	err     error
}

var (
	nameRule = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)
	pathRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,62}$`)
	keyRule  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

	timeType   = reflect.TypeFor[time.Time]()
	textMaker  = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMaker  = reflect.TypeFor[json.Marshaler]()
	uuidType   = reflect.TypeFor[uuid.UUID]()
	stringType = reflect.TypeFor[string]()
)

func describe[T any](name string, indexes []Index) *schema {
	s := &schema{name: name, indexes: indexes, fields: map[string]field{}, sorts: map[string]bool{"id": true}, shape: shapeOf(reflect.TypeFor[T]())}
	s.err = s.declare(reflect.TypeFor[T]())
	if s.err != nil {
		s.err = fmt.Errorf("docdb: collection %s: %w", name, s.err)
	}
	return s
}

func (s *schema) declare(t reflect.Type) error {
	if !nameRule.MatchString(s.name) || strings.HasPrefix(s.name, "docdb_") {
		return fmt.Errorf("the name is not of the form %s", nameRule)
	}
	if t.Kind() != reflect.Struct || kindOf(t) != object {
		return fmt.Errorf("%s is not a struct", t)
	}
	if err := s.walk(t, nil, nil, nil); err != nil {
		return err
	}
	var ok bool
	if s.id, ok = s.fields["id"]; !ok || s.id.typ != stringType && s.id.typ != uuidType {
		return fmt.Errorf("%s has no field id that is a string or a UUID", t)
	}
	names := map[string]bool{s.name + "_pkey": true}
	for _, x := range s.indexes {
		if !nameRule.MatchString(x.Name) || names[x.Name] {
			return fmt.Errorf("index %q: the name is taken or not of the form %s", x.Name, nameRule)
		}
		names[x.Name] = true
		if err := s.declareIndex(x); err != nil {
			return fmt.Errorf("index %s: %w", x.Name, err)
		}
	}
	return nil
}

func (s *schema) declareIndex(x Index) error {
	if len(x.Fields) == 0 {
		return fmt.Errorf("no fields")
	}
	for _, name := range x.Fields {
		f, ok := s.fields[name]
		switch {
		case !ok:
			return fmt.Errorf("no field %q", name)
		case f.kind == object:
			return fmt.Errorf("%q is not a scalar", name)
		case f.kind == list && (len(x.Fields) > 1 || x.Unique):
			return fmt.Errorf("the list %q stands alone and is not unique", name)
		case f.kind != list:
			s.sorts[name] = true
		}
	}
	if x.Expire {
		if len(x.Fields) != 1 || s.fields[x.Fields[0]].kind != instant || s.expires != "" {
			return fmt.Errorf("one index of one time may expire")
		}
		s.expires = x.Fields[0]
	}
	return s.checkPartial(x.Where)
}

// walk notes every field that has a fixed place: those inside lists and maps have none.
func (s *schema) walk(t reflect.Type, path []string, at []int, above []reflect.Type) error {
	for _, seen := range above {
		if seen == t {
			return nil
		}
	}
	above = append(above, t)
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		here := append(at[:len(at):len(at)], i)
		if name == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		if sf.Anonymous && name == "" {
			if sf.Type.Kind() != reflect.Struct {
				return fmt.Errorf("%s embeds something other than a struct", t)
			}
			if err := s.walk(sf.Type, path, here, above); err != nil {
				return err
			}
			continue
		}
		if name == "" {
			name = sf.Name
		}
		if !pathRule.MatchString(name) {
			return fmt.Errorf("the field name %q is not of the form %s", name, pathRule)
		}
		f := field{path: append(path[:len(path):len(path)], name), typ: plain(sf.Type), at: here}
		f.kind = kindOf(f.typ)
		if _, twice := s.fields[f.name()]; twice {
			return fmt.Errorf("two fields %q", f.name())
		}
		s.fields[f.name()] = f
		if f.kind == object && f.typ.Kind() == reflect.Struct && !writesItself(f.typ) {
			if err := s.walk(f.typ, f.path, here, above); err != nil {
				return err
			}
		}
	}
	return nil
}

// field finds a field by its JSON name; a dotted name may also go through the keys of maps.
func (s *schema) field(name string) (field, error) {
	if f, ok := s.fields[name]; ok {
		return f, nil
	}
	parts := strings.Split(name, ".")
	for n := len(parts) - 1; n > 0; n-- {
		f, ok := s.fields[strings.Join(parts[:n], ".")]
		if !ok {
			continue
		}
		if f.typ.Kind() != reflect.Map || writesItself(f.typ) || n != len(parts)-1 || !keyRule.MatchString(parts[n]) {
			break
		}
		t := plain(f.typ.Elem())
		return field{path: parts, kind: kindOf(t), typ: t}, nil
	}
	return field{}, fmt.Errorf("docdb: %s has no field %q", s.name, name)
}

func plain(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func writesItself(t reflect.Type) bool { return t.Implements(jsonMaker) || t.Implements(textMaker) }

func kindOf(t reflect.Type) kind {
	switch {
	case t == timeType:
		return instant
	case t.Implements(jsonMaker):
		return object
	case t.Implements(textMaker):
		return text
	}
	switch t.Kind() {
	case reflect.String:
		return text
	case reflect.Bool:
		return boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return integer
	case reflect.Float32, reflect.Float64:
		return float
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object // base64 in JSON
		}
		return list
	}
	return object
}
