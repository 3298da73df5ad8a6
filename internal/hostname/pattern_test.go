package hostname_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
)

func TestPatternHasOneSpelling(t *testing.T) {
	for host, want := range map[string]string{
		"app.test":                "app.test",
		"App.Test.":               "app.test",
		"*.app.test":              "*.app.test",
		"*.App.Test.":             "*.app.test",
		"bücher.example":          "xn--bcher-kva.example",
		"*.bücher.example":        "*.xn--bcher-kva.example",
		"10.0.0.1":                "10.0.0.1",
		"::1":                     "::1",
		"[::1]":                   "::1",
		"[FE80:0:0::1]":           "fe80::1",
		strings.Repeat("A.", 127): strings.Repeat("a.", 126) + "a",
	} {
		t.Run(host, func(t *testing.T) {
			is := is.New(t)
			got, err := hostname.ParsePattern(host)
			is.NoErr(err)
			is.Equal(got, want)
			again, err := hostname.ParsePattern(got)
			is.NoErr(err)
			is.Equal(again, got)
		})
	}
}

func TestWhatIsNoPatternIsToldFrom(t *testing.T) {
	for host, want := range map[string]string{
		"":                   "host is empty: name one such as app1.example.com, or none at all to serve every host",
		"*":                  `host "*": name no host at all to serve every one, or use "*.example.com" for one label`,
		"*.*.test":           `host "*.*.test": "*" may only stand for the whole first label, as in *.example.com`,
		"a*.test":            `host "a*.test": "*" may only stand for the whole first label, as in *.example.com`,
		"https://app.test/":  `host "https://app.test/" has a scheme: leave it out, as in app1.example.com`,
		"*.https://app.test": `host "*.https://app.test" has a scheme: leave it out, as in app1.example.com`,
		"app.test/x":         `host "app.test/x" has a path: leave it out, as in app1.example.com`,
		"app.test:80":        `host "app.test:80" has a port: leave it out, a service answers for its hosts on every port`,
		"[::1]:80":           `host "[::1]:80" has a port: leave it out, a service answers for its hosts on every port`,
		"*.":                 `host "*." is no host name: want labels of letters, digits and '-' with dots between, as in app1.example.com`,
		"app test":           `host "app test" is no host name: want labels of letters, digits and '-' with dots between, as in app1.example.com`,
		"-.test":             `host "-.test" is no host name: want labels of letters, digits and '-' with dots between, as in app1.example.com`,
	} {
		t.Run(host, func(t *testing.T) {
			is := is.New(t)
			pattern, err := hostname.ParsePattern(host)
			is.True(err != nil) // it is refused
			is.Equal(err.Error(), want)
			is.Equal(pattern, "")
		})
	}
}

func TestWildcardIsToldFromAName(t *testing.T) {
	is := is.New(t)
	parent, ok := hostname.CutWildcard("*.app.test")
	is.Equal(parent, "app.test")
	is.True(ok)
	parent, ok = hostname.CutWildcard("app.test")
	is.Equal(parent, "app.test")
	is.True(!ok)
}

func TestPrefixHasOneSpelling(t *testing.T) {
	for prefix, want := range map[string]string{
		"/":            "",
		"/api":         "/api",
		"/api/":        "/api",
		"/api/v1":      "/api/v1",
		"/%61pi/":      "/api",
		"/caf%C3%A9":   "/café",
		"/100%25":      "/100%",
		"/a%3Fb":       "/a?b",
		"/.well-known": "/.well-known",
		"/...":         "/...",
	} {
		t.Run(prefix, func(t *testing.T) {
			is := is.New(t)
			got, err := hostname.ParsePrefix(prefix)
			is.NoErr(err)
			is.Equal(got, want)
		})
	}
}

func TestWhatIsNoPrefixIsToldFrom(t *testing.T) {
	for prefix, want := range map[string]string{
		"":         `path prefix "": want one that begins with '/', such as /api`,
		"api":      `path prefix "api": want one that begins with '/', such as /api`,
		"%2fapi":   `path prefix "%2fapi": want one that begins with '/', such as /api`,
		"/api?x":   `path prefix "/api?x": want a path alone, such as /api`,
		"/api#x":   `path prefix "/api#x": want a path alone, such as /api`,
		"/a%2":     `path prefix "/a%2": invalid URL escape "%2"; write a '%' of its own as %25`,
		"/a%2fb":   `path prefix "/a%2fb": an encoded '/' is part of a name, which a prefix cannot end; write it as '/'`,
		"/a//b":    `path prefix "/a//b" has an empty segment: want one slash between names, as in /api/v1`,
		"//":       `path prefix "//" has an empty segment: want one slash between names, as in /api/v1`,
		"/a//":     `path prefix "/a//" has an empty segment: want one slash between names, as in /api/v1`,
		"/a/../b":  `path prefix "/a/../b": no request with a segment ".." is served`,
		"/..":      `path prefix "/..": no request with a segment ".." is served`,
		"/a/%2e/b": `path prefix "/a/%2e/b": no request with a segment "." is served`,
	} {
		t.Run(prefix, func(t *testing.T) {
			is := is.New(t)
			got, err := hostname.ParsePrefix(prefix)
			is.True(err != nil) // it is refused
			is.Equal(err.Error(), want)
			is.Equal(got, "")
		})
	}
}

func TestCanonicalHostIsOneOfTheHosts(t *testing.T) {
	is := is.New(t)
	hosts := []string{"a.test", "*.b.test"}
	host, err := hostname.ParseCanonical("A.test.", hosts)
	is.NoErr(err)
	is.Equal(host, "a.test")
	host, err = hostname.ParseCanonical("C.test", nil) // of every host
	is.NoErr(err)
	is.Equal(host, "c.test")
	host, err = hostname.ParseCanonical("", hosts)
	is.NoErr(err)
	is.Equal(host, "")
	host, err = hostname.ParseCanonical("C.test", nil)
	is.NoErr(err)
	is.Equal(host, "c.test") // of all there are
	for given, want := range map[string]string{
		"c.test":   "canonical host c.test is not among the hosts of the service: name it there too",
		"*.b.test": `canonical host "*.b.test": want one name, not a wildcard`,
		"a:1":      `host "a:1" has a port: leave it out, a service answers for its hosts on every port`,
	} {
		_, err = hostname.ParseCanonical(given, hosts)
		is.True(err != nil)
		is.Equal(err.Error(), want)
	}
}
