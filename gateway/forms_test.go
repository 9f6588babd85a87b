package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tulifo/gateway"
)

func booking(h http.HandlerFunc) map[string]http.Handler {
	return map[string]http.Handler{"booking": h}
}

func with(kong []byte) func(*gateway.Options) {
	return func(o *gateway.Options) { o.Config = kong }
}

func each(t *testing.T, test func(t *testing.T, form string)) {
	for _, form := range forms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			test(t, form)
		})
	}
}

func TestWhatAServiceSees(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror))
		a := d.do(t, call{method: "POST", path: "/api/bookings/7/confirm?a=1&b=%20x;y&a=2", body: `{"x":1}`, header: http.Header{
			"Content-Type": {"application/json"}, "Authorization": {"Bearer t"}, "Host": {"tulifo.example"}, "X-Forwarded-For": {"6.6.6.6"}, "X-Real-Ip": {"6.6.6.6"},
			"Forwarded": {"for=6.6.6.6"}, "X-Forwarded-Proto": {"https"}, "X-Consumer-Username": {"root"}, "X-Request-Id": {"my-id_1"},
			"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "Tracestate": {"a=b"},
			"Connection": {"X-Private, close"}, "X-Private": {"1"}, "Te": {"trailers"}, "Upgrade": {"h2c"}, "Proxy-Authorization": {"x"},
		}})
		s := a.seen(t)
		want := seen{Method: "POST", URI: "/api/bookings/7/confirm?a=1&b=%20x;y&a=2", Path: "/api/bookings/7/confirm", Host: "tulifo.example", Body: `{"x":1}`, Remote: "127.0.0.1", Length: 7, Deadline: form == "in process"}
		got := s
		got.Header = nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("a service sees\n%+v, want\n%+v", got, want)
		}
		for k, v := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "tulifo.example", "X-Request-Id": "my-id_1", "Authorization": "Bearer t", "Tracestate": "a=b",
			"X-Real-Ip": "", "Forwarded": "", "X-Consumer-Username": "", "X-Private": "", "Te": "", "Upgrade": "", "Connection": "", "Proxy-Authorization": "",
		} {
			if g := strings.Join(s.Header[k], "|"); g != v {
				t.Errorf("header %s is %q, want %q", k, g, v)
			}
		}
		if tp := s.Header.Get("Traceparent"); !strings.HasPrefix(tp, "00-4bf92f3577b34da6a3ce929d0e0e4736-") {
			t.Errorf("the trace was not continued: %q", tp)
		}
		if a.header.Get("X-Request-Id") != "my-id_1" {
			t.Errorf("the request id was not answered: %v", a.header)
		}
	})
}

func TestIdsThatAreNotSaneAreReplaced(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror))
		for _, id := range []string{"", strings.Repeat("a", 65), "a b", "x\"y", "é"} {
			a := d.do(t, call{path: "/api/bookings", header: http.Header{"X-Request-Id": {id}, "Traceparent": {"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, "Tracestate": {"a=b"}}})
			s := a.seen(t)
			if got := a.header.Get("X-Request-Id"); len(got) != 36 || got[14] != '7' || s.Header.Get("X-Request-Id") != got {
				t.Errorf("%q became %q for the client and %q for the service", id, got, s.Header.Get("X-Request-Id"))
			}
			if tp := s.Header.Get("Traceparent"); len(tp) != 55 || tp[3:35] == strings.Repeat("0", 32) || s.Header.Get("Tracestate") != "" {
				t.Errorf("a bad trace was handed on: %q", tp)
			}
		}
	})
}

func TestNoContextValueCrosses(t *testing.T) {
	g, err := gateway.New(gateway.Options{Config: []byte(kong(t)), Local: map[string]gateway.Local{"booking": {Handler: http.HandlerFunc(mirror)}}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/bookings", nil)
	g.Handler().ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), secret{}, "x")))
	if s := (answer{body: w.Body.String()}).seen(t); s.Leaked || !s.Deadline || s.Remote != "127.0.0.1" {
		t.Errorf("%+v", s)
	}
}

