package bake

import (
	"fmt"
	"time"

	"github.com/shahnk19/parachute/internal/sequential"
)

// alphaBeside is the probability that failures of both versions are taken for failures
// of the judged one alone, once that fails more often than the other did before.
const alphaBeside = 0.05

// A Comparison judges a version by the one that serves beside it. What happens to both
// alike, such as the failure of a database, speaks against neither. Make one with Compare.
type Comparison struct {
	limits     Limits
	began      time.Duration
	one, other reader

	all, others Counts
	past        *sequential.Test       // of the errors of the one, against those of the other before
	errors      *sequential.Comparison // against those at the same time

	// Of what took more than slowest, which is known once the other version has had
	// enough requests.
	slowest         time.Duration
	slow            *sequential.Test // nil: it is not judged yet, or at all
	warm            Counts
	warmOthers      Counts // before slowest was known, and from then on
	slowOfTheOthers uint64
}

// Compare returns a Comparison of the version that one counts with the version that
// other counts, by their requests after at, which is now.
func Compare(one, other *Tally, at time.Duration, l Limits) *Comparison {
	c := &Comparison{limits: l, began: at, errors: sequential.Compare(2)}
	c.past = sequential.New(l.errorLimit(FiguresOf(other.Window(at))))
	c.one, c.other = newReader(one, at), newReader(other, at)
	return c
}

// Evaluate takes in what has been counted since it was called last. It returns why the one version
// is worse than the other, or "" as long as that is not certain.
//
// By errors it is worse if it fails too often for what the other did in the ten minutes
// before, as a Judge has it, and the other, if it has MinRequests at all, does not fail as
// often now: that has to be likely, to 1 in 20, or so certain that it is enough by itself.
// By p99 it is worse if that is more than MaxSlowdown times as long as that of the other,
// which has not risen meanwhile. All of these together are wrong in at most 1 of 1,000
// bakes of two equal versions.
func (c *Comparison) Evaluate(at time.Duration) string {
	fresh, others := c.one.read(at), c.other.read(at)
	c.all.add(fresh)
	c.others.add(others)
	c.errors.Add(sequential.Counts{Requests: fresh.Requests, Failed: fresh.Failed}, sequential.Counts{Requests: others.Requests, Failed: others.Failed})
	c.past.Add(fresh.Requests, fresh.Failed)
	if at-c.began > warmUp {
		c.lookAtP99(fresh, others)
	}
	f, o := c.Figures()
	least := max(c.limits.MinRequests, 1)
	isWorse := c.errors.Rejects(alphaErrors/2) && f.rate() > leastExcess ||
		c.past.Rejects(alphaErrors/2) && (o.Requests < least || c.errors.Rejects(alphaBeside))
	switch {
	case f.Requests >= least && isWorse:
		return fmt.Sprintf("%d of %d requests failed (%s), and %d of %d (%s) in the first version", f.Errors, f.Requests, percent(f.rate()), o.Errors, o.Requests, percent(o.rate()))
	case c.slow != nil && c.warm.Requests >= minForP99 && c.slow.Rejects(alphaP99) && c.slowOfTheOthers*50 < c.warmOthers.Requests:
		return fmt.Sprintf("p99 is %v, and %v in the first version", round(c.warm.P99()), round(c.warmOthers.P99()))
	}
	return ""
}

func (c *Comparison) lookAtP99(fresh, others Counts) {
	c.warmOthers.add(others)
	switch {
	case c.slow != nil:
		c.warm.add(fresh)
		c.slow.Add(fresh.Requests, fresh.above(c.slowest))
		c.slowOfTheOthers += others.above(c.slowest)
	case c.limits.MaxSlowdown > 0 && c.warmOthers.Requests >= minForP99:
		c.slowest = time.Duration(c.limits.MaxSlowdown * float64(c.warmOthers.P99()))
		c.slow = sequential.New(0.02) // 1 % are above p99, and that of the other is not known exactly
		c.warmOthers = Counts{}
	}
}

// Figures returns what was counted so far of both versions.
func (c *Comparison) Figures() (one, other Figures) { return FiguresOf(c.all), FiguresOf(c.others) }

// Worst returns the most frequent routes of which requests to the one version have failed
// since Collect was called on its Tally, at most n.
func (c *Comparison) Worst(n int) []FailedRoute { return c.one.tally.worst(n) }

// Note returns "": nothing is to be said of a step without a breach, for one that had too
// few requests is repeated.
func (c *Comparison) Note() string { return "" }

// IsDecided reports whether there were enough requests for Evaluate to mean something.
func (c *Comparison) IsDecided() bool { return c.all.Requests >= max(c.limits.MinRequests, 1) }

// newReader returns a reader of what is counted from now, which is at, on.
func newReader(t *Tally, at time.Duration) reader {
	r := reader{tally: t, slice: uint64(max(at, 0) / width)}
	r.read(at)
	return r
}
