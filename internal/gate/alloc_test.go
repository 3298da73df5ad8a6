//go:build !race

package gate_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
)

func TestEnterAndLeaveAllocateNothing(t *testing.T) {
	is := is.New(t)
	var g gate.Gate
	is.Equal(testing.AllocsPerRun(100, func() { g.Enter(); g.Leave() }), 0.0)
}

func TestPassageAllocatesNothing(t *testing.T) {
	is := is.New(t)
	var l gate.Gates
	is.Equal(testing.AllocsPerRun(1000, func() {
		p, _ := l.Enter()
		p.Leave()
	}), 0.0)
}
