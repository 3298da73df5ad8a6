package targets_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bake"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/histogram"
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
	l.CountElsewhere(0, twice.Since(twice), main, rollout) // what is not told anew stays
	is.Equal(of(), []uint64{4, 6})
	l.CountElsewhere(0, main, twice.Since(twice), rollout) // only main is told anew
	is.Equal(of(), []uint64{2, 8})
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

func TestGroupCountsARequestForItsTargetAndItsVersion(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	g := b.group("a:80", "b:80")
	g.Tally.Collect()
	target := g.Targets()[1]
	failed := targets.Request{Took: 3 * time.Second, Waited: time.Second, Failed: true, Method: "GET", Path: "/cart/1", Status: 500, ID: "x"}
	g.Count(target, failed)
	cut := failed
	cut.IsCut, cut.ID = true, "y"
	for range 2 {
		g.Count(target, cut)
	}
	g.Count(target, targets.Request{Took: time.Second, Waited: 2 * time.Second}) // it waited while its answer had begun

	minute := target.Traffic.Minute(0)
	is.Equal(minute.ErrorRate(), 0.75)
	is.True(minute.P99 > 1900*time.Millisecond && minute.P99 < 2200*time.Millisecond) // without the wait
	served := histogram.Sum(g.Served())
	is.Equal([]uint64{served.Count, served.Failed}, []uint64{4, 3})
	is.True(served.P99 < 2200*time.Millisecond)
	recent := g.Recent(0)
	is.Equal([]uint64{recent.Requests, recent.Errors}, []uint64{4, 1}) // what a drain cuts says nothing about the version
	judge := bake.NewJudge(g.Tally, 0, bake.Figures{}, bake.Limits{})
	is.Equal(judge.Worst(3), []bake.FailedRoute{{Route: "GET /cart", Status: 500, Requests: 1, RequestID: "x"}})
}

// A certificateSource counts how often it is released.
type certificateSource struct {
	certificate.Source
	released int
}

func (c *certificateSource) Release() { c.released++ }

func TestLeftoverIsWhatTheNextVersionHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 0, false)
		server := b.serve("b:80")
		first := targets.Lineup{Main: b.group("a:80", "b:80")}
		second := targets.Lineup{Main: b.group("c:80")}
		targets.StartProbes(first.Targets())
		gone, kept := new(certificateSource), new(certificateSource)
		old, fresh := certificate.Shared(gone), certificate.Shared(kept)
		all := &targets.Leftover{Gone: append(first.Targets(), second.Targets()...), Lanes: append(first.Lanes(), second.Lanes()...), Certificates: []*certificate.Set{old, fresh}}
		a := first.Targets()[0]
		left := all.Without(&second, &targets.Leftover{Gone: append(second.Targets(), a), Certificates: []*certificate.Set{fresh}})
		is.Equal(targets.Addresses(left.Gone), []string{"b:80"}) // a serves no requests, and is kept all the same
		is.Equal(left.Lanes, first.Lanes()[1:])
		is.Equal(len(all.Gone), 3) // which has not changed

		synctest.Wait()
		probes := server.Probes()
		is.True(probes > 0)
		left.StopProbes()
		time.Sleep(time.Minute)
		is.Equal(server.Probes(), probes)
		left.Close()
		is.Equal([]int{gone.released, kept.released}, []int{1, 0})
		left.Release()
		is.Equal(gone.released, 2)
	})
}
