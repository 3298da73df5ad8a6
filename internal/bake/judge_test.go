package bake_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bake"
)

var limits = bake.Limits{MaxErrorRate: 0.05, MaxSlowdown: 3, MinRequests: 50}

// A traffic is a stream of requests that fail with a rate, in bursts of that mean length.
type traffic struct {
	random *rand.Rand
	burst  float64
	left   int
}

func (s *traffic) fails(rate float64) bool {
	switch {
	case s.burst <= 1:
		return s.random.Float64() < rate
	case s.left > 0:
		s.left--
		return true
	case s.random.Float64() >= rate/s.burst/(1-rate+rate/s.burst):
		return false
	}
	for s.random.Float64() < 1-1/s.burst {
		s.left++
	}
	return true
}

// bakes lets a version with so many requests, whose error rate goes from one value to
// another, bake for a minute after one with another rate and number. It returns after
// how many requests there was a breach, or 0.
func bakes(s *traffic, requestsBefore, requests int, before, from, to float64) int {
	figures := bake.Figures{Requests: uint64(requestsBefore), P99: time.Second}
	for range requestsBefore {
		if s.fails(before) {
			figures.Errors++
		}
	}
	s.left = 0
	var tally bake.Tally
	j := bake.NewJudge(&tally, 0, figures, limits)
	const looks = 300
	seen := 0
	for look := range looks {
		at := time.Duration(look) * time.Minute / looks
		for range (look+1)*requests/looks - look*requests/looks {
			seen++
			tally.Observe(at, time.Millisecond, s.fails(from+(to-from)*float64(seen)/float64(requests)))
		}
		if j.Evaluate(at) != "" {
			return seen
		}
	}
	return 0
}

// The promise is 1 in 1,000 over all looks of a bake. A simulation of so many runs can
// be above that by chance, so it allows for three standard deviations.
func TestEqualVersionsAreHardlyEverTakenBack(t *testing.T) {
	s := &traffic{random: rand.New(rand.NewPCG(1, 2))}
	for _, burst := range []float64{1, 5} {
		for _, drift := range []float64{1, 2} {
			for _, rate := range []float64{0, 0.005, 0.05} {
				for requests, runs := range map[int]int{10: 200, 100: 1500, 1000: 500, 10_000: 50} {
					s.burst = burst
					alarms := 0
					for range runs {
						if bakes(s, requests, requests, rate, rate, rate*drift) > 0 {
							alarms++
						}
					}
					if limit := float64(runs)/1000 + 3*math.Sqrt(float64(runs)/1000); float64(alarms) > limit {
						t.Errorf("%d alarms in %d bakes: %d requests, %v errors, in bursts of %v, drifting by %v", alarms, runs, requests, rate, burst, drift)
					}
				}
			}
		}
	}
}

// docs/safe-deploys.md has these figures.
func TestWorseVersionsAreTakenBackAfterSoManyRequests(t *testing.T) {
	s := &traffic{random: rand.New(rand.NewPCG(1, 2))}
	for _, tt := range []struct {
		requestsBefore int
		before, more   float64
		within         int // requests, on average
	}{
		{10, 0, 0.5, 200}, {1000, 0, 0.5, 200}, {10_000, 0, 0.5, 200},
		{10_000, 0, 0.05, 400},
		{10_000, 0, 0.01, 6000},
		{10_000, 0.005, 0.05, 500}, {1000, 0.05, 0.5, 300}, {10_000, 0.05, 0.5, 300},
	} {
		const runs = 40
		sum, seen := 0, 0
		for range runs {
			if n := bakes(s, tt.requestsBefore, 10_000, tt.before, tt.before+tt.more, tt.before+tt.more); n > 0 {
				sum, seen = sum+n, seen+1
			}
		}
		if seen < runs*9/10 || sum/seen > tt.within {
			t.Errorf("%+v: seen in %d of %d bakes, after %d requests on average", tt, seen, runs, sum/max(seen, 1))
		}
	}
}

func TestFewRequestsAreNotJudged(t *testing.T) {
	is := is.New(t)
	var tally bake.Tally
	j := bake.NewJudge(&tally, 0, bake.Figures{}, limits)
	for range 49 {
		tally.Observe(0, time.Millisecond, true)
		is.Equal(j.Evaluate(0), "")
	}
	is.Equal(j.Note(), "too little traffic to judge: 49 requests")
	tally.Observe(0, time.Millisecond, true)
	is.Equal(j.Evaluate(0), "50 of 50 requests failed (100.0%), before there were none")
}

func TestP99IsJudgedAfterTheWarmUp(t *testing.T) {
	for took, breach := range map[time.Duration]bool{25 * time.Millisecond: false, 100 * time.Millisecond: true} {
		is := is.New(t)
		var tally bake.Tally
		j := bake.NewJudge(&tally, 0, bake.Figures{Requests: 5000, P99: 10 * time.Millisecond}, limits)
		why := ""
		for second := range 40 {
			at := time.Duration(second) * time.Second
			for range 100 {
				tally.Observe(at, took, false)
			}
			if why = j.Evaluate(at); why != "" {
				is.True(second >= 20) // ten seconds, and 1,000 requests
				break
			}
		}
		is.Equal(why != "", breach)
		is.True(!breach || strings.HasPrefix(why, "p99 is "))
	}
}

func TestTallyForgetsWhatIsOlderThanTenMinutes(t *testing.T) {
	is := is.New(t)
	var tally bake.Tally
	tally.Observe(30*time.Second, time.Second, true)
	tally.Observe(8*time.Minute, time.Millisecond, false)
	c := tally.Window(10 * time.Minute)
	is.Equal([2]uint64{c.Requests, c.Failed}, [2]uint64{2, 1})
	c = tally.Window(12 * time.Minute)
	is.Equal([2]uint64{c.Requests, c.Failed}, [2]uint64{1, 0})
	is.True(c.P99() >= time.Millisecond && c.P99() <= 1300*time.Microsecond)
}

func TestWorstRoutesAreToldWithARequestOfEach(t *testing.T) {
	is := is.New(t)
	var tally bake.Tally
	j := bake.NewJudge(&tally, 0, bake.Figures{}, limits)
	tally.Fail("GET", "/a", 500, "0")
	is.Equal(len(j.Worst(3)), 0) // nobody wants to know
	tally.Collect()
	for i, target := range []string{"/a", "/b/1", "/b/2?q=/x", "/c", "/c?x", "/c", "/d/", "/d/", "/d/", "/d/"} {
		tally.Fail("GET", target, 500, string(rune('0'+i)))
	}
	tally.Fail("POST", "/c", 500, "x")
	tally.Fail("GET", "/c", 502, "x")
	is.Equal(j.Worst(3), []bake.FailedRoute{
		{Route: "GET /d", Status: 500, Requests: 4, RequestID: "6"},
		{Route: "GET /c", Status: 500, Requests: 3, RequestID: "3"},
		{Route: "GET /b", Status: 500, Requests: 2, RequestID: "1"},
	})
}
