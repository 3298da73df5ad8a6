// Package cookies reads a cookie of a request, narrows down those that an
// answer sets, and remembers in one who has written (RFC 6265).
package cookies

import (
	"net/http"
	"net/textproto"
	"strings"
)

// Value returns the value of the first cookie in a request's header that has
// the name, which must be a token, and a well-formed value; and whether there
// is one. The quotes around a value are not part of it. All this is as
// [http.Request.Cookie] has it, which makes a list of all cookies first, and
// finds none where they are thousands. Value allocates nothing.
func Value(h http.Header, name string) (string, bool) {
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
			if IsValue(value) {
				return value, true
			}
		}
	}
	return "", false
}

// IsValue reports whether s can be the value of a cookie. It takes spaces and
// commas too, which RFC 6265, section 4.1.1 forbids and many send.
func IsValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == ';' || c == '\\' {
			return false
		}
	}
	return true
}
