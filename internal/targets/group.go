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
