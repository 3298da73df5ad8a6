package histogram_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/histogram"
)

// near reports whether got is within the promised 10 % of want.
func near(got, want time.Duration) bool {
	return float64(got) >= .9*float64(want) && float64(got) <= 1.1*float64(want)
}

func TestZeroHistogramHasCountedNothing(t *testing.T) {
	is := is.New(t)
	var h histogram.Histogram
	is.Equal(h.Minute(0), histogram.Minute{Span: time.Second})
	is.Equal(h.Minute(time.Hour).Count, uint64(0))
}

func TestRatesAreThoseOfTheTimeThatWasCountedIn(t *testing.T) {
	is := is.New(t)
	var h histogram.Histogram
	is.Equal(h.Minute(time.Hour).ErrorRate(), 0.0) // of nothing
	is.Equal(h.Minute(time.Hour).Rate(), 0.0)
	for i := range 8 {
		h.Observe(time.Hour, time.Millisecond, i%4 == 0)
	}
	is.Equal(h.Minute(time.Hour).Rate(), 8.0) // it is no less than a second
	is.Equal(h.Minute(time.Hour+4*time.Second).Rate(), 2.0)
	is.Equal(h.Minute(time.Hour+4*time.Second).ErrorRate(), 0.25)
}

func TestQuantilesAreWithinTheirBound(t *testing.T) {
	// Times as requests have them, from a fixed seed: a body that is spread
	// over several doublings, and a tail.
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 10, 99, 100, 101, 1000, 20_000} {
		is := is.New(t)
		var h histogram.Histogram
		var all []time.Duration
		for range n {
			took := time.Duration(float64(time.Millisecond) * (0.1 + random.ExpFloat64()*random.ExpFloat64()*50))
			all = append(all, took)
			h.Observe(time.Second, took, false)
		}
		slices.Sort(all)
		m := h.Minute(2 * time.Second)
		is.Equal(m.Count, uint64(n))
		is.True(near(m.P50, all[(n*50+99)/100-1])) // p50
		is.True(near(m.P99, all[(n*99+99)/100-1])) // p99
	}
}

func TestEveryTimeIsToldWithinTheBound(t *testing.T) {
	is := is.New(t)
	for took := 66 * time.Microsecond; took < 68*time.Second; took += took / 100 {
		var h histogram.Histogram
		h.Observe(0, took, false)
		if got := h.Minute(0).P50; !near(got, took) {
			t.Errorf("%v is told as %v", took, got)
		}
	}
	for took, want := range map[time.Duration]time.Duration{
		-time.Second: 65536, 0: 65536, time.Microsecond: 65536, // no shorter
		time.Hour: 1 << 36, 1<<63 - 1: 1 << 36, // no longer
	} {
		var h histogram.Histogram
		h.Observe(0, took, false)
		is.Equal(h.Minute(0).P99, want)
	}
}

func TestWhatIsOlderThanAMinuteIsForgotten(t *testing.T) {
	is := is.New(t)
	var h histogram.Histogram
	h.Observe(5*time.Second, time.Second, true)
	h.Observe(25*time.Second, time.Millisecond, false)
	m := h.Minute(50 * time.Second)
	is.Equal(m.Count, uint64(2))
	is.Equal(m.Failed, uint64(1))
	is.Equal(m.Span, 45*time.Second) // since the first one ever

	m = h.Minute(65 * time.Second)
	is.Equal(m.Count, uint64(1))
	is.Equal(m.Failed, uint64(0))
	is.Equal(m.Span, 55*time.Second) // five slices and a half
	is.True(near(m.P99, time.Millisecond))

	is.Equal(h.Minute(90*time.Second).Count, uint64(0)) // nobody came since
	h.Observe(125*time.Second, time.Second, false)      // into the slice of the first one
	m = h.Minute(125 * time.Second)
	is.Equal(m.Count, uint64(1))
	is.Equal(m.Failed, uint64(0)) // nothing is left of that
}

func TestAMinuteHasWhatHappenedAtItsEnds(t *testing.T) {
	for at := time.Duration(0); at < 3*time.Minute; at += 7 * time.Second {
		is := is.New(t)
		var h histogram.Histogram
		h.Observe(at, time.Second, false)
		is.Equal(h.Minute(at).Count, uint64(1))
		is.Equal(h.Minute(at+50*time.Second).Count, uint64(1)) // the last 50 s are always there
		is.Equal(h.Minute(at+60*time.Second).Count, uint64(0)) // nothing older than 60 s ever is
	}
}

func TestWhoComesAMinuteLateCountsForNothing(t *testing.T) {
	is := is.New(t)
	var h histogram.Histogram
	h.Observe(70*time.Second, time.Second, true)
	h.Observe(10*time.Second, time.Second, true) // in the same slice, a turn before
	m := h.Minute(70 * time.Second)
	is.Equal(m.Count, uint64(1))
	is.Equal(m.Failed, uint64(1))
}

func TestNothingIsLostWhereSlicesBegin(t *testing.T) {
	is := is.New(t)
	var h histogram.Histogram
	const goroutines, each = 8, 10_000
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for i := range each {
				// Everybody enters each of the five slices, again and again anew.
				h.Observe(time.Duration(i)*50*time.Second/each, time.Millisecond, i%2 == 0)
			}
		})
	}
	all.Wait()
	m := h.Minute(50 * time.Second)
	is.Equal(m.Count, uint64(goroutines*each))
	is.Equal(m.Failed, uint64(goroutines*each/2))
}

func TestSumIsOfAllThatWasEverCounted(t *testing.T) {
	is := is.New(t)
	var a, b, none histogram.Total
	for range 98 {
		a.Observe(10*time.Millisecond, false)
	}
	b.Observe(time.Second, true)
	b.Observe(2*time.Second, false)
	m := histogram.Sum([]*histogram.Total{&a, &none, &b})
	is.Equal(m.Count, uint64(100))
	is.Equal(m.Failed, uint64(1))
	is.True(m.P50 > 9*time.Millisecond && m.P50 < 11*time.Millisecond)
	is.True(m.P99 > 900*time.Millisecond && m.P99 < 1100*time.Millisecond)
	is.Equal(histogram.Sum(nil), histogram.Minute{})
	is.Equal(histogram.Sum([]*histogram.Total{&none}), histogram.Minute{})
}
