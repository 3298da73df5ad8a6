package parachute_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// on returns a Deployment of a target for a host.
func on(service, host, target string) parachute.Deployment {
	return parachute.Deployment{Service: service, Hosts: []string{host}, Targets: []string{target}}
}

// actions returns what steps do, as "web add".
func actions(steps []parachute.Step) (all []string) {
	for _, s := range steps {
		all = append(all, s.Service+" "+string(s.Action))
	}
	return all
}

// generations returns the generation of each service.
func (h *house) generations() map[string]uint64 {
	all := make(map[string]uint64)
	for _, s := range h.Services() {
		all[s.Service] = s.Generation
	}
	return all
}

func TestApplyBringsServicesIntoServiceTogetherWithOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var commits [][]parachute.Status
		h := newHouse(t, parachute.Options{Commit: func(all []parachute.Status) error {
			commits = append(commits, all)
			return nil
		}})
		for _, name := range []string{"old", "a", "b", "kept"} {
			h.app(name, name+".app:80")
		}
		late := h.app("late", "late.app:80")
		late.SetHealth(503)
		is.NoErr(h.Deploy(t.Context(), on("web", "web.test", "old.app:80")))
		is.NoErr(h.Deploy(t.Context(), on("kept", "kept.test", "kept.app:80")))
		is.NoErr(h.Deploy(t.Context(), on("gone", "gone.test", "old.app:80")))
		before := h.generations()
		commits = nil

		all := []parachute.Deployment{on("web", "web.test", "a.app:80"), on("kept", "KEPT.test", "kept.app:80"), on("new", "new.test", "late.app:80")}
		steps, err := h.Plan(t.Context(), all, "gone", "never")
		is.NoErr(err)
		is.Equal(actions(steps), []string{"gone remove", "kept keep", "new add", "web replace"})
		is.Equal(steps[3].Before.Targets, []string{"old.app:80"})
		is.Equal(steps[3].After.Targets, []string{"a.app:80"})
		is.Equal(len(commits), 0)

		applied := make(chan error, 1)
		go func() { applied <- h.Apply(t.Context(), all, "gone", "never") }()
		time.Sleep(5 * time.Second)
		is.Equal(h.get("web.test"), "200 old") // whose new target has long been healthy
		is.Equal(h.get("gone.test"), "200 old")
		is.Equal(len(commits), 0)
		late.SetHealth(200)
		is.NoErr(<-applied)

		is.Equal(h.get("web.test"), "200 a")
		is.Equal(h.get("new.test"), "200 late")
		is.Equal(h.get("kept.test"), "200 kept")
		is.True(strings.HasPrefix(h.get("gone.test"), "404"))
		is.Equal(len(commits), 1) // of all
		is.Equal(len(commits[0]), 3)
		after := h.generations()
		is.Equal(after["kept"], before["kept"]) // it was not touched
		is.True(after["web"] > before["web"] && after["new"] > before["web"] && after["web"] != after["new"])

		steps, err = h.Plan(t.Context(), all, "gone")
		is.NoErr(err)
		is.Equal(actions(steps), []string{"kept keep", "new keep", "web keep"})
		is.NoErr(h.Apply(t.Context(), all))
		is.Equal(len(commits), 1) // nothing was to be done
		is.Equal(h.generations(), after)
	})
}

func TestHostMovesFromOneServiceToAnotherInOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"one", "two"} {
			h.app(name, name+".app:80")
		}
		is.NoErr(h.Deploy(t.Context(), on("one", "a.test", "one.app:80")))
		is.NoErr(h.Deploy(t.Context(), on("two", "b.test", "two.app:80")))
		is.True(errors.Is(h.Deploy(t.Context(), on("one", "b.test", "one.app:80")), parachute.ErrConflict)) // by itself it cannot
		is.NoErr(h.Apply(t.Context(), []parachute.Deployment{on("one", "b.test", "one.app:80"), on("two", "a.test", "two.app:80")}))
		is.Equal(h.get("a.test"), "200 two")
		is.Equal(h.get("b.test"), "200 one")
		is.NoErr(h.Apply(t.Context(), []parachute.Deployment{on("three", "a.test", "one.app:80")}, "two"))
		is.Equal(h.get("a.test"), "200 one") // of one that was removed, too
	})
}

func TestApplyThatFailsForOneServiceChangesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		fail := errors.New("disk full")
		var commit error
		h := newHouse(t, parachute.Options{Commit: func([]parachute.Status) error { return commit }})
		for _, name := range []string{"old", "good"} {
			h.app(name, name+".app:80")
		}
		h.app("bad", "bad.app:80").SetHealth(500)
		h.app("worse", "worse.app:80").SetHealth(500)
		is.NoErr(h.Deploy(t.Context(), on("web", "web.test", "old.app:80")))
		is.NoErr(h.Deploy(t.Context(), on("other", "other.test", "old.app:80")))
		before := h.generations()

		err := h.Apply(t.Context(), []parachute.Deployment{on("web", "web.test", "good.app:80"), on("x", "x.test", "bad.app:80"), on("y", "y.test", "worse.app:80")}, "other")
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		for _, want := range []string{`parachute: apply: service "x": bad.app:80 did not become healthy`, `service "y": worse.app:80 did`} {
			is.True(strings.Contains(err.Error(), want)) // each of them is named
		}
		is.True(strings.HasSuffix(fmt.Sprintf("%+v", err), "nothing was changed"))
		is.Equal(h.generations(), before)
		is.Equal(h.get("web.test"), "200 old")
		is.Equal(h.get("other.test"), "200 old")
		is.True(strings.HasPrefix(h.get("x.test"), "404"))

		commit = fail
		err = h.Apply(t.Context(), []parachute.Deployment{on("web", "web.test", "good.app:80"), on("z", "z.test", "good.app:80")}, "other")
		is.True(errors.Is(err, fail))
		is.Equal(h.generations(), before)
		is.Equal(h.get("web.test"), "200 old")
		commit = nil
		is.NoErr(h.Deploy(t.Context(), on("late", "z.test", "good.app:80"))) // nothing is reserved any more
	})
}

func TestWhatCannotBeAppliedIsNamedBeforeAnythingIsReserved(t *testing.T) {
	for _, tt := range []struct {
		name   string
		all    []parachute.Deployment
		remove []string
		is     error
		want   []string
	}{
		{"two on one host", []parachute.Deployment{on("a", "x.test", "app:80"), on("b", "X.test.", "app:80")}, nil, parachute.ErrConflict,
			[]string{`service "a": host x.test is used by another service: b`, `service "b": host x.test is used by another service: a`}},
		{"one that others have", []parachute.Deployment{on("a", "web.test", "app:80")}, nil, parachute.ErrConflict, []string{`service "a": host web.test is used by another service: web`}},
		{"one that is kept has it", []parachute.Deployment{on("a", "web.test", "app:80"), on("web", "web.test", "app:80")}, nil, parachute.ErrConflict, []string{`service "a": host web.test is used by another service: web`}},
		{"named twice", []parachute.Deployment{on("a", "x.test", "app:80"), on("a", "y.test", "app:80")}, nil, parachute.ErrInvalid, []string{`service "a": it is there twice`}},
		{"both", []parachute.Deployment{on("a", "x.test", "app:80")}, []string{"a"}, parachute.ErrInvalid, []string{`service "a": it is to be deployed and to be removed`}},
		{"each that is wrong", []parachute.Deployment{on("a", "*", "app:80"), on("b", "b.test", "app"), on("c", "c.test", "")}, nil, parachute.ErrInvalid, []string{`service "a": host "*"`, `service "b": `, `service "c": `}},
		{"no name", []parachute.Deployment{on("", "a.test", "app:80")}, nil, parachute.ErrInvalid, []string{`service "": `}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.app("app", "app:80")
				is.NoErr(h.Deploy(t.Context(), on("web", "web.test", "app:80")))
				before := h.generations()
				_, planned := h.Plan(t.Context(), tt.all, tt.remove...)
				for _, err := range []error{planned, h.Apply(t.Context(), tt.all, tt.remove...)} {
					is.True(errors.Is(err, tt.is))
					for _, want := range tt.want {
						if !strings.Contains(err.Error(), want) {
							t.Errorf("%v\n\tdoes not say: %s", err, want)
						}
					}
				}
				is.Equal(h.generations(), before)
				is.Equal(slices.Index(h.kinds()[1:], parachute.EventDeploying), -1) // nothing was begun
			})
		})
	}
}

