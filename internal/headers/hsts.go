package headers

import (
	"fmt"
	"strconv"
	"strings"
)

// CheckHSTS returns an error if value is not valid for Strict-Transport-Security (RFC
// 6797, section 6.1). Browsers silently ignore unknown directives, and the whole field
// after other errors. So CheckHSTS only accepts the directives that they know:
// max-age=SECONDS, which is required, includeSubDomains and preload, each at most once, in
// any case and order.
func CheckHSTS(value string) error {
	seen := make(map[string]bool)
	for directive := range strings.SplitSeq(value, ";") {
		name, argument, valued := strings.Cut(strings.Trim(directive, " \t"), "=")
		name, argument = strings.ToLower(strings.TrimRight(name, " \t")), strings.TrimLeft(argument, " \t")
		switch {
		case name == "" && !valued:
			continue
		case seen[name]:
			return hstsError(value, fmt.Sprintf("%q is given twice", name))
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
