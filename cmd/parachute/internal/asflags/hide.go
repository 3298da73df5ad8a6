package asflags

import "strings"

// hidden stands in the place of what may be a secret: the log and the events of a deploy
// are read by more people than the deployment.
const hidden = "***"

// hideRule hides what a header rule sets, or puts in the place of something.
func hideRule(rule string) string {
	verb, rest, _ := strings.Cut(strings.TrimSpace(rule), " ")
	if verb == "edit" {
		name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		return verb + " " + name + " " + hidden
	}
	return hideField(rule)
}

// hideField hides the value of "NAME: VALUE".
func hideField(field string) string {
	name, _, ok := strings.Cut(field, ":")
	if !ok {
		return name
	}
	return name + ": " + hidden
}

// hideQuery hides the query of a URL or path, and the user in it.
func hideQuery(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i+1] + hidden
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	authority, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		rest = hidden + rest[i:]
	}
	return scheme + "://" + rest
}
