package targets_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/lanes"
	"github.com/shahnk19/parachute/internal/targets"
)

type laneSet = lanes.Set[*targets.Target]

// group returns that of targets at these addresses, all of which are written to.
func (b *bed) group(addresses ...string) targets.Group {
	var all []*targets.Target
	for _, address := range addresses {
		all = append(all, b.target(address))
	}
	return targets.NewGroup(all, nil, "")
}

func TestLineupIsOfTheFirstVersionAndTheSecond(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	second := b.group("c:80")
	l := targets.Lineup{Main: b.group("a:80", "b:80"), Rollout: &second}
	is.Equal(targets.Addresses(l.Targets()), []string{"a:80", "b:80", "c:80"})
	is.True(l.Has(second.Targets()[0], true))
	is.True(!l.Has(l.Main.Targets()[0], true))
	l.Rollout = nil
	is.Equal(targets.Addresses(l.Targets()), []string{"a:80", "b:80"})
	is.True(l.Has(l.Main.Targets()[1], false))
	is.True(!l.Has(second.Targets()[0], false))
	is.True(!l.Has(second.Targets()[0], true)) // it has no rollout any more
	is.True(l.IsAt(b.target("b:80").Place()))
	is.True(!l.IsAt(b.target("c:80").Place()))
	is.Equal(len(new(targets.Lineup).Lanes()), 0) // that of a service which failed
}

func TestLineupTakesCallsWhereOneTargetSpeaksHTTP2(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	second := b.group("h2c://c:80")
	l := targets.Lineup{Main: b.group("a:80")}
	is.True(!l.TakesCalls())
	l.Rollout = &second
	is.True(l.TakesCalls())
}

func TestLineupWithNewGatesLeavesAllLanesBehind(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	second := b.group("c:80")
	l := targets.Lineup{Main: b.group("a:80"), Rollout: &second}
	next := l.WithNewGates()
	is.Equal(next.Targets(), l.Targets())
	is.Equal(l.LeftBehind(&next), l.Lanes())
	is.Equal(len(l.LeftBehind(&l)), 0)
	l.Rollout = nil
	next = l.WithNewGates()
	is.True(next.Rollout == nil)
}

func TestLanesOfEarlierLineupsAreLeftBehindUntilTheyAreDrained(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	first := targets.Lineup{Main: b.group("a:80", "b:80")}
	second := targets.Lineup{Main: b.group("c:80")}
	second.Leaving = first.LeftBehind(&second)
	is.Equal(second.Undrained(), append(append(laneSet{}, first.Lanes()...), second.Lanes()...))
	third := targets.Lineup{Main: first.Main} // as where a deploy is taken back
	is.Equal(second.LeftBehind(&third), second.Lanes())
	first.Lanes()[:1].Drain(gate.Limits{}, nil) // nobody is inside
	is.Equal(second.Undrained(), append(laneSet{first.Lanes()[1]}, second.Lanes()...))
}

func TestLineupCountsHereAndElsewhere(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	second := b.group("c:80")
	l := targets.Lineup{Main: b.group("a:80"), Rollout: &second}
	l.Main.Tally.Observe(0, time.Millisecond, true)
	for range 2 {
		l.Rollout.Tally.Observe(0, time.Millisecond, false)
	}
	recent, main, rollout := l.Own(0)
	is.Equal([]uint64{recent.Requests, main.Requests, rollout.Requests}, []uint64{1, 1, 2})

	of := func() []uint64 {
		return []uint64{l.Main.Tally.Window(0).Requests, l.Rollout.Tally.Window(0).Requests}
	}
	twice := main.Plus(main)
	l.CountElsewhere(0, twice.Since(twice), twice, rollout)
	is.Equal(of(), []uint64{3, 4})
	l.CountElsewhere(0, main, twice.Since(twice), rollout) // only main is told anew
	is.Equal(of(), []uint64{2, 6})
	l.Rollout = nil
	l.CountElsewhere(0, main, main, rollout)
	is.Equal(l.Main.Tally.Window(0).Requests, uint64(3))
	_, _, rollout = l.Own(0)
	is.Equal(rollout.Requests, uint64(0))

	var failed targets.Lineup // counts nothing
	failed.CountElsewhere(0, main, main, main)
	recent, main, rollout = failed.Own(0)
	is.Equal(recent.Requests+main.Requests+rollout.Requests, uint64(0))
}
