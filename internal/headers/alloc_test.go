//go:build !race

package headers_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/headers"
)

func TestApplyAllocatesNothing(t *testing.T) {
	is := is.New(t)
	rules, err := headers.ParseRequest([]string{"set X-A: 1", "del X-B", "set X-C: 2"})
	is.NoErr(err)
	h := http.Header{}
	was := []string{"0"}
	for _, apply := range []func(http.Header){rules.Apply, rules.ApplyToRequest} {
		is.Equal(testing.AllocsPerRun(100, func() {
			h["X-A"], h["X-B"], h["X_b"] = was, was, was
			apply(h)
		}), 0.0)
	}
}

func TestEditThatMatchesNothingAllocatesNothing(t *testing.T) {
	is := is.New(t)
	rules, err := headers.ParseRequest([]string{"edit X-A ^https://[^/]+ http://web-1", "edit X-B a b"})
	is.NoErr(err)
	h := http.Header{"X-A": {"/files/a"}}
	is.Equal(testing.AllocsPerRun(100, func() { rules.Apply(h) }), 0.0)
}
