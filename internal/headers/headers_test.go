package headers_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/headers"
)

func TestRulesApplyInTheirOrder(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []string
		want  http.Header
	}{
		{"none", nil, http.Header{"X-A": {"1", "2"}, "X-B": {"3"}}},
		{"set replaces", []string{"set X-A: 4"}, http.Header{"X-A": {"4"}, "X-B": {"3"}}},
		{"set adds", []string{"set X-C: 4"}, http.Header{"X-A": {"1", "2"}, "X-B": {"3"}, "X-C": {"4"}}},
		{"del", []string{"del X-A", "del X-C"}, http.Header{"X-B": {"3"}}},
		{"the last counts", []string{"set X-A: 4", "set X-A: 5"}, http.Header{"X-A": {"5"}, "X-B": {"3"}}},
		{"set and del", []string{"set X-A: 4", "del X-A"}, http.Header{"X-B": {"3"}}},
		{"del and set", []string{"del X-A", "set X-A: 4"}, http.Header{"X-A": {"4"}, "X-B": {"3"}}},
		{"any case of the name", []string{"set x-A: 4", "del x-b"}, http.Header{"X-A": {"4"}}},
		{"spaces", []string{"set  X-A: \t4: 5, 6\t ", "del  X-B "}, http.Header{"X-A": {"4: 5, 6"}}},
		{"no space", []string{"set X-A:4"}, http.Header{"X-A": {"4"}, "X-B": {"3"}}},
		{"an empty value", []string{"set X-A:"}, http.Header{"X-A": {""}, "X-B": {"3"}}},
		{"tabs and other letters", []string{"set X-A: ä\tb"}, http.Header{"X-A": {"ä\tb"}, "X-B": {"3"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, parse := range []func([]string) (headers.Rules, error){headers.ParseRequest, headers.ParseResponse} {
				is := is.New(t)
				rules, err := parse(tt.rules)
				is.NoErr(err)
				h := http.Header{"X-A": {"1", "2"}, "X-B": {"3"}}
				rules.Apply(h)
				is.Equal(h, tt.want)
			}
		})
	}
}

// To many servers X_A is X-A.
func TestFieldWithTheNameOfARuleInAnotherSpellingIsDropped(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []string
		from  http.Header
		want  http.Header
	}{
		{"set", []string{"set X-A-B: 1"}, http.Header{"X-A-B": {"2"}, "X_a_b": {"2"}, "X-A_b": {"2"}, "X_a-B": {"2"}}, http.Header{"X-A-B": {"1"}}},
		{"del", []string{"del X-A"}, http.Header{"X-A": {"2"}, "X_a": {"2"}}, http.Header{}},
		{"edit", []string{"edit X-A 2 1"}, http.Header{"X-A": {"2"}, "X_a": {"2"}}, http.Header{"X-A": {"1"}}},
		{"a rule with '_'", []string{"set X_A: 1"}, http.Header{"X-A": {"2"}, "X_a": {"2"}}, http.Header{"X_a": {"1"}}},
		{"a rule for each", []string{"set X_A: 1", "edit X-A 2 3"}, http.Header{"X-A": {"2"}, "X_a": {"2"}}, http.Header{"X-A": {"3"}, "X_a": {"1"}}},
		{"other names", []string{"set X-A: 1", "del X-Ab"}, http.Header{"X.a": {"2"}, "X_b": {"2"}, "X_a_": {"2"}}, http.Header{"X-A": {"1"}, "X.a": {"2"}, "X_b": {"2"}, "X_a_": {"2"}}},
		{"no rules", nil, http.Header{"X_a": {"2"}}, http.Header{"X_a": {"2"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			rules, err := headers.ParseRequest(tt.rules)
			is.NoErr(err)
			rules.ApplyToRequest(tt.from)
			is.Equal(tt.from, tt.want)
		})
	}
}

func TestRulesLeaveWhatOthersShare(t *testing.T) {
	is := is.New(t)
	rules, err := headers.ParseRequest([]string{"set X-A: 3", "del X-B"})
	is.NoErr(err)
	values := []string{"1", "2"}
	for range 2 {
		h := http.Header{"X-A": values, "X-B": values[:1]}
		rules.Apply(h)
		is.Equal(values, []string{"1", "2"})
		h.Add("X-A", "4") // makes a slice of its own
	}
	h := http.Header{}
	rules.Apply(h)
	is.Equal(h, http.Header{"X-A": {"3"}})
}

