package http1

import (
	"net/http"
	"net/url"
	"strings"
)

// parseTarget sets url to what target says, as [url.ParseRequestURI] does, if it
// has one of the four forms of RFC 9112, section 3.2, and its method may have that.
func (h *head) parseTarget() error {
	if h.target[0] == '/' && h.method != http.MethodConnect {
		if h.parsed == h.target { // the url before, which has the same form
			return nil
		}
		h.parsed = ""
		if err := h.parsePath(); err != nil {
			return err
		}
		h.parsed = h.target
		return nil
	}
	h.parsed = ""
	switch {
	case h.method == http.MethodConnect:
		return h.parseAuthority()
	case h.target == "*":
		h.url = url.URL{Path: "*"}
		if h.method != http.MethodOptions {
			return errTargetForm
		}
		return nil
	}
	return h.parseAbsolute()
}

// parsePath parses the origin form: a path and a query.
func (h *head) parsePath() error {
	path, query, asked := strings.Cut(h.target, "?")
	if isPlainPath(path) {
		h.url = url.URL{Path: path, RawQuery: query, ForceQuery: asked && query == ""}
		return nil
	}
	u, err := url.ParseRequestURI(h.target)
	if err != nil {
		return errTargetPath
	}
	h.url = *u
	return nil
}

// isPlainPath reports whether path is the same with and without its escapes: it
// has none, and needs none.
func isPlainPath(path string) bool {
	for i := range len(path) {
		c := path[i]
		if byteKinds[c]&pathByte == 0 {
			return false
		}
	}
	return true
}

// parseAbsolute parses the absolute form: a URL. Its authority is that of the
// request, whatever Host says. Userinfo is not taken: it is used to disguise hosts
// (RFC 9110, section 4.2.4).
func (h *head) parseAbsolute() error {
	scheme, rest, ok := strings.Cut(h.target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return errTargetForm
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority = rest[:end]
	}
	if !isHost(authority) {
		return errTargetForm
	}
	u, err := url.ParseRequestURI(h.target)
	if err != nil || u.Host != authority || u.User != nil {
		return errTargetForm
	}
	h.url = *u
	return nil
}

// parseAuthority parses the authority form: a host and a port.
func (h *head) parseAuthority() error {
	if last := h.target[len(h.target)-1]; !isHost(h.target) || last < '0' || last > '9' || !strings.Contains(h.target, ":") {
		return errTargetForm
	}
	u, err := url.ParseRequestURI("http://" + h.target)
	if err != nil || u.Host != h.target {
		return errTargetForm
	}
	u.Scheme = ""
	h.url = *u
	return nil
}

// authority returns the host that the request is for.
func (h *head) authority() string {
	if h.url.Host != "" {
		return h.url.Host
	}
	return h.host
}
