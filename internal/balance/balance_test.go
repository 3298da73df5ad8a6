package balance_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/balance"
)

type candidate struct {
	inFlight int64
	failures balance.FailureRate
}

func (c *candidate) InFlight() int64                   { return c.inFlight }
func (c *candidate) FailureRate() *balance.FailureRate { return &c.failures }

func suits(*candidate) bool { return true }

func others(of ...*candidate) func(yield func(*balance.FailureRate) bool) {
	return func(yield func(*balance.FailureRate) bool) {
		for _, c := range of {
			if !yield(&c.failures) {
				return
			}
		}
	}
}

// note notes so many requests, of which failed have failed, spread evenly.
func (c *candidate) note(now time.Duration, total, failed int) {
	for i := range total {
		c.failures.Note(now, (i+1)*failed/total > i*failed/total)
	}
}

func TestOneWithFewerInFlightIsPicked(t *testing.T) {
	is := is.New(t)
	busy, idle := &candidate{inFlight: 3}, &candidate{inFlight: 2}
	for range 100 {
		picked, ok := balance.Pick([]*candidate{busy, idle}, 0, suits)
		is.True(ok)
		is.Equal(picked, idle)
	}
}

func TestBusiestOfThreeIsNotPicked(t *testing.T) {
	is := is.New(t)
	busiest := &candidate{inFlight: 9}
	all := []*candidate{{inFlight: 8}, busiest, {inFlight: 7}}
	for range 1000 {
		picked, _ := balance.Pick(all, 0, suits)
		is.True(picked != busiest) // whichever other one it is compared with
	}
}

func TestOnlyOneThatSuitsIsPicked(t *testing.T) {
	is := is.New(t)
	all := []*candidate{{}, {inFlight: 9}, {inFlight: 8}}
	picked, ok := balance.Pick(all, 0, func(c *candidate) bool { return c.inFlight == 9 })
	is.True(ok)
	is.Equal(picked, all[1])
	_, ok = balance.Pick(all, 0, func(*candidate) bool { return false })
	is.True(!ok)
	_, ok = balance.Pick(nil, 0, suits)
	is.True(!ok)
}

func TestEachOfEqualCandidatesIsPicked(t *testing.T) {
	is := is.New(t)
	all := []*candidate{{}, {}, {}}
	seen := make(map[*candidate]bool)
	for range 1000 {
		picked, _ := balance.Pick(all, 0, suits)
		seen[picked] = true
	}
	is.Equal(len(seen), 3)
}

func TestOneThatFailsIsPassedOverThoughItIsIdle(t *testing.T) {
	is := is.New(t)
	bad, good := new(candidate), &candidate{inFlight: 20}
	bad.note(0, 10, 10)
	picked, _ := balance.Pick([]*candidate{bad, good}, time.Second, suits)
	is.Equal(picked, good)
	picked, _ = balance.Pick([]*candidate{bad, good}, 30*time.Second, suits)
	is.Equal(picked, bad) // it is tried again
}

// They tell nothing of the candidate where the others fail as well.
func TestFailuresThatAllHaveDoNotCount(t *testing.T) {
	is := is.New(t)
	busy, idle := &candidate{inFlight: 3}, &candidate{inFlight: 2}
	busy.note(0, 1000, 400)
	idle.note(0, 1000, 400)
	picked, _ := balance.Pick([]*candidate{busy, idle}, 0, suits)
	is.Equal(picked, idle)
}

func TestOfTwoThatFailTheOneThatFailsLessIsPicked(t *testing.T) {
	is := is.New(t)
	worse, better := new(candidate), &candidate{inFlight: 20}
	worse.note(0, 100, 90)
	better.note(0, 100, 10)
	for range 100 {
		picked, _ := balance.Pick([]*candidate{worse, better}, 0, suits)
		is.Equal(picked, better)
	}
}

func TestOutlierIsWhoFailsMoreThanTheOthers(t *testing.T) {
	const now = time.Minute
	for name, tt := range map[string]struct {
		total, failed             int
		othersTotal, othersFailed int
		outlier                   bool
	}{
		"fails always, the others never":         {4, 4, 30, 0, true},
		"fails always, of the others one in ten": {40, 40, 100, 10, true},
		"fails half, the others never":           {1000, 505, 1000, 0, true},
		"three failures are not enough":          {3, 3, 100, 0, false},
		"less than half fails":                   {1000, 400, 1000, 0, false},
		"little is known of the others":          {10, 10, 8, 0, false},
		"almost enough is known":                 {12, 12, 12, 0, false},
		"enough is known":                        {14, 14, 14, 0, true},
		"exactly half, and four times as many":   {1000, 502, 996, 124, true}, // with the doubt, and the one that stands for none
		"the others fail as well":                {100, 100, 100, 30, false},
		"all fail":                               {100, 100, 100, 100, false},
		"nothing fails":                          {100, 0, 100, 0, false},
		"nothing is known":                       {0, 0, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c, one, two := new(candidate), new(candidate), new(candidate)
			c.note(now, tt.total, tt.failed)
			one.note(now, tt.othersTotal/2, tt.othersFailed/2)
			two.note(now, tt.othersTotal/2, tt.othersFailed/2)
			is.Equal(c.failures.IsOutlier(others(one, two), now), tt.outlier)
		})
	}
}