func TestWhatIsNoRuleIsRefusedWithTheRightForm(t *testing.T) {
	const (
		form   = `want "set NAME: VALUE", "del NAME" or "edit NAME PATTERN REPLACEMENT", such as "set X-Robots-Tag: noindex"`
		value  = "the value has a control character: want visible ones, spaces and tabs"
		frames = "this header belongs to the message and its connection: leave the rule out"
		others = "this header has another value for each request: want del, or leave the rule out"
	)
	for _, tt := range []struct{ rule, request, response string }{
		{"", form, form},
		{"set", form, form},
		{"set ", form, form},
		{"del ", form, form},
		{"set X-A", form, form},
		{"set : 1", form, form},
		{"set X-A : 1", form, form},
		{"set X A: 1", form, form},
		{"set :path: /", form, form},
		{"set Ä: 1", form, form},
		{"del X-A: 1", form, form},
		{"del X-A X-B", form, form},
		{"del X-\x00", form, form},
		{"SET X-A: 1", form, form},
		{"add X-A: 1", form, form},
		{"X-A: 1", form, form},
		{" set X-A: 1", form, form},
		{"set X-A: 1\r\nX-B: 2", value, value},
		{"set X-A: \x00", value, value},
		{"set X-A: \x7f", value, value},
		{"set Connection: close", frames, frames},
		{"del keep-alive", frames, frames},
		{"set Transfer-Encoding: chunked", frames, frames},
		{"set transfer_encoding: chunked", frames, frames},
		{"del Content-Length", frames, frames},
		{"set Upgrade: h2c", frames, frames},
		{"set TE: trailers", frames, frames},
		{"set Trailer: X-A", frames, frames},
		{"set HTTP2-Settings: a", frames, frames},
		{"set Proxy-Connection: close", frames, frames},
		{"set Host: a.test", frames, ""},
		{"del Expect", frames, ""},
		{"set X-Forwarded-For: 192.0.2.1", others, ""},
		{"set X_Forwarded_For: 192.0.2.1", others, ""},
		{"set Forwarded: for=_a", others, ""},
		{"set X-Real-IP: 192.0.2.1", others, ""},
		{"set X-Request-ID: 1", others, ""},
		{"set X-Request-Start: t=1", others, ""},
		{"del X-Forwarded-For", "", ""},
		{"set X-Forwarded-Proto: https", "", ""},
		{"set Authorization: Bearer a", "", ""},
		{"set Strict-Transport-Security: max-age=1", "", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, half := range []struct {
				parse func([]string) (headers.Rules, error)
				want  string
			}{{headers.ParseRequest, tt.request}, {headers.ParseResponse, tt.response}} {
				is := is.New(t)
				_, err := half.parse([]string{"set X-A: 1", tt.rule})
				if half.want == "" {
					is.NoErr(err)
					continue
				}
				is.True(err != nil)
				is.True(strings.HasPrefix(err.Error(), "header rule \"")) // which one it is
				is.True(strings.HasSuffix(err.Error(), ": "+half.want))   // what is wrong
			}
		})
	}
}

// FuzzRules has net/http write what was set: it must arrive as it was written,
// and nothing else.
func FuzzRules(f *testing.F) {
	f.Add("set X-A: 1", "del X-B")
	f.Add("set Cookie:\ta=1; b=2 ", "set x-a: \x80\xff")
	f.Add("set X-A: 1\nX-B: 2", "set X-C:")
	f.Fuzz(func(t *testing.T, first, second string) {
		rules, err := headers.ParseResponse([]string{first, second})
		if err != nil {
			return
		}
		h := http.Header{}
		rules.Apply(h)
		var b strings.Builder
		if err := h.Write(&b); err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(b.String(), "\r\n")
		if len(lines) != len(h)+1 {
			t.Errorf("%q and %q are written as %q", first, second, b.String())
		}
		for name, values := range h {
			if len(values) != 1 || !slices.Contains(lines, name+": "+values[0]+"\r\n") {
				t.Errorf("%q and %q are written as %q", first, second, b.String())
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	rules, err := headers.ParseRequest([]string{"set X-A: 1", "set X-B: 2", "del X-C"})
	if err != nil {
		b.Fatal(err)
	}
	h := http.Header{"X-A": {"1"}}
	b.ReportAllocs()
	for b.Loop() {
		rules.Apply(h)
	}
}
