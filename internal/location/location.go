// Package location makes the addresses in a target's answers those that a client can
// use: in Location, Content-Location and Refresh.
package location

import (
	"net/http"
	"strings"
)

// An Origin is where a target can be reached, which it may take for its own address.
// The zero Origin is nowhere.
type Origin struct {
	base string // scheme and authority, without a port that is the scheme's own
	port string // that port with its colon, which may stand there; "": there is none
}

// NewOrigin returns the Origin of an authority with a port, where TLS is spoken if
// secure is set.
func NewOrigin(secure bool, authority string) Origin {
	scheme, own := "http", ":80"
	if secure {
		scheme, own = "https", ":443"
	}
	o := Origin{base: scheme + "://" + authority}
	if base, ok := strings.CutSuffix(o.base, own); ok {
		o = Origin{base, own}
	}
	return o
}

// cut returns what follows o in a URL, and reports whether the URL is one of o.
func (o Origin) cut(url string) (rest string, ok bool) {
	if o.base == "" || len(url) < len(o.base) || !strings.EqualFold(url[:len(o.base)], o.base) {
		return "", false
	}
	rest = strings.TrimPrefix(url[len(o.base):], o.port)
	// Anything else is part of another authority, as in http://web-1:3000@evil.test.
	return rest, rest == "" || rest[0] == '/' || rest[0] == '?' || rest[0] == '#'
}

// Concerns reports whether Rewrite looks at the field with the given canonical name.
func Concerns(name string) bool {
	switch name {
	case "Location", "Content-Location", "Refresh":
		return true
	}
	return false
}

// Rewrite rewrites what h, the header of an answer, says about where something is. A
// URL of the origin becomes a path, with the prefix in front that was cut off the path
// of the request ("": nothing was). If paths is set, the same prefix is put in front of
// paths. A prefix that is there already is not put there again. All else stays as it
// is: URLs of other origins, and relative references, which are relative to what the
// client has asked for.
//
// The values of h may be shared: Rewrite replaces slices. It allocates nothing if
// nothing is rewritten.
func Rewrite(h http.Header, origin Origin, prefix string, paths bool) {
	r := rewriter{origin, prefix, paths && prefix != ""}
	if values := h["Location"]; len(values) > 0 {
		r.replace(h, "Location", values, r.url)
	}
	if values := h["Content-Location"]; len(values) > 0 {
		r.replace(h, "Content-Location", values, r.url)
	}
	if values := h["Refresh"]; len(values) > 0 {
		r.replace(h, "Refresh", values, r.refresh)
	}
}

type rewriter struct {
	origin Origin
	prefix string
	paths  bool
}

// replace has f rewrite the first of the values of a field, which has no more than
// one. f reports false if it stays as it is.
func (r *rewriter) replace(h http.Header, name string, values []string, f func(string) (string, bool)) {
	if to, ok := f(values[0]); ok && len(values) == 1 {
		h[name] = []string{to}
	}
}

// url rewrites a URL.
func (r *rewriter) url(from string) (to string, ok bool) {
	if !isPlain(from) {
		return "", false
	}
	if rest, ok := r.origin.cut(from); ok {
		return r.path(rest), true
	}
	if r.paths && from != "" && from[0] == '/' && !isAuthority(from) && !isBelow(from, r.prefix) {
		return r.path(from), true
	}
	return "", false
}

// path returns what follows an origin as a client has to ask for it.
func (r *rewriter) path(rest string) string {
	if rest == "" || rest[0] != '/' {
		rest = "/" + rest
	}
	switch {
	case r.prefix != "" && !isBelow(rest, r.prefix):
		return r.prefix + rest
	case isAuthority(rest):
		return "/." + rest // which is the same path, and not another host
	}
	return rest
}

// refresh rewrites the URL in a Refresh, such as "5; url=/x". The URL may be quoted.
func (r *rewriter) refresh(from string) (to string, ok bool) {
	at := strings.IndexAny(from, ";,")
	if at < 0 {
		return "", false
	}
	rest := strings.TrimLeft(from[at+1:], " \t")
	if len(rest) < len("url") || !strings.EqualFold(rest[:len("url")], "url") {
		return "", false
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(rest[len("url"):], " \t"), "=")
	if !ok {
		return "", false
	}
	rest = strings.TrimLeft(rest, " \t")
	end := len(rest)
	if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
		quote := rest[0]
		rest = rest[1:]
		if end = strings.IndexByte(rest, quote); end < 0 {
			end = len(rest)
		}
	}
	to, ok = r.url(rest[:end])
	return from[:len(from)-len(rest)] + to + rest[end:], ok
}

// isPlain reports whether a URL has no character that browsers leave out or that none
// may have.
func isPlain(url string) bool {
	for i := range len(url) {
		if url[i] <= ' ' || url[i] == 0x7f {
			return false
		}
	}
	return true
}

// isAuthority reports whether browsers take a path for the name of another host: it
// begins with two slashes, either of which may be a backslash.
func isAuthority(path string) bool {
	return len(path) > 1 && (path[1] == '/' || path[1] == '\\')
}

// isBelow reports whether a path, with whatever follows it, has the prefix.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?' || rest[0] == '#')
}
