// Package sequential judges by counts that grow whether a share is above a limit. It
// may look as often as it likes: the probability that it ever says so although the
// share is not above the limit is bounded over all looks together.
//
// A test of fixed size does not have that property. Looked at every second, it calls
// almost any two equal things different, given time.
package sequential

import "math"

// A Test is a test of the hypothesis that the mean of a share is at most a limit. It
// is the one by betting of Waudby-Smith and Ramdas, "Estimating means of bounded random
// variables by betting" (Journal of the Royal Statistical Society, Series B, volume 86,
// 2024): somebody who begins with 1 bets, before each block of events, that the block's
// share of failures will be above the limit, on terms that are fair if it is not. As
// long as the hypothesis holds, what they own is a supermartingale. So by Ville's
// inequality (Étude critique de la notion de collectif, 1939) the probability that they
// ever own 1/alpha is at most alpha, however the events of one block depend on each
// other, and however often somebody looks.
//
// They spread what they have over several bets. Each bet cuts the share off at a level
// of its own, and wins at most factor with one block: so a burst of failures that ends
// with its block decides nothing, and a small excess that lasts is seen all the same.
//
// Make one with New.
type Test struct {
	limit float64
	bets  bets

	count, failed uint64 // of the block that is not complete
}

// block is the least number of events in a block.
const block = 10

// New returns a Test of whether a share is above limit, which is between 0 and 1.
func New(limit float64) *Test {
	limit = max(limit, 1e-6)
	return &Test{limit: limit, bets: newBets(limit)}
}

// Add counts events, of which some have failed, and which came after all that were
// added before.
func (t *Test) Add(count, failed uint64) {
	t.count, t.failed = t.count+count, t.failed+min(failed, count)
	if t.count < block {
		return
	}
	t.bets.play(t.limit, float64(t.failed)/float64(t.count))
	t.count, t.failed = 0, 0
}

// Evidence returns what is owned, on average over the bets: 1 at first.
func (t *Test) Evidence() float64 { return t.bets.owned() }

// Rejects reports whether the share is above the limit. If it is not, the probability
// that Rejects ever reports true is at most alpha.
func (t *Test) Rejects(alpha float64) bool { return t.Evidence() >= 1/alpha }

// A Comparison is a test of the hypothesis that one of two versions which serve at the
// same time fails at most so many times as often as the other. It is a Test of the
// share that one has in the failures of both: of that the hypothesis knows the limit,
// by the requests that each version had, whatever rate the failures have and however
// it changes. So what fails in both versions alike is no evidence against one.
//
// Make one with Compare.
type Comparison struct {
	times float64
	bets  bets

	one, other Counts // of the block that is not complete
}

// Counts are of the requests to one version.
type Counts struct{ Requests, Failed uint64 }

// Compare returns a Comparison for a version that may fail so many times as often as
// the other, which is more than 0.
func Compare(times float64) *Comparison { return &Comparison{times: times, bets: newBets(0)} }

// Add counts requests to both versions, which came after all that were added before. A
// block is complete when so many requests have failed as it takes events in a Test.
func (c *Comparison) Add(one, other Counts) {
	c.one.Requests, c.one.Failed = c.one.Requests+one.Requests, c.one.Failed+min(one.Failed, one.Requests)
	c.other.Requests, c.other.Failed = c.other.Requests+other.Requests, c.other.Failed+min(other.Failed, other.Requests)
	failed := c.one.Failed + c.other.Failed
	if failed < block {
		return
	}
	weight := c.times * float64(c.one.Requests)
	c.bets.play(weight/(weight+float64(c.other.Requests)), float64(c.one.Failed)/float64(failed))
	c.one, c.other = Counts{}, Counts{}
}

// Rejects reports whether the one version fails more than so many times as often as the
// other. If it does not, the probability that Rejects ever reports true is at most alpha.
func (c *Comparison) Rejects(alpha float64) bool { return c.bets.owned() >= 1/alpha }

// bets are all that somebody bets on.
type bets []bet

// A bet is one on the share cut off at most.
type bet struct {
	most  float64 // what a share counts for at most
	owned float64
}

// factor bounds what a bet wins with one block.
const factor = 8

// newBets returns the bets that can be won where no limit is below this one.
func newBets(limit float64) (all bets) {
	for _, most := range []float64{1, 0.3, 0.1, 0.03} {
		if most > limit {
			all = append(all, bet{most, 1})
		}
	}
	return all
}

// play bets on a block with that share, where the hypothesis is that it is at most limit
// on average. What is bet for each unit by which the share is above that is the stake.
func (all bets) play(limit, share float64) {
	for i := range all {
		if b := &all[i]; b.most > limit {
			stake := min((factor-1)/b.most, 0.9/limit)
			b.owned *= 1 + stake*(min(share, b.most)-limit)
		}
	}
}

// owned returns what is owned, on average over the bets; of none, nothing can be won.
func (all bets) owned() float64 {
	if len(all) == 0 {
		return 0
	}
	sum := 0.0
	for _, b := range all {
		sum += b.owned
	}
	return sum / float64(len(all))
}

// UpperBound returns a share that the true one exceeds with a probability of at most
// alpha, of which failed in count events were seen (Clopper and Pearson, Biometrika 26,
// 1934). Of no events it returns 1.
func UpperBound(count, failed, alpha float64) float64 {
	if failed >= count {
		return 1
	}
	low, high := failed/count, 1.0
	for range 60 {
		mid := (low + high) / 2
		if regularizedBeta(1-mid, count-failed, failed+1) > alpha { // the probability of no more than failed
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// regularizedBeta returns the regularized incomplete beta function, by its continued
// fraction (Abramowitz and Stegun, 26.5.8).
func regularizedBeta(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2):
		return 1 - regularizedBeta(1-x, b, a)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	const tiny = 1e-300
	c, d := 1.0, 1/nonZero(1-(a+b)*x/(a+1), tiny)
	h := d
	for i := 1; i <= 300; i++ {
		m := float64(i)
		step := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / nonZero(1+step*d, tiny)
		c = nonZero(1+step/c, tiny)
		h *= d * c
		step = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / nonZero(1+step*d, tiny)
		c = nonZero(1+step/c, tiny)
		h *= d * c
		if math.Abs(d*c-1) < 1e-12 {
			break
		}
	}
	return front * h
}

func nonZero(x, tiny float64) float64 {
	if math.Abs(x) < tiny {
		return tiny
	}
	return x
}
