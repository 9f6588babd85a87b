package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"
)

// config is a kong.yml that was read and found right.
type config struct {
	upstreams []*upstream
	services  []*service
	plugins   plugins // of the whole gateway
	keys      map[keyHash]string
}

type upstream struct {
	name    string
	line    *yaml.Node
	targets []string // host:port
	active  active
	passive passive
}

// active is how a target is probed; an interval of zero means never.
type active struct {
	path                         string
	timeout                      time.Duration
	healthyEvery, unhealthyEvery time.Duration
	successes                    int
	tcp, timeouts, http          int // failures in a row that take it out; zero: they do not
}

// passive is what takes a target out while it serves.
type passive struct{ tcp, timeouts int }

type service struct {
	name, host     string
	hostLine       *yaml.Node
	connectTimeout time.Duration
	deadline       time.Duration // of a whole request
	retries        int
	routes         []*route
	plugins        plugins
	upstream       *upstream
	local          *Local // when it runs in this process
	pool           *pool  // when it runs elsewhere; neither: it is not installed
}

type route struct {
	name     string
	service  *service
	paths    []string
	prefixes []string
	patterns []pattern
	plugins  plugins // those that are in force: its own, else the service's, else the gateway's
	at       place
	series   atomic.Pointer[series]
}

const longestDeadline = 90 * time.Second

var name = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

// parse reads a route table and lays the plugins of overlay over its own. Its errors name the file and the line.
func parse(kong, overlay []byte) (*config, error) {
	p := &reader{file: "kong.yml"}
	c := &config{keys: map[keyHash]string{}}
	var late []func() // what can only be judged when everything was read
	p.document(kong, fields{
		"_format_version": p.only("3.0"),
		"upstreams":       func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.upstream(c, n) }) },
		"services":        func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.service(c, n) }) },
		"plugins": func(n *yaml.Node) {
			p.list(n, func(n *yaml.Node) { late = append(late, func() { p.scopedPlugin(c, n) }) })
		},
		"consumers": func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.consumer(c, n) }) },
	})
	for _, f := range late {
		f()
	}
	p.link(c)
	if len(overlay) > 0 {
		p.file = "overlay"
		p.document(overlay, fields{
			"_format_version": p.only("3.0"),
			"plugins":         func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.scopedPlugin(c, n) }) },
		})
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	for _, s := range c.services {
		for _, r := range s.routes {
			r.plugins = r.plugins.over(s.plugins).over(c.plugins)
		}
	}
	return c, nil
}

func (p *reader) document(text []byte, f fields) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %w", p.file, err))
		return
	}
	if doc.Kind != yaml.DocumentNode {
		p.errs = append(p.errs, fmt.Errorf("%s:1: is empty", p.file))
		return
	}
	p.object(doc.Content[0], "the file", f)
}

func (p *reader) upstream(c *config, n *yaml.Node) {
	u := &upstream{line: n, active: active{path: "/readyz", timeout: 2 * time.Second, successes: 1}}
	counts := func(n *yaml.Node, what string, every *time.Duration, more fields) {
		f := fields{"interval": p.span(every, time.Second, time.Hour)}
		for k, v := range more {
			f[k] = v
		}
		p.object(n, what, f)
	}
	p.object(n, "an upstream", fields{
		"name":      p.string(&u.name),
		"algorithm": p.only("round-robin"),
		"healthchecks": func(n *yaml.Node) {
			p.object(n, "healthchecks", fields{
				"active": func(n *yaml.Node) {
					p.object(n, "active health checks", fields{
						"type":      p.only("http"),
						"http_path": p.string(&u.active.path),
						"timeout":   p.span(&u.active.timeout, time.Second, time.Minute),
						"healthy": func(n *yaml.Node) {
							counts(n, "healthy", &u.active.healthyEvery, fields{"successes": p.int(&u.active.successes, 1, 255)})
						},
						"unhealthy": func(n *yaml.Node) {
							counts(n, "unhealthy", &u.active.unhealthyEvery, fields{
								"tcp_failures": p.int(&u.active.tcp, 0, 255), "timeouts": p.int(&u.active.timeouts, 0, 255), "http_failures": p.int(&u.active.http, 0, 255)})
						},
					})
				},
				"passive": func(n *yaml.Node) {
					p.object(n, "passive health checks", fields{
						"type": p.only("http"),
						"unhealthy": func(n *yaml.Node) {
							p.object(n, "unhealthy", fields{
								"tcp_failures": p.int(&u.passive.tcp, 0, 255), "timeouts": p.int(&u.passive.timeouts, 0, 255),
								"http_failures": p.only("0")})
						},
					})
				},
			})
		},
		"targets": func(n *yaml.Node) {
			p.list(n, func(n *yaml.Node) {
				var target string
				p.object(n, "a target", fields{"target": p.string(&target), "weight": p.only("100")})
				if !validTarget(target) {
					p.fail(n, "target %q must be host:port", target)
				}
				u.targets = append(u.targets, target)
			})
		},
	})
	if !name.MatchString(u.name) {
		p.fail(n, "an upstream needs a name of small letters, digits and dashes")
	}
	if slices.ContainsFunc(c.upstreams, func(o *upstream) bool { return o.name == u.name }) {
		p.fail(n, "upstream %q stands twice", u.name)
	}
	c.upstreams = append(c.upstreams, u)
}

