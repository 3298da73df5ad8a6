//go:build !race

package metrics_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestObserveAllocatesNothing(t *testing.T) {
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
	r, excluding := newRequest()
	plain := excluding
	plain.Deployment = nil
	for name, o := range map[string]parachute.Outcome{"plain": plain, "excluding a path": excluding} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(testing.AllocsPerRun(1000, func() { m.Observe(r, o) }), 0.0)
		})
	}
}