func TestNewerDeployOfOneServiceEndsTheWholeApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.app:80")
		h.app("never", "never.app:80").SetHealth(500)
		applied := make(chan error, 1)
		go func() {
			applied <- h.Apply(t.Context(), []parachute.Deployment{on("a", "a.test", "one.app:80"), on("b", "b.test", "never.app:80")})
		}()
		synctest.Wait()
		is.True(errors.Is(h.Deploy(t.Context(), on("c", "b.test", "one.app:80")), parachute.ErrConflict)) // it is reserved
		is.NoErr(h.Deploy(t.Context(), on("b", "b.test", "one.app:80")))
		is.True(errors.Is(<-applied, parachute.ErrSuperseded))
		is.Equal(h.get("b.test"), "200 one")
		is.True(strings.HasPrefix(h.get("a.test"), "404"))
		is.NoErr(h.Deploy(t.Context(), on("c", "a.test", "one.app:80"))) // what it had reserved is free
	})
}

func TestApplyThatCannotBeLeavesRunningDeploysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.app:80")
		slow := h.app("slow", "slow.app:80")
		slow.SetHealth(500)
		is.NoErr(h.Deploy(t.Context(), on("web", "web.test", "one.app:80")))
		deployed := make(chan error, 1)
		go func() { deployed <- h.Deploy(t.Context(), on("a", "a.test", "slow.app:80")) }()
		synctest.Wait()
		err := h.Apply(t.Context(), []parachute.Deployment{on("a", "a.test", "one.app:80"), on("b", "web.test", "one.app:80")})
		is.True(errors.Is(err, parachute.ErrConflict))
		slow.SetHealth(200)
		is.NoErr(<-deployed)
		is.Equal(h.get("a.test"), "200 slow")
	})
}

func TestApplyWaitsForRequestsOnWhatItReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("slow", "slow.app:80", 10*time.Second)
		h.app("new", "new.app:80")
		is.NoErr(h.Deploy(t.Context(), on("web", "web.test", "slow.app:80")))
		is.NoErr(h.Deploy(t.Context(), on("gone", "gone.test", "slow.app:80")))
		replaced, removed := h.ask("web.test"), h.ask("gone.test")
		began := time.Now()
		is.NoErr(h.Apply(t.Context(), []parachute.Deployment{on("web", "web.test", "new.app:80")}, "gone"))
		is.Equal(time.Since(began).Round(time.Second), 10*time.Second) // side by side
		is.Equal(<-replaced, "200 slow")
		is.Equal(<-removed, "200 slow")
	})
}

func TestPauseAndRolloutGoOnOverAnApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := rolled(t)
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		is.NoErr(h.Apply(t.Context(), []parachute.Deployment{{Service: "web", Targets: []string{"two.test:80"}, KeepPrefix: true}}))
		s := h.Services()[0]
		is.Equal(s.State, parachute.StatePaused)
		is.Equal(s.Rollout.Targets, []string{"two.test:80"})
		is.True(s.Deployment.KeepPrefix)
	})
}

func TestClosedProxyAppliesNothing(t *testing.T) {
	is := is.New(t)
	p := parachute.New(parachute.Options{})
	is.NoErr(p.Close())
	is.True(errors.Is(p.Apply(t.Context(), []parachute.Deployment{on("a", "a.test", "app:80")}), parachute.ErrClosed))
}
