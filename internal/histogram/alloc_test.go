//go:build !race

package histogram_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/histogram"
)

func TestObserveAndMinuteAllocateNothing(t *testing.T) {
	is := is.New(t)
	var h histogram.Histogram
	var at time.Duration
	is.Equal(testing.AllocsPerRun(1000, func() {
		at += time.Second
		h.Observe(at, at, true)
		h.Minute(at)
	}), 0.0)
}
