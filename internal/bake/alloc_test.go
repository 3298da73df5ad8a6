//go:build !race

package bake_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bake"
)

func TestObserveAllocatesNothing(t *testing.T) {
	is := is.New(t)
	var tally bake.Tally
	var at time.Duration
	is.Equal(testing.AllocsPerRun(1000, func() {
		at += time.Second
		tally.Observe(at, at, true)
	}), 0.0)
}
