//go:build !race

package hostname_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
)

func TestCanonicalNameAllocatesNothing(t *testing.T) {
	is := is.New(t)
	for _, host := range []string{"app.example.com", "app.example.com:443", "app.example.com.", "[::1]:443"} {
		is.Equal(testing.AllocsPerRun(100, func() { hostname.Canonical(host) }), 0.0) // host
	}
}
