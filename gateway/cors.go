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

// apply sets the headers of a cross-origin answer and says whether r was a preflight, which it has answered then.
func (c *corsRule) apply(w http.ResponseWriter, r *http.Request) (answered bool) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	allowed := slices.Contains(c.origins, origin)
	switch {
	case allowed:
		h["Access-Control-Allow-Origin"] = []string{origin}
	case slices.Contains(c.origins, "*"):
		h["Access-Control-Allow-Origin"] = []string{"*"}
		allowed = true
	}
	if allowed && c.credentials {
		h["Access-Control-Allow-Credentials"] = []string{"true"}
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		if allowed && len(c.exposed) > 0 {
			h["Access-Control-Expose-Headers"] = []string{strings.Join(c.exposed, ", ")}
		}
		return false
	}
	if allowed {
		h["Access-Control-Allow-Methods"] = []string{strings.Join(c.methods, ", ")}
		h["Access-Control-Allow-Headers"] = []string{strings.Join(c.headers, ", ")}
		if c.maxAge > 0 {
			h["Access-Control-Max-Age"] = []string{strconv.Itoa(c.maxAge)}
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
