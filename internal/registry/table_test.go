package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/history"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/registry"
	"github.com/shahnk19/parachute/internal/routing"
)

// An edition is a version of a service, and what is kept of it is a text.
type edition struct {
	routing.Wants
	service    string
	generation uint64
	restores   uint64
	switched   time.Time
	earlier    []history.Past
	began      int      // how often
	previous   *edition // that it took the place of
}

type table = registry.Table[*edition, string]

func (e *edition) Number() uint64            { return e.generation }
func (e *edition) Earlier() []history.Past   { return e.earlier }
func (e *edition) Deployed() json.RawMessage { return json.RawMessage(fmt.Sprint(e.generation)) }
func (e *edition) Kept() string              { return fmt.Sprintf("%s %d", e.service, e.generation) }
func (e *edition) Past() history.Past {
	return history.Past{Service: e.service, Generation: e.generation, Restores: e.restores, Switched: e.switched}
}

func (e *edition) SetPredecessor(previous *edition) { e.previous = previous }

func (e *edition) Begin(switched time.Time, earlier []history.Past) {
	e.switched, e.earlier = switched, earlier
	e.began++
}

// of returns a version of a service, which has the host of that name.
func of(service string, generation uint64) *edition {
	return &edition{service: service, generation: generation, Wants: routing.Wants{Claims: []hostname.Claim{{Host: service}}}}
}

// taking returns the version that takes back what served before, which is restores.
func taking(service string, generation, restores uint64) *edition {
	e := of(service, generation)
	e.restores = restores
	return e
}

// newTable returns an empty table that keeps so many records of a service.
func newTable(most int) *table {
	return registry.New(map[string]*edition{}, nil, registry.Settings[string]{KeepHistory: most, Removed: func(service string, past []history.Past) string {
		return fmt.Sprintf("%s was %v", service, numbersOf(past))
	}})
}

// after returns the table in which each of these has taken its turn after t.
func after(t *table, all ...*edition) *table {
	for _, e := range all {
		t = t.Next(map[string]*edition{e.service: e})
	}
	return t
}

func without(t *table, services ...string) *table {
	changes := make(map[string]*edition)
	for _, name := range services {
		changes[name] = nil
	}
	return t.Next(changes)
}

func numbersOf(past []history.Past) (all []uint64) {
	for _, r := range past {
		all = append(all, r.Generation)
	}
	return all
}

func endsOf(past []history.Past) (all []history.End) {
	for _, r := range past {
		all = append(all, r.End)
	}
	return all
}

func TestTableAnswersWithTheVersionsOfTheLastChange(t *testing.T) {
	is := is.New(t)
	first := after(newTable(10), of("web", 1), of("api", 2))
	next := first.Next(map[string]*edition{"web": of("web", 3), "api": nil})
	v, _, _ := next.Match("web").Route("/")
	is.Equal(v.generation, uint64(3))
	is.True(next.Match("api") == nil)

	v, _, _ = first.Match("web").Route("/") // what readers can see never changes
	is.Equal(v.generation, uint64(1))
	is.True(first.Match("api") != nil)
	is.Equal(first.Statuses(), []string{"api 2", "web 1"})
	is.True(next.Services()["web"].previous == first.Services()["web"])
	is.True(first.Services()["web"].previous == nil)
	is.Equal(next.Statuses(), []string{"web 3"})
}

func TestHistoryHasWhatServesAndThenTheLatestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now().Round(0)
		tab := after(newTable(10), of("web", 1))
		time.Sleep(time.Minute)
		tab = after(tab, of("web", 2), of("api", 3))
		past := tab.History("web")
		is.Equal(numbersOf(past), []uint64{2, 1})
		is.True(past[0].Ended.IsZero())
		is.Equal(past[0].Switched, began.Add(time.Minute))
		is.Equal(past[1].Switched, began)
		is.Equal(past[1].Ended, began.Add(time.Minute))
		is.Equal(past[1].Figures.Served, time.Minute)
		is.Equal(string(past[1].Deployment), "1") // for a rollback
		is.Equal(past[0].Deployment, nil)         // what serves needs none

		is.Equal(numbersOf(tab.History("")), []uint64{3, 2, 1}) // by the names of the services
		is.Equal(tab.History("none"), []history.Past{})
		is.Equal(len(newTable(10).History("")), 0)
	})
}

func TestRecordSaysHowADeploymentCameToItsEnd(t *testing.T) {
	is := is.New(t)
	tab := after(newTable(10), of("web", 1), of("web", 2), taking("web", 3, 1), of("web", 4))
	is.Equal(numbersOf(tab.History("web")), []uint64{4, 3, 2, 1})
	is.Equal(endsOf(tab.History("web")), []history.End{"", history.Replaced, history.TakenBack, history.Replaced})
	is.Equal(endsOf(without(tab, "web").History("web")), []history.End{history.Removed, history.Replaced, history.TakenBack, history.Replaced})
}

