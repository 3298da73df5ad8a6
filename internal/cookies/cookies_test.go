package cookies_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/cookies"
)

func TestValueIsThatOfTheFirstWellFormedCookie(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
		found bool
	}{
		{name: "no header"},
		{name: "another", lines: []string{"b=1"}},
		{name: "alone", lines: []string{"a=1"}, want: "1", found: true},
		{name: "among others", lines: []string{"b=1; a=2; c=3"}, want: "2", found: true},
		{name: "on a later line", lines: []string{"b=1", "c=2; a=3"}, want: "3", found: true},
		{name: "the first counts", lines: []string{"a=1; a=2", "a=3"}, want: "1", found: true},
		{name: "names have a case", lines: []string{"A=1"}},
		{name: "a name that ends alike", lines: []string{"aa=1; -a=2"}},
		{name: "a name within a value", lines: []string{"b=a=1"}},
		{name: "empty", lines: []string{"a="}, found: true},
		{name: "without a sign", lines: []string{"a"}, found: true},
		{name: "signs in the value", lines: []string{"a=b=c="}, want: "b=c=", found: true},
		{name: "spaces and commas", lines: []string{" \ta = 1, 2 ;"}, want: " 1, 2", found: true},
		{name: "without a space between", lines: []string{"b=1;a=2"}, want: "2", found: true},
		{name: "quoted", lines: []string{`a="1"`}, want: "1", found: true},
		{name: "quoted nothing", lines: []string{`a=""`}, found: true},
		{name: "a quote alone", lines: []string{`a="; a=2`}, want: "2", found: true},
		{name: "quotes within", lines: []string{`a=1"2"; a=3`}, want: "3", found: true},
		{name: "a semicolon ends quotes", lines: []string{`a="1;2"; a=3`}, want: "3", found: true},
		{name: "all that is visible", lines: []string{"a=!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~"}, want: "!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~", found: true},
		{name: "bytes that do not belong there", lines: []string{"a=\x7f; a=\\; a=\xc3\xa4; a=1"}, want: "1", found: true},
		{name: "empty pieces", lines: []string{"", ";; ;=;", "a=1"}, want: "1", found: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			value, found := cookies.Value(http.Header{"Cookie": tt.lines}, "a")
			is.Equal(value, tt.want)
			is.Equal(found, tt.found)
		})
	}
}

func TestValueIsFoundAmongThousandsOfCookies(t *testing.T) {
	is := is.New(t)
	h := http.Header{"Cookie": {strings.Repeat("b=1;", 10_000) + "a=2"}}
	value, found := cookies.Value(h, "a")
	is.True(found) // net/http finds none
	is.Equal(value, "2")
}

// FuzzValue compares with net/http.
func FuzzValue(f *testing.F) {
	f.Add("a=1; b=2", `c="3"`, "c")
	f.Add(`a="`, ` a = "1;2" ; a=", "`, "a")
	f.Add("a=\x80; a;a=", ";;=;", "a")
	f.Fuzz(func(t *testing.T, first, second, name string) {
		h := http.Header{"Cookie": {first, second}}
		r := &http.Request{Header: h}
		if (&http.Cookie{Name: name}).Valid() != nil || len(first)+len(second) > 2000 {
			return // no token, or more than net/http would look at
		}
		value, found := cookies.Value(h, name)
		want, err := r.Cookie(name)
		if found != (err == nil) || found && value != want.Value {
			t.Errorf("%q of %q: %q, %v; net/http has %v, %v", name, h["Cookie"], value, found, want, err)
		}
	})
}

func BenchmarkValue(b *testing.B) {
	h := http.Header{"Cookie": {"_ga=GA1.1.1234567890.1234567890; _session=" + strings.Repeat("x", 500) + "; parachute-rollout=ABCD"}}
	b.ReportAllocs()
	for b.Loop() {
		cookies.Value(h, "parachute-rollout")
	}
}

func TestValueOfACookieIsVisibleASCIIWithoutWhatEndsIt(t *testing.T) {
	for c := range 256 {
		s := "a" + string([]byte{byte(c)}) + "b"
		if want := ' ' <= c && c <= '~' && !strings.ContainsRune(`";\`, rune(c)); cookies.IsValue(s) != want {
			t.Errorf("IsValue(%q) = %v", s, !want)
		}
	}
}