func TestWhatAClientSees(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("X-Powered-By", "x")
			h.Set("X-Request-Id", "forged")
			h.Set("Vary", "Cookie")
			h.Set("Keep-Alive", "timeout=1")
			h.Set("Etag", `"1"`)
			h.Add("Set-Cookie", "a=1")
			h.Add("Set-Cookie", "b=2")
			switch r.URL.Path {
			case "/api/bookings/none":
				w.WriteHeader(http.StatusNoContent)
				if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
					t.Errorf("a body after 204: %v", err)
				}
			case "/api/bookings/late":
				w.WriteHeader(http.StatusTeapot)
				w.WriteHeader(http.StatusOK)
				h.Set("Too-Late", "1")
				io.WriteString(w, "tea")
			case "/api/bookings/long":
				for range 64 {
					w.Write(make([]byte, 32<<10))
				}
			case "/api/bookings/busy":
				h.Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
				io.WriteString(w, "own words")
			default:
				io.WriteString(w, "<!doctype html>hello")
			}
		}))
		for _, c := range []struct {
			call
			status, size int
			has          map[string]string
		}{
			{call{path: "/api/bookings"}, 200, 20, map[string]string{"Content-Length": "20", "Content-Type": "text/html; charset=utf-8", "Etag": `"1"`, "Set-Cookie": "a=1|b=2", "X-Content-Type-Options": "nosniff"}},
			{call{method: "HEAD", path: "/api/bookings"}, 200, 0, map[string]string{"Etag": `"1"`, "Content-Length": "20"}},
			{call{path: "/api/bookings/none"}, 204, 0, nil},
			{call{path: "/api/bookings/late"}, 418, 3, map[string]string{"Too-Late": ""}},
			{call{path: "/api/bookings/long"}, 200, 2 << 20, nil},
			{call{path: "/api/bookings/busy"}, 503, 9, map[string]string{"Retry-After": "7"}},
		} {
			a := d.do(t, c.call)
			if a.status != c.status || len(a.body) != c.size {
				t.Errorf("%s: %d with %d bytes, want %d with %d", c.path, a.status, len(a.body), c.status, c.size)
			}
			for _, k := range []string{"Access-Control-Allow-Origin", "X-Powered-By", "Keep-Alive"} {
				if a.header[k] != nil {
					t.Errorf("%s: %s came through", c.path, k)
				}
			}
			if len(a.header["X-Request-Id"]) != 1 || a.header.Get("X-Request-Id") == "forged" {
				t.Errorf("%s: request id %v", c.path, a.header["X-Request-Id"])
			}
			if v := strings.Join(a.header["Vary"], "|"); v != "Origin|Cookie" {
				t.Errorf("%s: Vary is %q", c.path, v)
			}
			for k, v := range c.has {
				if g := strings.Join(a.header[k], "|"); g != v {
					t.Errorf("%s: %s is %q, want %q", c.path, k, g, v)
				}
			}
		}
	})
}

func TestFailuresOfAService(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		release := make(chan struct{})
		defer close(release)
		d := open(t, form, booking(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/api/bookings/caught":
				panic("caught")
			case "/api/bookings/panic":
				panic("not caught")
			case "/api/bookings/abort":
				panic(http.ErrAbortHandler)
			case "/api/bookings/torn":
				w.Write(make([]byte, 100<<10))
				panic(http.ErrAbortHandler)
			case "/api/bookings/patient":
				<-r.Context().Done()
			case "/api/bookings/deaf":
				<-release
				w.WriteHeader(http.StatusCreated)
			default:
				mirror(w, r)
			}
		}), with(hasty(t)))
		for _, c := range []struct {
			path   string
			status []int
		}{
			{"caught", []int{500}}, {"panic", []int{500, 503}}, {"abort", []int{500, 503}}, {"deaf", []int{504}},
		} {
			a := d.do(t, call{path: "/api/bookings/" + c.path})
			if !strings.Contains(fmt.Sprint(c.status), fmt.Sprint(a.status)) || c.path != "caught" && strings.HasPrefix(a.code(), "not") {
				t.Errorf("%s: %d %s", c.path, a.status, a.body)
			}
			if a.status == 503 && a.header.Get("Retry-After") == "" {
				t.Errorf("%s: 503 without Retry-After", c.path)
			}
		}
		if a, err := d.try(call{path: "/api/bookings/torn"}); err == nil {
			t.Errorf("an answer that broke off looks whole: %d, %d bytes", a.status, len(a.body))
		}
		d.do(t, call{path: "/api/bookings/patient"}) // who heeds the deadline may answer himself; it must end
		if a := d.do(t, call{path: "/api/bookings"}); a.status != 200 {
			t.Errorf("the gateway does not live on: %d", a.status)
		}
	})
}

