package stripesim

import (
	"bytes"
	"encoding/json"
	"strings"
)

// render makes an answer of an object or list: without the simulator's own fields, and with what expand names put in place of its id.
func (t *tx) render(o any, expand []string) (any, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return t.tree(b, expand)
}

func (t *tx) tree(body []byte, expand []string) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	strip(v)
	for _, path := range expand {
		if strings.Count(path, ".") > 3 {
			return nil, invalid("expand", "", "You cannot expand more than 4 levels of a property.")
		}
		if err := t.expand(v, strings.Split(path, ".")); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if strings.HasPrefix(k, "_") {
				delete(v, k)
				continue
			}
			if k != "metadata" {
				strip(inner)
			}
		}
	case []any:
		for _, inner := range v {
			strip(inner)
		}
	}
}

func (t *tx) expand(v any, path []string) error {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			if err := t.expand(inner, path); err != nil {
				return err
			}
		}
	case map[string]any:
		if len(path) == 0 {
			return nil
		}
		field, ok := v[path[0]]
		if !ok {
			return invalid("expand", "", "This property cannot be expanded ("+clip(path[0])+").")
		}
		if id, ok := field.(string); ok {
			rec, found, err := t.record(id)
			if err != nil {
				return err
			}
			if !found {
				return invalid("expand", "", "This property cannot be expanded ("+clip(path[0])+").")
			}
			if field, err = t.tree(rec.Body, nil); err != nil {
				return err
			}
			v[path[0]] = field
		}
		return t.expand(field, path[1:])
	}
	return nil
}

// browserFields are those of a PaymentIntent or payment method that Stripe tells a holder of the client secret.
var browserFields = []string{
	"id", "object", "amount", "automatic_payment_methods", "canceled_at", "cancellation_reason", "capture_method", "client_secret",
	"confirmation_method", "created", "currency", "description", "last_payment_error", "livemode", "next_action", "payment_method",
	"payment_method_types", "receipt_email", "status", "type", "card", "billing_details",
}

func forBrowser(tree any) any {
	m, ok := tree.(map[string]any)
	if !ok {
		return tree
	}
	out := map[string]any{}
	for _, name := range browserFields {
		if v, ok := m[name]; ok {
			out[name] = v
		}
	}
	return out
}
