package hostname

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ParsePattern returns the canonical form of a host that a service is deployed
// for: a name, an IP address, or "*." and a name, which stands for any one label
// in front of it. Case, a final dot, and the spelling of an international name
// or an address do not matter. The canonical form of a canonical form is itself.
// An error says what would be right.
func ParsePattern(host string) (string, error) {
	switch host {
	case "":
		return "", errors.New("host is empty: name one such as app1.example.com, or none at all to serve every host")
	case "*":
		return "", errors.New(`host "*": name no host at all to serve every one, or use "*.example.com" for one label`)
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.String(), nil
	}
	rest, isWildcard := strings.CutPrefix(host, wildcard)
	switch {
	case strings.Contains(rest, "*"):
		return "", fmt.Errorf("host %q: \"*\" may only stand for the whole first label, as in *.example.com", host)
	case strings.Contains(rest, "://"):
		return "", fmt.Errorf("host %q has a scheme: leave it out, as in app1.example.com", host)
	case strings.Contains(rest, "/"):
		return "", fmt.Errorf("host %q has a path: leave it out, as in app1.example.com", host)
	case strings.Contains(rest, ":"):
		return "", fmt.Errorf("host %q has a port: leave it out, a service answers for its hosts on every port", host)
	}
	name := Canonical(rest)
	if !IsName(name) {
		return "", fmt.Errorf("host %q is no host name: want labels of letters, digits and '-' with dots between, as in app1.example.com", host)
	}
	if isWildcard {
		return wildcard + name, nil
	}
	return name, nil
}

// ParseCanonical returns the host that others are redirected to as it stands among
// the canonical forms of all of them; "" is none. Where hosts is empty, which stands
// for every host, it may be any name. An error says what would be right.
func ParseCanonical(host string, hosts []string) (string, error) {
	if host == "" {
		return "", nil
	}
	name, err := ParsePattern(host)
	_, isWildcard := CutWildcard(name)
	switch {
	case err != nil:
		return "", err
	case isWildcard:
		return "", fmt.Errorf("canonical host %q: want one name, not a wildcard", host)
	case len(hosts) > 0 && !slices.Contains(hosts, name):
		return "", fmt.Errorf("canonical host %s is not among the hosts of the service: name it there too", name)
	}
	return name, nil
}

const wildcard = "*."

// CutWildcard returns what follows "*." in a pattern. If the pattern stands for
// one host alone, it returns that, and false.
func CutWildcard(pattern string) (parent string, ok bool) {
	return strings.CutPrefix(pattern, wildcard)
}

// IsOne reports whether a pattern stands for one host alone.
func IsOne(pattern string) bool { return pattern != Any && !strings.HasPrefix(pattern, wildcard) }

// ParsePrefix returns the canonical form of a path prefix that a service is
// deployed with: its escapes decoded, and without a slash at the end, so that it
// is "" where every path is below it. An error says what would be right.
func ParsePrefix(prefix string) (string, error) {
	decoded, err := url.PathUnescape(prefix)
	switch {
	case !strings.HasPrefix(prefix, "/"):
		return "", fmt.Errorf("path prefix %q: want one that begins with '/', such as /api", prefix)
	case err != nil:
		return "", fmt.Errorf("path prefix %q: %w; write a '%%' of its own as %%25", prefix, err)
	case strings.ContainsAny(prefix, "?#"):
		return "", fmt.Errorf("path prefix %q: want a path alone, such as /api", prefix)
	case strings.Count(decoded, "/") != strings.Count(prefix, "/"):
		return "", fmt.Errorf("path prefix %q: an encoded '/' is part of a name, which a prefix cannot end; write it as '/'", prefix)
	}
	decoded = strings.TrimSuffix(decoded, "/")
	if decoded == "" {
		return "", nil
	}
	for segment := range strings.SplitSeq(decoded[1:], "/") {
		switch segment {
		case "":
			return "", fmt.Errorf("path prefix %q has an empty segment: want one slash between names, as in /api/v1", prefix)
		case ".", "..":
			return "", fmt.Errorf("path prefix %q: no request with a segment %q is served", prefix, segment)
		}
	}
	return decoded, nil
}
