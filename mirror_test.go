package parachute_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// A mirror is a second Proxy in the network of a house, which is made what that commits.
type mirror struct {
	*parachute.Proxy
	*house
	at       *house // its events, and requests to it
	kept     map[string]parachute.Status
	changed  []string
	refusing error // what its own Commit says
}

// newMirror returns a house and its mirror, which is at mirror.test:80.
func newMirror(t *testing.T) *mirror {
	m := &mirror{kept: make(map[string]parachute.Status)}
	m.house = newHouse(t, parachute.Options{CommitDelta: func(d parachute.Delta) error {
		for _, name := range d.Removed {
			delete(m.kept, name)
			m.changed = append(m.changed, name)
		}
		for _, s := range d.Changed {
			if s.State != parachute.StateRemoved {
				m.kept[s.Service] = s
				m.changed = append(m.changed, s.Service)
			}
		}
		return nil
	}})
	m.at = &house{t: t, net: m.net, client: m.client}
	m.Proxy = parachute.New(parachute.Options{
		Dial: m.net.Dial, Notify: m.at.note,
		Commit: func([]parachute.Status) error { return m.refusing },
	})
	m.at.Proxy = m.Proxy
	t.Cleanup(func() { m.Proxy.Close() })
	m.net.Serve(t, "mirror.test:80", m.Proxy).SetHealth(0)
	return m
}

// follow makes the mirror what the house has become, and returns when that has drained.
func (m *mirror) follow() error {
	m.t.Helper()
	drain, err := m.mirrored()
	if drain == nil {
		m.t.Fatal(err)
	}
	drain()
	return err
}

func (m *mirror) mirrored() (drain func(), err error) {
	names := slices.Compact(slices.Sorted(slices.Values(m.changed)))
	m.changed = nil
	return m.Proxy.Mirror(names, func(service string, _ *parachute.Status) *parachute.Status {
		if s, is := m.kept[service]; is {
			return &s
		}
		return nil
	})
}

// get asks the mirror.
func (m *mirror) get(host string) string {
	m.t.Helper()
	r, err := http.NewRequest("GET", "http://mirror.test/", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	r.Host = host
	return m.house.do(r)
}

func TestMirrorBecomesWhatTheOtherProxyIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.app("two", "two.test:80")
		m.app("three", "three.test:80")
		var told int
		tells := func(want ...parachute.EventKind) {
			t.Helper()
			kinds := slices.DeleteFunc(m.at.kinds()[told:], func(k parachute.EventKind) bool { return k == parachute.EventHealthy })
			told = len(m.at.kinds())
			is.Equal(kinds, want)
		}
		equal := func() {
			t.Helper()
			there, here := m.house.Services(), m.Proxy.Services()
			is.Equal(len(there), len(here))
			for i := range there {
				there[i].Live, here[i].Live = nil, nil
				there[i].Switched, here[i].Switched = time.Time{}, time.Time{}
				is.Equal(here[i], there[i])
			}
		}
		step := func(err error) {
			t.Helper()
			is.NoErr(err)
			is.NoErr(m.follow())
			equal()
		}
		ctx := t.Context()
		step(m.house.deploy("web", "one.test:80"))
		tells(parachute.EventSwitched)
		is.Equal(m.get("any.test"), "200 one")
		step(m.house.deploy("web", "two.test:80"))
		tells(parachute.EventSwitched, parachute.EventDraining, parachute.EventDrained)
		is.Equal(m.get("any.test"), "200 two")
		step(m.house.Stop(ctx, "web", parachute.Stop{}))
		tells(parachute.EventStopped, parachute.EventDraining, parachute.EventDrained)
		is.True(strings.HasPrefix(m.get("any.test"), "503 "))
		step(m.house.Resume(ctx, "web"))
		tells(parachute.EventResumed)
		is.Equal(m.get("any.test"), "200 two")
		step(m.house.Rollout(ctx, "web", parachute.Rollout{Targets: []string{"three.test:80"}, Split: parachute.Split{Percent: 100}}))
		tells(parachute.EventSwitched)
		is.Equal(m.get("any.test"), "200 three")
		step(m.house.SetSplit(ctx, "web", parachute.Split{}))
		tells(parachute.EventSplit)
		is.Equal(m.get("any.test"), "200 two")
		step(m.house.EndRollout(ctx, "web"))
		tells(parachute.EventRolloutEnded, parachute.EventDraining, parachute.EventDrained)
		step(m.house.Rollout(ctx, "web", parachute.Rollout{Targets: []string{"one.test:80"}}))
		step(m.house.Promote(ctx, "web"))
		is.Equal(m.get("any.test"), "200 one")
		step(m.house.Rollback(ctx, "web", parachute.Rollback{}))
		is.Equal(m.get("any.test"), "200 two")
		told = len(m.at.kinds())
		step(m.house.Remove(ctx, "web"))
		tells(parachute.EventRemoved, parachute.EventDraining, parachute.EventDrained)
		is.True(strings.HasPrefix(m.get("any.test"), "404 "))
	})
}

func TestMirrorMovesAHostInOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.app("two", "two.test:80")
		of := func(service, target, host string) parachute.Deployment {
			return parachute.Deployment{Service: service, Targets: []string{target}, Hosts: []string{host}}
		}
		is.NoErr(m.house.Apply(t.Context(), []parachute.Deployment{of("a", "one.test:80", "x.test"), of("b", "two.test:80", "y.test")}))
		is.NoErr(m.follow())
		is.NoErr(m.house.Apply(t.Context(), []parachute.Deployment{of("a", "one.test:80", "y.test"), of("b", "two.test:80", "x.test")}))
		is.NoErr(m.follow())
		is.Equal(m.get("x.test"), "200 two")
		is.Equal(m.get("y.test"), "200 one")
	})
}

func TestMirrorWaitsForWhatItReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.slow("one", "one.test:80", 5*time.Second)
		m.app("two", "two.test:80")
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.NoErr(m.follow())
		running := make(chan string)
		go func() { running <- m.get("any.test") }()
		synctest.Wait()
		is.NoErr(m.house.deploy("web", "two.test:80"))
		began := time.Now()
		drain, err := m.mirrored()
		is.NoErr(err)
		is.Equal(m.get("any.test"), "200 two")
		is.Equal(time.Since(began), time.Duration(0)) // it is published by then
		drained := make(chan struct{})
		go func() { drain(); close(drained) }()
		is.Equal(<-running, "200 one")
		<-drained
		is.Equal(time.Since(began), 5*time.Second)
	})
}

func TestRequestsGoOnWhereAPromotionIsMirrored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.slow("two", "two.test:80", 20*time.Second)
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.NoErr(m.house.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{Percent: 100}}))
		is.NoErr(m.follow())
		running := make(chan string, 1)
		go func() { running <- m.get("any.test") }()
		synctest.Wait()
		is.NoErr(m.house.Promote(t.Context(), "web"))
		began := time.Now()
		is.NoErr(m.follow())
		is.Equal(time.Since(began), time.Duration(0)) // it is not drained, and so not cut off
		is.Equal(<-running, "200 two")
		is.Equal(m.Proxy.Services()[0].Live.Targets[0].Health, parachute.HealthHealthy)
	})
}

// What serves at both proxies before a take-back is what health checks know.
func TestMirrorOfATakeBackServesWhatStayedWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		old := m.app("old", "old.test:80")
		next := m.app("new", "new.test:80")
		is.NoErr(m.house.deploy("web", "old.test:80"))
		is.NoErr(m.follow())
		time.Sleep(time.Second)
		before := time.Now()
		ended := make(chan error)
		go func() {
			ended <- m.house.Deploy(context.Background(), parachute.Deployment{
				Service: "web", Targets: []string{"new.test:80"}, Bake: parachute.Bake{For: time.Minute},
			})
		}()
		synctest.Wait()
		is.NoErr(m.follow())
		is.Equal(m.get("any.test"), "200 new")
		probes := old.Probes()
		time.Sleep(10 * time.Second)
		is.True(old.Probes() >= probes+18) // both proxies probe it: once a second each
		next.Stop()
		is.True(errors.Is(<-ended, parachute.ErrTakenBack))
		drain, err := m.mirrored()
		is.NoErr(err)
		is.Equal(m.get("any.test"), "200 old")
		drain()
		s := m.Proxy.Services()[0]
		is.Equal(s.Restores, uint64(1))
		is.Equal(s.Live.Targets[0].Health, parachute.HealthHealthy)
		is.True(s.Live.Targets[0].Since.Before(before)) // it is the same target as ever
	})
}

func TestMirrorTellsOfTheVersionThatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		for _, name := range []string{"one", "two", "three"} {
			m.app(name, name+".test:80")
		}
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.NoErr(m.follow())
		is.NoErr(m.house.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{Percent: 10}}))
		is.NoErr(m.follow())
		is.NoErr(m.house.deploy("web", "three.test:80")) // beside the rollout
		is.NoErr(m.follow())
		var told [][]string
		var shares []bool
		for _, e := range m.at.of(parachute.EventSwitched) {
			told, shares = append(told, e.Targets), append(shares, e.Split != nil)
		}
		is.Equal(told, [][]string{{"one.test:80"}, {"two.test:80"}, {"three.test:80"}})
		is.Equal(shares, []bool{false, true, false})
	})
}

// What ended must not be asked any more whether it goes with what is deployed.
func TestRolloutThatEndsElsewhereIsNoPartOfTheServiceAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.app("two", "two.test:80")
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.NoErr(m.house.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
		is.NoErr(m.follow())
		check := parachute.Deployment{Service: "web", Targets: []string{"h2c://one.test:80"}, HealthCheck: parachute.HealthCheck{GRPC: true}, Force: true}
		err := m.Proxy.Probe(t.Context(), check)
		is.True(errors.Is(err, parachute.ErrInvalid)) // the rollout goes on, and does not speak gRPC
		is.NoErr(m.house.EndRollout(t.Context(), "web"))
		is.NoErr(m.follow())
		is.NoErr(m.Proxy.Probe(t.Context(), check))
	})
}

func TestMirrorDrainsARolloutForItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.slow("two", "two.test:80", 20*time.Second)
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.NoErr(m.house.Rollout(t.Context(), "web", parachute.Rollout{
			Targets: []string{"two.test:80"}, Split: parachute.Split{Percent: 100}, Timeouts: parachute.Timeouts{Drain: 5 * time.Second},
		}))
		is.NoErr(m.follow())
		answered := make(chan string)
		go func() { answered <- m.get("any.test") }()
		time.Sleep(time.Second)
		is.NoErr(m.house.EndRollout(t.Context(), "web"))
		began := time.Now()
		is.NoErr(m.follow())
		is.Equal(time.Since(began), 5*time.Second)
		is.True(strings.HasPrefix(<-answered, "504"))
	})
}