func TestAClientThatLeavesEndsTheWork(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		began, ended := make(chan struct{}), make(chan struct{})
		d := open(t, form, booking(func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			close(ended)
		}))
		ctx, leave := context.WithCancel(context.Background())
		r, _ := http.NewRequestWithContext(ctx, "GET", d.url+"/api/bookings", nil)
		go func() { <-began; leave() }()
		if _, err := client.Do(r); err == nil {
			t.Error("there was an answer")
		}
		wait(t, ended, "the service still works for nobody")
	})
}

// Who closes his half of the connection counts as gone, but reads on: he must not hear that what was broken off for it is done.
func TestWhatIsBrokenOffIsNotSaidToBeDone(t *testing.T) {
	d := open(t, "over sockets", booking(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	for _, request := range []string{"GET /api/bookings HTTP/1.1\r\nHost: a\r\n\r\n", "POST /api/bookings HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"} {
		c := dial(t, d.url)
		_, _ = io.WriteString(c, request)
		_ = c.(*net.TCPConn).CloseWrite()
		if said, err := io.ReadAll(c); err != nil || len(said) > 0 {
			t.Errorf("%.4s was answered %q, %v", request, said, err)
		}
	}
	eventually(t, "the access lines do not say that the clients left", func() bool { return strings.Count(d.log.String(), `"http.response.status_code":499`) == 2 })
}

func TestBodies(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, map[string]http.Handler{"booking": http.HandlerFunc(mirror), "user": http.HandlerFunc(mirror)})
		mega := strings.Repeat("x", 1<<20)
		for _, c := range []struct {
			call
			status int
		}{
			{call{method: "POST", path: "/api/bookings", body: mega}, 200},
			{call{method: "POST", path: "/api/bookings", body: mega, chunked: true}, 200},
			{call{method: "POST", path: "/api/bookings", body: mega + "y"}, 413},
			{call{method: "POST", path: "/api/bookings", body: mega + "y", chunked: true}, 413},
			{call{method: "POST", path: "/api/bookings", body: mega + mega + mega, chunked: true}, 413},
			{call{method: "PUT", path: "/api/users/7/avatar", body: mega + mega}, 200},
			{call{method: "PUT", path: "/api/users/7/avatar/x", body: mega + mega}, 413},
			{call{method: "PUT", path: "/api/users/7", body: mega + mega}, 413},
		} {
			a, err := d.try(c.call)
			if err != nil {
				t.Errorf("%s with %d bytes: %v", c.path, len(c.body), err)
				continue
			}
			if a.status != c.status || c.status == 413 && a.code() != "too_large" {
				t.Errorf("%s with %d bytes, chunked %v: %d %.200s", c.path, len(c.body), c.chunked, a.status, a.body)
			}
			if c.status == 200 && a.seen(t).Body != c.body {
				t.Errorf("%s: another body came through", c.path)
			}
		}
	})
}

// A client that reads only when it has sent all, as browsers do, must see why its body was refused.
func TestTheAnswerToALargeBodyIsSeen(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror))
		for _, encoding := range []string{"Content-Length: 9437184", "Transfer-Encoding: chunked"} {
			c := dial(t, d.url)
			io.WriteString(c, "POST /api/bookings HTTP/1.1\r\nHost: x\r\n"+encoding+"\r\n\r\n")
			part := strings.Repeat("x", 1<<20)
			for range 9 {
				if strings.HasPrefix(encoding, "Transfer") {
					io.WriteString(c, "100000\r\n")
				}
				if _, err := io.WriteString(c, part); err != nil {
					t.Fatalf("%s: %v", encoding, err)
				}
				if strings.HasPrefix(encoding, "Transfer") {
					io.WriteString(c, "\r\n")
				}
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != 413 {
				t.Fatalf("%s: %v %v", encoding, res, err)
			}
		}
	})
}

func TestABodyThatTricklesEnds(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror), with(hasty(t)))
		c := dial(t, d.url)
		io.WriteString(c, "POST /api/bookings HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 504 {
			t.Fatalf("%v %v", res, err)
		}
		io.Copy(io.Discard, c) // returns when the gateway has closed the connection
		if a := d.do(t, call{path: "/api/bookings"}); a.status != 200 {
			t.Errorf("a slow client cost the service its place: %d %s", a.status, a.body)
		}
	})
}

