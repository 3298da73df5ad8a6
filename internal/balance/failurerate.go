package balance

import (
	"iter"
	"math"
	"sync/atomic"
	"time"
)

// A FailureRate counts the recent requests to one candidate, and how many of them failed.
// After five seconds, a request counts half as much. The zero FailureRate has counted
// nothing. Its methods may be called from any goroutine, and take no lock.
//
// Times are those since a moment that all FailureRates of a program share.
type FailureRate struct {
	state atomic.Uint64 // a tally
}

// A tally is how much a FailureRate weighs, at one moment: 22 bits for all requests
// and 22 for the failed ones, in 256ths, and 20 for the moment, in ticks.
type tally uint64

const (
	tick     = time.Second
	halfLife = 5 // in ticks

	one       = 256 // of the weights
	weightMax = 1<<22 - 1
	tickMask  = 1<<20 - 1 // twelve days
)

func newTally(total, failed uint64, at uint64) tally {
	if total > weightMax {
		total, failed = total/2, failed/2
	}
	return tally(total<<42 | failed<<20 | at&tickMask)
}

func (t tally) total() uint64  { return uint64(t) >> 42 }
func (t tally) failed() uint64 { return uint64(t) >> 20 & weightMax }

// at returns what is left of t at the tick now. If now is up to six days before t,
// at returns t itself: a caller may have read the clock long before the call.
func (t tally) at(now uint64) tally {
	passed := (now - uint64(t)) & tickMask
	if passed == 0 || passed > tickMask/2 {
		return t
	}
	left := math.Exp2(-float64(passed) / halfLife)
	return newTally(uint64(float64(t.total())*left), uint64(float64(t.failed())*left), now)
}

// doubt is the weight of successful requests that share adds to those counted, so
// that a single failure is not a share of 1.
const doubt = 4 * one

// share returns the share of requests that failed. The fewer requests were counted,
// the nearer it is to 0.
func (t tally) share() float64 {
	return float64(t.failed()) / float64(t.total()+doubt)
}

// Note notes a request that has ended.
func (r *FailureRate) Note(now time.Duration, failed bool) {
	ticks := uint64(now / tick)
	for {
		old := r.state.Load()
		t := tally(old).at(ticks)
		total, bad := t.total()+one, t.failed()
		if failed {
			bad += one
		}
		if r.state.CompareAndSwap(old, uint64(newTally(total, bad, uint64(t)))) {
			return
		}
	}
}

func (r *FailureRate) now(now time.Duration) tally {
	return tally(r.state.Load()).at(uint64(now / tick))
}

// weight returns by how much a request to r costs more because of those that
// failed: 1 where none did, 8 where half did, 1000 where nine of ten did.
func (r *FailureRate) weight(now time.Duration) float64 {
	if tally(r.state.Load()).failed() == 0 { // as most often; then what is left of it takes no exponential
		return 1
	}
	good := 1 - r.now(now).share()
	return 1 / (good * good * good)
}

// The conditions of an outlier.
const (
	outlierShare  = 0.5 // the least share of failed requests; with the doubt, four requests at least
	outlierTimes  = 4   // by what factor its share must exceed that of the others
	outlierErrors = 5   // by how many standard errors its share must exceed theirs
)

// IsOutlier reports whether r's candidate fails so much more often than the others,
// taken together, that neither the requests nor chance can explain it. At least four
// of its requests, and half of all, must have failed; that share must be four times
// the share of the others, and exceed it by five standard errors of the difference.
// Requests that fail at every candidate therefore make no outlier.
func (r *FailureRate) IsOutlier(others iter.Seq[*FailureRate], now time.Duration) bool {
	mine := r.now(now)
	if mine.share() < outlierShare {
		return false
	}
	total, failed := uint64(doubt), uint64(one) // as if one had failed: there may be none
	for other := range others {
		t := other.now(now)
		total += t.total()
		failed += t.failed()
	}
	theirs := float64(failed) / float64(total)
	if mine.share() < outlierTimes*theirs {
		return false
	}
	all := float64(mine.failed()+failed) / float64(mine.total()+total)
	deviation := math.Sqrt(all * (1 - all) * (one/float64(mine.total()) + one/float64(total)))
	return float64(mine.failed())/float64(mine.total())-theirs >= outlierErrors*deviation
}