func TestMirrorEndsTheDeploysThatItPasses(t *testing.T) {
	for name, tt := range map[string]struct {
		pending parachute.Deployment
		change  func(m *mirror) error
		want    error
	}{
		"of the service": {
			parachute.Deployment{Service: "web", Targets: []string{"sick.test:80"}, Hosts: []string{"web.test"}},
			func(m *mirror) error { return m.house.deploy("web", "two.test:80") }, parachute.ErrSuperseded,
		},
		"of one that is removed": {
			parachute.Deployment{Service: "web", Targets: []string{"sick.test:80"}, Hosts: []string{"web.test"}},
			func(m *mirror) error { return m.house.Remove(m.t.Context(), "web") }, parachute.ErrSuperseded,
		},
		"of another that wants its host": {
			parachute.Deployment{Service: "other", Targets: []string{"sick.test:80"}, Hosts: []string{"other.test"}},
			func(m *mirror) error {
				return m.house.Deploy(m.t.Context(), parachute.Deployment{Service: "web", Targets: []string{"two.test:80"}, Hosts: []string{"other.test"}})
			}, parachute.ErrConflict,
		},
		"but not of another": {
			parachute.Deployment{Service: "other", Targets: []string{"sick.test:80"}, Hosts: []string{"other.test"}},
			func(m *mirror) error { return m.house.deploy("web", "two.test:80") }, parachute.ErrUnhealthy,
		},
		"nor for a pause": {
			parachute.Deployment{Service: "web", Targets: []string{"sick.test:80"}},
			func(m *mirror) error { return m.house.Pause(m.t.Context(), "web", parachute.Pause{}) }, parachute.ErrUnhealthy,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				m := newMirror(t)
				m.app("one", "one.test:80")
				m.app("two", "two.test:80")
				m.app("sick", "sick.test:80").SetHealth(503)
				is.NoErr(m.house.deploy("web", "one.test:80"))
				is.NoErr(m.follow())
				ended := make(chan error, 1)
				go func() { ended <- m.Proxy.Deploy(context.Background(), tt.pending) }()
				time.Sleep(time.Second)
				is.NoErr(tt.change(m))
				is.NoErr(m.follow())
				synctest.Wait()
				is.Equal(len(ended) == 1, tt.want != parachute.ErrUnhealthy)
				err := <-ended
				is.True(errors.Is(err, tt.want))
				is.NoErr(m.Proxy.Deploy(t.Context(), parachute.Deployment{Service: "later", Targets: []string{"two.test:80"}, Hosts: []string{"later.test"}}))
				is.True(m.Proxy.Services()[0].Generation > m.kept["web"].Generation) // numbers go on after those of the other one
			})
		})
	}
}

func TestServiceThatCannotBeMirroredFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		is.NoErr(m.house.Apply(t.Context(), []parachute.Deployment{
			{Service: "bad", Targets: []string{"one.test:80"}, Hosts: []string{"bad.test"}},
			{Service: "good", Targets: []string{"one.test:80"}, Hosts: []string{"good.test"}},
		}))
		bad := m.kept["bad"]
		bad.Deployment.ErrorPages = "/is/only/there"
		m.kept["bad"] = bad
		err := m.follow()
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), `service "bad"`))
		is.Equal(m.get("good.test"), "200 one")
		is.True(strings.HasPrefix(m.get("bad.test"), "503 "))
		is.Equal(m.Proxy.Services()[0].State, parachute.StateFailed)
	})
}

func TestMirrorThatCannotBeKeptChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.app("two", "two.test:80")
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.NoErr(m.follow())
		is.NoErr(m.house.deploy("web", "two.test:80"))
		m.refusing = errors.New("no space left on device")
		drain, err := m.mirrored()
		is.True(drain == nil)
		is.True(errors.Is(err, m.refusing))
		is.Equal(m.get("any.test"), "200 one")
	})
}

func TestTwoGenerationsOfOneNumberAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMirror(t)
		m.app("one", "one.test:80")
		m.app("two", "two.test:80")
		is.NoErr(m.Proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"two.test:80"}}))
		is.NoErr(m.house.deploy("web", "one.test:80"))
		is.Equal(m.Proxy.Services()[0].Generation, m.house.Services()[0].Generation)
		is.NoErr(m.follow())
		is.Equal(m.get("any.test"), "200 one")
	})
}

func TestProbeAsksTheTargetsAndReservesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("sick", "sick.test:80").SetHealth(503)
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Hosts: []string{"web.test"}}))
		kinds := len(h.kinds())
		d := parachute.Deployment{Service: "other", Targets: []string{"one.test:80"}, Hosts: []string{"web.test"}}
		is.NoErr(h.Probe(t.Context(), d))
		d.Targets = []string{"sick.test:80"}
		err := h.Probe(t.Context(), d)
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		is.True(strings.Contains(err.Error(), "GET /up answered 503"))
		d.Force = true
		is.NoErr(h.Probe(t.Context(), d))
		is.True(errors.Is(h.Probe(t.Context(), parachute.Deployment{Service: "other"}), parachute.ErrInvalid))
		is.Equal(len(h.kinds()), kinds) // it is no change
	})
}
