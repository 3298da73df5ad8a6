package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// The flag values in whose spelling kamal-proxy is less strict than the library is:
// a script that is written for it is understood, and the proxy gets the strict form.
// What kamal-proxy could make no sense of either is left for the library to refuse.

// A nameList is a stringList without its empty elements. If all are empty, the flag
// counts as given, without elements. It must not be used where fewer elements let
// more people in.
type nameList []string

func (l *nameList) UnmarshalText(text []byte) error {
	if *l == nil {
		*l = nameList{}
	}
	for s := range strings.SplitSeq(string(text), ",") {
		if s = strings.TrimSpace(s); s != "" {
			*l = append(*l, s)
		}
	}
	return nil
}

// A targetList is a stringList of targets, each with a port: if none is given, that
// of its scheme.
type targetList []string

func (l *targetList) UnmarshalText(text []byte) error {
	var list stringList
	err := list.UnmarshalText(text)
	for _, target := range list {
		*l = append(*l, withPort(target))
	}
	return err
}

// A readerList is a targetList without empty elements: a service needs no readers.
type readerList []string

func (l *readerList) UnmarshalText(text []byte) error {
	var list nameList
	err := list.UnmarshalText(text)
	for _, target := range list {
		*l = append(*l, withPort(target))
	}
	return err
}

// withPort returns a target with the port that its scheme has in URLs, unless the
// target has one, or cannot have one.
func withPort(target string) string {
	scheme, address, ok := strings.Cut(target, "://")
	if !ok {
		scheme, address = "http", target
	}
	isName := address != "" && !strings.ContainsAny(address, ":/")
	isIPv6 := strings.HasPrefix(address, "[") && strings.HasSuffix(address, "]")
	switch {
	case !isName && !isIPv6:
	case scheme == "http" || scheme == "h2c":
		return target + ":80"
	case scheme == "https":
		return target + ":443"
	}
	return target
}

// A pathList is a nameList of paths, each with a slash in front.
type pathList []string

func (l *pathList) UnmarshalText(text []byte) error {
	var list nameList
	err := list.UnmarshalText(text)
	for _, p := range list {
		*l = append(*l, withSlash(p))
	}
	return err
}

// A pathValue has a slash in front, or is empty, as if the flag were not given.
type pathValue string

func (p *pathValue) UnmarshalText(text []byte) error {
	if *p = pathValue(text); *p != "" {
		*p = pathValue(withSlash(string(text)))
	}
	return nil
}

// withSlash returns p with a slash in front, unless it has one, or is a URL.
func withSlash(p string) string {
	if strings.HasPrefix(p, "/") || strings.Contains(p, "://") {
		return p
	}
	return "/" + p
}

// withOneSlash returns path prefixes with one slash in front and none at the end.
func withOneSlash(prefixes []string) []string {
	var all []string
	for _, p := range prefixes {
		all = append(all, withSlash(strings.Trim(p, "/")))
	}
	return all
}

// checkBooleans returns a usageError if the value of a flag that is on or off stands
// in a word of its own: it would be taken for an argument, perhaps for the service,
// and the flag would be on.
func checkBooleans(app *kong.Node, words []string) error {
	line := parseLine(app, nil)
	for i, word := range words {
		if i > 0 && (word == "true" || word == "false") && line.node != nil && line.flag == nil && !line.flagsEnded {
			if flag := line.findFlag(words[i-1]); flag != nil && takesNoValue(flag) {
				return &usageError{commandPath(line.node), fmt.Errorf(
					"--%s is on or off, and takes no value after a space: want --%[1]s=%[2]s, or --%[1]s alone", flag.Name, word)}
			}
		}
		line.addWord(word)
	}
	return nil
}