func TestWhatIsLongAgoDoesNotCount(t *testing.T) {
	is := is.New(t)
	const began = time.Hour
	bad, good := new(candidate), new(candidate)
	bad.note(began, 100, 100)
	good.note(began+9*time.Second, 100, 0)
	is.True(bad.failures.IsOutlier(others(good), began+9*time.Second)) // a fifth of it counts, and a fifth of that the others have
	good.note(began+time.Minute, 100, 0)
	is.True(!bad.failures.IsOutlier(others(good), began+time.Minute))
	for _, later := range []time.Duration{time.Minute, time.Hour, 100 * time.Hour, (1<<19 - 1) * time.Second} { // six days
		picked, _ := balance.Pick([]*candidate{bad, {inFlight: 1}}, began+later, suits)
		is.Equal(picked, bad)
	}
}

// Goroutines do not come in the order of the moments that they have looked up.
func TestWhoIsLateIsNotedAllTheSame(t *testing.T) {
	is := is.New(t)
	bad, good := new(candidate), new(candidate)
	good.note(time.Minute, 100, 0)
	bad.note(time.Minute, 2, 2)
	bad.note(time.Minute-time.Second, 2, 2)
	is.True(bad.failures.IsOutlier(others(good), time.Minute))
	is.True(bad.failures.IsOutlier(others(good), time.Minute-time.Second))
}

// A download of an hour that ends is noted by when its answer began.
func TestWhoIsVeryLateMakesNothingForgotten(t *testing.T) {
	is := is.New(t)
	const now = 48 * time.Hour
	bad, good := new(candidate), new(candidate)
	good.note(now, 100, 0)
	bad.note(now, 10, 10)
	for _, late := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		bad.note(now-late, 1, 0)
		is.True(bad.failures.IsOutlier(others(good), now)) // of its requests, one more succeeded
		picked, _ := balance.Pick([]*candidate{bad, {inFlight: 1}}, now-late, suits)
		is.True(picked != bad) // by a request that has waited for so long
	}
}

func TestRecordOfManyRequestsKeepsTheShare(t *testing.T) {
	is := is.New(t)
	bad, good := new(candidate), new(candidate)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { bad.note(0, 50000, 45000) }) // more than a FailureRate can hold
		wg.Go(func() { good.note(0, 50000, 5000) })
	}
	wg.Wait()
	is.True(bad.failures.IsOutlier(others(good), 0))
	is.True(!good.failures.IsOutlier(others(bad), 0))
}

// With equal candidates nothing is lost against a pick by what is in flight
// alone, though some of what is asked of them fails now and then.
func TestEqualCandidatesAreLoadedAsEvenlyAsWithoutRecords(t *testing.T) {
	is := is.New(t)
	// most returns the mean of what the busiest of five has in flight.
	most := func(failing float64) float64 {
		rng := rand.New(rand.NewPCG(1, 2))
		all := []*candidate{{}, {}, {}, {}, {}}
		type end struct {
			at time.Duration
			of *candidate
		}
		var ends []end
		var sum float64
		const requests = 20000
		for i := range requests {
			now := time.Duration(i) * time.Millisecond
			ends = slices.DeleteFunc(ends, func(e end) bool {
				if e.at > now {
					return false
				}
				e.of.inFlight--
				e.of.failures.Note(now, rng.Float64() < failing)
				return true
			})
			picked, _ := balance.Pick(all, now, suits)
			picked.inFlight++
			ends = append(ends, end{now + time.Duration(rng.ExpFloat64()*float64(50*time.Millisecond)), picked})
			busiest := slices.MaxFunc(all, func(a, b *candidate) int { return int(a.inFlight - b.inFlight) })
			sum += float64(busiest.inFlight)
		}
		return sum / requests
	}
	without := most(0)
	for _, failing := range []float64{0.001, 0.01, 0.1} {
		is.True(most(failing) < 1.03*without)
	}
}
