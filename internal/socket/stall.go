package socket

import "time"

// A Stall tells for how long a peer has taken nothing of what is written to it. The zero
// Stall has not begun.
type Stall struct {
	since time.Time
	left  int // what was on its way to the peer then
}

// Begin has s begin at now, with so much on its way to the peer: it is waited for from then
// on, or was just seen to take something.
func (s *Stall) Begin(now time.Time, left int) { *s = Stall{now, left} }

// HasBegun reports whether s has begun.
func (s *Stall) HasBegun() bool { return !s.since.IsZero() }

// Since returns when s began.
func (s *Stall) Since() time.Time { return s.since }

// Observe has s begin anew if there is less on its way than at its begin, so that the peer has
// taken something, and reports whether that is so.
func (s *Stall) Observe(now time.Time, left int) (taken bool) {
	if left >= s.left {
		return false
	}
	s.Begin(now, left)
	return true
}

// Left returns how much of patience is left, if nobody waits any longer for a peer that has
// taken nothing for that long. It may be less than 0.
func (s *Stall) Left(patience time.Duration, now time.Time) time.Duration {
	return patience - now.Sub(s.since)
}

// NextLook returns when to look at the peer again: after patience has passed, or before that
// if it is to be looked at so many times until then.
func (s *Stall) NextLook(patience time.Duration, looks int, now time.Time) time.Time {
	return now.Add(min(patience/time.Duration(looks), s.Left(patience, now)))
}