func (p *reader) service(c *config, n *yaml.Node) {
	s := &service{hostLine: n, connectTimeout: time.Second, deadline: 30 * time.Second}
	var port int
	p.object(n, "a service", fields{
		"name":            p.string(&s.name),
		"host":            func(n *yaml.Node) { s.host, _ = p.text(n); s.hostLine = n },
		"port":            p.int(&port, 1, 65535),
		"protocol":        p.only("http"),
		"connect_timeout": p.span(&s.connectTimeout, time.Millisecond, longestDeadline),
		"read_timeout":    p.span(&s.deadline, time.Millisecond, longestDeadline),
		"write_timeout":   p.span(new(time.Duration), time.Millisecond, longestDeadline),
		"retries":         p.int(&s.retries, 0, 10),
		"routes":          func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.route(s, n) }) },
		"plugins":         func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.plugin(&s.plugins, "service:"+s.name, n, nil) }) },
	})
	if !name.MatchString(s.name) {
		p.fail(n, "a service needs a name of small letters, digits and dashes")
	}
	if slices.ContainsFunc(c.services, func(o *service) bool { return o.name == s.name }) {
		p.fail(n, "service %q stands twice", s.name)
	}
	if s.connectTimeout == 0 || s.deadline == 0 {
		p.fail(n, "the timeouts of a service must not be 0")
	}
	c.services = append(c.services, s)
}

func (p *reader) route(s *service, n *yaml.Node) {
	r := &route{service: s}
	strip, preserve := true, false // Kong's defaults
	p.object(n, "a route", fields{
		"name":          p.string(&r.name),
		"paths":         p.strings(&r.paths),
		"strip_path":    p.bool(&strip),
		"preserve_host": p.bool(&preserve),
		"plugins":       func(n *yaml.Node) { p.list(n, func(n *yaml.Node) { p.plugin(&r.plugins, "route:"+r.name, n, nil) }) },
	})
	r.at = place{file: p.file, line: n.Line}
	switch {
	case !name.MatchString(r.name):
		p.fail(n, "a route needs a name of small letters, digits and dashes")
	case strip:
		p.fail(n, "route %q needs strip_path: false, since services answer under their public paths", r.name)
	case !preserve:
		p.fail(n, "route %q needs preserve_host: true", r.name)
	case len(r.paths) == 0:
		p.fail(n, "route %q has no paths", r.name)
	}
	for _, path := range r.paths {
		if expr, ok := strings.CutPrefix(path, "~"); ok {
			pat, err := newPattern(expr)
			if err != nil {
				p.fail(n, "path %q of route %q: %v", path, r.name, err)
			}
			pat.route = r
			r.patterns = append(r.patterns, pat)
			continue
		}
		if pathProblem(path, path) != "" || path != "/" && strings.HasSuffix(path, "/") {
			p.fail(n, "path %q of route %q is not a plain path without a slash at its end", path, r.name)
			continue
		}
		r.prefixes = append(r.prefixes, path)
	}
	s.routes = append(s.routes, r)
}

func (p *reader) consumer(c *config, n *yaml.Node) {
	var user string
	var keys []string
	p.object(n, "a consumer", fields{
		"username": p.string(&user),
		"keyauth_credentials": func(n *yaml.Node) {
			p.list(n, func(n *yaml.Node) {
				var key string
				p.object(n, "a credential", fields{"key": p.string(&key)})
				if len(key) < 16 {
					p.fail(n, "a key must have 16 characters or more")
				}
				keys = append(keys, key)
			})
		},
	})
	if user == "" {
		p.fail(n, "a consumer needs a username")
	}
	for _, k := range keys {
		if _, twice := c.keys[hashKey(k)]; twice {
			p.fail(n, "a key of consumer %q stands twice", user)
		}
		c.keys[hashKey(k)] = user
	}
}

// link finds the upstream of each service, and what leads nowhere or stands twice.
func (p *reader) link(c *config) {
	routes, paths := map[string]bool{}, map[string]*route{}
	for _, s := range c.services {
		i := slices.IndexFunc(c.upstreams, func(u *upstream) bool { return u.name == s.host })
		switch {
		case i < 0:
			p.fail(s.hostLine, "service %q leads nowhere: there is no upstream %q", s.name, s.host)
		case len(c.upstreams[i].targets) == 0:
			p.fail(s.hostLine, "service %q leads nowhere: upstream %q has no targets", s.name, s.host)
		default:
			s.upstream = c.upstreams[i]
		}
		for _, r := range s.routes {
			if routes[r.name] {
				p.errs = append(p.errs, r.at.errorf("route %q stands twice", r.name))
			}
			routes[r.name] = true
			for _, path := range r.paths {
				if o := paths[path]; o != nil {
					p.errs = append(p.errs, r.at.errorf("path %q of route %q belongs to route %q already", path, r.name, o.name))
				}
				paths[path] = r
			}
		}
	}
	if len(c.services) == 0 {
		p.errs = append(p.errs, fmt.Errorf("%s:1: there are no services", p.file))
	}
}

// place is where something stands in a file.
type place struct {
	file string
	line int
}

func (l place) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", l.file, l.line, fmt.Sprintf(format, args...))
}

func validTarget(t string) bool {
	host, port, err := net.SplitHostPort(t)
	n, bad := strconv.Atoi(port)
	return err == nil && bad == nil && n > 0 && n < 65536 && host != "" && (&url.URL{Host: t}).Hostname() == host
}
