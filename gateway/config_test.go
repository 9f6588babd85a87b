package gateway_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"tulifo/gateway"
)

// lineOf is where needle stands in text, counted from 1.
func lineOf(t *testing.T, text, needle string) int {
	t.Helper()
	i := strings.Index(text, needle)
	if i < 0 {
		t.Fatalf("no %q in the table", needle)
	}
	return 1 + strings.Count(text[:i], "\n")
}

func TestMistakesInTheTableAreNamedWithTheirLine(t *testing.T) {
	good := kong(t)
	for _, c := range []struct{ what, old, new, says, at string }{
		{"unknown plugin", "name: key-auth", "name: basic-auth", `unknown plugin "basic-auth"`, "- name: basic-auth"},
		{"unknown field of a plugin", "{minute: 1200, limit_by: ip", "{minutes: 1200, limit_by: ip", `unknown field "minutes" in rate-limiting`, "minutes: 1200"},
		{"unknown field of a route", "paths: [/api/payments]", "path: [/api/payments]", `unknown field "path" in a route`, "path: [/api/payments]"},
		{"unknown field at the top", "upstreams:\n", "upstream:\n", `unknown field "upstream" in the file`, "upstream:\n"},
		{"a service that leads nowhere", "host: booking-service", "host: bookings-service", `leads nowhere: there is no upstream "bookings-service"`, "host: bookings-service"},
		{"an upstream without targets", `targets:
      - {target: "booking-service:3007", weight: 100}`, "targets: []", `leads nowhere: upstream "booking-service" has no targets`, "host: booking-service"},
		{"a path without a slash", "paths: [/api/payments]", "paths: [api/payments]", "not a plain path", "- name: payment\n        paths"},
		{"a path that goes up", "paths: [/api/payments]", "paths: [/api/../payments]", "not a plain path", "- name: payment\n        paths"},
		{"a path with a slash at its end", "paths: [/api/payments]", "paths: [/api/payments/]", "not a plain path", "- name: payment\n        paths"},
		{"a bad regular expression", "[^/]+/avatar$", "[^/+/avatar$", "error parsing regexp", "- name: user-avatar"},
		{"a path twice", "paths: [/api/payments]", "paths: [/api/bookings]", `path "/api/bookings" of route "booking" belongs to route "payment" already`, "- name: booking\n        paths"},
		{"a stripped path", "strip_path: false", "strip_path: true", "needs strip_path: false", "- name: auth\n        paths"},
		{"a name twice", "- name: auth-login", "- name: auth-register", `route "auth-register" stands twice`, "- name: auth-register\n        paths: [/api/auth/register]"},
		{"a field twice", "port: 3004", "port: 3004\n    port: 3005", `"port" stands twice`, "port: 3005"},
		{"a number that is a word", "retries: 2", "retries: two", "must be a whole number", "retries: two"},
		{"a negative limit", "minute: 1200", "minute: -1", "must be a whole number", "minute: -1"},
		{"a limit without a number", "{minute: 1200, limit_by: ip, policy: local}", "{limit_by: ip, policy: local}", "needs a limit", "{limit_by: ip, policy: local}"},
		{"every origin with credentials", `origins: ["http://localhost:3000"]`, `origins: ["*"]`, "every origin must be named", "origins: [\"*\"]"},
		{"an origin with a path", `origins: ["http://localhost:3000"]`, `origins: ["http://localhost:3000/"]`, "nothing behind the host", "origins: ["},
		{"passive checks on our own answers", "http_failures: 0}", "http_failures: 5}", "only 0 is supported", "http_failures: 5}"},
		{"a target without a port", `"auth-service:3001"`, `"auth-service"`, "must be host:port", `"auth-service", weight`},
		{"another format", `"3.0"`, `"1.1"`, "only 3.0 is supported", `"1.1"`},
		{"not YAML", "services:\n", "services: [\n", "yaml", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatalf("%q does not stand in the table", c.old)
			}
			_, err := gateway.New(gateway.Options{Config: []byte(text)})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
			if c.at != "" {
				if at := "kong.yml:" + strconv.Itoa(lineOf(t, text, c.at)) + ": "; !strings.Contains(err.Error(), at) {
					t.Errorf("got %v, want it at %s", err, at)
				}
			}
		})
	}
}

