package forward_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
)

func TestRequestTellsWhatItHasPassed(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for name, tt := range map[string]struct{ before, want []string }{
		"nothing":          {nil, []string{"me"}},
		"one":              {[]string{"a"}, []string{"a, me"}},
		"lists":            {[]string{"a, b", "c"}, []string{"a, b, c, me"}},
		"one too long":     {[]string{long}, []string{"me"}},
		"oldest too long":  {[]string{long + ", b", "c"}, []string{"b, c, me"}},
		"newest too long":  {[]string{"b, " + long}, []string{"me"}},
		"as many as fit":   {[]string{strings.Repeat("x", 1<<10-len(", me"))}, []string{strings.Repeat("x", 1<<10-len(", me")) + ", me"}},
		"one more byte":    {[]string{"a, b", strings.Repeat("x", 1<<10-len("b, , me"))}, []string{"b, " + strings.Repeat("x", 1<<10-len("b, , me")) + ", me"}},
		"one byte is over": {[]string{"a", strings.Repeat("x", 1<<10-len("a, , me")+1)}, []string{strings.Repeat("x", 1<<10-len("a, , me")+1) + ", me"}},
		"too many of them": {[]string{strings.Repeat("abcdefghijklmn, ", 100) + "z"}, []string{strings.Repeat("abcdefghijklmn, ", 63) + "z, me"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "GET", "/")
			r.Header["X-Parachute-Hop"] = tt.before
			r.Header["Connection"] = []string{"x-parachute-hop"}
			r.Header["X_parachute_hop"] = []string{"a stranger's"}
			got := outgoing(t, r, forward.Options{Hop: []string{"me"}})
			is.Equal(got["X-Parachute-Hop"], tt.want)
			is.Equal(got["X_parachute_hop"], nil)
			is.True(forward.HasPassed(got, []string{"me"}))
		})
	}
}

func TestWhoHasNoHopPassesNoneOn(t *testing.T) {
	is := is.New(t)
	r := read(t, "GET", "/")
	r.Header["X-Parachute-Hop"] = []string{"a"}
	is.Equal(outgoing(t, r, forward.Options{})["X-Parachute-Hop"], nil)
}

func TestHopIsSeenAnywhereInTheList(t *testing.T) {
	is := is.New(t)
	h := http.Header{"X-Parachute-Hop": {"a,b", " c , me-2"}}
	for hop, want := range map[string]bool{"a": true, "b": true, "c": true, "me-2": true, "me": false, "A": false, "": false} {
		is.Equal(forward.HasPassed(h, []string{hop}), want)
	}
	is.True(!forward.HasPassed(h, nil))
	is.True(!forward.HasPassed(nil, []string{"a"}))
}

func TestAnswerDoesNotTellWhatRequestHasPassed(t *testing.T) {
	is := is.New(t)
	w := nowhere{make(http.Header)}
	_, err := forward.Forward(&w, read(t, "GET", "/"), answering(func() *http.Response {
		resp := response(204, "")
		resp.Header.Set("X-Parachute-Hop", "a")
		return resp
	}), &forward.Options{Hop: []string{"me"}})
	is.NoErr(err)
	is.Equal(w.Header()["X-Parachute-Hop"], nil)
}

// Whatever a client sends, what is ours is at the end, and the list has its limit.
func FuzzHops(f *testing.F) {
	f.Add("a, b", "c")
	f.Add(strings.Repeat("a,", 600), strings.Repeat(",", 600))
	f.Add(strings.Repeat("x", 2000), "")
	f.Fuzz(func(t *testing.T, first, second string) {
		r := read(t, "GET", "/")
		r.Header["X-Parachute-Hop"] = []string{first, second}
		got := outgoing(t, r, forward.Options{Hop: []string{"me"}})["X-Parachute-Hop"]
		if len(got) != 1 || len(got[0]) > 1<<10 || !strings.HasSuffix(", "+got[0], ", me") {
			t.Errorf("%q", got)
		}
	})
}

func TestHopsOfServicesDiffer(t *testing.T) {
	is := is.New(t)
	hop := forward.NewHop()
	web := forward.HopOf(hop, "web")
	is.Equal(web, forward.HopOf(hop, "web"))
	is.True(!slices.Equal(web, forward.HopOf(hop, "api")))
	is.True(!slices.Equal(web, forward.HopOf(forward.NewHop(), "web"))) // of another proxy
	is.True(forward.HasPassed(http.Header{"X-Parachute-Hop": web}, web))
	is.True(!forward.HasPassed(http.Header{"X-Parachute-Hop": web}, hop))
}
