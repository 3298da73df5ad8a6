package parachute_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A trial is a deploy that drains what it has replaced.
type trial struct {
	*house
	is       *is.I
	old, new *proxytest.Backend
	running  <-chan string // the answer of old that is drained
	deployed chan error
}

// onTrial deploys new.test:80 in place of old.test:80, which still has a request for
// 20 s more.
func onTrial(t *testing.T, opts parachute.Options, edit func(*parachute.Deployment)) *trial {
	tr := &trial{house: newHouse(t, opts), is: is.New(t), deployed: make(chan error, 1)}
	tr.old = tr.slow("old", "old.test:80", 20*time.Second)
	tr.new = tr.app("new", "new.test:80")
	tr.is.NoErr(tr.deploy("web", "old.test:80"))
	tr.running = tr.ask("any.test")
	d := parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}}
	if edit != nil {
		edit(&d)
	}
	go func() { tr.deployed <- tr.Deploy(context.Background(), d) }()
	time.Sleep(1500 * time.Millisecond)
	synctest.Wait()
	return tr
}

// serves returns the generation that serves, the one that it restores, and its targets.
func (h *house) serves() string {
	s := h.Services()[0]
	return fmt.Sprint(s.Generation, s.Restores, s.Deployment.Targets)
}

func TestDeployIsTakenBackWhenTheNewTargetDiesWhileTheOldOneDrains(t *testing.T) {
	for name, die := range map[string]func(*proxytest.Backend){
		"refuses connections": func(b *proxytest.Backend) { b.Stop() },
		"fails three probes":  func(b *proxytest.Backend) { b.SetHealth(500) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var kept []parachute.Status
				tr := onTrial(t, parachute.Options{Commit: func(s []parachute.Status) error { kept = s; return nil }}, nil)
				is := tr.is
				is.Equal(tr.get("any.test"), "200 new")
				die(tr.new)
				err := <-tr.deployed
				is.True(errors.Is(err, parachute.ErrTakenBack))
				why, ok := errors.AsType[*parachute.TakenBackError](err)
				is.True(ok)
				is.Equal(why.Generation, uint64(3))
				is.Equal(why.Restores, uint64(1))
				is.Equal(why.Targets, []string{"old.test:80"})
				is.True(strings.HasPrefix(err.Error(), "parachute: deploy web: taken back, because new.test:80 is unhealthy: GET /up "))
				is.True(strings.HasSuffix(err.Error(), "; generation 3 serves what generation 1 did: old.test:80"))
				is.True(!strings.Contains(fmt.Sprintf("%+v", err), "nothing was changed"))

				is.Equal(tr.serves(), "3 1 [old.test:80]")
				is.Equal(kept[0].Generation, uint64(3))
				is.Equal(kept[0].Deployment.Targets, []string{"old.test:80"})
				is.Equal(<-tr.running, "200 old") // it was not cut
				is.Equal(tr.get("any.test"), "200 old")

				back := tr.of(parachute.EventTakenBack)
				is.Equal(len(back), 1)
				is.Equal(back[0].Generation, uint64(2)) // the deploy's own
				is.Equal(back[0].Restores, uint64(1))
				is.True(errors.Is(back[0].Err, parachute.ErrTakenBack))
				switched := tr.of(parachute.EventSwitched)[2]
				is.Equal(switched.Generation, uint64(3))
				is.Equal(switched.Targets, []string{"old.test:80"})
				drained := tr.of(parachute.EventDrained)
				is.Equal(len(drained), 1)
				is.Equal(drained[0].Unused, []string{"new.test:80"})
				is.Equal(drained[0].Generation, uint64(2))
				is.Equal(tr.net.Conns("new.test:80"), 0)
			})
		})
	}
}

func TestWhatTheDrainHasCutStaysCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, func(d *parachute.Deployment) {
			d.Timeouts.Drain, d.Timeouts.Stream = time.Second, 10*time.Second
		})
		tr.is.True(strings.HasPrefix(<-tr.running, "504 "))
		tr.is.True(len(tr.deployed) == 1) // nothing else was there to drain
	})
}

