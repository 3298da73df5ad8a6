package targets

import (
	"slices"
	"time"

	"github.com/shahnk19/parachute/internal/bake"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/lanes"
)

// A Lineup is what one version of a service has for its requests. It never changes once
// requests may read it.
type Lineup struct {
	Main    Group  // of the first version; the zero Group if the service failed
	Rollout *Group // of the second version; nil: there is none

	// Leaving are the lanes of all Lineups before, and not of this one, that somebody may
	// still be inside of.
	Leaving lanes.Set[*Target]
}

// Lanes returns those of Main and of Rollout.
func (l *Lineup) Lanes() lanes.Set[*Target] {
	all := l.Main.Lanes()
	if l.Rollout != nil {
		all = append(all, l.Rollout.Lanes()...)
	}
	return all
}

// Targets returns those of Main and of Rollout.
func (l *Lineup) Targets() []*Target { return l.Lanes().Targets() }

// Has reports whether t is one of those of Main or, if ofRollout is true, of Rollout.
func (l *Lineup) Has(t *Target, ofRollout bool) bool {
	if ofRollout {
		return l.Rollout != nil && l.Rollout.Has(t)
	}
	return l.Main.Has(t)
}

// IsAt reports whether one of the targets is at a place.
func (l *Lineup) IsAt(place endpoint.Endpoint) bool {
	return slices.ContainsFunc(l.Targets(), func(t *Target) bool { return t.Place() == place })
}

// TakesCalls reports whether one of the targets speaks HTTP/2, as gRPC calls want. A
// client may say of any request that it is one.
func (l *Lineup) TakesCalls() bool {
	return slices.ContainsFunc(l.Lanes(), func(lane *lanes.Lane[*Target]) bool { return lane.Target.HTTP2 })
}

// WithNewGates returns a Lineup of the same targets with gates of its own.
func (l *Lineup) WithNewGates() Lineup {
	next := Lineup{Main: l.Main.WithNewGates(), Leaving: l.Leaving}
	if l.Rollout != nil {
		rollout := l.Rollout.WithNewGates()
		next.Rollout = &rollout
	}
	return next
}

// Undrained returns the lanes of l, and of those before it, that somebody may be inside of.
func (l *Lineup) Undrained() lanes.Set[*Target] {
	return append(l.Leaving.Undrained(), l.Lanes()...)
}

// LeftBehind returns those of Undrained that next does not have.
func (l *Lineup) LeftBehind(next *Lineup) lanes.Set[*Target] {
	return l.Undrained().Without(next.Lanes())
}

// Own returns what was counted here, and not elsewhere: of Main in the ten minutes before at,
// which is now, and in all; and of the Rollout in all, as [bake.Tally.Own] has it.
func (l *Lineup) Own(at time.Duration) (recent, main, rollout bake.Counts) {
	if l.Main.Tally != nil {
		recent, main = l.Main.Tally.Own(at)
	}
	if l.Rollout != nil {
		_, rollout = l.Rollout.Tally.Own(at)
	}
	return recent, main, rollout
}

// CountElsewhere adds what was counted elsewhere, at the time at, which is now. Unless it is
// empty, recent takes the place of all that was added of Main before.
func (l *Lineup) CountElsewhere(at time.Duration, recent, main, rollout bake.Counts) {
	if l.Main.Tally == nil {
		return
	}
	if recent.Requests > 0 {
		l.Main.Tally.Replace(at, recent)
	}
	l.Main.Tally.Add(at, main)
	if l.Rollout != nil {
		l.Rollout.Tally.Add(at, rollout)
	}
}

// A Leftover is what a version of a service has, and the next one has not.
type Leftover struct {
	Gone         []*Target
	Lanes        lanes.Set[*Target] // to these
	Certificates []*certificate.Set
}

// Without returns what is left of l by the next version, which has the lanes of next, and
// also goes on with the targets and the certificates that kept has.
func (l *Leftover) Without(next *Lineup, kept *Leftover) *Leftover {
	isKept := func(t *Target) bool { return slices.Contains(kept.Gone, t) }
	isServed := func(c *certificate.Set) bool { return slices.Contains(kept.Certificates, c) }
	left := &Leftover{Gone: slices.DeleteFunc(slices.Clone(l.Gone), isKept)}
	left.Lanes = l.Lanes.Without(next.Lanes()).To(left.Gone)
	left.Certificates = slices.DeleteFunc(slices.Clone(l.Certificates), isServed)
	return left
}

// StopProbes ends the probes of the targets that are gone.
func (l *Leftover) StopProbes() {
	for _, t := range l.Gone {
		t.StopProbes()
	}
}

// Close cuts off what goes on with the targets, and releases the certificates.
func (l *Leftover) Close() {
	CloseAll(l.Gone)
	l.Release()
}

// Release releases the certificates.
func (l *Leftover) Release() {
	for _, c := range l.Certificates {
		c.Release()
	}
}
