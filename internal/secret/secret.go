// Package secret takes out of a text what may be a secret, for those who may read what
// stands around it: logs, events, and whoever may only look.
package secret

import "strings"

// Hidden stands in the place of what was taken out.
const Hidden = "***"

// HideRule hides what a header rule sets, or puts in the place of something: all that
// follows the name.
func HideRule(rule string) string {
	verb, rest, _ := strings.Cut(strings.TrimSpace(rule), " ")
	if verb == "edit" {
		name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		return verb + " " + name + " " + Hidden
	}
	return HideField(rule)
}

// HideField hides the value of "NAME: VALUE".
func HideField(field string) string {
	name, _, ok := strings.Cut(field, ":")
	if !ok {
		return name
	}
	return name + ": " + Hidden
}

// HideQuery hides the query of a URL or path, and the user in it.
func HideQuery(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i+1] + Hidden
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	authority, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		rest = Hidden + rest[i:]
	}
	return scheme + "://" + rest
}
