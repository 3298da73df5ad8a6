// Package ejection keeps requests from a target because earlier ones failed,
// although its health checks pass.
package ejection

import (
	"sync"
	"sync/atomic"
	"time"
)

// MaxRefusals is the number of failed connection attempts in a row for which a
// target is to be ejected.
const MaxRefusals = 3

// The first ejection of an outlier takes firstEjection. Each further one takes
// twice as long as the one before, at most maxEjection. A target that has served
// for longer than maxEjection since its last ejection begins anew.
const (
	firstEjection = 5 * time.Second
	maxEjection   = 5 * time.Minute
)

// A State says whether one target is ejected. The zero State is that of a target
// which is not. Its methods may be called from any goroutine.
type State struct {
	current  atomic.Pointer[ejection] // nil: there is none
	refusals atomic.Int32             // failed connection attempts in a row, since the last probe passed

	mu      sync.Mutex // guards outlier; is held while current changes
	outlier ejection   // the last one of an outlier; zero: there was none lately
}

// An ejection ends with the first probe that passes after until.
type ejection struct {
	since, until time.Time
}

// IsEjected reports whether the target is ejected.
func (s *State) IsEjected() bool { return s.current.Load() != nil }

// Since returns since when the target is ejected, and false if it is not.
func (s *State) Since() (since time.Time, ok bool) {
	if e := s.current.Load(); e != nil {
		return e.since, true
	}
	return time.Time{}, false
}

// Refused notes a failed connection attempt. It reports whether there were at
// least MaxRefusals in a row.
func (s *State) Refused() bool { return s.refusals.Add(1) >= MaxRefusals }

// IsRefused reports whether at least MaxRefusals connection attempts in a row have
// failed.
func (s *State) IsRefused() bool { return s.refusals.Load() >= MaxRefusals }

// Answered notes that the target answered a request.
func (s *State) Answered() {
	if s.refusals.Load() > 0 {
		s.refusals.Store(0)
	}
}

// Eject ejects the target until the next probe passes, and an outlier for at least
// firstEjection. It calls mayStay when the target is ejected; if mayStay returns
// false, Eject takes the ejection back. It reports whether the target was ejected
// by this call.
func (s *State) Eject(outlier bool, mayStay func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.IsEjected() {
		return false
	}
	now := time.Now()
	e := &ejection{since: now, until: now}
	if outlier {
		if now.Sub(s.outlier.until) > maxEjection {
			s.outlier = ejection{}
		}
		again := 2 * s.outlier.until.Sub(s.outlier.since)
		e.until = now.Add(min(max(again, firstEjection), maxEjection))
	}
	s.current.Store(e)
	if !mayStay() {
		s.current.Store(nil)
		return false
	}
	if outlier {
		s.outlier = *e
	}
	return true
}

// Passed notes that a probe has passed: the refusals are forgotten, and an
// ejection whose time is up ends. It reports whether one has ended.
func (s *State) Passed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals.Store(0)
	if e := s.current.Load(); e == nil || time.Now().Before(e.until) {
		return false
	}
	s.current.Store(nil)
	return true
}
