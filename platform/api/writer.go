package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
)

// writer remembers the status that was answered.
type writer struct {
	http.ResponseWriter
	status int
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

func stack() string { return string(debug.Stack()) }

type clientKey struct{}

type client struct {
	addr  netip.Addr
	agent string
}

// ClientIP is the address of the person's machine, as the first trusted door saw it.
func ClientIP(ctx context.Context) netip.Addr {
	c, _ := ctx.Value(clientKey{}).(client)
	return c.addr
}

// UserAgent is the User-Agent header, cut to 256 bytes.
func UserAgent(ctx context.Context) string {
	c, _ := ctx.Value(clientKey{}).(client)
	return strings.ToValidUTF8(c.agent[:min(len(c.agent), 256)], "")
}

// clientAddr believes X-Forwarded-For only as far as trusted peers have written it: from the right, the first hop that is not trusted.
func (r *Router) clientAddr(req *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		host = req.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap()
	hops := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && r.trusted(addr); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
	}
	return addr
}

func (r *Router) trusted(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, p := range r.o.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
