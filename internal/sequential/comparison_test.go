package sequential_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/sequential"
)

func TestVersionThatFailsMoreOftenThanTheOtherIsFound(t *testing.T) {
	for _, tt := range []struct {
		one, other sequential.Counts // of each look
		rejected   bool
	}{
		{sequential.Counts{Requests: 10, Failed: 5}, sequential.Counts{Requests: 990}, true},               // at 1 %
		{sequential.Counts{Requests: 500, Failed: 50}, sequential.Counts{Requests: 500, Failed: 5}, true},  // at 50 %
		{sequential.Counts{Requests: 10, Failed: 5}, sequential.Counts{Requests: 990, Failed: 495}, false}, // both alike
		{sequential.Counts{Requests: 100, Failed: 19}, sequential.Counts{Requests: 100, Failed: 10}, false},
		{sequential.Counts{Requests: 100}, sequential.Counts{Requests: 100, Failed: 50}, false},
		{sequential.Counts{Requests: 100, Failed: 100}, sequential.Counts{}, false}, // there is nothing to compare with
	} {
		is := is.New(t)
		c := sequential.Compare(2)
		is.True(!c.Rejects(0.001)) // nothing is known yet
		for range 400 {
			c.Add(tt.one, tt.other)
		}
		is.Equal(c.Rejects(0.001), tt.rejected) // tt
	}
}

func TestFewFailuresDecideNothing(t *testing.T) {
	is := is.New(t)
	c := sequential.Compare(2)
	for range 3 {
		c.Add(sequential.Counts{Requests: 9, Failed: 9}, sequential.Counts{Requests: 1000})
	}
	is.True(!c.Rejects(0.0005)) // 27, which one client may have caused
	for range 4 {
		c.Add(sequential.Counts{Requests: 30, Failed: 30}, sequential.Counts{Requests: 3000})
	}
	is.True(c.Rejects(0.0005))
}

// The promise is 1 in 1,000 over all looks, for versions that are equal, whatever rate
// their failures have and however it rises and falls. A simulation of so many runs can
// be above that by chance, so it allows for three standard deviations.
func TestEqualVersionsAreHardlyEverFoundToDiffer(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const runs, looks, alpha = 100, 120, 0.001
	for _, share := range []float64{0.01, 0.1, 0.5} {
		for _, rate := range []float64{0.005, 0.05, 0.5} {
			alarms := 0
			for range runs {
				c := sequential.Compare(2)
				for look := range looks {
					now := rate
					if look/30%2 == 1 {
						now = rate / 10 // an incident comes and goes
					}
					var one, other sequential.Counts
					for range 50 {
						side := &other
						if random.Float64() < share {
							side = &one
						}
						side.Requests++
						if random.Float64() < now {
							side.Failed++
						}
					}
					if c.Add(one, other); c.Rejects(alpha) {
						alarms++
						break
					}
				}
			}
			if limit := alpha*runs + 3*math.Sqrt(alpha*runs); float64(alarms) > limit {
				t.Errorf("%d alarms in %d: share %v, rate %v", alarms, runs, share, rate)
			}
		}
	}
}
