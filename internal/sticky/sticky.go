// Package sticky remembers in a cookie which targets a visitor stays with.
package sticky

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/cookies"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/hostname"
)

// DefaultCookie is the name of the cookie where no other is asked for.
const DefaultCookie = "parachute-affinity"

// A Cookie is what visitors are known by. It does not change, and any number of
// goroutines may use it.
type Cookie struct {
	Name string

	attributes []string // of one cookie for each prefix, without Secure
}

// Parse returns the Cookie that a rule asks for: "cookie", or "cookie=NAME". It is for
// the paths below each of the prefixes, or for all paths if there is none. An error
// says what would be right.
func Parse(rule string, prefixes []string) (*Cookie, error) {
	kind, name, isNamed := strings.Cut(rule, "=")
	switch {
	case kind != "cookie":
		return nil, fmt.Errorf("affinity %q: want \"cookie\", or \"cookie=NAME\" for a cookie of that name", rule)
	case !isNamed:
		name = DefaultCookie
	default:
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("affinity %q: %w", rule, err)
		}
	}
	if len(prefixes) == 0 {
		prefixes = []string{"/"}
	}
	c := &Cookie{Name: name}
	for _, prefix := range prefixes {
		canonical, err := hostname.ParsePrefix(prefix)
		if err != nil {
			return nil, err
		}
		c.attributes = append(c.attributes, "; Path="+cookiePath(canonical)+"; HttpOnly; SameSite=Lax")
	}
	slices.Sort(c.attributes)
	c.attributes = slices.Compact(c.attributes)
	return c, nil
}

// maxName bounds the name of a cookie, which comes with every request.
const maxName = 128

func checkName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case !field.IsToken(name):
		return errors.New("the name of a cookie is letters, digits and marks such as '-' and '_', without spaces")
	case len(name) > maxName:
		return fmt.Errorf("a name of %d bytes: want at most %d", len(name), maxName)
	case strings.HasPrefix(lower, "__host-"), strings.HasPrefix(lower, "__secure-"):
		return errors.New("browsers take a cookie of such a name over https only: want another name")
	case slices.Contains([]string{"parachute-rollout", "parachute-writer", "kamal-rollout", "kamal-writer"}, name):
		return errors.New("the proxy uses this cookie for something else: want another name")
	}
	return nil
}

// cookiePath returns the Path of a cookie for what is below a prefix. A Path cannot
// have a semicolon: then the cookie is for the folder above.
func cookiePath(prefix string) string {
	path := (&url.URL{Path: prefix}).EscapedPath()
	if before, _, found := strings.Cut(path, ";"); found {
		path = before[:strings.LastIndexByte(before, '/')]
	}
	if path == "" {
		return "/"
	}
	return path
}

// maxCookies is how many cookies of the same name are looked at. Services below
// different prefixes may have set one each.
const maxCookies = 8

// Visitor returns who sent a request with the header h, as the cookies with c's name
// tell. What cannot be such a cookie counts for nothing.
func (c *Cookie) Visitor(h http.Header) (v affinity.Visitor) {
	n := 0
	for value := range cookies.Values(h, c.Name) { // browsers send the cookie with the longest path first
		if n++; n > maxCookies {
			break
		}
		v.Note(value)
	}
	return v
}

// Set returns the values of Set-Cookie by which v is sent to the target with the token
// from now on. A second target that the visitor stays with is kept; "": there is none.
// If secure is set, the request came over TLS, and the cookie is for TLS only.
func (c *Cookie) Set(v affinity.Visitor, token, second string, secure bool) []string {
	cookie := c.Name + "=" + v.Value(token, second)
	end := ""
	if secure {
		end = "; Secure"
	}
	set := make([]string, len(c.attributes))
	for i, attributes := range c.attributes {
		set[i] = cookie + attributes + end
	}
	return set
}
