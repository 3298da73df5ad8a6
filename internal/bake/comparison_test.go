package bake_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bake"
)

// A pair are two versions that serve beside each other for so many seconds, of which the
// one gets a share of the requests.
type pair struct {
	share           float64
	perSecond       int
	one, other      float64       // how much of their requests fail
	took, otherTook time.Duration // how long requests take
}

// compare returns why the one is worse, and after how many requests to it that was seen.
func (p pair) compare(seconds int, l bake.Limits) (why string, after uint64) {
	random := rand.New(rand.NewPCG(1, 2))
	var one, other bake.Tally
	// What was before does not count.
	for range 100 {
		one.Observe(0, time.Hour, true)
	}
	c := bake.Compare(&one, &other, time.Second, l)
	for second := range seconds {
		at := time.Duration(second+1) * time.Second
		for range p.perSecond {
			if random.Float64() < p.share {
				one.Observe(at, p.took, random.Float64() < p.one)
			} else {
				other.Observe(at, p.otherTook, random.Float64() < p.other)
			}
		}
		if why = c.Evaluate(at); why != "" {
			break
		}
	}
	f, _ := c.Figures()
	return why, f.Requests
}

func TestVersionIsWorseThanTheOneBesideIt(t *testing.T) {
	is := is.New(t)
	why, after := pair{share: 0.01, perSecond: 1000, one: 0.5}.compare(60, limits)
	is.True(strings.Contains(why, "requests failed") && strings.Contains(why, "in the first version"))
	is.True(after < 300)
	why, after = pair{share: 0.5, perSecond: 1000, one: 0.05, other: 0.005}.compare(60, limits)
	is.True(why != "")
	is.True(after < 20_000) // what is ten times as much is a few failures more, where so many are allowed
}

func TestWhatHappensToBothVersionsSpeaksAgainstNeither(t *testing.T) {
	is := is.New(t)
	for _, p := range []pair{
		{share: 0.01, perSecond: 1000, one: 0.5, other: 0.5},
		{share: 0.1, perSecond: 1000, one: 0.05, other: 0.05},
		{share: 0.5, perSecond: 1000, one: 0.002}, // more than twice as often, but hardly ever
		{share: 0.5, perSecond: 1000},
		{share: 0.5, perSecond: 1000, took: time.Second, otherTook: time.Second},
		{share: 0.5, perSecond: 1000, took: 2 * time.Second, otherTook: time.Second}, // as MaxSlowdown lets it
	} {
		why, _ := p.compare(60, limits)
		is.Equal(why, "") // p
	}
}

func TestSlowVersionIsWorse(t *testing.T) {
	is := is.New(t)
	p := pair{share: 0.5, perSecond: 1000, took: 5 * time.Second, otherTook: time.Second}
	why, after := p.compare(60, limits)
	is.True(strings.HasPrefix(why, "p99 is "))
	is.True(after > 5000) // not in the first ten seconds
	unjudged := limits
	unjudged.MaxSlowdown = -1
	why, _ = p.compare(60, unjudged)
	is.Equal(why, "")
	p.perSecond = 30 // too few for a p99
	why, _ = p.compare(60, limits)
	is.Equal(why, "")
}

// Where the first version has hardly any requests, there is nothing to compare with.
func TestErrorsAreBoundedWhereThereIsNothingToCompareWith(t *testing.T) {
	is := is.New(t)
	why, _ := pair{share: 0.99, perSecond: 10, one: 0.5}.compare(60, limits)
	is.True(why != "")
	why, _ = pair{share: 0.99, perSecond: 10, one: 0.01}.compare(60, limits)
	is.Equal(why, "")
}

func TestFewRequestsDecideNothingOfTwoVersions(t *testing.T) {
	is := is.New(t)
	var one, other bake.Tally
	c := bake.Compare(&one, &other, 0, limits)
	for range 49 {
		one.Observe(0, 0, true)
		is.Equal(c.Evaluate(0), "")
		is.True(!c.IsDecided())
	}
	one.Observe(0, 0, true)
	is.True(c.Evaluate(0) != "")
	is.True(c.IsDecided())
}
