package lanes

import (
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/balance"
	"github.com/shahnk19/parachute/internal/reason"
)

// A Group is the lanes to the targets that came with one deploy. It never changes, and
// its methods may be called from any goroutine.
type Group[T Target] struct {
	Writers Set[T]
	Readers Set[T] // for requests that only read
}

// NewGroup returns the Group of the lanes that open returns, one to each target.
func NewGroup[T Target](writers, readers []T, open func(T) *Lane[T]) Group[T] {
	lanesTo := func(targets []T) (s Set[T]) {
		for _, t := range targets {
			s = append(s, open(t))
		}
		return s
	}
	return Group[T]{lanesTo(writers), lanesTo(readers)}
}

// Lanes returns all lanes, the writers first.
func (g *Group[T]) Lanes() Set[T] { return slices.Concat(g.Writers, g.Readers) }

// Targets returns the targets of all lanes, the writers first.
func (g *Group[T]) Targets() []T { return g.Lanes().Targets() }

// Has reports whether t is a target of g.
func (g *Group[T]) Has(t T) bool { return g.Writers.leadsTo(t) || g.Readers.leadsTo(t) }

// Pairs yields each target of g that previous has as well in the same role, with the one
// of previous.
func (g *Group[T]) Pairs(previous *Group[T], isSame func(next, previous T) bool) iter.Seq2[T, T] {
	return func(yield func(T, T) bool) {
		for _, role := range [...]struct{ next, previous Set[T] }{{g.Writers, previous.Writers}, {g.Readers, previous.Readers}} {
			for _, l := range role.next {
				i := slices.IndexFunc(role.previous, func(p *Lane[T]) bool { return isSame(l.Target, p.Target) })
				if i >= 0 && !yield(l.Target, role.previous[i].Target) {
					return
				}
			}
		}
	}
}

// Pick returns the lane for a request, or nil if no lane is left. It passes over the
// targets in tried, and lets [affinity.Pick] choose among the healthy ones for a visitor
// who is known, and [balance.Pick] for all others, to which now is the time. A request
// that only reads goes to a healthy reader if there is one. If no writer is healthy,
// every writer is a candidate, for a check may be wrong, and an answer beats none.
func (g *Group[T]) Pick(now time.Duration, tried []T, reading bool, visitor affinity.Visitor) *Lane[T] {
	isUntried := func(l *Lane[T]) bool { return !slices.Contains(tried, l.Target) }
	suits := func(l *Lane[T]) bool { return l.Target.IsHealthy() && isUntried(l) }
	if reading {
		if l, ok := pickAmong(g.Readers, visitor, now, suits); ok {
			return l
		}
	}
	if l, ok := pickAmong(g.Writers, visitor, now, suits); ok {
		return l
	}
	l, _ := pickAmong(g.Writers, visitor, now, isUntried)
	return l
}

func pickAmong[T Target](s Set[T], visitor affinity.Visitor, now time.Duration, suits func(*Lane[T]) bool) (*Lane[T], bool) {
	if visitor.IsKnown() {
		return affinity.Pick(visitor, s, suits)
	}
	return balance.Pick(s, now, suits)
}

// Other returns the token of the target that the visitor stays with beside l's, which is
// new to the visitor; "" if there is none. Where g has readers, a visitor stays with one
// target for reading and with another for all else.
func (g *Group[T]) Other(visitor affinity.Visitor, l *Lane[T]) (token string) {
	others := g.Readers
	if slices.Contains(others, l) {
		others = g.Writers
	}
	if i := slices.IndexFunc(others, func(o *Lane[T]) bool { return visitor.Has(o.Token()) }); i >= 0 {
		return others[i].Token()
	}
	return ""
}

// An End is how an exchange with a target ended.
type End struct {
	Reason   reason.Reason // why it failed; reason.None: it did not
	Status   int           // of the answer; 0: there was none
	IsStream bool          // the answer is a stream
}

// hasFailed reports whether e speaks against the health of the target. A stream that
// breaks off does not: the target had answered. Nor does a connection that could not be
// made, which is counted apart.
func (e End) hasFailed() bool {
	if e.Reason == reason.None {
		return e.Status >= 500
	}
	return e.Reason.IsUnhealthy() && e.Reason != reason.Dial && !e.IsStream
}

// ErrOutlier is the reason for ejecting a target that answers.
var ErrOutlier = errors.New("it answers 5xx where its siblings do not")

// Judge applies to l's target how an exchange with it ended at the time now, and reports
// whether it has ejected the target. If another target can take its requests, a target
// with [ejection.MaxRefusals] failed connection attempts in a row is ejected until a
// health check passes, and one that fails where its siblings do not is ejected for a
// while, unless that would leave less than half of them.
func (g *Group[T]) Judge(l *Lane[T], e End, now time.Duration) (ejected bool) {
	t, failed := l.Target, e.hasFailed()
	if failed || e.Reason == reason.None {
		t.Outcomes().Note(now, failed)
	}
	if e.Reason == reason.None {
		t.Ejection().Answered()
	}
	switch {
	case e.Reason == reason.Dial && t.Ejection().Refused():
		return t.Ejection().Eject(false, func() bool { return g.canSpare(t) })
	case failed && g.hasOutlier(t, now):
		return t.Ejection().Eject(true, func() bool { return g.canSpare(t) && !g.isHalfEjected(t) })
	}
	return false
}

// canSpare reports whether a healthy target would get t's requests instead.
func (g *Group[T]) canSpare(t T) bool {
	isOther := func(l *Lane[T]) bool { return l.Target != t && l.Target.IsHealthy() }
	return slices.ContainsFunc(g.Writers, isOther) || g.Readers.leadsTo(t) && slices.ContainsFunc(g.Readers, isOther)
}

// siblings returns the lanes of the targets that get the same requests as t, including
// t's own.
func (g *Group[T]) siblings(t T) Set[T] {
	if g.Readers.leadsTo(t) {
		return g.Readers
	}
	return g.Writers
}

// hasOutlier reports whether t fails so much more often than its healthy siblings that
// it must be ejected.
func (g *Group[T]) hasOutlier(t T, now time.Duration) bool {
	return t.Outcomes().IsOutlier(func(yield func(*balance.FailureRate) bool) {
		for _, l := range g.siblings(t) {
			if l.Target != t && l.Target.IsHealthy() && !yield(l.FailureRate()) {
				return
			}
		}
	}, now)
}

// isHalfEjected reports whether more than half of t and its siblings are ejected.
func (g *Group[T]) isHalfEjected(t T) bool {
	all, ejected := g.siblings(t), 0
	for _, l := range all {
		if l.Target.Ejection().IsEjected() {
			ejected++
		}
	}
	return ejected > len(all)/2
}
