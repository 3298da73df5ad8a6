package headers

import (
	"fmt"
	"strconv"
	"strings"
)

// CheckHSTS reports what is wrong with a value for Strict-Transport-Security
// (RFC 6797, section 6.1), if anything is. Browsers pass over a directive they
// do not know, and over the whole field for other errors, without a word; so
// here is only accepted what they know: max-age=SECONDS, includeSubDomains and
// preload, each at most once, in any case and order, the first in any event.
func CheckHSTS(value string) error {
	seen := make(map[string]bool)
	for directive := range strings.SplitSeq(value, ";") {
		name, argument, valued := strings.Cut(strings.Trim(directive, " \t"), "=")
		name, argument = strings.ToLower(strings.TrimRight(name, " \t")), strings.TrimLeft(argument, " \t")
		switch {
		case name == "" && !valued:
			continue
		case seen[name]:
			return hstsError(value, fmt.Sprintf("%q stands there twice", name))
		case name == "max-age":
			if _, err := strconv.ParseUint(unquote(argument), 10, 32); err != nil {
				return hstsError(value, fmt.Sprintf("%q is no number of seconds", argument))
			}
		case name != "includesubdomains" && name != "preload" || valued:
			return hstsError(value, fmt.Sprintf("%q is no directive", strings.Trim(directive, " \t")))
		}
		seen[name] = true
	}
	if !seen["max-age"] {
		return hstsError(value, "there is no max-age")
	}
	return nil
}

func hstsError(value, why string) error {
	return fmt.Errorf("HSTS %q: %s: want max-age=SECONDS, and behind it ; includeSubDomains or ; preload or both, such as max-age=31536000", value, why)
}

func unquote(s string) string {
	if n := len(s); n > 1 && s[0] == '"' && s[n-1] == '"' {
		return s[1 : n-1]
	}
	return s
}
