//go:build !race

package lanes_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
)

func TestPickAllocatesNothing(t *testing.T) {
	is := is.New(t)
	a, b, c := newTarget("a"), newTarget("b"), newTarget("c")
	g := groupOf(targets(a, b, c), targets(a, b))
	tried := targets(a)
	known := visitorOf(b, c)
	is.Equal(testing.AllocsPerRun(100, func() {
		g.Pick(0, nil, false, affinity.Visitor{})
		g.Pick(0, tried, true, affinity.Visitor{})
		g.Pick(0, tried, false, known)
	}), 0.0)
}
