package gateway

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// plugins are those in force somewhere; nil: none of that name.
type plugins struct {
	limit *rateLimit
	size  *sizeLimit
	cors  *corsRule
	key   *keyAuth
	log   *logSink
}

type rateLimit struct {
	windows []window
	hidden  bool // no headers to the client
	scope   string
	off     bool
}

type window struct {
	name string // "minute"
	per  time.Duration
	max  int
	text string // max
}

type sizeLimit struct {
	bytes int64
	off   bool
}

type corsRule struct {
	origins, methods, headers, exposed []string
	credentials                        bool
	text                               corsText
	maxAge                             int
	off                                bool
}

type keyAuth struct {
	names         []string
	header, query bool
	hide          bool
	off           bool
}

type logSink struct {
	endpoint, method, contentType string
	timeout                       time.Duration
	sink                          *sink // where its lines go
	off                           bool
}

// over is p with the plugins of wider filled in where p has none. One that is off counts as none, as in Kong.
func (p plugins) over(wider plugins) plugins {
	if p.limit == nil || p.limit.off {
		p.limit = wider.limit
	}
	if p.size == nil || p.size.off {
		p.size = wider.size
	}
	if p.cors == nil || p.cors.off {
		p.cors = wider.cors
	}
	if p.key == nil || p.key.off {
		p.key = wider.key
	}
	if p.log == nil || p.log.off {
		p.log = wider.log
	}
	return p.on()
}

// on is p without those that are off.
func (p plugins) on() plugins {
	if p.limit != nil && p.limit.off {
		p.limit = nil
	}
	if p.size != nil && p.size.off {
		p.size = nil
	}
	if p.cors != nil && p.cors.off {
		p.cors = nil
	}
	if p.key != nil && p.key.off {
		p.key = nil
	}
	if p.log != nil && p.log.off {
		p.log = nil
	}
	return p
}

// scopedPlugin takes a plugin of the top level: of everything, or of the route or service that it names.
func (p *reader) scopedPlugin(c *config, n *yaml.Node) {
	to, scope := &c.plugins, "all"
	var routeName, serviceName string
	p.peek(n, "route", &routeName)
	p.peek(n, "service", &serviceName)
	switch {
	case routeName != "" && serviceName != "":
		p.fail(n, "a plugin belongs to a route or to a service, not to both")
		return
	case routeName != "":
		scope, to = "route:"+routeName, nil
		for _, s := range c.services {
			for _, r := range s.routes {
				if r.name == routeName {
					to = &r.plugins
				}
			}
		}
	case serviceName != "":
		scope, to = "service:"+serviceName, nil
		for _, s := range c.services {
			if s.name == serviceName {
				to = &s.plugins
			}
		}
	}
	if to == nil {
		p.fail(n, "the plugin belongs to %s, which does not exist", strings.Replace(scope, ":", " ", 1))
		return
	}
	ignore := func(*yaml.Node) {}
	p.plugin(to, scope, n, fields{"route": ignore, "service": ignore})
}

// peek reads a text field before the rest of its object.
func (p *reader) peek(n *yaml.Node, field string, to *string) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			*to, _ = p.text(n.Content[i+1])
		}
	}
}

// plugin takes one plugin into to.
func (p *reader) plugin(to *plugins, scope string, n *yaml.Node, more fields) {
	var kind string
	enabled := true
	settings := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line}
	f := fields{"name": p.string(&kind), "enabled": p.bool(&enabled), "config": func(n *yaml.Node) { settings = n }}
	for k, v := range more {
		f[k] = v
	}
	p.object(n, "a plugin", f)
	switch kind {
	case "rate-limiting":
		l := &rateLimit{scope: scope, off: !enabled}
		p.rateLimiting(l, settings)
		to.limit = l
	case "request-size-limiting":
		s := &sizeLimit{bytes: 128, off: !enabled}
		p.sizeLimiting(s, settings)
		to.size = s
	case "cors":
		c := &corsRule{off: !enabled}
		p.cors(c, settings)
		to.cors = c
	case "key-auth":
		k := &keyAuth{names: nil, header: true, off: !enabled}
		p.keyAuth(k, settings)
		to.key = k
	case "http-log":
		l := &logSink{method: "POST", contentType: "application/json", timeout: 10 * time.Second, off: !enabled}
		p.httpLog(l, settings)
		to.log = l
	default:
		p.fail(n, "unknown plugin %q; there are rate-limiting, request-size-limiting, cors, key-auth, http-log", kind)
	}
}

