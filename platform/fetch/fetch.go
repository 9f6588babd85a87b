// Package fetch reads addresses that a person has given, such as a calendar's, without lending that person the machine's place in the network.
//
// Always: only http and https on their own ports; a name is resolved once and exactly the address that was checked is dialled, so that a name
// which answers differently the second time gains nothing; nothing but public addresses is dialled, redirects included, unless the operator
// has named an address; no proxy, cookie, credential or referrer goes along; time, size after decompression and kind of the answer are bounded.
// What is told of a failure is the same whether or not something is there inside.
package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	timeLimit    = 10 * time.Second // for everything, redirects and body included
	maxRedirects = 3
	maxURL       = 2048
	maxHeader    = 64 << 10
)

// Refused says why an address was not read, in a form that may be shown to whoever gave it: it follows the name of a field or "The calendar".
type Refused struct {
	Reason string
	cause  error
}

func (r *Refused) Error() string {
	if r.cause != nil {
		return "fetch: " + r.Reason + ": " + r.cause.Error()
	}
	return "fetch: " + r.Reason
}

func (r *Refused) Unwrap() error { return r.cause }

// Options are what an operator, or a test, may set.
type Options struct {
	Allow    []string       // addresses that may be dialled although they are not public: 10.1.2.3, 10.1.0.0/16 or 127.0.0.1:8080
	Resolver *net.Resolver  // the system's when nil
	Roots    *x509.CertPool // the system's when nil
}

// Client reads addresses.
type Client struct {
	allow    []allowed
	resolver *net.Resolver
	http     *http.Client
}

// New is a client that dials what is public and what the options allow. It fails when an allowed address is none.
func New(o Options) (*Client, error) {
	c := &Client{resolver: o.Resolver}
	if c.resolver == nil {
		c.resolver = net.DefaultResolver
	}
	for _, text := range o.Allow {
		if strings.TrimSpace(text) == "" {
			continue
		}
		a, err := readAllowed(text)
		if err != nil {
			return nil, err
		}
		c.allow = append(c.allow, a)
	}
	c.http = &http.Client{CheckRedirect: c.redirect, Transport: &http.Transport{
		DialContext: c.dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots},
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader, ForceAttemptHTTP2: true,
	}}
	return c, nil
}

// Request is what to read.
type Request struct {
	URL          string
	Accept       string
	Starts       string // what the body has to start with, after a byte order mark and space; anything is fine when it is empty
	MaxBytes     int64
	ETag         string // of the answer that is known already
	LastModified string // of the same
}

// Response is what was read. NotModified: what is known already still holds, and Body is empty.
type Response struct {
	Body         []byte
	NotModified  bool
	ETag         string
	LastModified string
}

// Get reads an address. A *Refused says what the person who gave it has to know.
func (c *Client) Get(ctx context.Context, r Request) (Response, error) {
	u, err := c.check(r.URL)
	if err != nil {
		return Response{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Response{}, &Refused{Reason: notAnAddress, cause: err}
	}
	req.Header.Set("User-Agent", "Tulifo")
	req.Header.Set("Accept-Encoding", "gzip")
	for name, v := range map[string]string{"Accept": r.Accept, "If-None-Match": r.ETag, "If-Modified-Since": r.LastModified} {
		if v != "" {
			req.Header.Set(name, v)
		}
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return Response{}, explained(err)
	}
	defer answer.Body.Close()
	return read(answer, r)
}

func read(answer *http.Response, r Request) (Response, error) {
	out := Response{ETag: bounded(answer.Header.Get("ETag")), LastModified: bounded(answer.Header.Get("Last-Modified"))}
	known := r.ETag != "" || r.LastModified != ""
	switch {
	case answer.StatusCode == http.StatusNotModified && known:
		out.NotModified = true
		return out, nil
	case answer.StatusCode != http.StatusOK:
		return out, &Refused{Reason: fmt.Sprintf("is answered with the status %d", answer.StatusCode)}
	}
	var body io.Reader = answer.Body
	switch strings.ToLower(answer.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return out, &Refused{Reason: badEncoding, cause: err}
		}
		body = unzipped
	default:
		return out, &Refused{Reason: badEncoding}
	}
	// Before the rest is waited for: what does not start right is not worth it.
	start := make([]byte, min(512, r.MaxBytes+1))
	n, err := io.ReadFull(body, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return out, explained(err)
	}
	if !startsWith(start[:n], r.Starts) {
		return out, &Refused{Reason: "does not lead to what it should"}
	}
	rest, err := io.ReadAll(io.LimitReader(body, r.MaxBytes+1-int64(n)))
	if err != nil {
		return out, explained(err)
	}
	if out.Body = append(start[:n], rest...); int64(len(out.Body)) > r.MaxBytes {
		return Response{}, &Refused{Reason: fmt.Sprintf("is larger than %d bytes", r.MaxBytes)}
	}
	return out, nil
}

const (
	notAnAddress = "is not an http or https address"
	unreachable  = "cannot be reached from the public internet"
	badEncoding  = "is compressed in a way that cannot be read"
)

func startsWith(body []byte, want string) bool {
	body = bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	return len(body) >= len(want) && strings.EqualFold(string(body[:len(want)]), want)
}

// bounded drops a header that is too long, or not fit, to be sent back.
func bounded(v string) string {
	if len(v) > 512 || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return v
}

// explained is err as a sentence. Whatever happened before a public server answered is told alike, so that nobody learns what is inside.
func explained(err error) error {
	if no, ok := errors.AsType[*Refused](err); ok {
		return no
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Refused{Reason: "has a certificate that cannot be verified", cause: err}
	}
	return &Refused{Reason: unreachable, cause: unnamed(err)}
}

// unnamed is err without the address, which may be as good as a password.
func unnamed(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// redirect lets a redirect pass when its address would have passed.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &Refused{Reason: "is redirected too often"}
	}
	if _, err := c.check(req.URL.String()); err != nil {
		return &Refused{Reason: unreachable, cause: unnamed(err)}
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return &Refused{Reason: "is redirected to an address without TLS"}
	}
	req.Header.Del("Referer") // it would carry the address on, secrets and all
	return nil
}

// dial resolves a name once, and dials what it has checked.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &Refused{Reason: unreachable, cause: err}
	}
	found, err := c.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &Refused{Reason: unreachable, cause: err}
	}
	dialer := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !c.may(to) {
			return &Refused{Reason: unreachable}
		}
		return nil
	}}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, &Refused{Reason: unreachable, cause: err}
	}
	for _, ip := range found {
		// A resolver writes an IPv4 address in either form; what is asked for in the mapped form has been refused by check.
		if !c.may(netip.AddrPortFrom(ip.Unmap(), uint16(number))) {
			return nil, &Refused{Reason: unreachable}
		}
	}
	var failed error = &Refused{Reason: unreachable}
	for _, ip := range found {
		conn, err := dialer.DialContext(ctx, network, netip.AddrPortFrom(ip.Unmap(), uint16(number)).String())
		if err == nil {
			return conn, nil
		}
		failed = &Refused{Reason: unreachable, cause: err}
	}
	return nil, failed
}
