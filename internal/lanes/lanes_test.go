package lanes_test

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/balance"
	"github.com/shahnk19/parachute/internal/ejection"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/lanes"
)

// A target is healthy unless it is ill or ejected.
type target struct {
	name     string
	ill      bool
	outcomes balance.FailureRate
	ejection ejection.State
}

func newTarget(name string) *target { return &target{name: name} }

func (t *target) IsHealthy() bool                { return !t.ill && !t.ejection.IsEjected() }
func (t *target) Outcomes() *balance.FailureRate { return &t.outcomes }
func (t *target) Ejection() *ejection.State      { return &t.ejection }
func (t *target) Token() string                  { return (t.name + "AAAAAAAA")[:8] }

func targets(all ...*target) []*target { return all }

// exchanges tell how many of them are cut.
type exchanges struct{ cut func() int64 }

func (e exchanges) Exchange(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
	return &http.Response{StatusCode: 299}, nil
}

func (e exchanges) CutRequests() int64 { return e.cut() }

type (
	lane  = lanes.Lane[*target]
	set   = lanes.Set[*target]
	group = lanes.Group[*target]
)

func newLane(t *target) *lane { return lanes.New(t, exchanges{}) }

func groupOf(writers, readers []*target) *group {
	g := lanes.NewGroup(writers, readers, newLane)
	return &g
}

// enter has n requests enter l.
func enter(is *is.I, l *lane, n int) (inside []*gate.Passage) {
	is.Helper()
	for range n {
		p, ok := l.Enter()
		is.True(ok)
		inside = append(inside, p)
	}
	return inside
}

// A closing stream is one that ends when it is closed.
type closing struct{ passage *gate.Passage }

func (c closing) Close() error { c.passage.Leave(); return nil }

func TestLaneLeadsToItsTarget(t *testing.T) {
	is := is.New(t)
	a := newTarget("A")
	l := newLane(a)
	is.Equal(l.Target, a)
	is.Equal(l.Token(), "AAAAAAAA")
	is.Equal(l.FailureRate(), &a.outcomes)
	res, err := l.Exchange(nil, "", field.View{}, nil)
	is.NoErr(err)
	is.Equal(res.StatusCode, 299) // of its exchanges
	is.Equal(l.InFlight(), int64(0))
	inside := enter(is, l, 3)
	inside[0].BecomeStream(closing{inside[0]})
	is.Equal(l.InFlight(), int64(3)) // streams too
}

func TestSetIsTakenApartAndStaysAsItIs(t *testing.T) {
	is := is.New(t)
	a, b, c := newTarget("a"), newTarget("b"), newTarget("c")
	la, lb, lc, again := newLane(a), newLane(b), newLane(c), newLane(a)
	all := set{la, lb, lc, again}
	is.Equal(all.Targets(), targets(a, b, c, a))
	is.Equal(all.To(targets(a, c)), set{la, lc, again})
	is.Equal(len(all.To(nil)), 0)
	is.Equal(all.Without(set{again, lb}), set{la, lc}) // another lane to the same target stays
	is.Equal(all.Without(nil), all)
	is.Equal(all, set{la, lb, lc, again})

	is.True(!slices.ContainsFunc(all, func(l *lane) bool { return l.NoCloseFrames.Load() }))
	set{la, lc}.OmitCloseFrames()
	is.True(la.NoCloseFrames.Load() && lc.NoCloseFrames.Load())
	is.True(!lb.NoCloseFrames.Load() && !again.NoCloseFrames.Load())
}

func TestSetCountsWhoIsInside(t *testing.T) {
	is := is.New(t)
	la, lb := newLane(newTarget("a")), newLane(newTarget("b"))
	enter(is, la, 3)
	inside := enter(is, lb, 4)
	for _, p := range inside[:3] {
		p.BecomeStream(closing{p})
	}
	requests, streams := set{la, lb}.Inside()
	is.Equal(requests, int64(4))
	is.Equal(streams, int64(3))
	requests, streams = set{}.Inside()
	is.True(requests == 0 && streams == 0)
}

func TestDrainedLanesAreThoseThatNobodyCanBeInsideOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		open, closed, busy := newLane(newTarget("a")), newLane(newTarget("b")), newLane(newTarget("c"))
		inside := enter(is, busy, 1)
		all := set{open, closed, busy}
		is.Equal(all.Undrained(), all) // somebody may enter
		done := make(chan struct{})
		go set{closed, busy}.Drain(gate.Limits{Requests: time.Minute}, done)
		synctest.Wait()
		is.Equal(all.Undrained(), set{open, busy})
		inside[0].Leave()
		is.Equal(all.Undrained(), set{open})
		_, ok := busy.Enter()
		is.True(!ok)
		close(done)
		synctest.Wait()
	})
}

func TestDrainCutsWhatIsLateInItsLanesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a := newTarget("a")
		var inside []*gate.Passage
		var cut []string
		laneOf := func(name string) *lane {
			return lanes.New(a, exchanges{func() int64 {
				cut = append(cut, name)
				for _, p := range inside {
					p.Leave()
				}
				n := int64(len(inside))
				inside = nil
				return n
			}})
		}
		drained, empty, other := laneOf("drained"), laneOf("empty"), laneOf("other")
		enter(is, other, 1)
		inside = enter(is, drained, 3)
		stream := inside[2]
		stream.BecomeStream(closing{stream})
		inside = inside[:2]
		begin := time.Now()
		requests, streams := set{drained, empty}.Drain(gate.Limits{Requests: time.Minute, Streams: time.Hour}, nil)
		is.Equal(requests, int64(2))
		is.Equal(streams, int64(1))
		is.True(time.Since(begin) > time.Minute+50*time.Minute) // as long as both may take
		is.Equal(cut, []string{"drained", "empty"})
		is.Equal(other.InFlight(), int64(1)) // though to the same target
		_, ok := other.Enter()
		is.True(ok)
	})
}

// visitorOf returns a visitor who stays with two targets.
func visitorOf(a, b *target) (v affinity.Visitor) {
	v.Note(v.Value(a.Token(), b.Token()))
	return v
}
