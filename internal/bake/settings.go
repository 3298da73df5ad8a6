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