func TestMistakesInTheOptions(t *testing.T) {
	base := func() gateway.Options { return gateway.Options{Config: []byte(kong(t))} }
	for _, c := range []struct {
		says   string
		change func(*gateway.Options)
	}{
		{"overlay:2: the plugin belongs to route nowhere", func(o *gateway.Options) {
			o.Overlay = []byte("plugins:\n  - {name: rate-limiting, route: nowhere, config: {minute: 1}}\n")
		}},
		{`overlay:1: unknown field "routes"`, func(o *gateway.Options) { o.Overlay = []byte("routes: []\n") }},
		{"overlay:1: is empty", func(o *gateway.Options) { o.Overlay = []byte("\n") }},
		{"kong.yml:1: is empty", func(o *gateway.Options) { o.Config = nil }},
		{`"bokings" runs here but is not in kong.yml`, func(o *gateway.Options) { o.Local = map[string]gateway.Local{"bokings": {Handler: small}} }},
		{`"booking" runs here without a handler`, func(o *gateway.Options) { o.Local = map[string]gateway.Local{"booking": {}} }},
		{`address "http://a b" of service "auth"`, func(o *gateway.Options) { o.Targets = func(string) []string { return []string{"a b"} } }},
		{`address "http://h/x" of service "auth"`, func(o *gateway.Options) { o.Targets = func(string) []string { return []string{"http://h/x"} } }},
		{"CORS_ORIGIN", func(o *gateway.Options) { o.CORSOrigins = []string{"*"} }},
	} {
		o := base()
		c.change(&o)
		if _, err := gateway.New(o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want %q", err, c.says)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(kong(f)))
	f.Add([]byte("_format_version: \"3.0\"\nservices: &a [*a]\n"))
	f.Add([]byte("a: &a [*a, *a]\nplugins: *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = gateway.New(gateway.Options{Config: text})
	})
}

// FuzzPath looks for a path that reaches the login of a service without having passed the limit of logins.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/api/auth/login", "/api//auth/login", "/api/auth/./login", "/%61pi/auth/login/", "/api/auth/x/../login", "/api/auth%2flogin", "/api/auth/login%20", "\\api\\auth\\login", "/socket.io/../api/auth/login"} {
		f.Add(p)
	}
	var reached, limited bool
	mux := http.NewServeMux() // as services have it: it cleans paths
	mux.HandleFunc("/api/auth/login", func(http.ResponseWriter, *http.Request) { reached = true })
	mux.HandleFunc("/api/auth/login/", func(http.ResponseWriter, *http.Request) { reached = true })
	g, err := gateway.New(gateway.Options{Config: []byte(kong(f)), Overlay: []byte("plugins: [{name: rate-limiting, route: auth-login, config: {minute: 777000000}}]\n"), Log: silent,
		Local: map[string]gateway.Local{"auth": {Handler: mux}, "message": {Handler: mux}, "web": {Handler: mux}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		w := &void{header: http.Header{}}
		reached = false
		g.Handler().ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"})
		limited = w.header.Get("Ratelimit-Limit") == "777000000"
		if reached && !limited {
			t.Errorf("%q reached the login past its limit", raw)
		}
		if w.status == 0 || w.status >= 500 && w.status != 503 {
			t.Errorf("%q: %d", raw, w.status)
		}
	})
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "::1, 10.0.0.1", "a,b,,", "[::1]:80", "fe80::1%eth0"} {
		f.Add(s)
	}
	var saw string
	o := gateway.Options{Config: []byte(kong(f)), Log: silent, Overlay: []byte("plugins: [{name: rate-limiting, config: {minute: 777000000}}]\n"),
		Local: map[string]gateway.Local{"booking": {Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { saw = r.Header.Get("X-Forwarded-For") })}}}
	trusting(&o)
	g, err := gateway.New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, list string) {
		w := &void{header: http.Header{}}
		g.Handler().ServeHTTP(w, &http.Request{Method: "GET", URL: &url.URL{Path: "/api/bookings"}, Header: http.Header{"X-Forwarded-For": {list}}, Body: http.NoBody, RemoteAddr: "127.0.0.1:1"})
		if w.status != 200 && w.status != 400 || w.status == 200 && (saw == "" || strings.ContainsAny(saw, ", %\r\n")) {
			t.Errorf("%q became %q (%d)", list, saw, w.status)
		}
	})
}
