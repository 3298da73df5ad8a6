package forward

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// A Client is who sent a request.
type Client struct {
	// Addr is the client's address. It is not valid if the peer has no IP
	// address, as on a unix socket.
	Addr netip.Addr

	// Trusted is whether the peer is trusted: the X-Forwarded-* fields that it
	// sent, and the like, are kept.
	Trusted bool
}

// NearbyPrefixes returns the loopback, private and link-local ranges (RFC 1122,
// 1918, 3927, 4193, 4291), where the proxies in front of a proxy usually are.
func NearbyPrefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fc00::/7"),
		netip.MustParsePrefix("fe80::/10"),
	}
}

// ClientOf returns the client of r. That is the peer, r.RemoteAddr, unless trusted
// contains it. Then it is the address in the field header, if header is not ""
// and the field has an address. Otherwise it is the last address in X-Forwarded-For
// that trusted does not contain, or the first one if it contains all. The search
// from the end of the list stops at what is not an address.
func ClientOf(r *http.Request, trusted []netip.Prefix, header string) Client {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	c := Client{Addr: normalize(peer.Addr())}
	if !containsAddr(c.Addr, trusted) {
		return c
	}
	c.Trusted = true
	if header != "" {
		if addr, ok := parseHop(r.Header.Get(header)); ok {
			c.Addr = addr
			return c
		}
	}
	hops := r.Header["X-Forwarded-For"]
	for i := len(hops) - 1; i >= 0; i-- {
		for list, more := hops[i], true; more; {
			var last string
			list, last, more = cutLast(list)
			addr, ok := parseHop(last)
			if !ok {
				return c
			}
			c.Addr = addr
			if !containsAddr(addr, trusted) {
				return c
			}
		}
	}
	return c
}

// IsSecure reports whether the client of r used TLS: r came over TLS, or a trusted
// peer says so in X-Forwarded-Proto. A chain of proxies may leave a list there, such
// as "https, http"; its first element counts. Some proxies write wss for WebSockets
// over TLS.
func (c Client) IsSecure(r *http.Request) bool {
	if r.TLS != nil || !c.Trusted {
		return r.TLS != nil
	}
	for _, list := range r.Header["X-Forwarded-Proto"] {
		for scheme := range field.Elements(list) {
			return strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "wss")
		}
	}
	return false
}

// cutLast cuts the last element off a list with commas.
func cutLast(list string) (rest, last string, more bool) {
	if i := strings.LastIndexByte(list, ','); i >= 0 {
		return list[:i], list[i+1:], true
	}
	return "", list, false
}

// parseHop parses an element of X-Forwarded-For: an address, with or without
// brackets and a port, which many proxies add.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	} else if strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1 {
		hop, err := netip.ParseAddrPort(s)
		return normalize(hop.Addr()), err == nil
	}
	addr, err := netip.ParseAddr(s)
	return normalize(addr), err == nil
}

// normalize returns addr in the form that prefixes are compared with.
func normalize(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func containsAddr(addr netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
