// Package lanes leads the requests of a service to its targets: it picks a lane for
// each request, judges the target by how that ends, and drains the lanes that are to be
// used no more.
package lanes

import (
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/shahnk19/parachute/internal/balance"
	"github.com/shahnk19/parachute/internal/ejection"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/gate"
)

// A Target is what lanes lead to. Its methods may be called from any goroutine, and
// neither wait nor allocate.
type Target interface {
	comparable

	// IsHealthy reports whether requests may be sent to the target: its health checks
	// pass, and it is not ejected.
	IsHealthy() bool

	// Outcomes returns how many of the requests to the target have failed.
	Outcomes() *balance.FailureRate

	// Ejection returns whether the target is ejected because of those.
	Ejection() *ejection.State

	// Token returns what stands for the target in what visitors send.
	Token() string
}

// Exchanges are the exchanges of the requests that are inside one Lane.
type Exchanges interface {
	// Exchange sends a request to the target, and returns the answer.
	Exchange(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)

	// CutRequests ends all exchanges but streams, and lets none begin any more. It
	// returns how many it ended of which the target may have got something.
	CutRequests() (cut int64)
}

// A Lane leads the requests of one version to one target. Its gates count those that
// are in flight.
type Lane[T Target] struct {
	Target T

	// Exchange sends a request that is inside to the target, and returns the answer.
	Exchange func(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)

	// NoCloseFrames is set once WebSockets inside are to be cut without a Close frame.
	NoCloseFrames atomic.Bool

	gate.Gates
	exchanges Exchanges
}

// New returns a Lane to a target, in which nobody is. The exchanges are the Lane's alone.
func New[T Target](to T, exchanges Exchanges) *Lane[T] {
	return &Lane[T]{Target: to, Exchange: exchanges.Exchange, exchanges: exchanges}
}

// InFlight returns how many requests and streams are inside.
func (l *Lane[T]) InFlight() int64 {
	requests, streams := l.Inside()
	return requests + streams
}

// Token returns the target's.
func (l *Lane[T]) Token() string { return l.Target.Token() }

// FailureRate returns the target's Outcomes.
func (l *Lane[T]) FailureRate() *balance.FailureRate { return l.Target.Outcomes() }

// A Set is a set of lanes. Its methods do not change it.
type Set[T Target] []*Lane[T]

// Targets returns the targets of the lanes, in order.
func (s Set[T]) Targets() []T {
	var targets []T
	for _, l := range s {
		targets = append(targets, l.Target)
	}
	return targets
}

// To returns those lanes of s that lead to one of the targets.
func (s Set[T]) To(targets []T) Set[T] {
	return s.where(func(l *Lane[T]) bool { return slices.Contains(targets, l.Target) })
}

// Without returns those lanes of s that are not in other.
func (s Set[T]) Without(other Set[T]) Set[T] {
	return s.where(func(l *Lane[T]) bool { return !slices.Contains(other, l) })
}

// Undrained returns those lanes of s that somebody is inside, or may still enter.
func (s Set[T]) Undrained() Set[T] {
	return s.where(func(l *Lane[T]) bool { return !l.IsDrained() })
}

func (s Set[T]) where(suits func(*Lane[T]) bool) Set[T] {
	var found Set[T]
	for _, l := range s {
		if suits(l) {
			found = append(found, l)
		}
	}
	return found
}

// leadsTo reports whether one of the lanes leads to t.
func (s Set[T]) leadsTo(t T) bool {
	return slices.ContainsFunc(s, func(l *Lane[T]) bool { return l.Target == t })
}

// Inside returns how many requests and how many streams are inside the lanes.
func (s Set[T]) Inside() (requests, streams int64) {
	for _, l := range s {
		r, st := l.Gates.Inside()
		requests += r
		streams += st
	}
	return requests, streams
}

// OmitCloseFrames has the WebSockets inside cut without a Close frame.
func (s Set[T]) OmitCloseFrames() {
	for _, l := range s {
		l.NoCloseFrames.Store(true)
	}
}

// Drain closes the lanes to new requests and waits for those inside, as [gate.Drain]
// does. It cuts off the requests that are late, but no exchange of another lane to the
// same target.
func (s Set[T]) Drain(limits gate.Limits, done <-chan struct{}) (requests, streams int64) {
	gates := make([]*gate.Gates, len(s))
	for i, l := range s {
		gates[i] = &l.Gates
	}
	cut := func() (cut int64) {
		for _, l := range s {
			cut += l.exchanges.CutRequests()
		}
		return cut
	}
	return gate.Drain(gates, limits, cut, done)
}
