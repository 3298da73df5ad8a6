package trial

import (
	"slices"
	"time"
)

// A Version is what a service serves from one change to the next: with targets T, its first
// ones and, beside them, those of a rollout.
type Version[T, V any] interface {
	comparable

	// Has reports whether t is one of the first targets or, if ofRollout is true, one of
	// the rollout's.
	Has(t T, ofRollout bool) bool

	// IsHalted reports whether requests are not sent on.
	IsHalted() bool

	// Since returns when the first version that serves the same, and is halted or not as
	// this one is, was published.
	Since() time.Time

	// Fallback returns what this version returns to if it turns out to be worse, or none.
	Fallback() V
}

// Kind says what of a service is on trial.
type Kind int

const (
	OfMain    Kind = iota // what has taken the place of its first targets
	OfRollout             // what has taken the place of those of its rollout
	OfCanary              // the rollout beside its first targets, which serve as well
)

// A Change is the Trial of a change of one service. Make one with NewChange.
type Change[T Target, V Version[T, V]] struct {
	Trial[T]
	Kind     Kind
	Previous V // what is returned to

	service Service[V]
}

// A Service is what has a change on trial, as that sees it.
type Service[V any] struct {
	Current func() V // returns what it serves now, or none

	// IsOpen reports whether the service can be changed here, and IsChanging whether
	// another change of it is under way.
	IsOpen, IsChanging func() bool

	Stop <-chan struct{} // closed when no judgement is waited for
}

// Ends are the errors with which a Bake ends without a judgement.
type Ends struct {
	Superseded error // the service was changed
	HandedOver error // it can be changed elsewhere alone
	Stopped    error
}

// NewChange returns the Trial of a change that has brought targets in place of those in
// gone. takeBack undoes the change, as Trial.TakeBack.
func NewChange[T Target, V Version[T, V]](kind Kind, service Service[V], previous V, brought, gone []T, takeBack func(reason string) bool, done <-chan struct{}) *Change[T, V] {
	c := &Change[T, V]{Kind: kind, Previous: previous, service: service}
	c.Trial = Trial[T]{Brought: brought, Gone: gone, IsJudged: c.isJudged, TakeBack: takeBack, Done: done}
	return c
}

// IsOf reports whether v, which may be none, has what was brought.
func (c *Change[T, V]) IsOf(v V) bool {
	var none V
	return v != none && v.Has(c.Brought[0], c.Kind != OfMain)
}

// isJudged implements IsJudged. What is halted is not judged, nor by what was seen before
// it was resumed.
func (c *Change[T, V]) isJudged() (since time.Time, ok bool) {
	v := c.service.Current()
	if !c.IsOf(v) || v.IsHalted() {
		return time.Time{}, false
	}
	return v.Since(), true
}

// Unhealthy returns those targets that were brought which are among failing, or do not pass
// their probes. There are none once a newer change has let go of them.
func (c *Change[T, V]) Unhealthy(failing []T) []T {
	v := c.service.Current()
	if !c.IsOf(v) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Brought), func(t T) bool {
		return !t.IsUnhealthy(v.Since()) && !slices.Contains(failing, t)
	})
}

// A Judge compares a version with another one. at is the time since a moment of the
// caller's choice.
type Judge interface {
	Evaluate(at time.Duration) (worse string)
	Note() string
	IsDecided() bool
}

// JudgedBy returns a Bake in which j judges what was brought; began is the time that j
// counts from. The Bake has no Clock, no Drain and no Tell.
//
// Its clock stands while the service is halted or, if this is no canary, another change of
// it is under way. The Bake ends with an error of e when the service lacks what was brought,
// or what it would return to.
func (c *Change[T, V]) JudgedBy(j Judge, began time.Time, e Ends) Bake {
	return Bake{
		Runs:      func() (bool, error) { return c.runs(e) },
		Judge:     func() (worse, note string) { return j.Evaluate(time.Since(began)), j.Note() },
		IsDecided: j.IsDecided,
		Stop:      c.service.Stop,
		Stopped:   e.Stopped,
	}
}

func (c *Change[T, V]) runs(e Ends) (bool, error) {
	if !c.service.IsOpen() {
		return false, e.HandedOver
	}
	v := c.service.Current()
	if !c.IsOf(v) || !c.returns(v) {
		return false, e.Superseded
	}
	return !v.IsHalted() && (c.Kind == OfCanary || !c.service.IsChanging()), nil
}

// returns reports whether v returns to what was before or, in a canary, has it still.
func (c *Change[T, V]) returns(v V) bool {
	if c.Kind == OfCanary {
		return v.Has(c.Gone[0], false)
	}
	return v.Fallback() == c.Previous
}
