package hostname_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
)

// mapOf returns a Map in which the value of each pattern is the pattern.
func mapOf(patterns ...string) *hostname.Map[string] {
	m := new(hostname.Map[string])
	for _, p := range patterns {
		m.Set(p, &p)
	}
	return m
}

func TestHostMatchesItselfThenItsWildcardThenAny(t *testing.T) {
	is := is.New(t)
	m := mapOf("app.test", "*.test", hostname.Any)
	for host, want := range map[string]string{
		"app.test":       "app.test",
		"APP.test.:8080": "app.test",
		"other.test":     "*.test",
		"a.b.test":       hostname.Any, // a wildcard stands for one label
		"test":           hostname.Any,
		"":               hostname.Any,
	} {
		is.Equal(*m.Match(host), want)
	}
	m = mapOf("app.test", "*.test")
	is.Equal(m.Match("a.b.test"), nil)
	is.Equal(new(hostname.Map[string]).Match("app.test"), nil)
}

// It takes seconds to find out what such a name would be in ASCII.
func TestNameThatIsTooLongMatchesNothing(t *testing.T) {
	is := is.New(t)
	m := mapOf("*.test", hostname.Any)
	for _, letter := range []string{"a", "A", "ü", "中"} {
		name := strings.Repeat(letter, hostname.MaxLen/len(letter))
		is.True(m.Match(name+":443") == m.Get(hostname.Any)) // as long as may be
		for _, name := range []string{name + letter, name + "a" + letter + ".test", strings.Repeat(letter, 20000)} {
			is.Equal(m.Match(name+".:443"), nil)
		}
	}
}

func TestGetReturnsWhatWasSetForThePatternItself(t *testing.T) {
	is := is.New(t)
	all := []string{"", "*.test", "app.test"}
	m := mapOf(all...)
	for _, p := range all {
		is.Equal(*m.Get(p), p)
	}
	is.Equal(m.Get("other.test"), nil) // although a wildcard matches it
	is.Equal(m.Get("*.app.test"), nil)
	other := "other"
	m.Set("app.test", &other)
	is.Equal(*m.Match("app.test"), "other")
}

func TestAllYieldsEveryValueAndMayBeLeft(t *testing.T) {
	is := is.New(t)
	patterns := []string{"", "*.a.test", "*.test", "app.test", "b.test"}
	m := mapOf(patterns...)
	var got []string
	for v := range m.All() {
		got = append(got, *v)
	}
	slices.Sort(got)
	is.Equal(got, patterns)
	for most := range patterns {
		n := 0
		for range m.All() {
			if n++; n > most {
				break
			}
		}
		is.Equal(n, most+1)
	}
}

func TestCloneIsChangedApart(t *testing.T) {
	is := is.New(t)
	patterns := []string{"a.test", "*.test", hostname.Any}
	m := mapOf(patterns...)
	c := m.Clone()
	for _, pattern := range patterns {
		is.True(c.Get(pattern) == m.Get(pattern)) // the same value
		c.Delete(pattern)
		is.True(c.Get(pattern) == nil)
		is.True(m.Get(pattern) != nil) // it is still there
		c.Delete(pattern)              // which is not there any more
	}
	var none hostname.Map[string]
	empty := none.Clone()
	v := "v"
	empty.Set("a.test", &v)
	is.True(none.Get("a.test") == nil)
}
