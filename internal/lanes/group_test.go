package lanes_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/lanes"
	"github.com/shahnk19/parachute/internal/reason"
)

func TestGroupHasALaneToEachTargetInEachRole(t *testing.T) {
	is := is.New(t)
	a, b, c, d := newTarget("a"), newTarget("b"), newTarget("c"), newTarget("d")
	g := groupOf(targets(a, b), targets(b, c))
	is.Equal(g.Writers.Targets(), targets(a, b))
	is.Equal(g.Readers.Targets(), targets(b, c))
	is.Equal(g.Targets(), targets(a, b, b, c))
	is.Equal(len(g.Lanes()), 4)
	is.True(g.Writers[1] != g.Readers[0]) // each its own
	is.True(g.Has(a) && g.Has(b) && g.Has(c))
	is.True(!g.Has(d))
	var none group
	is.Equal(len(none.Lanes()), 0)
	is.True(!none.Has(a))
	is.Equal(none.Pick(0, nil, true, affinity.Visitor{}), nil)
}

func TestPairsAreTheSameTargetsInTheSameRole(t *testing.T) {
	is := is.New(t)
	isSame := func(a, b *target) bool { return a.name == b.name }
	a, b, c, c2 := newTarget("a"), newTarget("b"), newTarget("c"), newTarget("c")
	oldA, oldB, oldC := newTarget("a"), newTarget("b"), newTarget("c")
	next, previous := groupOf(targets(a, b, c), targets(b, c2)), groupOf(targets(oldB, oldA), targets(oldC))
	pairs := make(map[*target]*target)
	for n, p := range next.Pairs(previous, isSame) {
		pairs[n] = p
	}
	is.Equal(pairs, map[*target]*target{a: oldA, b: oldB, c2: oldC}) // c wrote nothing before
	n := 0
	for range next.Pairs(previous, isSame) {
		n++
		break
	}
	is.Equal(n, 1)
}

// A choice is whom a request may go to.
type choice struct {
	reading bool
	tried   []*target
	want    []*target
}

func TestRequestGoesToAHealthyTargetThatWasNotTried(t *testing.T) {
	a, b, c, d := newTarget("a"), newTarget("b"), newTarget("c"), newTarget("d")
	g := groupOf(targets(a, b), targets(c, d))
	for name, tt := range map[string]struct {
		ill     []*target
		choices []choice
	}{
		"all are well": {nil, []choice{
			{false, nil, targets(a, b)},
			{true, nil, targets(c, d)},
			{false, targets(a), targets(b)},
			{true, targets(d), targets(c)},
			{true, targets(c, d), targets(a, b)}, // writers can read
			{true, targets(c, d, b), targets(a)},
			{false, targets(a, b), nil}, // readers cannot write
			{true, targets(a, b, c, d), nil},
		}},
		"some are ill": {targets(a, c), []choice{
			{false, nil, targets(b)},
			{true, nil, targets(d)},
			{true, targets(d), targets(b)},
			{false, targets(b), targets(a)}, // for a check may be wrong
			{true, targets(b, d), targets(a)},
		}},
		"the readers are ill": {targets(c, d), []choice{{true, nil, targets(a, b)}}},
		"all are ill": {targets(a, b, c, d), []choice{
			{false, nil, targets(a, b)},
			{true, nil, targets(a, b)}, // only writers are tried against hope
			{true, targets(a), targets(b)},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for _, one := range tt.ill {
				one.ill = true
			}
			defer func() { a.ill, b.ill, c.ill, d.ill = false, false, false, false }()
			for _, c := range tt.choices {
				picked := make(map[*target]bool)
				for range 100 {
					if l := g.Pick(0, c.tried, c.reading, affinity.Visitor{}); l != nil {
						picked[l.Target] = true
					}
				}
				want := make(map[*target]bool)
				for _, t := range c.want {
					want[t] = true
				}
				is.Equal(picked, want) // c
			}
		})
	}
}

func TestRequestGoesWhereFewerAreInFlight(t *testing.T) {
	is := is.New(t)
	g := groupOf(targets(newTarget("a"), newTarget("b")), nil)
	enter(is, g.Writers[0], 1)
	for range 100 {
		is.Equal(g.Pick(0, nil, false, affinity.Visitor{}), g.Writers[1])
	}
}

