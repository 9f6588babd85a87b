package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// reader walks a parsed YAML file and keeps what is wrong with it, each with its line, so that an operator sees all of it at once.
type reader struct {
	file string
	errs []error
}

// fields maps the names that an object may have to what takes their values.
type fields map[string]func(*yaml.Node)

func (p *reader) fail(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.file, n.Line, fmt.Sprintf(format, args...)))
}

// object hands each field of n to its taker; what names the object in errors.
func (p *reader) object(n *yaml.Node, what string, f fields) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s must be an object", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		take, ok := f[key.Value]
		switch {
		case !ok:
			p.fail(key, "unknown field %q in %s", key.Value, what)
		case seen[key.Value]:
			p.fail(key, "%q stands twice in %s", key.Value, what)
		default:
			seen[key.Value] = true
			take(n.Content[i+1])
		}
	}
}

// list hands each element of n to take.
func (p *reader) list(n *yaml.Node, take func(*yaml.Node)) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "must be a list")
		return
	}
	for _, c := range n.Content {
		take(resolve(c))
	}
}

func (p *reader) text(n *yaml.Node) (string, bool) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.fail(n, "must be a text")
		return "", false
	}
	return n.Value, true
}

func (p *reader) string(to *string) func(*yaml.Node) {
	return func(n *yaml.Node) { *to, _ = p.text(n) }
}

func (p *reader) strings(to *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		p.list(n, func(c *yaml.Node) {
			if s, ok := p.text(c); ok {
				*to = append(*to, s)
			}
		})
	}
}

func (p *reader) bool(to *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n = resolve(n); n.Tag != "!!bool" || n.Decode(to) != nil {
			p.fail(n, "must be true or false")
		}
	}
}

func (p *reader) int(to *int, least, most int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		n = resolve(n)
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || v < least || v > most {
			p.fail(n, "must be a whole number from %d to %d", least, most)
			return
		}
		*to = v
	}
}

// span takes a whole number of units.
func (p *reader) span(to *time.Duration, unit, most time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v := -1
		if p.int(&v, 0, int(most/unit))(n); v >= 0 {
			*to = time.Duration(v) * unit
		}
	}
}

// only takes a field that exists in Kong but has one value that is supported here.
func (p *reader) only(values ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		for _, v := range values {
			if resolve(n).Value == v {
				return
			}
		}
		p.fail(n, "only %s is supported", strings.Join(values, " or "))
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
