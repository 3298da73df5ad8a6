package forward

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/urlpath"
)

// Why a request has no valid request target: it cannot stand in a request line, or
// the target would interpret it differently.
var (
	errMethod   = errors.New("request line: the method is not a token")
	errForm     = errors.New("request line: the target is neither a path nor an absolute http URL")
	errBytes    = errors.New("request line: the target has a '#', a space or a control character")
	errDots     = errors.New("request line: the path has a segment '.' or '..', which the target would resolve, but we do not")
	errNotBelow = errors.New("request line: the target is not below the prefix")
)

// RequestTarget returns the request target for the request to the target. It is the
// one in the client's request line, byte for byte, or the part after the authority
// if that is an absolute URL (RFC 9112, section 3.2). If an outer handler has
// changed the path or the query of r.URL, as http.StripPrefix does, that part is
// taken from r.URL. An OPTIONS request for an absolute URL with neither path nor
// query is about the whole server, and its target is '*' (section 3.2.4). It has no
// prefix other than "" and "/".
//
// A prefix that is not empty is cut off, as by [urlpath.CutPrefix].
//
// An error means that r has to be answered with 400: the method is not a token; the
// request target is empty, opaque or '*', or does not start with '/'; it has a '#',
// a space or a control character; a segment of its path is "." or "..", however
// encoded; or it does not have the prefix. The caller answers OPTIONS *, CONNECT and
// TRACE.
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
	case urlpath.HasDots(target):
		return "", errDots
	}
	target, ok := urlpath.CutPrefix(target, prefix)
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
	// With an empty authority the Host header would count. Userinfo is deprecated
	// and used to disguise hosts (RFC 9110, section 4.2.4).
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

// isServerWide reports whether r is an OPTIONS request for an absolute URL with
// neither path nor query.
func isServerWide(r *http.Request) bool {
	u := r.URL
	return r.Method == http.MethodOptions && u.Path == "" && u.RawQuery == "" && !u.ForceQuery &&
		r.RequestURI != "" && r.RequestURI[0] != '/'
}

// applyURL returns target with path or query replaced by those of u where they differ.
// u is what the server parsed from target, unless an outer handler has changed it or
// made the request itself.
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

// rawPath returns the encoded path of u: u.RawPath if that decodes to u.Path.
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

// isWritable reports whether target may stand in a request line. Over HTTP/2 net/http
// accepts a space, which would end the target early.
func isWritable(target string) bool {
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == '#' || c == 0x7f {
			return false
		}
	}
	return true
}
