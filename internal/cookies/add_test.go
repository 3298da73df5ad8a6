package cookies_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/cookies"
)

func TestAddedCookiesComeLastAndCanBeForgotten(t *testing.T) {
	for name, before := range map[string][]string{"none": nil, "one": {"a=1"}, "a shared one": append(make([]string, 0, 9), "a=1")} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			h, want := http.Header{}, http.Header{}
			if before != nil {
				h["Set-Cookie"], want["Set-Cookie"] = before, slices.Clone(before)
			}
			forget := cookies.Add(h, []string{"b=2", "c=3"})
			is.Equal(h["Set-Cookie"], slices.Concat(before, []string{"b=2", "c=3"}))
			h["Set-Cookie"][0] = "changed" // which is nobody else's
			forget()
			is.Equal(h, want)
			is.True(slices.Equal(before[len(before):cap(before)], make([]string, cap(before)-len(before)))) // nor is what lies behind it
		})
	}
}