func TestOneHealthyNewTargetIsEnoughToStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, func(d *parachute.Deployment) { d.Targets = append(d.Targets, "second.test:80") })
		is := tr.is
		is.Equal(len(tr.of(parachute.EventSwitched)), 1) // the second target is not there yet
		second := tr.app("second", "second.test:80")
		time.Sleep(2 * time.Second)
		tr.new.Stop()
		is.NoErr(<-tr.deployed)
		is.Equal(tr.serves(), "2 0 [new.test:80 second.test:80]")
		drained := tr.of(parachute.EventDrained)[0]
		is.Equal(drained.Unhealthy, []string{"new.test:80"})
		is.Equal(len(drained.Unused), 0) // never "may be removed"
		is.True(second.Requests() == 0)
	})
}

func TestNothingIsTakenBackToWhatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		tr.old.SetHealth(503)
		tr.new.Stop()
		tr.is.NoErr(<-tr.deployed)
		tr.is.Equal(tr.serves(), "2 0 [new.test:80]")
		drained := tr.of(parachute.EventDrained)[0]
		tr.is.Equal(drained.Unhealthy, []string{"new.test:80"})
		tr.is.Equal(len(drained.Unused), 0)
		for _, e := range tr.of(parachute.EventUnhealthy) {
			tr.is.Equal(e.Target, "new.test:80") // nobody wants to know how the other is
		}
	})
}

func TestTargetThatFailsTwiceOrComesBackIsNotTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		for range 5 {
			tr.new.SetHealth(500)
			time.Sleep(2 * time.Second)
			tr.new.SetHealth(200)
			time.Sleep(time.Second)
		}
		tr.is.NoErr(<-tr.deployed)
		tr.is.Equal(tr.of(parachute.EventDrained)[0].Unused, []string{"old.test:80"})
	})
}

func TestForcedDeployOfWhatIsNotThereStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, func(d *parachute.Deployment) { d.Targets, d.Force = []string{"later.test:80"}, true })
		tr.is.NoErr(<-tr.deployed)
		tr.is.Equal(tr.serves(), "2 0 [later.test:80]")
		tr.is.Equal(tr.of(parachute.EventDrained)[0].Unhealthy, []string{"later.test:80"})
	})
}

// There was no request to wait for, and no probe either.
func TestNothingMayBeRemovedForATargetThatNobodyHasSeenHealthy(t *testing.T) {
	for name, change := range map[string]func(h *house, d parachute.Deployment) error{
		"a deploy": func(h *house, d parachute.Deployment) error { return h.Deploy(h.t.Context(), d) },
		"an apply": func(h *house, d parachute.Deployment) error { return h.Apply(h.t.Context(), []parachute.Deployment{d}) },
		"an amend": func(h *house, d parachute.Deployment) error {
			return h.Amend(h.t.Context(), "web", func(served *parachute.Deployment) error { *served = d; return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var drained []parachute.Event
				h := newHouse(t, parachute.Options{Notify: func(e parachute.Event) {
					if e.Kind == parachute.EventDrained {
						drained = append(drained, e)
					}
				}})
				h.app("old", "old.test:80")
				h.app("new", "new.test:80")
				h.app("sick", "sick.test:80").SetHealth(503)
				h.net.Blackhole("nobody.test:80") // so that no probe has ended at the switch
				is.NoErr(h.Deploy(t.Context(), on("web", "web.test", "old.test:80")))
				for _, forced := range []struct {
					targets, unhealthy, unused []string
				}{
					{[]string{"nobody.test:80"}, []string{"nobody.test:80"}, nil},
					{[]string{"sick.test:80", "new.test:80"}, []string{"sick.test:80"}, nil},
					{[]string{"new.test:80"}, nil, []string{"sick.test:80"}},
					{[]string{"old.test:80"}, nil, []string{"new.test:80"}},
				} {
					d := parachute.Deployment{Service: "web", Hosts: []string{"web.test"}, Targets: forced.targets, Force: true}
					drained = nil
					is.NoErr(change(h, d))
					is.Equal(len(drained), 1)
					is.Equal(drained[0].Unhealthy, forced.unhealthy)
					is.Equal(drained[0].Unused, forced.unused)
				}
			})
		})
	}
}

// A new target is stopped while the service is paused, for the database to be moved.
func TestNothingIsTakenBackWhileTheServiceIsHalted(t *testing.T) {
	for name, halt := range map[string]func(*trial) error{
		"paused":  func(tr *trial) error { return tr.Pause(tr.t.Context(), "web", parachute.Pause{Max: time.Hour}) },
		"stopped": func(tr *trial) error { return tr.Stop(tr.t.Context(), "web", parachute.Stop{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := onTrial(t, parachute.Options{}, nil)
				is := tr.is
				go func() { tr.new.Stop() }()
				is.NoErr(halt(tr))
				is.NoErr(<-tr.deployed)
				is.Equal(tr.serves(), "2 0 [new.test:80]")
				is.Equal(len(tr.of(parachute.EventTakenBack)), 0)
			})
		})
	}
}

func TestTakeBackKeepsWhatWasChangedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		is := tr.is
		tr.app("second", "second.test:80")
		is.NoErr(tr.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"second.test:80"}}))
		is.NoErr(tr.SetSplit(t.Context(), "web", parachute.Split{List: []string{"b"}}))
		tr.new.Stop()
		is.True(errors.Is(<-tr.deployed, parachute.ErrTakenBack))
		is.Equal(tr.serves(), "4 1 [old.test:80]")
		is.Equal(tr.Services()[0].Rollout.Targets, []string{"second.test:80"})
		is.Equal(tr.Services()[0].Rollout.Split.List, []string{"b"})
		answer, _ := tr.visit("GET", "any.test", "parachute-rollout=b")
		is.Equal(answer, "second")
	})
}

func TestNewerChangeIsNotTakenBackWithTheOlderOne(t *testing.T) {
	for name, change := range map[string]struct {
		do     func(*trial) error
		serves string
	}{
		"a deploy": {func(tr *trial) error { return tr.deploy("web", "newer.test:80") }, "3 0 [newer.test:80]"},
		"a removal, and a deploy": {func(tr *trial) error {
			return errors.Join(tr.Remove(tr.t.Context(), "web"), tr.deploy("web", "newer.test:80"))
		}, "4 0 [newer.test:80]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := onTrial(t, parachute.Options{}, nil)
				tr.app("newer", "newer.test:80")
				tr.is.NoErr(change.do(tr))
				tr.new.Stop()
				tr.is.NoErr(<-tr.deployed)
				tr.is.Equal(tr.serves(), change.serves)
				tr.is.Equal(tr.get("any.test"), "200 newer")
			})
		})
	}
}

// What waits for its targets is most likely the remedy.
func TestTakeBackDoesNotEndANewerDeployThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		is := tr.is
		newer := make(chan error, 1)
		go func() { newer <- tr.deploy("web", "newer.test:80") }()
		tr.new.Stop()
		is.True(errors.Is(<-tr.deployed, parachute.ErrTakenBack))
		is.Equal(tr.serves(), "4 1 [old.test:80]")
		tr.app("newer", "newer.test:80")
		is.NoErr(<-newer)
		is.Equal(tr.get("any.test"), "200 newer")
		is.Equal(tr.serves(), "5 0 [newer.test:80]") // numbers only grow
		switched := tr.of(parachute.EventSwitched)[3]
		is.Equal(switched.Generation, uint64(5))
		is.Equal(switched.Was, uint64(3))
	})
}

func TestTakeBackIsPublishedAlthoughItCannotBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		var kept atomic.Value
		tr := onTrial(t, parachute.Options{Commit: func(s []parachute.Status) error {
			if full.Load() {
				return errors.New("disk full")
			}
			kept.Store(s[0])
			return nil
		}}, nil)
		is := tr.is
		full.Store(true)
		tr.new.Stop()
		err := <-tr.deployed
		is.True(errors.Is(err, parachute.ErrTakenBack))
		is.True(strings.Contains(err.Error(), "disk full"))
		is.Equal(tr.get("any.test"), "200 old")
		is.Equal(kept.Load().(parachute.Status).Generation, uint64(2))
		is.True(strings.Contains(tr.of(parachute.EventFailed)[0].Err.Error(), "disk full"))
		full.Store(false)
		time.Sleep(time.Minute)
		is.Equal(kept.Load().(parachute.Status).Generation, uint64(3))
		is.Equal(kept.Load().(parachute.Status).Restores, uint64(1))
	})
}

func TestHostThatAnotherServiceHasTakenIsNotTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 20*time.Second)
		app := h.app("new", "new.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"old.test:80"}, Hosts: []string{"app.test", "*.shop.test"}}))
		running := h.ask("x.shop.test")
		deployed := make(chan error, 1)
		go func() {
			deployed <- h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, Hosts: []string{"app.test"}})
		}()
		time.Sleep(time.Second)
		h.app("shop", "shop.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "shop", Targets: []string{"shop.test:80"}, Hosts: []string{"*.shop.test"}}))
		app.Stop()
		is.NoErr(<-deployed)
		is.Equal(<-running, "200 old")
		is.Equal(h.get("x.shop.test"), "200 shop")
		is.Equal(h.of(parachute.EventDrained)[0].Unhealthy, []string{"new.test:80"})
	})
}

func TestTakeBackBringsHostsAndReadersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 20*time.Second)
		h.app("reader", "reader.test:80")
		app, reader := h.app("new", "new.test:80"), h.app("new reader", "new-reader.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"old.test:80"}, ReadTargets: []string{"reader.test:80"}, Hosts: []string{"*.app.test"}}))
		running := make(chan string, 1)
		go func() {
			r, _ := http.NewRequest("POST", "http://proxy.test/", strings.NewReader("x"))
			r.Host = "a.app.test"
			running <- h.do(r)
		}()
		synctest.Wait()
		deployed := make(chan error, 1)
		go func() {
			deployed <- h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, ReadTargets: []string{"new-reader.test:80"}, Hosts: []string{"app.test"}})
		}()
		time.Sleep(time.Second)
		app.Stop()
		time.Sleep(5 * time.Second)
		is.Equal(len(h.of(parachute.EventTakenBack)), 0) // the reader is well
		reader.Stop()
		is.True(errors.Is(<-deployed, parachute.ErrTakenBack))
		is.Equal(h.get("b.app.test"), "200 reader")
		is.Equal(h.Services()[0].Deployment.Hosts, []string{"*.app.test"})
		is.Equal(<-running, "200 old")
	})
}

func TestRolloutIsTakenBackLikeADeploy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("main", "main.test:80")
		h.slow("old", "old.test:80", 20*time.Second)
		app := h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "main.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"old.test:80"}, Split: parachute.Split{Percent: 100}}))
		running := h.ask("any.test")
		rolled := make(chan error, 1)
		go func() {
			rolled <- h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"new.test:80"}})
		}()
		time.Sleep(time.Second)
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 100, List: []string{"b"}}))
		app.Stop()
		err := <-rolled
		is.True(errors.Is(err, parachute.ErrTakenBack))
		is.True(strings.HasSuffix(err.Error(), "; the rollout is to old.test:80 again"))
		is.Equal(h.Services()[0].Rollout.Targets, []string{"old.test:80"})
		is.Equal(h.Services()[0].Rollout.Split.List, []string{"b"})
		is.Equal(h.Services()[0].Generation, uint64(1))
		is.Equal(<-running, "200 old")
		is.Equal(h.get("any.test"), "200 old")
	})
}

func TestShutdownEndsATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		tr.new.Stop()
		synctest.Wait()
		is := tr.is
		is.NoErr(tr.Shutdown(t.Context()))
		<-tr.deployed
		is.NoErr(tr.Close())
	})
}

// An app that stops when the next one starts at its port may answer once more.
func TestProbeIsNotBelievedOfAnAddressThatServedUntilNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		old := h.app("old", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		time.AfterFunc(300*time.Millisecond, func() { old.Stop() })
		time.AfterFunc(2*time.Second, func() { h.app("new", "app.test:80") })
		began := time.Now()
		is.NoErr(h.deploy("web", "app.test:80"))
		is.True(time.Since(began) >= 2500*time.Millisecond) // and not at the first probe
		is.Equal(h.get("any.test"), "200 new")

		began = time.Now()
		is.NoErr(h.deploy("web", "app.test:80"))
		is.Equal(time.Since(began), 500*time.Millisecond)
		h.app("other", "other.test:80")
		is.NoErr(h.deploy("web", "other.test:80"))
		is.Equal(time.Since(began), 500*time.Millisecond) // nobody was there before
	})
}

// The probes come too late to show what has ended the drain.
func TestNothingMayBeRemovedWhenBothVersionsDieAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		is := tr.is
		tr.new.Stop()
		tr.old.Stop()
		is.NoErr(<-tr.deployed)
		is.Equal(tr.serves(), "2 0 [new.test:80]")
		drained := tr.of(parachute.EventDrained)[0]
		is.True(drained.Elapsed < 2*time.Second) // long before the request would have ended
		is.Equal(drained.Unhealthy, []string{"new.test:80"})
		is.Equal(len(drained.Unused), 0)
	})
}
