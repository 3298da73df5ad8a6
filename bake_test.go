package parachute_test

import (
	"bytes"
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

// A bakery has a service web whose version new.test:80 bakes for a minute in place of
// old.test:80.
type bakery struct {
	*house
	is       *is.I
	old, new *proxytest.Backend
	failing  atomic.Bool // new answers 500
	refusing atomic.Bool // nothing can be kept
	kept     atomic.Value
	deployed chan error
}

func baking(target string) parachute.Deployment {
	return parachute.Deployment{Service: "web", Targets: []string{target}, Bake: parachute.Bake{For: time.Minute}}
}

func newBakery(t *testing.T) *bakery { return newBakeryOf(t, baking("new.test:80")) }

func newBakeryOf(t *testing.T, d parachute.Deployment) *bakery {
	return newBakeryWith(t, d, parachute.Options{})
}

func newBakeryWith(t *testing.T, d parachute.Deployment, opts parachute.Options) *bakery {
	b := &bakery{is: is.New(t), deployed: make(chan error, 1)}
	opts.Commit = func(s []parachute.Status) error {
		if b.refusing.Load() {
			return errors.New("disk full")
		}
		b.kept.Store(s)
		return nil
	}
	b.house = newHouse(t, opts)
	b.old = b.app("old", "old.test:80")
	b.new = b.net.Serve(t, "new.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.failing.Load() {
			w.WriteHeader(500)
		}
		fmt.Fprint(w, "new")
	}))
	b.is.NoErr(b.deploy("web", "old.test:80"))
	b.visitFor(30 * time.Second)
	b.begin(d)
	return b
}

func (b *bakery) begin(d parachute.Deployment) {
	deployed := b.deployed
	go func() { deployed <- b.Deploy(context.Background(), d) }()
	time.Sleep(time.Second)
	synctest.Wait()
}

// visitFor sends ten requests each second.
func (h *house) visitFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		h.get("any.test")
	}
}

func TestVersionThatAnswersErrorsIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		is.Equal(b.get("any.test"), "200 new")
		b.failing.Store(true)
		b.visitFor(15 * time.Second)
		is.Equal(len(b.deployed), 1) // long before the bake is over
		err := <-b.deployed
		is.True(errors.Is(err, parachute.ErrTakenBack))
		why, _ := errors.AsType[*parachute.TakenBackError](err)
		is.Equal(why.Restores, uint64(1))
		is.Equal(why.Generation, uint64(3))
		is.Equal(why.Bake.Before.Requests, uint64(300))
		is.True(why.Bake.Now.Errors >= 50)
		is.Equal(why.Routes[0].Route, "GET /")
		is.Equal(why.Routes[0].Status, 500)
		is.True(why.Routes[0].RequestID != "")
		is.True(strings.Contains(fmt.Sprintf("%+v", err), "\n  GET / answered 500: "))
		is.Equal(b.serves(), "3 1 [old.test:80]")
		is.Equal(b.get("any.test"), "200 old")
		is.True(b.Services()[0].Bake == nil)
		is.Equal(b.of(parachute.EventDrained)[0].Unused, []string{"new.test:80"})
		is.Equal(len(b.of(parachute.EventTakenBack)), 1)
	})
}

func TestVersionThatIsAsGoodStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		is.Equal(b.Services()[0].Bake.Generation, uint64(1))
		is.Equal(b.Services()[0].Live.Changes[0].Kind, parachute.EventBaking)
		b.visitFor(58 * time.Second)
		is.Equal(len(b.deployed), 0)
		is.Equal(len(b.of(parachute.EventDrained)), 0) // nothing may be stopped yet
		b.visitFor(2 * time.Second)
		is.NoErr(<-b.deployed)
		is.Equal(b.serves(), "2 0 [new.test:80]")
		is.True(b.Services()[0].Bake == nil)
		is.True(b.kept.Load().([]parachute.Status)[0].Bake == nil)
		is.Equal(b.of(parachute.EventDrained)[0].Unused, []string{"old.test:80"})
		told := b.of(parachute.EventBaking)
		last := told[len(told)-1]
		is.Equal(last.Elapsed, last.Limit)
		is.Equal(last.Bake.Note, "")
		is.Equal(len(b.of(parachute.EventFailed)), 0)
		is.True(last.Bake.Now.Requests > 500)
		is.Equal(b.net.Conns("old.test:80"), 0)
	})
}

func TestTooLittleTrafficIsSaidSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		b.failing.Store(true)
		for range 12 {
			b.get("any.test")
		}
		b.is.NoErr(<-b.deployed)
		told := b.of(parachute.EventBaking)
		b.is.Equal(told[len(told)-1].Bake.Note, "too little traffic to judge: 12 requests")
	})
}

