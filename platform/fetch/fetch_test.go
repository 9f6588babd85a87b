package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/fetch"
)

// names is a DNS server of the test: each question is answered with the next address of its name, the last one for ever. It is asked over UDP.
type names struct {
	mu    sync.Mutex
	a     map[string][]netip.Addr
	asked map[string]int // A questions
}

func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	n.asked = map[string]int{}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := conn.WriteTo(n.answer(buf[:size]), from); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { conn.Close(); work.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answer is the reply to one question of RFC 1035, with one record if there is an address of the kind that is asked for.
func (n *names) answer(q []byte) []byte {
	end, labels := 12, []string{}
	for q[end] != 0 {
		labels = append(labels, string(q[end+1:end+1+int(q[end])]))
		end += 1 + int(q[end])
	}
	kind := q[end+2]
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end+5]...)
	n.mu.Lock()
	defer n.mu.Unlock()
	name := strings.ToLower(strings.Join(labels, "."))
	list := n.a[name]
	if len(list) == 0 {
		out[3] |= 3 // no such name
		return out
	}
	at := list[0]
	if want := map[byte]bool{1: at.Is4(), 28: at.Is6()}[kind]; !want {
		return out
	}
	n.asked[name]++
	if len(list) > 1 {
		n.a[name] = list[1:]
	}
	raw := at.AsSlice()
	out[7] = 1
	out = append(out, 0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
	return append(out, raw...)
}

func client(t *testing.T, o fetch.Options) *fetch.Client {
	t.Helper()
	c, err := fetch.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// inner is a server that must never be reached.
func inner(t *testing.T, address string) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	hits := &atomic.Int32{}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the inside") }))
	s.Listener.Close()
	s.Listener = countingListener{l, hits}
	s.Start()
	t.Cleanup(s.Close)
	return s, hits
}

type countingListener struct {
	net.Listener
	hits *atomic.Int32
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.hits.Add(1)
	}
	return c, err
}

func host(s *httptest.Server) string {
	return strings.TrimPrefix(strings.TrimPrefix(s.URL, "https://"), "http://")
}

func refused(t *testing.T, c *fetch.Client, r fetch.Request, why string) {
	t.Helper()
	if r.MaxBytes == 0 {
		r.MaxBytes = 1 << 20
	}
	_, err := c.Get(t.Context(), r)
	no, ok := errors.AsType[*fetch.Refused](err)
	if !ok || no.Reason != why {
		t.Errorf("%.80s: %v, want it refused because it %s", r.URL, err, why)
	}
}

const outOfReach = "cannot be reached from the public internet"

