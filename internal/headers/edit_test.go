package headers_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/headers"
)

func TestEditReplacesTheFirstMatchInEachValue(t *testing.T) {
	for _, tt := range []struct {
		rule string
		from []string
		want []string
	}{
		{`edit X-A ^https?://[^/]+/dav http://web-1:3000`, []string{"https://dav.test/dav/a%20b"}, []string{"http://web-1:3000/a%20b"}},
		{`edit x-a b c`, []string{"abb", "xyz", "bb"}, []string{"acb", "xyz", "cb"}},
		{`edit X-A (?i)B c d`, []string{"aB"}, []string{"ac d"}},
		{`edit X-A  b   c `, []string{"abc"}, []string{"acc"}},
		{`edit X-A b`, []string{"abc"}, []string{"ac"}},
		{`edit X-A ^.*$`, []string{"abc"}, []string{""}},
		{`edit X-A (a)(?P<second>b) $2$1`, []string{"abc"}, []string{"bac"}},
		{`edit X-A (a)(?P<second>b) ${second}${1}x$1x`, []string{"abc"}, []string{"baxaxc"}},
		{`edit X-A (z)?b [$1$0$$1]`, []string{"abc"}, []string{"a[b$1]c"}},
		{`edit X-A ^ \x20\t`, []string{"abc"}, []string{`\x20\tabc`}}, // it is text
		{`edit X-A b|$ :`, []string{""}, []string{":"}},
		{`edit X-A b c`, nil, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, parse := range []func([]string) (headers.Rules, error){headers.ParseRequest, headers.ParseResponse} {
				is := is.New(t)
				rules, err := parse([]string{tt.rule})
				is.NoErr(err)
				h, was := http.Header{}, strings.Join(tt.from, "\n")
				if tt.from != nil {
					h["X-A"] = tt.from
				}
				rules.Apply(h)
				is.Equal(h["X-A"], tt.want)
				is.Equal(strings.Join(tt.from, "\n"), was) // which others may share
			}
		})
	}
}

func TestEditsFollowTheOtherRulesInOrder(t *testing.T) {
	is := is.New(t)
	rules, err := headers.ParseRequest([]string{"set X-A: 1", "edit X-A 1 2", "edit X-A 2 3", "edit X-B b c", "del X-B", "edit X-B b c"})
	is.NoErr(err)
	for range 2 { // the values of set are shared
		h := http.Header{"X-B": {"b"}}
		rules.Apply(h)
		is.Equal(h, http.Header{"X-A": {"3"}})
	}
}

func TestWhatIsNoEditIsRefused(t *testing.T) {
	const form = `want "set NAME: VALUE", "del NAME" or "edit NAME PATTERN REPLACEMENT"`
	for rule, want := range map[string]string{
		"edit":                     form,
		"edit X-A":                 form,
		"edit X-A: b c":            form,
		"edit  b":                  form,
		"edit X-A [ c":             "the pattern is no regular expression: error parsing regexp: missing closing ]: `[`",
		`edit X-A (?=b) c`:         "the pattern is no regular expression: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
		`edit X-A (b)\1 c`:         "the pattern is no regular expression: error parsing regexp: invalid escape sequence: `\\1`",
		"edit X-A b{1001} c":       "invalid repeat count",
		"edit X-A (b{100}){10} c":  "steps: want at most 1000, with fewer repetitions",
		"edit X-A b $1":            `the replacement names a group that the pattern does not have: "$1": want $1 or ${name}, and $$ for a dollar sign`,
		"edit X-A (b) ${x}":        `the replacement names a group`,
		"edit X-A (b) ${1":         `the replacement names a group`,
		"edit X-A (b) $x":          `the replacement names a group`,
		"edit X-A (b) a$":          `the replacement names a group`,
		"edit X-A b c\r\nX-B: 1":   "the value has a control character",
		"edit Host a b":            "this header belongs to the message and its connection",
		"edit Content-Length a b":  "this header belongs to the message and its connection",
		"edit X-Forwarded-For a b": "this header has another value for each request",
		"edit X-Parachute-Hop a b": "this header ends requests that go in circles",
		"edit X-A b " + long:       "a pattern of 1 bytes and a replacement of 1025: want at most 1024 each",
		"edit X-A " + long + " c":  "a pattern of 1025 bytes and a replacement of 1",
	} {
		is := is.New(t)
		_, err := headers.ParseRequest([]string{rule})
		is.True(err != nil) // rule
		is.True(strings.HasPrefix(err.Error(), "header rule "))
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted: %s", err, want)
		}
	}
}

var long = strings.Repeat("x", 1025)

func TestEditThatMakesAValueTooLongLeavesIt(t *testing.T) {
	is := is.New(t)
	rules, err := headers.ParseRequest([]string{"edit X-A .* " + strings.Repeat("$0", 500)})
	is.NoErr(err)
	value := strings.Repeat("x", 1000)
	h := http.Header{"X-A": {value}}
	rules.Apply(h)
	is.Equal(h["X-A"], []string{value})
}

// FuzzEdit makes sure that an edit of a valid value is a valid value.
func FuzzEdit(f *testing.F) {
	f.Add("edit X-A ^https?://[^/]+(/.*) http://web-1$1", "https://a.test/b")
	f.Add("edit X-A (?s). $0$0", "\xff\xfe")
	f.Fuzz(func(t *testing.T, rule, value string) {
		rules, err := headers.ParseRequest([]string{rule})
		if err != nil || !field.IsValue(value) {
			return
		}
		h := http.Header{"X-A": {value}}
		rules.Apply(h)
		for name, values := range h {
			for _, v := range values {
				if !field.IsToken(name) || !field.IsValue(v) {
					t.Errorf("%q makes %q of %q", rule, v, value)
				}
			}
		}
	})
}
