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
	bets  []bet

	count, failed uint64 // of the block that is not complete
}

// A bet is one on the share cut off at most.
type bet struct {
	most  float64 // what a share counts for at most
	stake float64 // how much is bet on a block, in terms of what is owned, for each unit by which its share is above the limit
	owned float64
}

const (
	// block is the least number of events in a block.
	block = 10

	// factor bounds what a bet wins with one block.
	factor = 8
)

// New returns a Test of whether a share is above limit, which is between 0 and 1.
func New(limit float64) *Test {
	limit = max(limit, 1e-6)
	t := &Test{limit: limit}
	for _, most := range []float64{1, 0.3, 0.1, 0.03} {
		if most > limit {
			stake := min((factor-1)/most, 0.9/limit)
			t.bets = append(t.bets, bet{most, stake, 1})
		}
	}
	return t
}

// Add counts events, of which some have failed, and which came after all that were
// added before.
func (t *Test) Add(count, failed uint64) {
	t.count, t.failed = t.count+count, t.failed+min(failed, count)
	if t.count < block {
		return
	}
	share := float64(t.failed) / float64(t.count)
	for i := range t.bets {
		b := &t.bets[i]
		b.owned *= 1 + b.stake*(min(share, b.most)-t.limit)
	}
	t.count, t.failed = 0, 0
}

// Evidence returns what is owned, on average over the bets: 1 at first.
func (t *Test) Evidence() float64 {
	if len(t.bets) == 0 {
		return 0 // nothing can be above the limit
	}
	sum := 0.0
	for _, b := range t.bets {
		sum += b.owned
	}
	return sum / float64(len(t.bets))
}

// Rejects reports whether the share is above the limit. If it is not, the probability
// that Rejects ever reports true is at most alpha.
func (t *Test) Rejects(alpha float64) bool { return t.Evidence() >= 1/alpha }

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
