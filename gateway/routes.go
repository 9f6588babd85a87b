package gateway

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// table finds the route of a path. It is never changed once it is built.
type table struct {
	prefixes map[string]*route
	depth    int // segments of the longest prefix
	patterns []pattern
}

type pattern struct {
	literal string // what every match starts with
	expr    *regexp.Regexp
	route   *route
}

func newPattern(expr string) (pattern, error) {
	plain, err := regexp.Compile(expr)
	if err != nil {
		return pattern{}, err
	}
	lit, _ := plain.LiteralPrefix()
	if !strings.HasPrefix(lit, "/") {
		return pattern{}, errors.New("a regular expression must start with a path")
	}
	anchored, err := regexp.Compile("^(?:" + expr + ")")
	return pattern{literal: lit, expr: anchored}, err
}

func newTable(c *config) *table {
	t := &table{prefixes: map[string]*route{}}
	for _, s := range c.services {
		for _, r := range s.routes {
			for _, p := range r.prefixes {
				t.prefixes[p] = r
				t.depth = max(t.depth, strings.Count(p, "/"))
			}
			t.patterns = append(t.patterns, r.patterns...)
		}
	}
	return t
}

// find is the route for a decoded path: a pattern's, else that of the longest prefix that ends where a segment ends; nil when there is none.
func (t *table) find(path string) *route {
	for _, p := range t.patterns {
		if strings.HasPrefix(path, p.literal) && p.expr.MatchString(path) {
			return p.route
		}
	}
	found := t.prefixes["/"]
	end := 0
	for range t.depth {
		next := strings.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
		if r := t.prefixes[path[:end]]; r != nil && end > 1 {
			found = r
		}
		if end == len(path) || next < 0 {
			break
		}
	}
	return found
}

// ours says whether a path belongs to the platform, and never to the web app.
func ours(path string) bool { return under(path, "/api") || under(path, "/socket.io") }

func under(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// pathProblem says why a path is refused before it is matched, empty when it is fine: whatever a service behind could read as another path than
// the gateway does would pass the limits of the wrong route. escaped is the path as it came.
func pathProblem(path, escaped string) string {
	switch {
	case path == "" || path[0] != '/':
		return "The path must start with a slash."
	case len(path) > 4096:
		return "The path is too long."
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c < 0x20 || c == 0x7f || c == '\\':
			return "The path holds a character that is not allowed."
		case c == '/' && i+1 < len(path) && path[i+1] == '.' && dots(path[i+1:]):
			return "The path must not go up or stand still."
		}
	}
	if ours(path) || ours(strings.TrimLeft(path, "/")) || strings.HasPrefix(path, "//") {
		if strings.Contains(path, "//") {
			return "The path holds an empty segment."
		}
		if len(escaped) != len(path) && strings.Contains(strings.ToLower(escaped), "%2f") {
			return "The path holds an encoded slash."
		}
	}
	return ""
}

// dots says whether the first segment of s is "." or "..".
func dots(s string) bool {
	seg, _, _ := strings.Cut(s, "/")
	return seg == "." || seg == ".."
}

// known bounds the methods that become labels and that are served at all.
func known(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}
