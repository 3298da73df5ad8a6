//go:build !race

package routing_test

import (
	"testing"

	"github.com/matryer/is"
)

func TestMatchAndRouteAllocateNothing(t *testing.T) {
	is := is.New(t)
	table := tableOf(on("api", open, "app.test/api"), on("web", open, "app.test"))
	is.Equal(testing.AllocsPerRun(100, func() {
		s := table.Match("app.test")
		s.Route("/apiary?x")
		s.Route("/api/x")
	}), 0.0)
}
