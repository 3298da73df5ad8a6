// Package registry has what each service serves, and what it has served before. It puts
// routing and history together.
package registry

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/shahnk19/parachute/internal/history"
	"github.com/shahnk19/parachute/internal/routing"
)

// A Version is what one service serves for a time, of which an S is kept for a restart.
// The zero value stands for none.
type Version[V, S any] interface {
	routing.Version

	// Number returns that of the deploy which the version serves. Versions that follow
	// each other with the same number serve the same deployment.
	Number() uint64

	// Past returns what the version serves, as a history has it while it is served.
	Past() history.Past

	// Deployed returns, in JSON, what a rollback to the version deploys again.
	Deployed() json.RawMessage

	// Earlier returns what the service has served before, the latest first, as Begin
	// was told.
	Earlier() []history.Past

	// SetPredecessor is called before the version is published, with the one that it takes
	// the place of, or none.
	SetPredecessor(previous V)

	// Begin is called then, after SetPredecessor, if no version with its number was
	// published before: it is switched to at that time, after those of earlier.
	Begin(switched time.Time, earlier []history.Past)

	// Kept returns what a restart must restore of the service.
	Kept() S
}

// A Table says which version of which service answers for a host and a path, and what the
// services have served before. It never changes once it is published. The zero Table
// is empty.
type Table[V Version[V, S], S any] struct {
	routing.Table[V]
	removed  history.Removals
	settings Settings[S]

	IsClosed bool // nobody is served any more
}

// Settings say what is remembered of the services of a Table, and how.
type Settings[S any] struct {
	KeepHistory int // how many deployments of a service, the one that serves included

	// Removed returns what a restart must restore of a service that was removed, with
	// this history.
	Removed func(service string, past []history.Past) S
}

// New returns the table of these versions, which are by the names of their services, and
// of the services that were removed. No two versions have the same claim. The maps must
// not change from then on.
func New[V Version[V, S], S any](services map[string]V, removed history.Removals, settings Settings[S]) *Table[V, S] {
	return &Table[V, S]{Table: routing.New(services), removed: removed, settings: settings}
}

// Next returns the table after t, in which these versions serve in place of those that t
// has of their services; a version that is none takes its service out. It calls
// SetPredecessor and Begin of the versions, and keeps the history of their services.
func (t *Table[V, S]) Next(changes map[string]V) *Table[V, S] {
	var none V
	before := t.Services()
	for service, v := range changes {
		if v != none {
			v.SetPredecessor(before[service])
		}
	}
	next := &Table[V, S]{Table: t.WithVersions(changes), removed: t.removed, settings: t.settings}
	for _, service := range slices.Sorted(maps.Keys(changes)) {
		next.remember(service, before[service], changes[service])
	}
	return next
}

// remember adds previous, whose place next has taken, to the history of a service. t is not
// published yet.
func (t *Table[V, S]) remember(service string, previous, next V) {
	var none V
	past := t.removed[service]
	switch {
	case previous != none && next != none && previous.Number() == next.Number():
		return // it serves the same
	case previous != none:
		past = append([]history.Past{pastOf(previous, next)}, previous.Earlier()...)
	}
	if next == none {
		t.removed = t.removed.WithService(service, past[:min(len(past), t.settings.KeepHistory)])
		return
	}
	next.Begin(now(), past[:min(len(past), t.settings.KeepHistory-1)])
	t.removed = t.removed.WithoutService(service)
}

// pastOf returns what previous has served until next, which may be none, took its
// place.
func pastOf[V Version[V, S], S any](previous, next V) history.Past {
	var none V
	end := history.Replaced
	switch {
	case next == none:
		end = history.Removed
	case next.Past().Restores != 0:
		end = history.TakenBack
	}
	r := previous.Past().EndedAs(end, now())
	r.Deployment = previous.Deployed()
	return r
}

// now returns the time as it is kept and told.
func now() time.Time { return time.Now().Round(0) }

// Statuses returns what a restart must restore of the services, by name.
func (t *Table[V, S]) Statuses() (all []S) {
	services := t.Services()
	for _, name := range slices.Sorted(maps.Keys(services)) {
		all = append(all, services[name].Kept())
	}
	return all
}

// all yields what a restart must restore: the services, and then what is known of those
// that were removed, each by name.
func (t *Table[V, S]) all(yield func(S) bool) {
	services := t.Services()
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if !yield(services[name].Kept()) {
			return
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.removed)) {
		if !yield(t.settings.Removed(name, t.removed[name])) {
			return
		}
	}
}

// A Delta is how a table differs from the one before in what a restart must restore.
type Delta[S any] struct {
	Changed []S         // what is kept of these services from now on, by name, be they removed or not
	Removed []string    // services that are no more, and those of which nothing is known any more
	All     iter.Seq[S] // everything that is kept, by name; it may be called at any time
}

// Delta returns how t differs from previous, whose place it takes: in the services that
// have changed, and in those that made room for their history.
func (t *Table[V, S]) Delta(previous *Table[V, S], changed ...string) Delta[S] {
	var none V
	services := t.Services()
	d := Delta[S]{All: t.all, Removed: previous.removed.Missing(t.removed)}
	d.Removed = slices.DeleteFunc(d.Removed, func(name string) bool { return services[name] != none })
	for _, name := range changed {
		v, past := services[name], t.removed[name]
		switch {
		case v != none:
			d.Changed = append(d.Changed, v.Kept())
			continue
		case past != nil:
			d.Changed = append(d.Changed, t.settings.Removed(name, past))
		}
		d.Removed = append(d.Removed, name)
	}
	return d
}

// History returns what is known of the deployments of a service or, if it is empty, of
// all, by name: the latest first. The caller may change the slice, but not what is in
// its elements.
func (t *Table[V, S]) History(service string) []history.Past {
	var none V
	services, names := t.Services(), []string{service}
	if service == "" {
		names = slices.AppendSeq(slices.Collect(maps.Keys(services)), maps.Keys(t.removed))
		slices.Sort(names)
	}
	most := 0
	for _, name := range names {
		if v := services[name]; v != none {
			most += 1 + len(v.Earlier())
		}
		most += len(t.removed[name])
	}
	all := make([]history.Past, 0, most)
	for _, name := range names {
		if v := services[name]; v != none {
			all = append(append(all, v.Past()), v.Earlier()...)
		}
		all = append(all, t.removed[name]...)
	}
	return all
}

// Hooks keep what a restart must restore. Both may be nil.
type Hooks[S any] struct {
	All   func([]S) error      // is called with everything, where something has changed
	Delta func(Delta[S]) error // is called in place of All, also where something was only counted
}

// Commit has the hooks keep what t, which takes the place of previous, says of the services
// that have changed. If there are none, something was only counted.
func (t *Table[V, S]) Commit(previous *Table[V, S], h Hooks[S], changed ...string) error {
	switch {
	case len(changed) == 0 && len(t.Services()) == 0:
	case h.Delta != nil:
		return h.Delta(t.Delta(previous, changed...))
	case h.All != nil && len(changed) > 0:
		return h.All(t.Statuses())
	}
	return nil
}
