package sequential_test

import (
	"math"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/sequential"
)

func TestShareAboveTheLimitIsRejectedAndOneBelowNever(t *testing.T) {
	for _, tt := range []struct {
		limit       float64
		count, fail uint64 // of each look
		rejected    bool
	}{
		{0.05, 10, 10, true},
		{0.05, 100, 50, true},
		{0.05, 100, 15, true},
		{0.05, 100, 5, false},
		{0.05, 100, 0, false},
		{0.005, 100, 2, true},
		{1, 100, 100, false},
	} {
		is := is.New(t)
		s := sequential.New(tt.limit)
		is.True(!s.Rejects(0.001)) // nothing is known yet
		for range 200 {
			s.Add(tt.count, tt.fail)
		}
		is.Equal(s.Rejects(0.001), tt.rejected)
	}
}

func TestBurstWithinOneBlockDecidesNothing(t *testing.T) {
	is := is.New(t)
	s := sequential.New(0.005)
	s.Add(1000, 1000)
	is.True(!s.Rejects(0.001))
	for range 3 {
		s.Add(10, 10)
	}
	is.True(s.Rejects(0.001)) // but what goes on does
}

func TestFailuresOfABlockThatIsNotCompleteWait(t *testing.T) {
	is := is.New(t)
	s := sequential.New(0.05)
	for range 9 {
		s.Add(1, 1)
		is.Equal(s.Evidence(), 1.0)
	}
	s.Add(1, 1)
	is.True(s.Evidence() > 1)
}

func TestUpperBoundIsThatOfClopperAndPearson(t *testing.T) {
	for _, tt := range []struct{ count, failed, alpha, want float64 }{
		{10, 0, 0.05, 1 - math.Pow(0.05, 0.1)},
		{1000, 0, 0.0005, 1 - math.Pow(0.0005, 0.001)},
		{1, 0, 0.5, 0.5},
		{10, 10, 0.05, 1},
		{0, 0, 0.05, 1},
		{20, 1, 0.05, 0.216106},
		{100, 5, 0.025, 0.112835},
	} {
		got := sequential.UpperBound(tt.count, tt.failed, tt.alpha)
		if math.Abs(got-tt.want) > 1e-5 {
			t.Errorf("%v of %v: %v, want %v", tt.failed, tt.count, got, tt.want)
		}
	}
}