func TestVersionOfTheSameDeployIsNoNewRecord(t *testing.T) {
	is := is.New(t)
	paused := of("web", 2)
	tab := after(newTable(10), of("web", 1), of("web", 2))
	paused.earlier = tab.Services()["web"].earlier // as a copy of the version has them
	tab = after(tab, paused)
	is.Equal(paused.began, 0)
	is.Equal(numbersOf(tab.History("web")), []uint64{2, 1})
}

func TestNoMoreIsRememberedThanIsKept(t *testing.T) {
	is := is.New(t)
	tab := after(newTable(3), of("web", 1), of("web", 2), of("web", 3), of("web", 4))
	is.Equal(numbersOf(tab.History("web")), []uint64{4, 3, 2})
	is.Equal(numbersOf(without(tab, "web").History("web")), []uint64{4, 3, 2})

	tab = after(newTable(1), of("web", 1), of("web", 2))
	is.Equal(numbersOf(tab.History("web")), []uint64{2})
}

func TestRemovedServiceIsRememberedUntilAndAfterItIsThereAgain(t *testing.T) {
	is := is.New(t)
	tab := without(after(newTable(10), of("web", 1), of("api", 2)), "web")
	is.Equal(numbersOf(tab.History("web")), []uint64{1})
	is.Equal(numbersOf(tab.History("")), []uint64{2, 1})
	tab = after(tab, of("web", 3))
	is.Equal(numbersOf(tab.History("web")), []uint64{3, 1}) // and each once
	is.Equal(slices.Collect(tab.Delta(tab).All), []string{"api 2", "web 3"})
}

func TestWhatWasRemovedBeforeTheFirstTableIsKnown(t *testing.T) {
	is := is.New(t)
	removed := history.Removals{"old": {{Service: "old", Generation: 1, End: history.Removed}}}
	tab := registry.New(map[string]*edition{"web": of("web", 2)}, removed, registry.Settings[string]{KeepHistory: 10})
	is.Equal(numbersOf(tab.History("")), []uint64{1, 2})
}

func TestDeltaHasWhatChangedAlone(t *testing.T) {
	is := is.New(t)
	first := after(newTable(10), of("web", 1), of("api", 2), of("db", 3))
	next := first.Next(map[string]*edition{"api": nil, "web": of("web", 4)})
	d := next.Delta(first, "api", "web")
	is.Equal(d.Changed, []string{"api was [2]", "web 4"}) // db is as it was
	is.Equal(d.Removed, []string{"api"})
	is.Equal(slices.Collect(d.All), []string{"db 3", "web 4", "api was [2]"})
	for kept := range d.All {
		is.Equal(kept, "db 3") // whoever has enough may stop
		break
	}

	again := next.Next(map[string]*edition{"api": of("api", 5)})
	d = again.Delta(next, "api")
	is.Equal(d.Changed, []string{"api 5"})
	is.Equal(len(d.Removed), 0) // it is there, though nothing is known any more of its removal
	d = again.Delta(again)
	is.Equal(len(d.Changed)+len(d.Removed), 0)
}

func TestDeltaNamesThoseThatMadeRoomForOthers(t *testing.T) {
	is := is.New(t)
	var all []*edition
	for i := range 101 {
		all = append(all, of(fmt.Sprintf("service-%03d", i), uint64(i+1)))
	}
	tab := after(newTable(10), all...)
	for _, e := range all[:100] {
		tab = without(tab, e.service)
	}
	next := without(tab, all[100].service)
	d := next.Delta(tab, all[100].service)
	is.Equal(len(d.Removed), 2) // the one that was removed, and one that is forgotten
	is.Equal(d.Removed[1], all[100].service)
	is.Equal(len(slices.Collect(d.All)), 100)
}

func TestClosedTableIsEmpty(t *testing.T) {
	is := is.New(t)
	closed := &table{IsClosed: true}
	is.True(closed.Match("web") == nil)
	is.Equal(len(closed.Services())+len(closed.Statuses())+len(closed.History("")), 0)
}

func TestCommitKeepsWhatHasChanged(t *testing.T) {
	is := is.New(t)
	var kept []string
	all := registry.Hooks[string]{All: func(now []string) error { kept = append(kept, now...); return errKept }}
	delta := all
	delta.Delta = func(d registry.Delta[string]) error {
		kept = append(kept, fmt.Sprint(d.Changed, d.Removed))
		return errKept
	}
	first := after(newTable(10), of("web", 1), of("api", 2))
	next := after(first, of("web", 3))
	for _, tt := range []struct {
		hooks   registry.Hooks[string]
		changed []string
		want    []string
	}{
		{all, []string{"web"}, []string{"api 2", "web 3"}},
		{delta, []string{"web"}, []string{"[web 3] []"}},
		{delta, nil, []string{"[] []"}}, // the figures are others
		{all, nil, nil},                 // of which All is not told
		{registry.Hooks[string]{}, []string{"web"}, nil},
	} {
		kept = nil
		err := next.Commit(first, tt.hooks, tt.changed...)
		is.Equal(kept, tt.want)
		is.Equal(err == errKept, tt.want != nil)
	}
	kept = nil
	is.NoErr(newTable(10).Commit(newTable(10), delta)) // there is nothing to be counted
	is.Equal(len(kept), 0)
}

var errKept = errors.New("kept, and cannot be")
