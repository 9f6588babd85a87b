package stripesim

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tulifo/platform/money"
)

// form reads a request's parameters. It keeps the first thing that is wrong, and done tells it: an endpoint reads all it
// knows, asks done once, and only then acts. A parameter nobody read is refused, as Stripe does.
type form struct {
	values url.Values
	seen   map[string]bool
	wrong  *fault
}

func newForm(values url.Values) *form { return &form{values: values, seen: map[string]bool{}} }

func (f *form) fail(e *fault) {
	if f.wrong == nil {
		f.wrong = e
	}
}

func (f *form) has(name string) bool { return f.values.Has(name) }

// str is the parameter's last value, empty when absent.
func (f *form) str(name string) string {
	f.seen[name] = true
	v := f.values[name]
	if len(v) == 0 {
		return ""
	}
	s := v[len(v)-1]
	if len(s) > 5000 || !utf8.ValidString(s) {
		f.fail(invalid(name, "parameter_invalid_string_length", "Invalid string: "+name+" is too long or not valid UTF-8."))
		return ""
	}
	return s
}

// opt is the parameter, nil when absent or empty.
func (f *form) opt(name string) *string {
	if s := f.str(name); s != "" {
		return &s
	}
	return nil
}

func (f *form) need(name string) string {
	s := f.str(name)
	if s == "" {
		f.fail(missingParam(name))
	}
	return s
}

// one is the parameter, which must be among allowed; the first of them when absent.
func (f *form) one(name string, allowed ...string) string {
	s := f.str(name)
	if s == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, s) {
		f.fail(invalid(name, "parameter_invalid_enum", "Invalid "+name+": must be one of "+strings.Join(allowed, ", ")))
	}
	return s
}

func (f *form) flag(name string) bool {
	switch f.str(name) {
	case "true", "1":
		return true
	case "", "false", "0":
		return false
	}
	f.fail(invalid(name, "parameter_invalid_boolean", "Invalid boolean: "+name))
	return false
}

func (f *form) whole(name string) (int64, bool) {
	s := f.str(name)
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f.fail(invalid(name, "parameter_invalid_integer", "Invalid integer: "+clip(s)))
		return 0, false
	}
	return n, true
}

// steps are the currencies whose amounts are multiples of more than 1. https://docs.stripe.com/currencies#special-cases
var steps = map[string]int64{"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}

// payoutSteps are those whose payouts are.
var payoutSteps = map[string]int64{"huf": 100, "twd": 100}

// inSteps refuses an amount that is no multiple of the currency's step.
func (f *form) inSteps(amount int64, currency string, steps map[string]int64) {
	if step := max(steps[currency], 1); amount%step != 0 {
		f.fail(invalid("amount", "parameter_invalid_integer", fmt.Sprintf("Invalid amount: amounts of %s must be evenly divisible by %d.", currency, step)))
	}
}

// amount is a number of minor units, at least 1 and at most 99,999,999 as at Stripe.
func (f *form) amount(name string) int64 {
	n, ok := f.whole(name)
	switch {
	case !ok:
		f.fail(missingParam(name))
	case n < 1:
		f.fail(invalid(name, "parameter_invalid_integer", "This value must be greater than or equal to 1."))
	case n > 99_999_999:
		f.fail(invalid(name, "amount_too_large", "Amount must be no more than 99999999 minor units."))
	}
	return n
}

func (f *form) currency(name string) string {
	s := strings.ToLower(f.need(name))
	if _, err := money.Digits(strings.ToUpper(s)); s != "" && err != nil {
		f.fail(invalid(name, "", "Invalid currency: must be a three-letter ISO code"))
	}
	return s
}

// address is a link that a browser may be sent to.
func (f *form) address(name string) string {
	s := f.str(name)
	if u, err := url.Parse(s); s != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		f.fail(invalid(name, "url_invalid", "Not a valid URL"))
	}
	return s
}

// dict is the map sent as name[key]=value.
func (f *form) dict(name string) map[string]string {
	m := map[string]string{}
	for key := range f.values {
		if inner, ok := strings.CutPrefix(key, name+"["); ok && strings.HasSuffix(inner, "]") {
			m[strings.TrimSuffix(inner, "]")] = f.str(key)
		}
	}
	return m
}

// metadata is old with what was sent laid over it; an empty value removes its key, and an empty metadata all of them.
func (f *form) metadata(old map[string]string) map[string]string {
	m := map[string]string{}
	if !f.has("metadata") {
		maps.Copy(m, old)
	}
	f.seen["metadata"] = true
	for k, v := range f.dict("metadata") {
		switch {
		case utf8.RuneCountInString(k) > 40 || strings.ContainsAny(k, "[]"):
			f.fail(invalid("metadata", "", "Metadata keys have at most 40 characters and no square brackets."))
		case utf8.RuneCountInString(v) > 500:
			f.fail(invalid("metadata", "", "Metadata values have at most 500 characters."))
		case v == "":
			delete(m, k)
		default:
			m[k] = v
		}
	}
	if len(m) > 50 {
		f.fail(invalid("metadata", "", "Metadata has at most 50 keys."))
	}
	return m
}

// list is what was sent as name[]=… or name[0]=….
func (f *form) list(name string) []string {
	var out []string
	keys := make([]string, 0, len(f.values))
	for key := range f.values {
		if inner, ok := strings.CutPrefix(key, name+"["); ok && strings.Trim(inner, "0123456789") == "]" {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, key := range keys {
		f.seen[key] = true
		out = append(out, f.values[key]...)
	}
	return out
}

// ignore accepts parameters, and all below them, that change nothing here.
func (f *form) ignore(names ...string) {
	for key := range f.values {
		root, _, _ := strings.Cut(key, "[")
		if slices.Contains(names, root) {
			f.seen[key] = true
		}
	}
}

// done is the first thing that was wrong with the parameters; nil when all is well.
func (f *form) done() error {
	if f.wrong != nil {
		return f.wrong
	}
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if !f.seen[key] {
			return invalid(clip(key), "parameter_unknown", fmt.Sprintf("Received unknown parameter: %s", clip(key)))
		}
	}
	return nil
}
