//go:build !race

package pages_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/pages"
)

// A flood of requests that nobody is there to serve must not become a flood of
// garbage.
func TestTextAllocatesItsLengthOnly(t *testing.T) {
	is := is.New(t)
	s, w, r := new(pages.Set), make(discard), request(http.MethodGet, "*/*")
	is.True(testing.AllocsPerRun(100, func() {
		clear(w)
		s.Write(w, r, pages.Page{Status: 503, Message: "Back at five."})
	}) <= 2) // the value of Content-Length, and its slice
}
