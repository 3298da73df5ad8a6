package naming_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/naming"
)

func TestNamesOfPeopleAndTheirScriptsAreTaken(t *testing.T) {
	for _, name := range []string{"web", "app-web-production", "my service", "bücher", "v2.1", "a:b", "...", "x@y", strings.Repeat("a", 128)} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.NoErr(naming.Check(name))
		})
	}
}

func TestNameThatCouldBeMistakenIsRefused(t *testing.T) {
	for name, want := range map[string]string{
		"":                       "no service name",
		".":                      "want letters in it",
		"..":                     "want letters in it",
		"we/b":                   `has '/' in it`,
		"a\tb":                   `has '\t' in it`,
		"a\nb":                   `has '\n' in it`,
		"a\u00a0b":               `has '\u00a0' in it`,
		"a\u2028b":               `has '\u2028' in it`,
		"a\xffb":                 `has '�' in it`,
		" web":                   "want one space between words",
		"web ":                   "want one space between words",
		"my  service":            "want one space between words",
		strings.Repeat("a", 129): "service name of 129 bytes: want at most 128",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			err := naming.Check(name)
			is.True(err != nil)                          // the name is refused
			is.True(strings.Contains(err.Error(), want)) // want
		})
	}
}

func TestCleanNameIsTakenAndStaysAlike(t *testing.T) {
	for name, want := range map[string]string{
		"we/b":                        "we-b",
		"a\tb\x00c\u2028\xff":         "a-b-c--",
		" web ":                       "-web-",
		".":                           "service",
		"":                            "service",
		strings.Repeat("ü", 65):       strings.Repeat("ü", 64),
		"a" + strings.Repeat("ü", 64): "a" + strings.Repeat("ü", 63),
		"web":                         "web",
	} {
		is := is.New(t)
		got := naming.Clean(name)
		is.Equal(got, want)
		is.NoErr(naming.Check(got))
	}
}
