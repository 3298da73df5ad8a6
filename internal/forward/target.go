package forward

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// Why there is no target: what the client asked for cannot stand in a request
// line, or would mean something else to the target than it did to us.
var (
	errMethod   = errors.New("request line: the method is not a token")
	errForm     = errors.New("request line: the target is neither a path nor an absolute http URL")
	errBytes    = errors.New("request line: the target has a '#', a space or a control character")
	errDots     = errors.New("request line: the path has a segment '.' or '..', which the target would resolve, but we do not")
	errNotBelow = errors.New("request line: the target is not below the prefix")
)

// RequestTarget returns the request target with which r goes on: what stood in the
// client's request line, byte for byte and never re-encoded, of an absolute
// URL what follows the authority (RFC 9112, section 3.2). Where an outer
// handler changed the path or the query in r.URL, as http.StripPrefix does,
// that part is r.URL's. OPTIONS of an absolute URL with neither path nor query is
// about the whole server, and goes on as '*' (section 3.2.4), which is below no
// prefix but "" and "/".
//
// A prefix that is not empty is cut off, as Below does.
//
// An error means that no request line can be made of r, and that the answer is
// 400: the method is no token; the target is empty, opaque, '*', or does not
// start with '/'; it has a '#', a space or a control character; a segment of
// its path is "." or "..", however encoded; or it is not below the prefix.
// OPTIONS *, CONNECT and TRACE are the caller's to answer.
func RequestTarget(r *http.Request, prefix string) (string, error) {
	if !field.IsToken(r.Method) {
		return "", errMethod
	}
	if r.URL == nil || r.URL.Opaque != "" {
		return "", errForm
	}
	target, err := originForm(r)
	if err != nil {
		return "", err
	}
	target = applyURL(target, r.URL)
	switch {
	case isServerWide(r):
		target = "*"
	case target == "" || target[0] != '/':
		return "", errForm
	case !isWritable(target):
		return "", errBytes
	case hasDots(target):
		return "", errDots
	}
	target, ok := CutPrefix(target, prefix)
	if !ok {
		return "", errNotBelow
	}
	return target, nil
}

// originForm returns the client's request target without scheme and authority.
func originForm(r *http.Request) (string, error) {
	target := r.RequestURI
	if target == "" || target[0] == '/' {
		return target, nil
	}
	// An authority that is empty would leave the Host header to decide, and
	// userinfo is deprecated and a disguise (RFC 9110, section 4.2.4).
	scheme, rest, _ := strings.Cut(target, "://")
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") ||
		r.URL.Host == "" || r.URL.User != nil {
		return "", errForm
	}
	switch end := strings.IndexAny(rest, "/?"); {
	case end < 0:
		return "/", nil
	case rest[end] == '?':
		return "/" + rest[end:], nil
	default:
		return rest[end:], nil
	}
}

// isServerWide reports whether r, the target of which has an origin form, asks
// about all of a server: in that form, no path is none.
func isServerWide(r *http.Request) bool {
	u := r.URL
	return r.Method == http.MethodOptions && u.Path == "" && u.RawQuery == "" && !u.ForceQuery &&
		r.RequestURI != "" && r.RequestURI[0] != '/'
}

// applyURL returns target with that of path and query replaced in which u says
// something else. u is what the server made of target, unless an outer handler
// changed it or made the request itself.
func applyURL(target string, u *url.URL) string {
	path, query, asked := strings.Cut(target, "?")
	samePath := (u.RawPath == "" || u.RawPath == path) && decodesTo(path, u.Path)
	sameQuery := u.RawQuery == query && (u.ForceQuery || query != "") == asked
	if samePath && sameQuery {
		return target
	}
	if !samePath {
		path = rawPath(u)
	}
	if u.ForceQuery || u.RawQuery != "" {
		return path + "?" + u.RawQuery
	}
	return path
}

// rawPath returns u's path as it is written: in the bytes that the client
// chose where those are still what is meant.
func rawPath(u *url.URL) string {
	path := u.RawPath
	if path == "" || !decodesTo(path, u.Path) {
		path = u.EscapedPath()
	}
	if path == "" || path[0] != '/' {
		return "/" + path
	}
	return path
}

func decodesTo(raw, path string) bool {
	decoded, err := url.PathUnescape(raw)
	return err == nil && decoded == path
}

// CutPrefix returns what [Target] returned as it is seen from prefix, a path, and
// reports whether it is below that: up to a '/' or to the end of its path, its
// decoded bytes are prefix, except that no %2F stands for a '/'. One slash is
// left in front of what follows, whatever there was. Every target is below ""
// and "/", and stays as it is.
func CutPrefix(target, prefix string) (rest string, ok bool) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return target, true
	}
	at := 0
	for i := range len(prefix) {
		c, size := decodeByte(target[at:])
		if size == 0 || c != prefix[i] || size > 1 && c == '/' {
			return "", false
		}
		at += size
	}
	rest = target[at:]
	switch {
	case rest == "" || rest[0] == '?':
		return "/" + rest, true
	case rest[0] != '/':
		return "", false
	}
	// "//evil.test/" would be read as another host's address by whoever takes
	// it for a reference.
	for len(rest) > 1 && rest[1] == '/' {
		rest = rest[1:]
	}
	return rest, true
}

// hasDots reports whether a segment of target's path decodes to "." or "..".
func hasDots(target string) bool {
	if strings.IndexByte(target, '.') < 0 && strings.IndexByte(target, '%') < 0 {
		return false
	}
	dots, other := 0, false // of the segment so far
	for {
		c, size := decodeByte(target)
		switch {
		case size == 0 || size == 1 && c == '/':
			if !other && (dots == 1 || dots == 2) {
				return true
			}
			dots, other = 0, false
		case c == '.':
			dots++
		default:
			other = true
		}
		if size == 0 {
			return false
		}
		target = target[size:]
	}
}

// decodeByte returns the first byte of a path and how many characters it takes
// there: none where the path ends.
func decodeByte(path string) (c byte, size int) {
	if path == "" || path[0] == '?' {
		return 0, 0
	}
	if path[0] == '%' && len(path) >= 3 {
		high, low := unhex(path[1]), unhex(path[2])
		if high < 16 && low < 16 {
			return high<<4 | low, 3
		}
	}
	return path[0], 1
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// isWritable reports whether target may stand in a request line. HTTP/2 lets
// spaces through to here, which would end the target early.
func isWritable(target string) bool {
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == '#' || c == 0x7f {
			return false
		}
	}
	return true
}
