package targets

import (
	"time"

	"github.com/shahnk19/parachute/internal/bake"
	"github.com/shahnk19/parachute/internal/histogram"
	"github.com/shahnk19/parachute/internal/lanes"
)

// A Group is the set of lanes to the targets that came with one deploy, and counts their
// requests. The zero Group has no targets, and counts nothing.
type Group struct {
	lanes.Group[*Target]
	Release string      // that was deployed
	Tally   *bake.Tally // of the requests
}

// NewGroup returns a group with a new lane to each target.
func NewGroup(writers, readers []*Target, release string) Group {
	return Group{lanes.NewGroup(writers, readers, (*Target).newLane), release, new(bake.Tally)}
}

// WithNewGates returns a group of new lanes to the same targets, with the same Tally.
func (g Group) WithNewGates() Group {
	g.Group = lanes.NewGroup(g.Writers.Targets(), g.Readers.Targets(), (*Target).newLane)
	return g
}

// Inherit hands the traffic counts of the previous group's targets to the targets
// of g with the same addresses and roles. g must not be published yet.
func (g *Group) Inherit(previous *Group) {
	isSame := func(a, b *Target) bool { return a.Address == b.Address }
	for next, before := range g.Pairs(&previous.Group, isSame) {
		next.Traffic = before.Traffic
	}
}

// Recent returns the figures of the ten minutes before at.
func (g *Group) Recent(at time.Duration) bake.Figures {
	if g.Tally == nil {
		return bake.Figures{}
	}
	return bake.FiguresOf(g.Tally.Window(at))
}

// Served returns what counts the requests that the targets got last.
func (g *Group) Served() (all []*histogram.Total) {
	for _, t := range g.Targets() {
		all = append(all, t.Served.Load())
	}
	return all
}

// CountAnew has Served count from nothing.
func (g *Group) CountAnew() {
	for _, t := range g.Targets() {
		t.Served.Store(new(histogram.Total))
	}
}

// A Request is one that has ended, as it is counted.
type Request struct {
	Ended        time.Duration // when
	Took, Waited time.Duration // in all, and how much of that no target was asked
	Failed       bool          // by the fault of the service or the proxy
	IsCut        bool          // it was cut off, as at the end of a drain

	Method, Path string // as the target saw them
	Status       int
	ID           string
}

// Count counts a request that t, which is one of the targets, had last.
func (g *Group) Count(t *Target, r Request) {
	t.Traffic.Observe(r.Ended, r.Took, r.Waited, r.Failed)
	took := max(r.Took-r.Waited, 0)
	t.Served.Load().Observe(took, r.Failed)
	isFault := r.Failed && !r.IsCut // a drain says nothing about the version
	g.Tally.Observe(r.Ended, took, isFault)
	if isFault {
		g.Tally.Fail(r.Method, r.Path, r.Status, r.ID)
	}
}