func TestOnlyPublicAddressesArePublic(t *testing.T) {
	for _, a := range []string{"1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"} {
		if !fetch.Public(netip.MustParseAddr(a)) {
			t.Errorf("%s is public", a)
		}
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1",
		"192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1",
	} {
		if fetch.Public(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
}

func TestPublicNames(t *testing.T) {
	for _, h := range []string{"fcm.googleapis.com", "updates.push.services.mozilla.com.", "calendar.example"} {
		if !fetch.PublicName(h) {
			t.Errorf("%s is a public name", h)
		}
	}
	for _, h := range []string{"", "localhost", "a.localhost", "printer.local", "db.internal", "1.0.0.127.in-addr.arpa", "8.8.8.8", "::1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "a..b", strings.Repeat("a", 64) + ".com"} {
		if fetch.PublicName(h) {
			t.Errorf("%s is not a public name", h)
		}
	}
}

// The port of the inner server is allowed, at another address: only the address is in the way.
func TestNoNotationOfAnInnerAddressReachesIt(t *testing.T) {
	s, hits := inner(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(host(s))
	c := client(t, fetch.Options{Allow: []string{"192.0.2.7:" + port}})
	for _, h := range []string{
		"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
		"[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "localhost", "LOCALHOST", "0.0.0.0", "[::]", "0", "169.254.169.254", "%31%32%37.0.0.1", "127。0。0。1", "①②⑦.0.0.1",
	} {
		for _, scheme := range []string{"http", "https"} {
			_, err := c.Get(t.Context(), fetch.Request{URL: scheme + "://" + h + ":" + port + "/", MaxBytes: 100})
			no, ok := errors.AsType[*fetch.Refused](err)
			if !ok || no.Reason != outOfReach && no.Reason != "is not an http or https address" {
				t.Errorf("%s://%s: %v", scheme, h, err)
			}
		}
	}
	if n := hits.Load(); n > 0 {
		t.Errorf("the inner server was reached %d times", n)
	}
}

func TestAddressesThatAreNoneAreRefused(t *testing.T) {
	c := client(t, fetch.Options{})
	for raw, why := range map[string]string{
		"":                        "is not an http or https address",
		"file:///etc/passwd":      "is not an http or https address",
		"gopher://1.1.1.1/":       "is not an http or https address",
		"ftp://1.1.1.1/":          "is not an http or https address",
		"http:1.1.1.1":            "is not an http or https address",
		"//1.1.1.1/":              "is not an http or https address",
		"http://":                 "is not an http or https address",
		"http://1.1.1.1/\r\nX: y": "is not an http or https address",
		"http://1.1.1.1/" + strings.Repeat("a", 3000): "is not an http or https address",
		"http://me:secret@1.1.1.1/":                   "has a user name or a password in it",
		"http://1.1.1.1@127.0.0.1/":                   "has a user name or a password in it",
		"http://1.1.1.1:22/":                          "names a port other than 80 and 443",
		"http://1.1.1.1:6379/":                        "names a port other than 80 and 443",
	} {
		refused(t, c, fetch.Request{URL: raw}, why)
	}
}

func TestWhatIsInsideIsNotToldFromWhatIsNot(t *testing.T) {
	n := &names{a: map[string][]netip.Addr{"there.example": {netip.MustParseAddr("10.0.0.5")}, "six.example": {netip.MustParseAddr("fd00::1")}, "mixed.example": {netip.MustParseAddr("::ffff:127.0.0.1")}}}
	c := client(t, fetch.Options{Resolver: n.resolver(t)})
	for _, h := range []string{"there.example", "six.example", "mixed.example", "absent.example", "127.0.0.1"} {
		refused(t, c, fetch.Request{URL: "http://" + h + "/"}, outOfReach)
	}
}

// A name that is public when it is looked at and loopback a moment later gains nothing: it is resolved once, and what was checked is dialled.
func TestRebindingNameIsResolvedOnceAndDialledAsChecked(t *testing.T) {
	good, _ := inner(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(host(good))
	_, hits := inner(t, "127.0.0.2:"+port)
	here, there := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	n := &names{a: map[string][]netip.Addr{"swap.example": {here, there}}}
	c := client(t, fetch.Options{Allow: []string{"127.0.0.1:" + port}, Resolver: n.resolver(t)})
	r := fetch.Request{URL: "http://swap.example:" + port + "/", MaxBytes: 100}
	if got, err := c.Get(t.Context(), r); err != nil || string(got.Body) != "the inside" {
		t.Fatalf("the checked address: %q, %v", got.Body, err)
	}
	if n.mu.Lock(); n.asked["swap.example"] != 1 {
		t.Errorf("the name was resolved %d times for one reading", n.asked["swap.example"])
	}
	n.mu.Unlock()
	refused(t, c, r, outOfReach)
	if hits.Load() > 0 {
		t.Error("the other address was dialled")
	}
}

func TestRedirectsAreCheckedLikeAddresses(t *testing.T) {
	secret, hits := inner(t, "127.0.0.3:0")
	_, port, _ := net.SplitHostPort(host(secret))
	var to atomic.Value
	var referer atomic.Value
	referer.Store("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("Referer"); v != "" {
			referer.Store(v)
		}
		switch r.URL.Path {
		case "/go":
			http.Redirect(w, r, to.Load().(string), http.StatusFound)
		case "/1", "/2", "/3", "/4":
			http.Redirect(w, r, "/"+string(r.URL.Path[1]+1), http.StatusMovedPermanently)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusTemporaryRedirect)
		default:
			fmt.Fprint(w, "arrived")
		}
	}))
	defer s.Close()
	c := client(t, fetch.Options{Allow: []string{host(s), "192.0.2.7:" + port}})
	for _, target := range []string{
		"http://127.0.0.3:" + port + "/", "http://[::1]:" + port + "/", "http://169.254.169.254/latest/meta-data/", "http://0x7f000001/", "http://[::ffff:127.0.0.1]/", "http://2130706433/",
		"file:///etc/passwd", "gopher://127.0.0.1:" + port + "/", "http://user:pass@" + host(s) + "/", "//127.0.0.3:" + port + "/", "http://127.0.0.1:22/",
	} {
		to.Store(target)
		refused(t, c, fetch.Request{URL: s.URL + "/go?secret=1"}, outOfReach)
	}
	if hits.Load() > 0 {
		t.Error("a redirect reached an address that was not allowed")
	}
	if got, err := c.Get(t.Context(), fetch.Request{URL: s.URL + "/2?secret=1", MaxBytes: 100}); err != nil || string(got.Body) != "arrived" {
		t.Errorf("three redirects: %q, %v", got.Body, err)
	}
	refused(t, c, fetch.Request{URL: s.URL + "/1"}, "is redirected too often")
	refused(t, c, fetch.Request{URL: s.URL + "/round"}, "is redirected too often")
	if v := referer.Load(); v != "" {
		t.Errorf("the address went along as referrer: %q", v)
	}
}

