package bake

import (
	"cmp"
	"fmt"
	"time"
)

// Settings say how long a bake takes, and what is a breach. What is zero has a default,
// or is no bake at all.
type Settings struct {
	For          time.Duration
	MaxErrorRate float64 // 0 to 1
	MaxSlowdown  float64 // 1 or more; negative: any
	MinRequests  int
}

// Check returns an error if s cannot be, which says what would be right.
func (s Settings) Check() error {
	switch {
	case s.For < 0:
		return fmt.Errorf("bake of %v: want more than 0, such as 1m, or 0 for none", s.For)
	case !(s.MaxErrorRate >= 0 && s.MaxErrorRate <= 1):
		return fmt.Errorf("error rate of at most %v: want one from 0 to 1, such as 0.05", s.MaxErrorRate)
	case s.MaxSlowdown > 0 && s.MaxSlowdown < 1 || s.MaxSlowdown != s.MaxSlowdown:
		return fmt.Errorf("slowdown of at most %v: want 1 or more, such as 3, or a negative number for any", s.MaxSlowdown)
	case s.MinRequests < 0:
		return fmt.Errorf("bake from %d requests on: want 0 for the default, or more", s.MinRequests)
	}
	return nil
}

// Limits returns what is a breach by s.
func (s Settings) Limits() Limits {
	return Limits{
		MaxErrorRate: cmp.Or(s.MaxErrorRate, 0.05),
		MaxSlowdown:  cmp.Or(s.MaxSlowdown, 3),
		MinRequests:  uint64(cmp.Or(s.MinRequests, 50)),
	}
}

// CheckSteps returns an error if a canary cannot have these steps, in percent of the
// visitors, each of which takes so long. bake is that of the same deploy.
func CheckSteps(steps []int, step, bake time.Duration) error {
	last := 0
	for _, percent := range steps {
		switch {
		case percent < 1 || percent > 100:
			return fmt.Errorf("canary of %d percent: want steps from 1 to 100, such as 1, 10, 50", percent)
		case percent <= last:
			return fmt.Errorf("canary of %d percent after %d: want steps that grow, such as 1, 10, 50", percent, last)
		}
		last = percent
	}
	switch {
	case step < 0:
		return fmt.Errorf("canary step of %v: want more than 0, such as 30s", step)
	case len(steps) == 0 && step != 0:
		return fmt.Errorf("canary step of %v without steps: say which share of the visitors goes there, such as 1, 10, 50", step)
	case len(steps) > 0 && bake > 0:
		return fmt.Errorf("a bake of %v after a canary: want one of them, for each step of a canary is a bake", bake)
	}
	return nil
}