func TestWebsockets(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, map[string]http.Handler{"message": sockets(t), "booking": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}, with(hasty(t)))
		c := dial(t, d.url)
		io.WriteString(c, socket)
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" {
			t.Fatalf("%v %v", res, err)
		}
		echo := func(s string) {
			t.Helper()
			io.WriteString(c, s)
			b := make([]byte, len(s))
			if _, err := io.ReadFull(in, b); err != nil || string(b) != s {
				t.Fatalf("%q came back as %q: %v", s, b, err)
			}
		}
		echo("ping")
		d.do(t, call{path: "/api/bookings"}) // takes as long as the deadline of a route
		echo(strings.Repeat("long after ", 20000))
	})
}

func TestOtherUpgradesDoNotPass(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror))
		for _, up := range []string{"h2c", "websocket, h2c", "tls/1.2"} {
			s := d.do(t, call{path: "/api/bookings", header: http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {up}, "Http2-Settings": {"AAMAAABkAARAAAAAAAIAAAAA"}}}).seen(t)
			if s.Header["Upgrade"] != nil || s.Header["Connection"] != nil || s.Header["Http2-Settings"] != nil {
				t.Errorf("%q passed: %v", up, s.Header)
			}
		}
	})
}

func TestEventStreams(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		more := make(chan struct{})
		d := open(t, form, booking(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/bookings/stream" {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			http.NewResponseController(w).Flush()
			<-more
			io.WriteString(w, "data: 2\n\n")
		}), with(hasty(t)))
		r, _ := http.NewRequest("GET", d.url+"/api/bookings/stream", nil)
		r.Header.Set("Accept", "text/event-stream")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		in := bufio.NewReader(res.Body)
		if l, err := in.ReadString('\n'); l != "data: 1\n" {
			t.Fatalf("%q %v", l, err)
		}
		a := d.do(t, call{path: "/api/bookings", header: http.Header{"Accept": {"text/event-stream"}}}) // asks for a stream but opens none: the deadline holds
		if a.status != 504 && a.status != 200 {
			t.Errorf("%d", a.status)
		}
		close(more)
		if rest, err := io.ReadAll(in); string(rest) != "\ndata: 2\n\n" {
			t.Errorf("%q %v", rest, err)
		}
	})
}

func TestNotThere(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror))
		for path, want := range map[string]string{
			"/api/bookings": "200", "/api/bookings/": "200", "/api/availability/worker/1/slots": "200",
			"/api/projects": "503 not_installed", "/api/v1/chain/x": "503 not_installed", "/socket.io/": "503 not_installed",
			"/api/bookingsX": "404 not_found", "/api": "404 not_found", "/api/": "404 not_found", "/api/v2/x": "404 not_found", "/API/bookings": "404 not_found",
			"/nowhere": "404 not_found", "/docsX": "404 not_found", "/": "200", "/docs": "200", "/health": "200", "/readyz": "200", "/openapi.json": "200",
			"/api/../api/bookings": "400 malformed", "/api/bookings/..": "400 malformed", "/api/%2e%2e/bookings": "400 malformed", "/./api/bookings": "400 malformed",
			"/api//bookings": "400 malformed", "//api/bookings": "400 malformed", "/api/bookings%2f1": "400 malformed", "/api%2Fbookings": "400 malformed",
			"/api/bookings%5c1": "400 malformed", "/api/bookings/%00": "400 malformed", "/api/bookings/%0a": "400 malformed", "/%61pi/bookings": "200",
			"/api/bookings/" + strings.Repeat("a", 5000): "400 malformed", "/api/bookings/%252e%252e/x": "200",
		} {
			a := d.do(t, call{path: path})
			got := fmt.Sprint(a.status)
			if a.status >= 400 {
				got += " " + a.code()
			}
			if got != want {
				t.Errorf("%.60s: %s, want %s", path, got, want)
			}
			if got == "503 not_installed" && a.header.Get("Retry-After") != "" {
				t.Errorf("%s: coming back later does not help", path)
			}
		}
		for _, m := range []string{"TRACE", "PROPFIND", "SPY"} {
			if a := d.do(t, call{method: m, path: "/api/bookings"}); a.status != 405 || a.code() != "method_not_allowed" {
				t.Errorf("%s: %d %s", m, a.status, a.body)
			}
		}
	})
}