func TestRedirectFromTLSToPlainIsRefused(t *testing.T) {
	plain, hits := inner(t, "127.0.0.1:0")
	s := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := client(t, fetch.Options{Allow: []string{"127.0.0.1"}, Roots: roots})
	refused(t, c, fetch.Request{URL: s.URL}, "is redirected to an address without TLS")
	refused(t, client(t, fetch.Options{Allow: []string{"127.0.0.1"}}), fetch.Request{URL: s.URL}, "has a certificate that cannot be verified")
	if hits.Load() > 0 {
		t.Error("the plain server was reached")
	}
}

// The bomb is 64 kB on the wire and 64 MB unpacked; it is read as far as the limit.
func TestDecompressionBombIsCutAtTheLimit(t *testing.T) {
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	zeros := bytes.Repeat([]byte{' '}, 1<<20)
	for range 64 {
		z.Write(zeros)
	}
	z.Close()
	var small bytes.Buffer
	z = gzip.NewWriter(&small)
	fmt.Fprint(z, "BEGIN:VCALENDAR")
	z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", map[string]string{"/br": "br", "/twice": "gzip, gzip"}[r.URL.Path])
		if r.URL.Path == "/bomb" || r.URL.Path == "/small" || r.URL.Path == "/cut" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		switch r.URL.Path {
		case "/bomb":
			w.Write(packed.Bytes())
		case "/cut":
			w.Write(small.Bytes()[:small.Len()-6])
		default:
			w.Write(small.Bytes())
		}
	}))
	defer s.Close()
	c := client(t, fetch.Options{Allow: []string{host(s)}})
	refused(t, c, fetch.Request{URL: s.URL + "/bomb", MaxBytes: 2 << 20}, "is larger than 2097152 bytes")
	refused(t, c, fetch.Request{URL: s.URL + "/br"}, "is compressed in a way that cannot be read")
	refused(t, c, fetch.Request{URL: s.URL + "/twice"}, "is compressed in a way that cannot be read")
	refused(t, c, fetch.Request{URL: s.URL + "/cut"}, outOfReach)
	if got, err := c.Get(t.Context(), fetch.Request{URL: s.URL + "/small", MaxBytes: 100, Starts: "begin:vcalendar"}); err != nil || string(got.Body) != "BEGIN:VCALENDAR" {
		t.Errorf("%q, %v", got.Body, err)
	}
}

