// Package cookies reads cookies of requests, limits the paths of cookies that answers
// set, and marks with a cookie clients that have just written something (RFC 6265).
package cookies

import (
	"iter"
	"net/http"
	"net/textproto"
	"strings"
)

// Value returns the value of the first cookie in the request header h with that name,
// as Values yields it, and reports whether there is one.
func Value(h http.Header, name string) (string, bool) {
	for value := range Values(h, name) {
		return value, true
	}
	return "", false
}

// Values yields the values of the cookies in the request header h with that name, which
// must be a token. It leaves out those that are not valid. Quotes around a value are
// removed. Unlike [http.Request.Cookie], it does not allocate, and it finds a cookie
// among thousands.
func Values(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h["Cookie"] {
			for more := true; more; {
				var cookie string
				cookie, line, more = strings.Cut(line, ";")
				before, value, _ := strings.Cut(textproto.TrimString(cookie), "=")
				if textproto.TrimString(before) != name {
					continue
				}
				if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
					value = value[1 : n-1]
				}
				if IsValue(value) && !yield(value) {
					return
				}
			}
		}
	}
}

// IsValue reports whether s can be the value of a cookie. It accepts spaces and
// commas, which many send though RFC 6265, section 4.1.1 forbids them.
func IsValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == ';' || c == '\\' {
			return false
		}
	}
	return true
}
