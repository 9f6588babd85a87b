package gateway

import (
	"net/http"
	"net/netip"
	"strings"
)

// Longer lists of addresses are nobody's real path; who sends one is taken for the peer that he is.
const (
	longestForwarded = 1 << 10 // bytes
	mostHops         = 16
)

// proxies are the peers whose word about the client is taken.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// client is the address that the request came from: the peer's, or, when the peer is trusted, the nearest hop of X-Forwarded-For that is not.
func (p proxies) client(r *http.Request) (addr netip.Addr, trusted bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv4Unspecified(), false // a listener without addresses: everybody is one client
	}
	addr = ap.Addr().Unmap().WithZone("")
	if len(p) == 0 || !p.trust(addr) {
		return addr, false
	}
	lines := r.Header["X-Forwarded-For"]
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if size > longestForwarded {
		return addr, true
	}
	peer, hops := addr, 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for rest != "" {
			hop := rest
			if c := strings.LastIndexByte(rest, ','); c >= 0 {
				rest, hop = rest[:c], rest[c+1:]
			} else {
				rest = ""
			}
			if hops++; hops > mostHops {
				return peer, true
			}
			a, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return addr, true // what stands left of garbage is not believed either
			}
			addr = a
			if !p.trust(a) {
				return addr, true
			}
		}
	}
	return addr, true
}

func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// limitKey is the part of an address that limits count by: an IPv6 customer holds a whole /64.
func limitKey(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		return a.AppendTo(b)
	}
	n, err := a.Prefix(64)
	if err != nil {
		return a.AppendTo(b)
	}
	return n.AppendTo(b)
}