func TestVersionWhoseTargetsDieInItsBakeIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		b.new.Stop()
		b.is.True(errors.Is(<-b.deployed, parachute.ErrTakenBack))
		b.is.Equal(b.get("any.test"), "200 old")
	})
}

func TestStreamsOfTheOldVersionStayUntilTheBakeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		events := h.openEvents()
		deployed := make(chan error, 1)
		go func() { deployed <- h.Deploy(context.Background(), baking("new.test:80")) }()
		time.Sleep(59 * time.Second)
		is.Equal(len(events), 0)
		time.Sleep(5 * time.Second)
		<-events
		is.NoErr(<-deployed)
	})
}

func TestNewerDeployEndsABakeAndReturnsToWhatHadProvedItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		b.failing.Store(true)
		newest := b.app("newest", "newest.test:80")
		older := b.deployed
		b.deployed = make(chan error, 1)
		b.begin(baking("newest.test:80"))
		is.True(errors.Is(<-older, parachute.ErrSuperseded))
		is.Equal(b.get("any.test"), "200 newest")
		is.Equal(b.Services()[0].Bake.Generation, uint64(1))
		newest.Stop()
		is.True(errors.Is(<-b.deployed, parachute.ErrTakenBack))
		is.Equal(b.serves(), "4 1 [old.test:80]")
		is.Equal(b.net.Conns("new.test:80"), 0)
	})
}

func TestDeployWithoutABakeEndsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		b.app("newest", "newest.test:80")
		is.NoErr(b.deploy("web", "newest.test:80"))
		is.True(errors.Is(<-b.deployed, parachute.ErrSuperseded))
		failed := b.of(parachute.EventFailed)
		is.Equal(len(failed), 1)
		is.Equal(failed[0].Generation, uint64(2)) // that of the deploy which baked
		is.True(errors.Is(failed[0].Err, parachute.ErrSuperseded))
		is.Equal(b.of(parachute.EventDrained)[0].Unused, []string{"new.test:80", "old.test:80"})
		is.Equal(b.net.Conns("old.test:80")+b.net.Conns("new.test:80"), 0)
	})
}

func TestHaltStopsTheClockOfABake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		time.Sleep(19 * time.Second)
		is.NoErr(b.Pause(t.Context(), "web", parachute.Pause{}))
		b.new.Stop()
		time.Sleep(10 * time.Minute)
		is.Equal(len(b.deployed), 0)
		left := b.Services()[0].Bake.Left
		is.True(left > 38*time.Second && left < 42*time.Second)
		b.new.Start()
		time.Sleep(2 * time.Second)
		is.NoErr(b.Resume(t.Context(), "web"))
		began := time.Now()
		is.NoErr(<-b.deployed)
		is.True(time.Since(began) > 38*time.Second && time.Since(began) < 42*time.Second)
	})
}

func TestClockOfABakeStandsWhileAnotherChangeOfTheServiceIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		failed := make(chan error, 2)
		short := parachute.Timeouts{Deploy: 20 * time.Second}
		go func() { // of another service
			failed <- b.Deploy(context.Background(), parachute.Deployment{Service: "api", Targets: []string{"gone.test:80"}, Hosts: []string{"api.test"}, Timeouts: parachute.Timeouts{Deploy: 10 * time.Second}})
		}()
		b.visitFor(29 * time.Second)
		b.is.True(errors.Is(<-failed, parachute.ErrUnhealthy))
		go func() {
			failed <- b.Rollout(context.Background(), "web", parachute.Rollout{Targets: []string{"gone.test:80"}, Timeouts: short})
		}()
		b.visitFor(48 * time.Second) // of which 20 do not count
		b.is.True(errors.Is(<-failed, parachute.ErrUnhealthy))
		b.is.Equal(len(b.deployed), 0)
		b.visitFor(3 * time.Second)
		b.is.NoErr(<-b.deployed)
	})
}

func TestEndOfABakeThatCannotBeKeptIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		b.refusing.Store(true)
		b.visitFor(61 * time.Second)
		b.is.NoErr(<-b.deployed)
		b.is.True(b.Services()[0].Bake == nil)                       // it is over
		b.is.True(b.kept.Load().([]parachute.Status)[0].Bake != nil) // and would go on after a restart
		failed := b.of(parachute.EventFailed)
		b.is.Equal(len(failed), 1)
		b.is.True(strings.Contains(failed[0].Err.Error(), "could not be kept"))
		b.is.True(strings.Contains(failed[0].Err.Error(), "disk full"))
		b.refusing.Store(false)
		time.Sleep(time.Minute)
		b.is.True(b.kept.Load().([]parachute.Status)[0].Bake == nil)
	})
}

