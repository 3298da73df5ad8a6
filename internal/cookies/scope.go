package cookies

import (
	"net/http"
	"net/textproto"
	"strings"
)

// Scope narrows the cookies that an answer sets down to the paths below prefix:
// the app behind was sent the request without that prefix, so the paths it
// names lack it. Two apps below two prefixes of a host thus do not see or
// overwrite each other's cookies.
//
// The prefix is as it stands in a URL, without a slash at the end, such as
// /api; target is the request's, as the client sent it. In each Set-Cookie
// every Path that begins with a slash gets the prefix in front, unless it is
// below it already: /x becomes /api/x, and / becomes /api, not /api/, which
// would not be sent for /api itself (RFC 6265, section 5.1.4). All other bytes
// stay, in their order.
//
// A cookie with no such Path is one for the directory of the request, as the
// browser knows it (same section). So it has the prefix already, and is left
// alone. Only where that directory lies outside, as it does for a request of
// /api itself, the cookie gets a Path, the prefix: the app, which was asked for
// /, means all of its paths.
//
// A cookie whose name begins with __Host- stays as it is: with another Path
// than / a browser would refuse it. Nothing is done for a prefix with a
// semicolon, which no Path can hold.
//
// The values of h are not changed in place, so others may share them.
func Scope(h http.Header, prefix, target string) {
	set := h["Set-Cookie"]
	if len(set) == 0 || prefix == "" || strings.Contains(prefix, ";") {
		return
	}
	inside := isBelow(directory(target), prefix)
	scoped := make([]string, len(set))
	for i, cookie := range set {
		scoped[i] = scope(cookie, prefix, inside)
	}
	h["Set-Cookie"] = scoped
}

// scope does for one cookie what Scope does for all. Where a browser finds no
// Path in it, it would be inside the prefix or not.
func scope(cookie, prefix string, inside bool) string {
	const host = "__Host-"
	pair, rest, more := strings.Cut(cookie, ";")
	if name := textproto.TrimString(pair); len(name) >= len(host) && strings.EqualFold(name[:len(host)], host) {
		return cookie
	}
	var b strings.Builder
	b.Grow(len(cookie) + len("; Path=") + len(prefix))
	b.WriteString(pair)
	within := inside
	for more {
		var attribute string
		attribute, rest, more = strings.Cut(rest, ";")
		b.WriteByte(';')
		before, path, isPath := cutPath(attribute)
		named := strings.HasPrefix(path, "/")
		if isPath {
			within = inside || named // the last one counts
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
	if !within {
		b.WriteString("; Path=")
		b.WriteString(prefix)
	}
	return b.String()
}

// cutPath cuts a Path attribute before the first byte of its value (RFC 6265,
// section 5.2). Another attribute is all before it.
func cutPath(attribute string) (before, path string, isPath bool) {
	name, value, _ := strings.Cut(attribute, "=")
	if !strings.EqualFold(textproto.TrimString(name), "Path") {
		return attribute, "", false
	}
	path = strings.TrimLeft(value, " \t")
	return attribute[:len(attribute)-len(path)], path, true
}

// directory returns the path that a cookie without one gets (RFC 6265, section
// 5.1.4).
func directory(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if i := strings.LastIndexByte(path, '/'); i > 0 && path[0] == '/' {
		return path[:i]
	}
	return "/"
}

// isBelow reports whether a cookie for prefix would be sent for path.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
