package cookies

import (
	"net/http"
	"net/textproto"
	"strings"
)

// Scope adds prefix to the paths of the cookies that an answer sets. The app was sent
// the request without the prefix, so its paths lack it. So apps below different
// prefixes of a host do not get or overwrite each other's cookies.
//
// prefix is written as in a URL, without a slash at the end, such as /api. Scope puts
// it in front of each Path that begins with a slash, unless it has the prefix already:
// /x becomes /api/x, and / becomes /api, not /api/, for which browsers would not send
// the cookie to /api itself (RFC 6265, section 5.1.4). All other bytes stay the same.
//
// A cookie without such a Path gets prefix as its Path. By itself it would be for the
// directory of the request's URL (same section), which for /api is /, and so for the
// app's neighbours.
//
// Scope does not change a cookie that others are to get: one whose Domain (section
// 5.2.3) is another name than host, the name that the client asked for, in lower case
// and without port. Nor does it change a cookie whose name begins with __Host-, which
// browsers refuse with another Path than /. It does nothing if prefix has a semicolon,
// which a Path cannot have.
//
// The values of h may be shared: Scope replaces the slice.
func Scope(h http.Header, prefix, host string) {
	set := h["Set-Cookie"]
	if len(set) == 0 || prefix == "" || strings.Contains(prefix, ";") {
		return
	}
	scoped := make([]string, len(set))
	for i, cookie := range set {
		scoped[i] = scope(cookie, prefix, host)
	}
	h["Set-Cookie"] = scoped
}

// scope is Scope for one cookie.
func scope(cookie, prefix, host string) string {
	const ofHost = "__Host-"
	pair, rest, more := strings.Cut(cookie, ";")
	if name := textproto.TrimString(pair); len(name) >= len(ofHost) && strings.EqualFold(name[:len(ofHost)], ofHost) {
		return cookie
	}
	if domain := domainOf(rest); domain != "" && !strings.EqualFold(domain, host) {
		return cookie
	}
	var b strings.Builder
	b.Grow(len(cookie) + len("; Path=") + len(prefix))
	b.WriteString(pair)
	hasPath := false
	for more {
		var attribute string
		attribute, rest, more = strings.Cut(rest, ";")
		b.WriteByte(';')
		before, path, isPath := cutPath(attribute)
		named := strings.HasPrefix(path, "/")
		if isPath {
			hasPath = named // the last one counts
		}
		b.WriteString(before)
		if end := textproto.TrimString(path); named && !isBelow(end, prefix) {
			b.WriteString(prefix)
			if end == "/" {
				path = path[1:]
			}
		}
		b.WriteString(path)
	}
	if !hasPath {
		b.WriteString("; Path=")
		b.WriteString(prefix)
	}
	return b.String()
}

// domainOf returns the name that the attributes of a cookie have as its Domain, or "".
// The last one that is not empty counts (RFC 6265, sections 5.2.3 and 5.3).
func domainOf(attributes string) (domain string) {
	for attribute := range strings.SplitSeq(attributes, ";") {
		name, value, _ := strings.Cut(attribute, "=")
		if strings.EqualFold(textproto.TrimString(name), "Domain") {
			if value = textproto.TrimString(value); value != "" {
				domain = strings.TrimPrefix(value, ".")
			}
		}
	}
	return domain
}

// cutPath cuts a Path attribute before its value (RFC 6265, section 5.2). For another
// attribute it returns that as before, and false.
func cutPath(attribute string) (before, path string, isPath bool) {
	name, value, _ := strings.Cut(attribute, "=")
	if !strings.EqualFold(textproto.TrimString(name), "Path") {
		return attribute, "", false
	}
	path = strings.TrimLeft(value, " \t")
	return attribute[:len(attribute)-len(path)], path, true
}

// isBelow reports whether a browser sends a cookie with the path prefix for path.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