func TestTheLongestPathWins(t *testing.T) {
	names := []string{"auth", "user", "project", "payment", "message", "notification", "booking", "matching", "session", "worker", "client", "escrow", "dispute", "review", "search", "blockchain", "web"}
	each(t, func(t *testing.T, form string) {
		services := map[string]http.Handler{}
		for _, n := range names {
			services[n] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, n) })
		}
		d := open(t, form, services)
		for path, want := range map[string]string{
			"/api/auth/me": "auth", "/api/users/1": "user", "/api/workers": "user", "/api/clients/x": "user", "/api/projects": "project", "/api/bids/1": "project", "/api/agreements": "project",
			"/api/payments/webhook": "payment", "/api/messages": "message", "/socket.io/?EIO=4": "message", "/api/notifications": "notification", "/api/bookings": "booking", "/api/availability/worker/1": "booking",
			"/api/matching/find-workers": "matching", "/api/skills/search": "matching", "/api/sessions/1": "session", "/api/v1/workers/1": "worker", "/api/v1/clients": "client", "/api/v1/escrow": "escrow",
			"/api/v1/disputes/1/evidence": "dispute", "/api/v1/reviews": "review", "/api/v1/badges/1": "review", "/api/v1/search/suggest?q=": "search", "/api/v1/chain": "blockchain",
			"/": "web", "/workers/ada": "web", "/api-docs": "web", "/a%2fb": "web",
		} {
			if a := d.do(t, call{path: path}); a.body != want {
				t.Errorf("%s went to %s, want %s", path, a.body, want)
			}
		}
	})
}

func TestServiceTokensFromOutside(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror), func(o *gateway.Options) {
			o.RejectToken = func(h http.Header) bool { return h.Get("Authorization") == "Bearer service" }
		})
		if a := d.do(t, call{path: "/api/bookings", header: http.Header{"Authorization": {"Bearer service"}}}); a.status != 401 || a.code() != "unauthorized" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestReadinessOfALocalService(t *testing.T) {
	ready := make(chan bool, 1)
	ready <- false
	o := gateway.Options{Config: []byte(kong(t)), Local: map[string]gateway.Local{"booking": {Handler: http.HandlerFunc(mirror), Ready: func() bool {
		r := <-ready
		ready <- r
		return r
	}}}}
	d := serve(t, o, &lines{})
	a := d.do(t, call{path: "/api/bookings"})
	if a.status != 503 || a.code() != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	<-ready
	ready <- true
	if a := d.do(t, call{path: "/api/bookings"}); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if !d.Ready() {
		t.Error("the gateway is not ready")
	}
	d.Drain()
	if a := d.do(t, call{path: "/readyz"}); a.status != 503 || d.Ready() {
		t.Errorf("draining: %d", a.status)
	}
}

func TestTheAccessLine(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, booking(mirror), func(o *gateway.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
		a := d.do(t, call{path: "/api/bookings/%22%7Bx?token=s3cret", header: http.Header{"X-Forwarded-For": {"9.9.9.9, 203.0.113.7"}, "Authorization": {"Bearer s3cret"}}})
		id := a.header.Get("X-Request-Id")
		var line map[string]any
		eventually(t, "there is no access line", func() bool {
			for l := range strings.Lines(d.log.String()) {
				if strings.Contains(l, id) {
					return json.Unmarshal([]byte(l), &line) == nil
				}
			}
			return false
		})
		for k, v := range map[string]any{"http.request.method": "GET", "url.path": `/api/bookings/"{x`, "http.response.status_code": 200.0, "client.ip": "203.0.113.7", "tulifo.service": "booking", "tulifo.route": "booking"} {
			if line[k] != v {
				t.Errorf("%s is %v, want %v", k, line[k], v)
			}
		}
		if strings.Count(d.log.String(), id) != 1 || strings.Contains(d.log.String(), "s3cret") {
			t.Errorf("log: %s", d.log)
		}
	})
}

func dial(t testing.TB, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

func wait(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal(what)
	}
}

// eventually asks for an outcome until it is there.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatal(what)
}