func (p *reader) rateLimiting(l *rateLimit, n *yaml.Node) {
	f := fields{"limit_by": p.only("ip"), "policy": p.only("local", "redis"), "fault_tolerant": p.only("false"), "hide_client_headers": p.bool(&l.hidden)}
	for _, w := range []window{{name: "second", per: time.Second}, {name: "minute", per: time.Minute}, {name: "hour", per: time.Hour}, {name: "day", per: 24 * time.Hour}} {
		f[w.name] = func(n *yaml.Node) {
			p.int(&w.max, 1, 1_000_000_000)(n)
			w.text = strconv.Itoa(w.max)
			l.windows = append(l.windows, w)
		}
	}
	p.object(n, "rate-limiting", f)
	if len(l.windows) == 0 {
		p.fail(n, "rate-limiting needs a limit per second, minute, hour or day")
	}
	slices.SortFunc(l.windows, func(a, b window) int { return int(a.per - b.per) })
}

func (p *reader) sizeLimiting(s *sizeLimit, n *yaml.Node) {
	size, unit := 128, "megabytes" // Kong's defaults
	p.object(n, "request-size-limiting", fields{"allowed_payload_size": p.int(&size, 1, 1<<20), "size_unit": p.string(&unit)})
	scale, ok := map[string]int64{"bytes": 1, "kilobytes": 1 << 10, "megabytes": 1 << 20}[unit]
	if !ok {
		p.fail(n, "size_unit must be bytes, kilobytes or megabytes")
	}
	s.bytes = int64(size) * scale
}

func (p *reader) cors(c *corsRule, n *yaml.Node) {
	p.object(n, "cors", fields{
		"origins": p.strings(&c.origins), "methods": p.strings(&c.methods), "headers": p.strings(&c.headers), "exposed_headers": p.strings(&c.exposed),
		"credentials": p.bool(&c.credentials), "max_age": p.int(&c.maxAge, 0, 86400), "preflight_continue": p.only("false"),
	})
	if err := c.check(); err != nil {
		p.fail(n, "%v", err)
	}
	c.written()
}

func (p *reader) keyAuth(k *keyAuth, n *yaml.Node) {
	p.object(n, "key-auth", fields{
		"key_names": p.strings(&k.names), "key_in_header": p.bool(&k.header), "key_in_query": p.bool(&k.query), "key_in_body": p.only("false"),
		"hide_credentials": p.bool(&k.hide),
	})
	if len(k.names) == 0 {
		k.names = []string{"apikey"}
	}
	if !k.header && !k.query {
		p.fail(n, "key-auth must look for the key in the header or in the query")
	}
}

func (p *reader) httpLog(l *logSink, n *yaml.Node) {
	p.object(n, "http-log", fields{
		"http_endpoint": p.string(&l.endpoint), "method": p.string(&l.method), "content_type": p.string(&l.contentType),
		"timeout": p.span(&l.timeout, time.Millisecond, time.Minute), "keepalive": p.span(new(time.Duration), time.Millisecond, time.Hour),
	})
	if u, err := url.Parse(l.endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		p.fail(n, "http_endpoint must be an http or https address")
	}
	if l.method != "POST" && l.method != "PUT" && l.method != "PATCH" {
		p.fail(n, "method must be POST, PUT or PATCH")
	}
}