func TestKnownVisitorGoesWhereTheyStay(t *testing.T) {
	is := is.New(t)
	a, b, c, d := newTarget("A"), newTarget("B"), newTarget("C"), newTarget("D")
	g := groupOf(targets(a, b), targets(c, d))
	v := visitorOf(b, c)
	enter(is, g.Writers[1], 10)
	for range 20 {
		is.Equal(g.Pick(0, nil, false, v).Target, b) // however busy
		is.Equal(g.Pick(0, nil, true, v).Target, c)
		is.Equal(g.Pick(0, targets(b), false, v).Target, a)
	}
	b.ill = true
	is.Equal(g.Pick(0, nil, false, v).Target, a)
	a.ill = true
	is.Equal(g.Pick(0, nil, false, v).Target, b) // all are
}

func TestVisitorStaysWithOneTargetInEachRole(t *testing.T) {
	is := is.New(t)
	a, b, c, d := newTarget("A"), newTarget("B"), newTarget("C"), newTarget("D")
	g := groupOf(targets(a, b), targets(c, d))
	v := visitorOf(b, d)
	is.Equal(g.Other(v, g.Writers[0]), d.Token())
	is.Equal(g.Other(v, g.Readers[0]), b.Token())
	is.Equal(g.Other(visitorOf(a, c), g.Writers[1]), c.Token()) // the first one, too
	is.Equal(g.Other(affinity.Visitor{}, g.Writers[0]), "")
	is.Equal(g.Other(visitorOf(a, b), g.Writers[0]), "") // they read nowhere yet
	alone := groupOf(targets(a, b), nil)
	is.Equal(alone.Other(v, alone.Writers[0]), "")
}

var (
	answered = lanes.End{Status: 200}
	failed   = lanes.End{Status: 500}
	refused  = lanes.End{Reason: reason.Dial}
)

// judge has g judge l by n exchanges that ended so, and returns how often l's target was
// ejected.
func judge(g *group, l *lane, e lanes.End, n int) (ejected int) {
	for range n {
		if g.Judge(l, e, 0) {
			ejected++
		}
	}
	return ejected
}

func TestTargetThatRefusesConnectionsIsEjected(t *testing.T) {
	is := is.New(t)
	g := groupOf(targets(newTarget("a"), newTarget("b")), nil)
	l := g.Writers[0]
	is.Equal(judge(g, l, refused, 2), 0)
	is.Equal(judge(g, l, answered, 1), 0) // which ends the row
	is.Equal(judge(g, l, refused, 2), 0)
	is.True(g.Judge(l, refused, 0))
	is.True(l.Target.ejection.IsEjected())
	is.Equal(judge(g, l, refused, 10), 0) // it is already
	is.True(l.Target.ejection.Passed())   // at once
}

func TestTargetWithoutAHealthySiblingIsNotEjected(t *testing.T) {
	a, b, c, d := newTarget("a"), newTarget("b"), newTarget("c"), newTarget("d")
	for name, tt := range map[string]struct {
		writers, readers, ill []*target
		refused, outlier      bool // a is ejected where it refuses connections, and where it fails
	}{
		"it is alone":                {targets(a), nil, nil, false, false},
		"another writer is well":     {targets(a, b), nil, nil, true, true},
		"another writer is ill":      {targets(a, b), nil, targets(b), false, false},
		"readers cannot write":       {targets(a), targets(c), nil, false, false},
		"another reads":              {targets(d), targets(a, c), targets(d), true, true},
		"writers can read":           {targets(d), targets(a), nil, true, false}, // it has no siblings to be compared with
		"nobody else reads":          {targets(d), targets(a, c), targets(c, d), false, false},
		"it writes and reads":        {targets(a), targets(a, c), nil, true, true},
		"it writes and reads, alone": {targets(a), targets(a), nil, false, false},
	} {
		for _, how := range []struct {
			name string
			end  lanes.End
			want bool
		}{{"refuses", refused, tt.refused}, {"fails", failed, tt.outlier}} {
			t.Run(name+", "+how.name, func(t *testing.T) {
				is := is.New(t)
				*a, *b, *c, *d = target{name: "a"}, target{name: "b"}, target{name: "c"}, target{name: "d"}
				for _, one := range tt.ill {
					one.ill = true
				}
				g := groupOf(tt.writers, tt.readers)
				for _, l := range g.Lanes() {
					if l.Target != a {
						judge(g, l, answered, 20)
					}
				}
				ejected := judge(g, g.Lanes().To(targets(a))[0], how.end, 20)
				is.Equal(ejected == 1, how.want)
				is.Equal(a.ejection.IsEjected(), how.want)
			})
		}
	}
}

func TestTargetThatFailsWhereItsSiblingsDoNotIsEjectedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := groupOf(targets(newTarget("a"), newTarget("b")), nil)
		judge(g, g.Writers[1], answered, 20)
		is.Equal(judge(g, g.Writers[0], failed, 20), 1)
		is.True(!g.Writers[0].Target.ejection.Passed()) // not at once
		time.Sleep(5 * time.Second)
		is.True(g.Writers[0].Target.ejection.Passed())
	})
}