func TestBakeIsLoggedWhenItBeginsAndWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := newBakeryWith(t, baking("new.test:80"), parachute.Options{Logger: logTo(&log)})
		b.visitFor(61 * time.Second)
		b.is.NoErr(<-b.deployed)
		lines := linesOf(&log, "msg=baking")
		b.is.Equal(len(lines), 2)
		b.is.True(strings.HasPrefix(lines[0], "msg=baking service=web generation=2 requests=0 errors=0 "))
		b.is.True(len(b.of(parachute.EventBaking)) > 50) // which are told each second
	})
}

func TestRemovalEndsABakeAndBothVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		is.NoErr(b.Remove(t.Context(), "web"))
		is.True(errors.Is(<-b.deployed, parachute.ErrSuperseded))
		is.Equal(b.of(parachute.EventDrained)[0].Unused, []string{"new.test:80", "old.test:80"})
		is.Equal(b.net.Conns("old.test:80")+b.net.Conns("new.test:80"), 0)
	})
}

func TestBakeGoesOnAfterARestart(t *testing.T) {
	for _, dies := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBakery(t)
			is := b.is
			time.Sleep(20 * time.Second)
			is.NoErr(b.Shutdown(t.Context()))
			is.NoErr(b.Close())
			is.True(errors.Is(<-b.deployed, parachute.ErrUndecided))

			again := newHouseAt(t, b.house, "again.test:80")
			is.NoErr(again.Restore(b.kept.Load().([]parachute.Status)))
			is.Equal(again.Services()[0].Bake.Generation, uint64(1))
			time.Sleep(5 * time.Second)
			if dies {
				b.new.Stop()
				time.Sleep(2 * time.Second)
				is.Equal(again.serves(), "3 1 [old.test:80]")
				return
			}
			time.Sleep(30 * time.Second)
			is.True(again.Services()[0].Bake != nil)
			time.Sleep(10 * time.Second)
			is.True(again.Services()[0].Bake == nil)
			is.Equal(again.serves(), "2 0 [new.test:80]")
		})
	}
}

func TestProxyThatIsReplacedDecidesNothingOfABake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		began := time.Now()
		b.is.NoErr(b.HandOver(t.Context(), time.Minute))
		err := <-b.deployed
		b.is.True(errors.Is(err, parachute.ErrUndecided))
		b.is.Equal(fmt.Sprintf("%+v", err), err.Error()) // and not that nothing was changed
		b.is.True(time.Since(began) < 5*time.Second)
	})
}

// newHouseAt returns a house with a Proxy of its own in the network of another.
func newHouseAt(t *testing.T, other *house, address string) *house {
	h := &house{t: t, net: other.net}
	h.Proxy = parachute.New(parachute.Options{Dial: h.net.Dial, Notify: h.note})
	t.Cleanup(func() { h.Close() })
	h.net.Serve(t, address, h.Proxy).SetHealth(0)
	return h
}

func TestFirstVersionOfAServiceDoesNotBake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("new", "new.test:80")
		began := time.Now()
		is.NoErr(h.Deploy(t.Context(), baking("new.test:80")))
		is.Equal(time.Since(began), time.Duration(0)) // there is nothing to return to
	})
}

func TestBakeThatCannotBeIsRefused(t *testing.T) {
	is := is.New(t)
	h := parachute.New(parachute.Options{})
	defer h.Close()
	for _, bake := range []parachute.Bake{{For: -1}, {MaxErrorRate: 1.3}, {MaxErrorRate: -0.1}, {MaxSlowdown: 0.5}, {MinRequests: -1}} {
		d := parachute.Deployment{Service: "web", Targets: []string{"a:1"}, Bake: bake}
		is.True(errors.Is(h.Deploy(t.Context(), d), parachute.ErrInvalid))
	}
}

// lastMoment returns a bakery whose bake is over in a moment, while the next probe is a
// few seconds off.
func lastMoment(t *testing.T) *bakery {
	d := baking("new.test:80")
	d.HealthCheck.Interval = 7 * time.Second
	b := newBakeryOf(t, d)
	time.Sleep(time.Until(b.of(parachute.EventBaking)[0].Time.Add(time.Minute - 50*time.Millisecond)))
	return b
}

func TestNothingMayBeRemovedWhenBothVersionsDieAtTheEndOfABake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := lastMoment(t)
		is := b.is
		b.new.Stop()
		b.old.Stop()
		is.NoErr(<-b.deployed)
		is.Equal(b.serves(), "2 0 [new.test:80]")
		drained := b.of(parachute.EventDrained)[0]
		is.Equal(drained.Unhealthy, []string{"new.test:80"})
		is.Equal(len(drained.Unused), 0)
	})
}

func TestTargetThatDiesAtTheEndOfItsBakeIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := lastMoment(t)
		b.new.Stop()
		b.is.True(errors.Is(<-b.deployed, parachute.ErrTakenBack))
		b.is.Equal(b.get("any.test"), "200 old")
	})
}
