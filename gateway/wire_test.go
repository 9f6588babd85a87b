package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"tulifo/gateway"
)

// script is a target that speaks to the gateway as a test wants: it is given each connection with its number, and closes it when it returns.
func script(t *testing.T, talk func(n int64, c net.Conn, in *bufio.Reader)) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var n atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if first, err := in.Peek(11); err != nil || string(first) == "GET /readyz" {
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
					return
				}
				talk(n.Add(1), c, in)
			}()
		}
	}()
	return serve(t, gateway.Options{Config: []byte(kong(t)), Log: silent, Targets: func(n string) []string {
		if n == "booking" {
			return []string{l.Addr().String()}
		}
		return nil
	}}, &lines{})
}

// heard is the path of the next request.
func heard(in *bufio.Reader) (string, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return "", err
	}
	return r.URL.Path, nil
}

func whole(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (d *door) read(t *testing.T, method, path string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequest(method, d.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func TestAnAnswerThatNobodyAskedForIsNobodys(t *testing.T) {
	for name, apart := range map[string]bool{"with the one before": false, "while the connection is idle": true} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan struct{}, 1)
			more := make(chan struct{}, 1)
			d := script(t, func(_ int64, c net.Conn, in *bufio.Reader) {
				for {
					path, err := heard(in)
					if err != nil {
						return
					}
					if !apart {
						fmt.Fprint(c, whole(path)+whole("stolen"))
						continue
					}
					fmt.Fprint(c, whole(path))
					<-more
					fmt.Fprint(c, whole("stolen"))
					sent <- struct{}{}
				}
			})
			for i := range 5 {
				path := fmt.Sprintf("/api/bookings/%d", i)
				if status, body, err := d.read(t, "GET", path); status != 200 || body != path || err != nil {
					t.Fatalf("%s was answered %d %q, %v", path, status, body, err)
				}
				if apart {
					more <- struct{}{}
					<-sent
				}
			}
		})
	}
}

func TestAReadIsAskedAgainOnlyWhenAnIdleConnectionWasClosed(t *testing.T) {
	var asked atomic.Int64
	d := script(t, func(n int64, c net.Conn, in *bufio.Reader) {
		for i := range 2 {
			path, err := heard(in)
			if err != nil || i == 1 {
				return // the second request on a connection is read and not answered
			}
			asked.Add(1)
			fmt.Fprint(c, whole(path))
		}
	})
	for i := range 4 {
		path := fmt.Sprintf("/api/bookings/%d", i)
		if status, body, err := d.read(t, "GET", path); status != 200 || body != path || err != nil {
			t.Fatalf("%s was answered %d %q, %v", path, status, body, err)
		}
	}
	if asked.Load() != 4 {
		t.Errorf("4 reads were answered %d times", asked.Load())
	}
}

// A target closes an idle connection just before the next write, which has to go over another: it was never sent.
func TestAWriteGoesOverNoClosedConnection(t *testing.T) {
	hung := make(chan struct{})
	var asked atomic.Int64
	d := script(t, func(_ int64, c net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		b, _ := io.ReadAll(r.Body)
		asked.Add(1)
		fmt.Fprint(c, whole(string(b)))
		c.Close()
		hung <- struct{}{}
	})
	const writes = 300
	for i := range writes {
		said := fmt.Sprintf("write %d", i)
		c := call{method: []string{"POST", "PUT", "PATCH"}[i%3], path: "/api/bookings/1", body: said}
		if a := d.do(t, c); a.status != 200 || a.body != said {
			t.Fatalf("%s: %d %s\n%s", said, a.status, a.body, d.log)
		}
		<-hung
	}
	if asked.Load() != writes {
		t.Errorf("%d writes were taken %d times", writes, asked.Load())
	}
}

