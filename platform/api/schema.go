package api

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"tulifo/platform/money"
)

type uuidText struct{}

// Schema makes every uuid.UUID a string of format uuid.
func (uuidText) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "uuid"}
}

type decimalNumber struct{}

// Schema makes every money.Decimal a number.
func (decimalNumber) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "number", Description: "in major units, with at most the currency's digits"}
}

type addrText struct{}

// Schema makes every netip.Addr a string.
func (addrText) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: "string"} }

func newRegistry() huma.Registry {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	r.RegisterTypeAlias(reflect.TypeFor[uuid.UUID](), reflect.TypeFor[uuidText]())
	r.RegisterTypeAlias(reflect.TypeFor[money.Decimal](), reflect.TypeFor[decimalNumber]())
	r.RegisterTypeAlias(reflect.TypeFor[netip.Addr](), reflect.TypeFor[addrText]())
	return r
}

// Optional is a field of an update: absent leaves things as they are, null clears them. Tag it required:"false".
type Optional[T any] struct {
	Sent  bool
	Null  bool
	Value T
}

// UnmarshalJSON notes that the field was sent.
func (o *Optional[T]) UnmarshalJSON(raw []byte) error {
	*o = Optional[T]{Sent: true}
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(raw, &o.Value)
}

// MarshalJSON writes the value, or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Sent || o.Null {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// Schema is T's, and null.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), false, "")
	s.Nullable = true
	return &s
}

// Set puts the field's value into target when it was sent; null puts the zero value.
func (o Optional[T]) Set(target *T) {
	if o.Sent {
		*target = o.Value
	}
}
