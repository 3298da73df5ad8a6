package parachute_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// namesOf returns the names of services, with their state.
func namesOf(services []parachute.Status) []string {
	var names []string
	for _, s := range services {
		names = append(names, s.Service+" "+string(s.State))
	}
	return names
}

func TestDeltaHasWhatAChangeAltersAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var deltas []parachute.Delta
		full := errors.New("no space left on device")
		var refuse error
		h := newHouse(t, parachute.Options{
			Commit: func([]parachute.Status) error { t.Error("Commit is called beside CommitDelta"); return nil },
			CommitDelta: func(d parachute.Delta) error {
				if refuse == nil {
					deltas = append(deltas, d)
				}
				return refuse
			},
		})
		h.app("app", "app.test:80")
		is.NoErr(h.Restore([]parachute.Status{status("a", 1, "app.test:80", "a.test"), status("c", 2, "app.test:80", "c.test")}))
		is.Equal(len(deltas), 0) // nothing was changed
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "b", Targets: []string{"app.test:80"}, Hosts: []string{"b.test"}}))
		is.NoErr(h.Pause(t.Context(), "c", parachute.Pause{}))
		refuse = full
		is.True(errors.Is(h.Remove(t.Context(), "a"), full))
		is.Equal(h.get("a.test"), "200 app") // it was refused
		refuse = nil
		is.NoErr(h.Remove(t.Context(), "a"))

		var changed [][]string
		var removed [][]string
		for _, d := range deltas {
			changed, removed = append(changed, namesOf(d.Changed)), append(removed, d.Removed)
		}
		is.Equal(changed, [][]string{{"b serving"}, {"c paused"}, {"a removed"}}) // the history of a goes on
		is.Equal(removed, [][]string{nil, nil, {"a"}})
		is.Equal(deltas[0].Changed[0].Deployment.Hosts, []string{"b.test"})
		is.Equal(namesOf(slices.Collect(deltas[0].All)), []string{"a serving", "b serving", "c serving"}) // as of then
		is.Equal(namesOf(slices.Collect(deltas[2].All)), []string{"b serving", "c paused", "a removed"})
	})
}
