// Package balance picks one of several candidates for a request: of two at random
// ("the power of two choices", Mitzenmacher 2001) the one with fewer requests in
// flight. That rule alone would favor a candidate that fails at once, since it never
// has requests in flight. So recent failures give its requests in flight more weight.
package balance

import (
	"math/rand/v2"
	"time"
)

// A Candidate can be picked for a request.
type Candidate interface {
	// InFlight returns how many requests are under way to it.
	InFlight() int64

	// FailureRate returns how many of its earlier requests failed.
	FailureRate() *FailureRate
}

// Pick returns one of the candidates that suit, and false if none does. It
// allocates nothing if suits does not escape.
func Pick[C Candidate](candidates []C, now time.Duration, suits func(C) bool) (picked C, ok bool) {
	n := 0
	for _, c := range candidates {
		if suits(c) {
			n++
		}
	}
	switch n {
	case 0:
		return picked, false
	case 1:
		return nth(candidates, 0, n, suits), true
	}
	i := rand.IntN(n)
	a := nth(candidates, i, n, suits)
	b := nth(candidates, (i+1+rand.IntN(n-1))%n, n, suits)
	if cost(b, now) < cost(a, now) {
		return b, true
	}
	return a, true
}

// nth returns the i-th of the n candidates that suit. If fewer suit by now than when
// they were counted, it returns the last one that does, or the first of all.
func nth[C Candidate](candidates []C, i, n int, suits func(C) bool) C {
	if n == len(candidates) { // as most often; then nobody has to be asked again
		return candidates[i]
	}
	found := candidates[0]
	for _, c := range candidates {
		if suits(c) {
			found = c
			if i == 0 {
				break
			}
			i--
		}
	}
	return found
}

// cost returns the requests in flight to c with one more, as much as they weigh.
func cost[C Candidate](c C, now time.Duration) float64 {
	return float64(c.InFlight()+1) * c.FailureRate().weight(now)
}
