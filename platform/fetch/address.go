package fetch

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// notPublic are the networks of RFC 6890 and its successors that are not the public internet. Of IPv6 only 2000::/3 is looked at, so that
// loopback, mapped, NAT64, unique local, link-local and multicast addresses are refused with everything else that is not assigned.
var (
	notPublic = prefixes("0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 "+
		"192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4",
		"2001::/23 2001:db8::/32 2002::/16 3fff::/20")
	global6 = netip.MustParsePrefix("2000::/3")
)

func prefixes(lists ...string) (out []netip.Prefix) {
	for _, list := range lists {
		for p := range strings.FieldsSeq(list) {
			out = append(out, netip.MustParsePrefix(p))
		}
	}
	return out
}

// Public says whether an address is one of the public internet. An IPv4 address in an IPv6 one is not, whichever way it was put there.
func Public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !global6.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

// PublicName says whether a host is written like a name of the public DNS; a number, in whatever notation, is none.
func PublicName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	if _, err := netip.ParseAddr(host); err == nil || len(host) > 253 || len(labels) < 2 || numeric(last) {
		return false
	}
	if slices.Contains([]string{"localhost", "local", "internal", "arpa", "test", "invalid", "onion", "lan", "home", "corp", "intranet", "localdomain"}, last) {
		return false
	}
	return !slices.ContainsFunc(labels, func(l string) bool { return l == "" || len(l) > 63 })
}

// numeric says that a host which ends in label is read as a number by some resolver: 127.1, 0x7f000001 and 017700000001 are addresses to them.
func numeric(label string) bool { return label == "" || label[0] >= '0' && label[0] <= '9' }

// allowed is an address that the operator has named; port 0 means every port.
type allowed struct {
	prefix netip.Prefix
	port   uint16
}

func readAllowed(text string) (allowed, error) {
	text = strings.TrimSpace(text)
	if p, err := netip.ParsePrefix(text); err == nil {
		return allowed{p.Masked(), 0}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return allowed{netip.PrefixFrom(a, a.BitLen()), 0}, nil
	}
	if a, err := netip.ParseAddrPort(text); err == nil {
		return allowed{netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), a.Port()}, nil
	}
	return allowed{}, fmt.Errorf("FETCH_ALLOW: %q is neither an address, nor one with a port, nor a network such as 10.1.0.0/16", text)
}

// may says whether the client dials there.
func (c *Client) may(to netip.AddrPort) bool {
	if Public(to.Addr()) && (to.Port() == 80 || to.Port() == 443) {
		return true
	}
	return slices.ContainsFunc(c.allow, func(a allowed) bool {
		return a.prefix.Contains(to.Addr()) && (a.port == 0 || a.port == to.Port())
	})
}

// check looks at an address as it is written. What its host leads to is seen when it is dialled.
func (c *Client) check(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, &Refused{Reason: notAnAddress}
	case u.User != nil:
		return nil, &Refused{Reason: "has a user name or a password in it"}
	case !c.portAllowed(u.Port()):
		return nil, &Refused{Reason: "names a port other than 80 and 443"}
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if a.Is4In6() || a.Zone() != "" {
			return nil, &Refused{Reason: unreachable}
		}
	} else if labels := strings.Split(strings.TrimSuffix(u.Hostname(), "."), "."); numeric(labels[len(labels)-1]) {
		return nil, &Refused{Reason: unreachable}
	}
	u.Fragment = ""
	return u, nil
}

func (c *Client) portAllowed(port string) bool {
	if port == "" || port == "80" || port == "443" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && slices.ContainsFunc(c.allow, func(a allowed) bool { return a.port == 0 || a.port == uint16(n) })
}