// A body without end and a body that does not come both end with the caller's time.
func TestSlowAndEndlessBodiesEnd(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			fmt.Fprint(w, "BEGIN")
			w.(http.Flusher).Flush()
			<-release
		case "/endless":
			for {
				if _, err := fmt.Fprint(w, strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		case "/headers":
			for i := range 5000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("y", 100))
			}
		}
	}))
	defer s.Close()
	defer close(release)
	c := client(t, fetch.Options{Allow: []string{host(s)}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, fetch.Request{URL: s.URL + "/slow", MaxBytes: 100}); err == nil || !strings.Contains(err.Error(), outOfReach) {
		t.Errorf("a slow body: %v", err)
	}
	refused(t, c, fetch.Request{URL: s.URL + "/endless", MaxBytes: 1 << 20}, "is larger than 1048576 bytes")
	refused(t, c, fetch.Request{URL: s.URL + "/headers"}, outOfReach)
}

func TestWrongKindOfAnswerIsRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Cookie") != "" || r.Header.Get("Authorization") != "":
			t.Errorf("credentials went along: %v", r.Header)
		case r.URL.Path == "/html":
			fmt.Fprint(w, "<!doctype html><html>")
		case r.URL.Path == "/gone":
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			http.Error(w, "gone", http.StatusGone)
		case r.URL.Path == "/304":
			w.WriteHeader(http.StatusNotModified)
		case r.Header.Get("If-None-Match") == `"1"`:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"1"`)
			fmt.Fprint(w, "\ufeff\r\n begin:vcalendar")
		}
	}))
	defer s.Close()
	c := client(t, fetch.Options{Allow: []string{host(s)}})
	refused(t, c, fetch.Request{URL: s.URL + "/html", Starts: "BEGIN:VCALENDAR"}, "does not lead to what it should")
	refused(t, c, fetch.Request{URL: s.URL + "/gone"}, "is answered with the status 410")
	refused(t, c, fetch.Request{URL: s.URL + "/304"}, "is answered with the status 304")
	got, err := c.Get(t.Context(), fetch.Request{URL: s.URL + "/", MaxBytes: 100, Starts: "BEGIN:VCALENDAR"})
	if err != nil || got.ETag != `"1"` {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err = c.Get(t.Context(), fetch.Request{URL: s.URL + "/", MaxBytes: 100, ETag: got.ETag}); err != nil || !got.NotModified {
		t.Errorf("asked again: %+v, %v", got, err)
	}
}

func TestProxyOfTheEnvironmentIsNotAsked(t *testing.T) {
	proxy, hits := inner(t, "127.0.0.1:0")
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	c := client(t, fetch.Options{Resolver: (&names{}).resolver(t)})
	refused(t, c, fetch.Request{URL: "http://absent.example/"}, outOfReach)
	if hits.Load() > 0 {
		t.Error("the proxy was asked")
	}
}

func TestErrorsDoNotCarryTheAddress(t *testing.T) {
	c := client(t, fetch.Options{})
	_, err := c.Get(t.Context(), fetch.Request{URL: "http://127.0.0.1/private-0123456789/basic.ics", MaxBytes: 100})
	if err == nil || strings.Contains(err.Error(), "0123456789") {
		t.Errorf("%v", err)
	}
}

func TestAllowedAddressesAreRead(t *testing.T) {
	for text, ok := range map[string]bool{"127.0.0.1": true, "10.0.0.0/8": true, "[::1]:8080": true, "127.0.0.1:80": true, "localhost": false, "10.0.0.0/99": false, "": true} {
		if _, err := fetch.New(fetch.Options{Allow: []string{text}}); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
