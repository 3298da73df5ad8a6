//go:build !race

package cookies_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/cookies"
)

func TestValueAllocatesNothing(t *testing.T) {
	is := is.New(t)
	h := http.Header{"Cookie": {"a=1; b=2", `c="3"; d=4`}}
	is.Equal(testing.AllocsPerRun(100, func() {
		cookies.Value(h, "c")
		cookies.Value(h, "e")
	}), 0.0)
}

func TestScopeAllocatesNothingWithoutACookie(t *testing.T) {
	is := is.New(t)
	h := http.Header{"Content-Type": {"text/html"}}
	is.Equal(testing.AllocsPerRun(100, func() { cookies.Scope(h, "/api", "a.test") }), 0.0)
}

func TestScopeAllocatesTheListAndEachCookie(t *testing.T) {
	is := is.New(t)
	set := []string{"a=1; Path=/", "b=2; Path=/; HttpOnly"}
	h := http.Header{"Set-Cookie": set}
	is.Equal(testing.AllocsPerRun(100, func() {
		h["Set-Cookie"] = set
		cookies.Scope(h, "/api", "a.test")
	}), 3.0)
	set = []string{"a=1", "b=2; HttpOnly"}
	is.Equal(testing.AllocsPerRun(100, func() {
		h["Set-Cookie"] = set
		cookies.Scope(h, "/a/longer/prefix", "a.test") // which both get as their Path
	}), 3.0)
}
