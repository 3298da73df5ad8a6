// Package redirects sends requests for a path elsewhere.
package redirects

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/reason"
)

// Rules say where requests go instead, by their path. Nil sends none anywhere.
type Rules map[string]string

// Add has requests for the path from go to another path, or to an absolute URL.
// An error says what would be right, and nothing was added.
func (r Rules) Add(from, to string) error {
	if !strings.HasPrefix(from, "/") || strings.Contains(from, "?") || !hostname.IsRequestTarget(from) {
		return fmt.Errorf("redirect from %q: want a path without query, such as /old", from)
	}
	u, err := url.Parse(to)
	isPath := strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//")
	isURL := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	if err != nil || !isPath && !isURL || !hostname.IsRequestTarget(to) {
		return fmt.Errorf("redirect to %q: want a path such as /new, or a URL such as https://app1.example.com/new", to)
	}
	r[from] = to
	return nil
}

// Location returns where a request with that target goes instead, if it does. Its
// query is kept where the rule has none.
func (r Rules) Location(target string) (location string, ok bool) {
	if len(r) == 0 {
		return "", false
	}
	path, query, asked := strings.Cut(target, "?")
	location, ok = r[path]
	if ok && asked && !strings.Contains(location, "?") {
		location += "?" + query
	}
	return location, ok
}

// Answer has h, the header of the answer to a request with that method, lead to location,
// and returns the reason for the answer, which has the status of a redirect that keeps
// the method.
func Answer(h http.Header, method, location string) reason.Reason {
	h["Location"] = []string{location}
	if method == http.MethodGet || method == http.MethodHead {
		return reason.Moved
	}
	return reason.MovedOn
}