// What all targets of a role do is not the fault of one.
func TestTargetThatFailsAsItsSiblingsDoIsNoOutlier(t *testing.T) {
	is := is.New(t)
	a, b, c := newTarget("a"), newTarget("b"), newTarget("c")
	g := groupOf(targets(a, b), targets(c))
	judge(g, g.Readers[0], answered, 1000) // which gets other requests
	for range 20 {
		is.True(!g.Judge(g.Writers[0], failed, 0))
		is.True(!g.Judge(g.Writers[1], failed, 0))
	}
	b.ill = true
	is.Equal(judge(g, g.Writers[0], failed, 1), 0) // nobody could take its requests
}

// Those that get no requests for their probes cannot tell what is usual.
func TestIllSiblingsAreNotCompared(t *testing.T) {
	is := is.New(t)
	a, b, c := newTarget("a"), newTarget("b"), newTarget("c")
	g := groupOf(targets(a, b, c), nil)
	judge(g, g.Writers[1], answered, 20)
	for range 200 {
		c.outcomes.Note(0, true)
	}
	c.ill = true
	is.Equal(judge(g, g.Writers[0], failed, 20), 1)
}

func TestOutliersAreAtMostHalfOfTheSiblings(t *testing.T) {
	for name, role := range map[string]func(*group) set{
		"writers": func(g *group) set { return g.Writers },
		"readers": func(g *group) set { return g.Readers },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var all []*target
			for range 5 {
				all = append(all, newTarget(""))
			}
			g := groupOf(all, nil)
			if name == "readers" {
				g = groupOf(targets(newTarget("w"), newTarget("v")), all)
			}
			siblings := role(g)
			judge(g, siblings[4], answered, 200)
			judge(g, siblings[3], answered, 200)
			is.Equal(judge(g, siblings[0], failed, 50), 1)
			is.Equal(judge(g, siblings[1], failed, 50), 1)
			is.Equal(judge(g, siblings[2], failed, 200), 0) // two of five are
			is.True(!all[2].ejection.IsEjected())
			is.Equal(judge(g, siblings[2], refused, 3), 1) // but whoever refuses serves nobody
		})
	}
}

func TestOnlyWhatTheTargetDidSpeaksAgainstIt(t *testing.T) {
	for name, tt := range map[string]struct {
		end  lanes.End
		want bool
	}{
		"an answer":                          {answered, false},
		"499":                                {lanes.End{Status: 499}, false},
		"500":                                {failed, true},
		"599":                                {lanes.End{Status: 599}, true},
		"500, as a stream":                   {lanes.End{Status: 500, IsStream: true}, true},
		"it breaks off":                      {lanes.End{Reason: reason.Broken}, true},
		"an answer breaks off":               {lanes.End{Reason: reason.Broken, Status: 200}, true},
		"a stream breaks off":                {lanes.End{Reason: reason.Broken, Status: 200, IsStream: true}, false},
		"it takes too long":                  {lanes.End{Reason: reason.Timeout}, true},
		"the client leaves":                  {lanes.End{Reason: reason.Gone}, false},
		"the client leaves in the middle":    {lanes.End{Reason: reason.Untaken, Status: 500}, false},
		"the proxy has no descriptor":        {lanes.End{Reason: reason.Descriptors}, false},
		"an answer too large for the buffer": {lanes.End{Reason: reason.AnswerTooLarge}, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			g := groupOf(targets(newTarget("a"), newTarget("b")), nil)
			judge(g, g.Writers[1], answered, 20)
			is.Equal(judge(g, g.Writers[0], tt.end, 20) == 1, tt.want)
			is.Equal(g.Writers[0].Target.ejection.IsEjected(), tt.want)
		})
	}
}

// Nothing is noted of them, in either way.
func TestWhatSaysNothingOfTheTargetIsNotCounted(t *testing.T) {
	is := is.New(t)
	g := groupOf(targets(newTarget("a"), newTarget("b")), nil)
	judge(g, g.Writers[1], answered, 20)
	judge(g, g.Writers[0], lanes.End{Reason: reason.Gone}, 1000)
	is.Equal(judge(g, g.Writers[0], failed, 20), 1) // as if they had not been

	g = groupOf(targets(newTarget("a"), newTarget("b")), nil)
	judge(g, g.Writers[0], refused, 2)
	judge(g, g.Writers[0], lanes.End{Reason: reason.Gone}, 1)
	is.True(g.Judge(g.Writers[0], refused, 0)) // no answer came in between
}
