package gateway

import (
	"net/http"
	"net/url"
	"strings"
)

// hops are the headers of one connection, which are never passed on.
var hops = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// ownRequest are what a service believes from the gateway alone.
func ownRequest(k string) bool {
	if len(k) < 4 || k[0] != 'X' && k[0] != 'F' && k[0] != 'T' && k[0] != 'E' {
		return false
	}
	switch k {
	case "Forwarded", "X-Real-Ip", "X-Request-Id", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "Traceparent", "Tracestate", "Expect":
		return true
	}
	return strings.HasPrefix(k, "X-Forwarded-") || strings.HasPrefix(k, "X-Consumer-")
}

// ownAnswer are what only the gateway tells a client.
func ownAnswer(k string) bool {
	switch k {
	case "X-Request-Id", "Server", "X-Powered-By":
		return true
	}
	return k[0] == 'A' && strings.HasPrefix(k, "Access-Control-") || k[0] == 'T' && strings.HasPrefix(k, http.TrailerPrefix)
}

// outgoing is the header of the request that a service gets, the same in both forms.
func (x *exchange) outgoing(upgrade bool) http.Header {
	in := x.r.Header
	out := make(http.Header, len(in)+8)
	for k, v := range in {
		if !hops[k] && !ownRequest(k) {
			out[k] = v
		}
	}
	dropListed(out, in["Connection"])
	proto := "http"
	if x.r.TLS != nil {
		proto = "https"
	}
	if p := in["X-Forwarded-Proto"]; x.trusted && len(p) == 1 && (p[0] == "http" || p[0] == "https") {
		proto = p[0]
	}
	v := []string{x.address, proto, x.r.Host, x.id, x.trace}
	out["X-Forwarded-For"], out["X-Forwarded-Proto"], out["X-Forwarded-Host"] = v[0:1:1], v[1:2:2], v[2:3:3]
	out["X-Request-Id"], out["Traceparent"] = v[3:4:4], v[4:5:5]
	if s := in["Tracestate"]; x.continued && len(s) == 1 && len(s[0]) <= 512 {
		out["Tracestate"] = s
	}
	if x.consumer != "" {
		out["X-Consumer-Username"] = []string{x.consumer}
	}
	if upgrade {
		out["Connection"], out["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	return out
}

// dropListed takes out of h what the Connection header declares to be of one connection.
func dropListed(h http.Header, connection []string) {
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				delete(h, http.CanonicalHeaderKey(name))
			}
		}
	}
}

// merge lays a service's answer header over what the gateway has set in to.
func merge(to, from http.Header) {
	for k, v := range from {
		switch {
		case hops[k] || k == "" || ownAnswer(k):
		case k == "Vary":
			to[k] = append(to[k], v...)
		default:
			to[k] = v
		}
	}
	dropListed(to, from["Connection"])
	secure(to)
}

// forget takes out of the answer's header what a service has set.
func (x *exchange) forget() {
	h := x.w.Header()
	for k := range h {
		if k != "X-Request-Id" && k != "Vary" && !strings.HasPrefix(k, "Access-Control-") && !strings.Contains(k, "Ratelimit-") {
			delete(h, k)
		}
	}
}

// secure sets what every answer of a service should say to browsers, unless the service has said it.
func secure(h http.Header) {
	if h["X-Content-Type-Options"] == nil {
		h["X-Content-Type-Options"] = noSniff
	}
	if h["Referrer-Policy"] == nil {
		h["Referrer-Policy"] = referrer
	}
	if h["X-Frame-Options"] == nil && h["Content-Security-Policy"] == nil {
		h["X-Frame-Options"] = sameOrigin
	}
}

var (
	noSniff    = []string{"nosniff"}
	referrer   = []string{"strict-origin-when-cross-origin"}
	sameOrigin = []string{"SAMEORIGIN"}
)

// isWebsocket says whether r asks for the one protocol that may take over a connection.
func isWebsocket(r *http.Request) bool {
	u := r.Header["Upgrade"]
	return len(u) == 1 && r.Method == http.MethodGet && strings.EqualFold(u[0], "websocket") && hasToken(r.Header["Connection"], "upgrade")
}

// mayStream says whether r asks for an event stream.
func mayStream(r *http.Request) bool { return hasToken(r.Header["Accept"], "text/event-stream") }

func isEventStream(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && strings.HasPrefix(v[0], "text/event-stream")
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// target is the path and query of a request and nothing else of its URL.
func target(u *url.URL) *url.URL {
	return &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
}