// A write that a target has read and not answered may have been done, whatever its key and its body.
func TestAWriteIsNotRepeated(t *testing.T) {
	var taken atomic.Int64
	d := script(t, func(_ int64, c net.Conn, in *bufio.Reader) {
		for i := range 2 {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			said, _ := io.ReadAll(r.Body)
			if r.Header.Get("Idempotency-Key") != "k" || r.ContentLength != int64(len(said)) {
				t.Errorf("%s of %d bytes has the header %v", r.Method, r.ContentLength, r.Header)
			}
			taken.Add(1)
			if i == 0 {
				fmt.Fprint(c, whole("done"))
			}
		}
	})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, said := range []string{"", "pay"} {
			for i, want := range []int{200, 503} {
				from := taken.Load()
				a := d.do(t, call{method: method, path: "/api/bookings/1", body: said, header: http.Header{"Idempotency-Key": {"k"}}})
				if n := taken.Load() - from; a.status != want || n != 1 {
					t.Errorf("%s %q, number %d on its connection: %d, taken %d times", method, said, i, a.status, n)
				}
			}
		}
	}
}

func TestATargetThatMisbehaves(t *testing.T) {
	var asked atomic.Int64
	d := script(t, func(_ int64, c net.Conn, in *bufio.Reader) {
		path, err := heard(in)
		if err != nil {
			return
		}
		asked.Add(1)
		switch strings.TrimPrefix(path, "/api/bookings/") {
		case "silent":
		case "garbage":
			fmt.Fprint(c, "SSH-2.0-OpenSSH\r\n\r\n")
		case "endless-header":
			for range 4000 {
				if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-A: %s\r\n", strings.Repeat("a", 1000)); err != nil {
					return
				}
			}
		case "switching":
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		case "informing":
			fmt.Fprint(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-Request-Id: forged\r\n\r\n", 3)+whole("well"))
		case "always-informing":
			fmt.Fprint(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 500))
		case "short":
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nshort")
		case "short-chunk":
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n")
		case "trailers":
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n")
		case "hops":
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Request-Id: forged\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 0\r\n\r\n")
		}
	})
	for path, want := range map[string]int{"silent": 503, "garbage": 503, "endless-header": 503, "switching": 503, "always-informing": 503, "informing": 200, "hops": 200} {
		asked.Store(0)
		if status, body, err := d.read(t, "GET", "/api/bookings/"+path); status != want || err != nil || asked.Load() != 1 {
			t.Errorf("%s was asked %d times and answered %d instead of %d: %q, %v", path, asked.Load(), status, want, body, err)
		}
	}
	for _, path := range []string{"short", "short-chunk"} {
		if status, body, err := d.read(t, "GET", "/api/bookings/"+path); err == nil {
			t.Errorf("%s broke off, and the client took %d %q for all", path, status, body)
		}
	}
	res, err := client.Get(d.url + "/api/bookings/trailers")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "body" || res.Trailer.Get("X-Sum") != "7" {
		t.Errorf("%q with the trailers %v, %v", body, res.Trailer, err)
	}
	if res, err = client.Get(d.url + "/api/bookings/hops"); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if h := res.Header; h.Get("X-Hop") != "" || len(h["X-Request-Id"]) != 1 || h.Get("X-Request-Id") == "forged" || h.Get("Strict-Transport-Security") != "" {
		t.Errorf("%v", h)
	}
}

func TestBrowsersAreToldToStayOnTLS(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		d := open(t, form, map[string]http.Handler{"booking": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Strict-Transport-Security", "max-age=0")
			if r.URL.Path == "/api/bookings/boom" {
				panic("boom")
			}
		})})
		secure := httptest.NewTLSServer(d.Handler())
		defer secure.Close()
		c := secure.Client()
		c.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com"
		c.Transport.(*http.Transport).DialTLSContext = func(context.Context, string, string) (net.Conn, error) {
			return tls.Dial("tcp", secure.Listener.Addr().String(), c.Transport.(*http.Transport).TLSClientConfig)
		}
		for _, at := range []struct{ url, want string }{
			{"https://example.com/api/bookings", "max-age=31536000"}, {"https://example.com/api/bookings/boom", "max-age=31536000"},
			{"https://example.com:8443/health", "max-age=31536000"}, {"https://example.com/api/nothing", "max-age=31536000"},
			{"https://localhost:8443/api/bookings", ""}, {"https://tulifo.localhost/api/bookings", ""}, {d.url + "/api/bookings", ""},
		} {
			res, err := c.Get(at.url)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if got := strings.Join(res.Header["Strict-Transport-Security"], "|"); got != at.want {
				t.Errorf("%s says %q instead of %q", at.url, got, at.want)
			}
		}
	})
}
