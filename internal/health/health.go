// Package health says whether a target is healthy, by what its probes have shown and by
// how the requests to it have ended.
package health

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/ejection"
)

// A Health is what is known of a target.
type Health string

const (
	Unknown   Health = "unknown" // no probe has said anything yet
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy"
)

// A Result is what a probe says about its target.
type Result struct {
	Began   time.Time
	Passed  bool
	Refused bool // nothing listens at the target's address
	Void    bool // it says nothing, for it could not be sent
}

// lostProbes is after how many failed probes in a row a target is lost.
const lostProbes = 3

// A State is the health of one target. R is what is kept of its last probe. Init must
// be called first; then its methods may be called from any goroutine.
type State[R any] struct {
	Ejection ejection.State // because of the requests to the target

	rise, fall int
	proof      time.Duration // see DemandProof
	passes     atomic.Bool   // health is Healthy

	mu      sync.Mutex // guards what follows, and changes of passes
	health  Health     // according to the probes alone
	since   time.Time  // when health became what it is, or an ejection ended
	streak  int        // the number of probes in a row with the result of the last one
	passing time.Time  // when the first of them began, if they have passed
	proved  bool       // it has been healthy
	probes  int        // the number of probes that have ended
	result  Result     // of the last probe
	last    R          // of that probe
}

// Init makes s the state of a target of which nothing is known. Rise is how many probes in a
// row must pass to make it healthy, fall how many must fail to make it unhealthy.
func (s *State[R]) Init(rise, fall int) {
	s.rise, s.fall, s.health, s.since = rise, fall, Unknown, time.Now()
}

// DemandProof keeps the target from becoming healthy for the first time until its probes
// have passed for at least so long: until one that began so much later than the first of them.
// It must be called before the first Record.
func (s *State[R]) DemandProof(least time.Duration) { s.proof = least }

// Record notes the end of a probe, of which last is kept. It returns how many have
// ended, and whether the target is healthy now and was not before, or the other way
// round.
func (s *State[R]) Record(r Result, last R) (probes int, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes++
	if r.Void {
		if s.probes == 1 || s.result.Void { // there is nothing better to show
			s.result, s.last = r, last
		}
		return s.probes, false
	}
	if s.result.Passed != r.Passed {
		s.streak, s.passing = 0, r.Began
	}
	s.result, s.last = r, last
	s.streak++
	now, needed := Unhealthy, s.fall
	if r.Passed {
		now, needed = Healthy, s.rise
		if !s.proved && r.Began.Sub(s.passing) < s.proof {
			return s.probes, false
		}
		if s.Ejection.Passed() {
			s.since, changed = time.Now(), s.health == Healthy
		}
	}
	if now == s.health || s.streak < needed {
		return s.probes, changed
	}
	s.health, s.since = now, time.Now()
	s.passes.Store(r.Passed)
	s.proved = s.proved || r.Passed
	return s.probes, true
}

// Passes reports whether the target is healthy according to its probes alone. It
// neither waits nor allocates.
func (s *State[R]) Passes() bool { return s.passes.Load() }

// IsHealthy reports whether requests may be sent to the target: it passes its probes,
// and is not ejected. It neither waits nor allocates.
func (s *State[R]) IsHealthy() bool { return s.passes.Load() && !s.Ejection.IsEjected() }

// Pause returns how long to wait before the next probe of a target whose health is
// waited for: for pause, or less where the proof is due before. It returns false if the
// target passes, so that there is nothing to wait for.
func (s *State[R]) Pause(pause time.Duration) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if due := s.proof - time.Since(s.passing); due > 0 && s.result.Passed {
		pause = min(pause, due)
	}
	return pause, s.health != Healthy
}

// HasBeenHealthy reports whether the target is healthy by its probes, or once was.
func (s *State[R]) HasBeenHealthy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proved
}

// IsLost reports whether the target, which has been healthy, serves no more: it refuses
// connections, or has failed three probes in a row. Nothing counts that a probe saw
// before since. A target that has never been healthy is not lost.
func (s *State[R]) IsLost(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isLostLocked(since)
}

func (s *State[R]) isLostLocked(since time.Time) bool {
	switch {
	case !s.proved:
		return false // whoever had it serve knew that
	case s.Ejection.IsRefused():
		return true
	case s.result.Passed || s.result.Began.Before(since):
		return false
	}
	return s.result.Refused || s.streak >= lostProbes
}

// IsUnhealthy reports whether the target does not pass its probes, or is lost as IsLost
// says. Of a target whose health is unknown it reports false.
func (s *State[R]) IsUnhealthy(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health == Unhealthy || s.isLostLocked(since)
}

// A Snapshot is what was known of a target at one moment.
type Snapshot[R any] struct {
	Health Health    // Unhealthy also while the target is ejected
	Since  time.Time // when it got its Health
	Probes int       // how many have ended
	Last   R         // of the last probe that said something, or of the last one as long as none has; zero before the first
}

// Snapshot returns what is known of the target now.
func (s *State[R]) Snapshot() Snapshot[R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := Snapshot[R]{Health: s.health, Since: s.since, Probes: s.probes, Last: s.last}
	if since, ok := s.Ejection.Since(); ok && s.health == Healthy {
		now.Health, now.Since = Unhealthy, since
	}
	return now
}
