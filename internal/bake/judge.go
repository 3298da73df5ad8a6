package bake

import (
	"fmt"
	"strconv"
	"time"

	"github.com/shahnk19/parachute/internal/sequential"
)

// Limits say what is a breach.
type Limits struct {
	MaxErrorRate float64 // where the version before had too few requests to compare with
	MaxSlowdown  float64 // of p99, as a factor; 0 or less: it is not judged
	MinRequests  uint64  // from which on errors are judged
}

// Figures are what is compared.
type Figures struct {
	Requests, Errors uint64
	P99              time.Duration
}

// FiguresOf returns the figures of counts.
func FiguresOf(c Counts) Figures { return Figures{c.Requests, c.Failed, c.P99()} }

func (f Figures) rate() float64 {
	if f.Requests == 0 {
		return 0
	}
	return float64(f.Errors) / float64(f.Requests)
}

// The probabilities of a false alarm, which together are 1 in 1,000 for a whole bake of
// two equal versions.
const (
	alphaBaseline = 0.00025 // the bound on the error rate of the version before is too low
	alphaErrors   = 0.0005
	alphaP99      = 0.00025
)

const (
	// burst is how many failures may have one cause, on average: one client that tries
	// again. So many fewer requests count as independent of each other.
	burst = 5

	// leastExcess is an error rate that is never a breach.
	leastExcess = 0.005

	// minForP99 is how many requests it takes to judge by p99, and warmUp how long no
	// times are looked at after the beginning.
	minForP99 = 1000
	warmUp    = 10 * time.Second
)

// errorLimit returns the error rate above which a new version is worse than one with
// the figures before. It is never less than twice their rate, for the rate of a version
// that stays the same may drift as much, and where the figures are few, they may be
// better than the version is.
func (l Limits) errorLimit(before Figures) float64 {
	twice := 2 * before.rate()
	if before.Requests < max(l.MinRequests, 50) {
		return max(twice, l.MaxErrorRate)
	}
	bound := sequential.UpperBound(float64(before.Requests)/burst, float64(before.Errors)/burst, alphaBaseline)
	return max(twice, min(bound, 2*l.MaxErrorRate), leastExcess)
}

// A Judge compares a version with the one before. Make one with NewJudge.
type Judge struct {
	limits Limits
	before Figures
	began  time.Duration
	reader reader
	errors *sequential.Test
	slow   *sequential.Test // of what took more than slowest; nil: it is not judged

	limit   float64
	slowest time.Duration
	all     Counts
	warm    Counts // since the warm-up
}

// NewJudge returns a Judge of the version that t counts, by its requests after at,
// which is now.
func NewJudge(t *Tally, at time.Duration, before Figures, l Limits) *Judge {
	j := &Judge{limits: l, before: before, began: at, limit: l.errorLimit(before)}
	j.reader = reader{tally: t, slice: uint64(max(at, 0) / width)}
	j.errors = sequential.New(j.limit)
	if l.MaxSlowdown > 0 && before.Requests >= minForP99 {
		j.slowest = time.Duration(l.MaxSlowdown * float64(before.P99))
		j.slow = sequential.New(0.02) // 1 % are above p99, and p99 of the version before is not known exactly
	}
	return j
}

// Evaluate takes in what has been counted since it was called last. It returns why the version
// is worse than the one before, or "" as long as that is not certain.
func (j *Judge) Evaluate(at time.Duration) string {
	fresh := j.reader.read(at)
	j.all.add(fresh)
	j.errors.Add(fresh.Requests, fresh.Failed)
	if at-j.began > warmUp {
		j.warm.add(fresh)
		if j.slow != nil {
			j.slow.Add(fresh.Requests, fresh.above(j.slowest))
		}
	}
	f := FiguresOf(j.all)
	switch {
	case j.IsDecided() && j.errors.Rejects(alphaErrors):
		return fmt.Sprintf("%d of %d requests failed (%s), before %s", f.Errors, f.Requests, percent(f.rate()), j.past())
	case j.slow != nil && j.warm.Requests >= minForP99 && j.slow.Rejects(alphaP99):
		return fmt.Sprintf("p99 is %v, and was %v", round(j.warm.P99()), round(j.before.P99))
	}
	return ""
}

// Figures returns what was counted so far, and the figures of the version before.
func (j *Judge) Figures() (now, before Figures) { return FiguresOf(j.all), j.before }

// IsDecided reports whether there were enough requests for Evaluate to mean something.
func (j *Judge) IsDecided() bool { return j.all.Requests >= max(j.limits.MinRequests, 1) }

// Worst returns the most frequent routes of which requests have failed since Collect was
// called on the Tally, at most n.
func (j *Judge) Worst(n int) []FailedRoute { return j.reader.tally.worst(n) }

// Note returns what is to be said at the end of a bake without a breach, or "".
func (j *Judge) Note() string {
	if n := j.all.Requests; n < j.limits.MinRequests {
		return "too little traffic to judge: " + Plural(n, "request")
	}
	return ""
}

func (j *Judge) past() string {
	if j.before.Requests == 0 {
		return "there were none"
	}
	return fmt.Sprintf("%d of %d (%s)", j.before.Errors, j.before.Requests, percent(j.before.rate()))
}

// Plural returns a number with what it counts.
func Plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatUint(n, 10) + " " + what + "s"
}

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + "%" }

func round(d time.Duration) time.Duration { return d.Round(max(d/100, time.Microsecond)) }
