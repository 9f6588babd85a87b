package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (c *corsRule) check() error {
	for _, o := range c.origins {
		if o == "*" {
			if c.credentials {
				return errors.New("with credentials every origin must be named: * would let any page act as its visitor")
			}
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return errors.New("origin " + strconv.Quote(o) + " must be like https://example.com, with nothing behind the host")
		}
	}
	return nil
}

// corsText is what a rule says in headers. It is shared by all answers, and appending to it copies it.
type corsText struct{ methods, headers, exposed, maxAge []string }

// written has the rule's text made, once it is complete.
func (c *corsRule) written() {
	c.text = corsText{one(c.methods), one(c.headers), nil, nil}
	if len(c.exposed) > 0 {
		c.text.exposed = one(c.exposed)
	}
	if c.maxAge > 0 {
		c.text.maxAge = []string{strconv.Itoa(c.maxAge)}
	}
}

func one(list []string) []string { return []string{strings.Join(list, ", ")} }

var (
	varyOrigin    = []string{"Origin"}
	anyOrigin     = []string{"*"}
	credentialled = []string{"true"}
)

// apply sets the headers of a cross-origin answer and says whether r was a preflight, which it has answered then.
func (c *corsRule) apply(w http.ResponseWriter, r *http.Request) (answered bool) {
	h := w.Header()
	if v := h["Vary"]; v == nil {
		h["Vary"] = varyOrigin
	} else {
		h["Vary"] = append(v, "Origin")
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	allowed := slices.Contains(c.origins, origin)
	switch {
	case allowed:
		h["Access-Control-Allow-Origin"] = []string{origin}
	case slices.Contains(c.origins, "*"):
		h["Access-Control-Allow-Origin"] = anyOrigin
		allowed = true
	}
	if allowed && c.credentials {
		h["Access-Control-Allow-Credentials"] = credentialled
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		if allowed && c.text.exposed != nil {
			h["Access-Control-Expose-Headers"] = c.text.exposed
		}
		return false
	}
	if allowed {
		h["Access-Control-Allow-Methods"] = c.text.methods
		h["Access-Control-Allow-Headers"] = c.text.headers
		if c.text.maxAge != nil {
			h["Access-Control-Max-Age"] = c.text.maxAge
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
