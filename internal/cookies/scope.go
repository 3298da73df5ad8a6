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
// prefix is written as in a URL, without a slash at the end, such as /api; target is
// the request target as the client sent it. Scope puts prefix in front of each Path
// that begins with a slash, unless it has the prefix already: /x becomes /api/x, and /
// becomes /api, not /api/, for which browsers would not send the cookie to /api itself
// (RFC 6265, section 5.1.4). All other bytes stay the same.
//
// A cookie without such a Path is for the directory of the request's URL (same
// section), which has the prefix, so the cookie does not change. Only if that directory
// does not have the prefix, as for a request of /api itself, Scope adds prefix as the
// Path: the app, which was asked for /, means all of its paths.
//
// Scope does not change a cookie whose name begins with __Host-, which browsers refuse
// with another Path than /. It does nothing if prefix has a semicolon, which a Path
// cannot have.
//
// The values of h may be shared: Scope replaces the slice.
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

// scope is Scope for one cookie. inside is whether its path has the prefix if it has no
// Path attribute.
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

// directory returns the default path of a cookie (RFC 6265, section 5.1.4).
func directory(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if i := strings.LastIndexByte(path, '/'); i > 0 && path[0] == '/' {
		return path[:i]
	}
	return "/"
}

// isBelow reports whether a browser sends a cookie with the path prefix for path.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
