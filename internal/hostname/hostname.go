// Package hostname reads what comes from outside about hosts: the name that a
// client asks for, the patterns and path prefixes that a service is deployed
// with, and what a redirect is made of. None of it is trusted to be short, or
// to be a name at all.
package hostname

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// MaxLen is how many bytes a host name may have, in whatever form (RFC 1035,
// section 2.3.4). Clients may send longer ones in a request target and as SNI.
const MaxLen = 253

// Canonical returns the name in host, which is what a client says in a Host
// header, in a request target or as SNI: without port, brackets and final dot,
// in lower case, an international name in its ASCII form. Whatever else host
// is, it does not become a name by that: see IsName.
//
// A name of more than MaxLen bytes is returned as it was sent, for the time
// that its ASCII form takes grows with the square of its length. Nothing is
// allocated for a name that is canonical already.
func Canonical(host string) string {
	name := host
	if strings.HasPrefix(name, "[") {
		name, _, _ = strings.Cut(name[1:], "]")
	} else if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) > MaxLen {
		return name
	}
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return toASCII(name)
		}
	}
	return name
}

func toASCII(name string) string {
	if ascii, err := idna.Lookup.ToASCII(name); err == nil {
		return ascii
	}
	return strings.ToLower(name)
}

// IsName reports whether name is a host name in canonical form: labels of
// letters, digits and hyphens (RFC 1123, section 2.1), and of underscores, which
// are met in private networks. An IPv4 address is such a name too, an IPv6
// address is none.
func IsName(name string) bool {
	if len(name) > MaxLen {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// IsHostHeader reports whether h can be sent as the Host header of a request.
// The empty string can, which stands for no name.
func IsHostHeader(h string) bool {
	return !strings.ContainsFunc(h, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune("/?#@\\,", c)
	})
}

// Port returns the port of a Host header as it was sent, or "" if it has none
// that is a number up to 65535.
func Port(host string) string {
	port := host[strings.LastIndexByte(host, ':')+1:]
	if len(port) == len(host) {
		return ""
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "" // part of an address in brackets, or nonsense
	}
	return port
}

// Origin returns the beginning of a URL, up to its path: "https://app1.test:8443".
// The host is a canonical name or an address; port may be empty, for the one
// that the scheme implies. Origin reports false if host is neither, for then
// it came from a client, and could make something else of the URL.
func Origin(scheme, host, port string) (origin string, ok bool) {
	switch addr, err := netip.ParseAddr(host); {
	case err == nil && addr.Is6():
		host = "[" + host + "]"
	case err != nil && !IsName(host):
		return "", false
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port, true
}

// IsRequestTarget reports whether s, a path or URL, can stand in a request line as
// it is.
func IsRequestTarget(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' })
}
