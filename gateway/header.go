package gateway

import (
	"net"
	"net/http"
	"strings"
)

// hop says whether a header belongs to one connection and is never passed on.
func hop(k string) bool {
	switch k {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
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
	case "X-Request-Id", "Server", "X-Powered-By", "Strict-Transport-Security":
		return true
	}
	return k[0] == 'A' && strings.HasPrefix(k, "Access-Control-") || k[0] == 'T' && strings.HasPrefix(k, http.TrailerPrefix)
}

// outgoing makes the header of the request that came into that of the request which a service gets, the same in both forms, and answers it.
// The map is the server's, made for this request, and the server does not look at it again; a copy of it would be the largest cost of a call.
func (x *exchange) outgoing(upgrade bool) http.Header {
	h := x.r.Header
	if h == nil {
		h = make(http.Header, 8)
	}
	proto := "http"
	if x.r.TLS != nil {
		proto = "https"
	}
	if p := h["X-Forwarded-Proto"]; x.trusted && len(p) == 1 && (p[0] == "http" || p[0] == "https") {
		proto = p[0]
	}
	state := h["Tracestate"]
	x.asked = x.asked || len(h["Expect"]) > 0
	dropListed(h, h["Connection"])
	for k := range h {
		if hop(k) || ownRequest(k) {
			delete(h, k)
		}
	}
	x.values = [...]string{x.address, proto, x.r.Host, x.id, x.trace}
	v := x.values[:]
	h["X-Forwarded-For"], h["X-Forwarded-Proto"], h["X-Forwarded-Host"] = v[0:1:1], v[1:2:2], v[2:3:3]
	h["X-Request-Id"], h["Traceparent"] = v[3:4:4], v[4:5:5]
	if x.continued && len(state) == 1 && len(state[0]) <= 512 {
		h["Tracestate"] = state
	}
	if x.consumer != "" {
		h["X-Consumer-Username"] = []string{x.consumer}
	}
	if upgrade {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	return h
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
		case k == "" || hop(k) || ownAnswer(k):
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
		if k != "X-Request-Id" && k != "Vary" && k != "Strict-Transport-Security" && !strings.HasPrefix(k, "Access-Control-") && !strings.Contains(k, "Ratelimit-") {
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

// transport tells browsers to come over TLS alone from now on, for a year, if they have come so. Subdomains are not ours to speak for. A
// developer's own machine is left out: its other ports, which speak plain HTTP, have the same name.
func (x *exchange) transport() {
	if x.r.TLS == nil {
		return
	}
	host, _, err := net.SplitHostPort(x.r.Host)
	if err != nil {
		host = x.r.Host
	}
	if host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		x.w.Header()["Strict-Transport-Security"] = oneYear
	}
}

var oneYear = []string{"max-age=31536000"}

// uri is what the request line says after the method.
func (x *exchange) uri() string {
	uri := x.r.RequestURI
	if x.strip != nil || uri == "" || uri[0] != '/' {
		return x.target.RequestURI()
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return x.target.RequestURI()
		}
	}
	return uri
}
