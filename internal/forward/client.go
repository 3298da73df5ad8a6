package forward

import (
	"net/http"
	"net/netip"
	"strconv"
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

	// hops is how many elements of X-Forwarded-For were read, from its end, to
	// find Addr.
	hops int
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
			c.hops++
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
	return r.TLS != nil || c.scheme(r) == "https"
}

// scheme returns "http" or "https" as a trusted peer says in X-Forwarded-Proto, or
// "" if none does.
func (c Client) scheme(r *http.Request) string {
	if !c.Trusted {
		return ""
	}
	for _, list := range r.Header["X-Forwarded-Proto"] {
		for scheme := range field.Elements(list) {
			if strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "wss") {
				return "https"
			}
			return "http"
		}
	}
	return ""
}

// Port returns the port at which the client of r reaches URLs of a scheme, "http" or
// "https", as a trusted peer says in X-Forwarded-Port; or 0 if none does, or says
// it of the other scheme. Where several proxies have left a list, the element counts
// that stands where the client's address does in X-Forwarded-For, counted from the
// end, or the first one of a shorter list: what is before it may be invented.
//
// A peer that does not name the scheme, in X-Forwarded-Proto, means the one of r, or
// that of the port if it is 80 or 443. But where r is plain, another port than the one
// in the Host field cannot be where r was sent to, and so is that of https.
func (c Client) Port(r *http.Request, scheme string) uint16 {
	port := c.forwardedPort(r)
	said := c.scheme(r)
	switch {
	case port == 0 || said == scheme:
		return port
	case said != "" || port == 80 && scheme == "https" || port == 443 && scheme == "http":
		return 0
	case (scheme == "https") == (r.TLS != nil):
		return port
	case scheme == "https" && strconv.Itoa(int(port)) != hostPort(r.Host):
		return port
	}
	return 0
}

// forwardedPort returns the port in X-Forwarded-Port that is the client's, or 0.
func (c Client) forwardedPort(r *http.Request) uint16 {
	if !c.Trusted {
		return 0
	}
	element, hops := "", max(c.hops, 1)
	lists := r.Header["X-Forwarded-Port"]
	for i := len(lists) - 1; i >= 0; i-- {
		for list, more := lists[i], true; more && hops > 0; hops-- {
			list, element, more = cutLast(list)
		}
	}
	port, err := strconv.ParseUint(strings.Trim(element, " \t"), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// hostPort returns what follows the last colon of a Host field, or "".
func hostPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		return host[i+1:]
	}
	return ""
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
