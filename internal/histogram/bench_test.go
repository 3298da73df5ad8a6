package histogram_test

import (
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/histogram"
)

func BenchmarkObserve(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		var h histogram.Histogram
		for i := time.Duration(0); b.Loop(); i++ {
			h.Observe(i*time.Microsecond, 3*time.Millisecond, false)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		var h histogram.Histogram
		b.RunParallel(func(pb *testing.PB) {
			for i := time.Duration(0); pb.Next(); i++ {
				h.Observe(i*time.Microsecond, 3*time.Millisecond, false)
			}
		})
	})
}

func BenchmarkMinute(b *testing.B) {
	var h histogram.Histogram
	for b.Loop() {
		h.Minute(time.Minute)
	}
}
