//go:build !race

package location_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/location"
)

func TestNothingToRewriteAllocatesNothing(t *testing.T) {
	is := is.New(t)
	own := location.NewOrigin(false, "10.0.0.7:3000")
	for _, h := range []http.Header{
		{"Content-Type": {"text/html"}},
		{"Location": {"https://app1.example.com/dir/"}, "Content-Location": {"/app/x"}, "Refresh": {"5; url=/app/x"}},
	} {
		is.Equal(testing.AllocsPerRun(100, func() { location.Rewrite(h, own, "/app", true) }), 0.0)
	}
}
