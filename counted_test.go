package parachute_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestCountedIsWhatTheProxyItselfHasServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("old", "old.test:80")
		h.fails("new.test:80")
		is.Equal(h.Counted("web"), parachute.Counted{}) // which is not there
		is.NoErr(h.deploy("web", "old.test:80"))
		h.visitFor(2 * time.Second)
		c := h.Counted("web")
		is.Equal([]uint64{c.Recent.Requests, c.Main.Requests, c.Rollout.Requests}, []uint64{20, 20, 0})

		h.CountedElsewhere("web", c)
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"new.test:80"}, Split: parachute.Split{Percent: 100}}))
		h.CountedElsewhere("web", parachute.Counted{Rollout: c.Main})
		h.visitFor(3 * time.Second)
		c = h.Counted("web")
		is.Equal([]uint64{c.Recent.Requests, c.Main.Requests, c.Rollout.Requests}, []uint64{20, 20, 30})
		is.Equal([]uint64{c.Recent.Failed, c.Main.Failed, c.Rollout.Failed}, []uint64{0, 0, 30})
		time.Sleep(9 * time.Minute)
		is.Equal(h.Counted("web").Main.Requests, uint64(20))
		time.Sleep(9 * time.Minute)
		c = h.Counted("web")
		is.Equal([]uint64{c.Recent.Requests, c.Main.Requests}, []uint64{0, 20}) // of ten minutes, and of all
	})
}

func TestNothingIsCountedForAServiceThatCannotServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.True(h.Restore([]parachute.Status{{Service: "web", Generation: 1, State: parachute.StateServing,
			Deployment: parachute.Deployment{Service: "web", Targets: []string{"no target"}}}}) != nil)
		is.Equal(h.Services()[0].State, parachute.StateFailed)
		h.CountedElsewhere("web", parachute.Counted{Main: parachute.Counts{Requests: 7}})
		h.CountedElsewhere("api", parachute.Counted{Main: parachute.Counts{Requests: 7}})
		is.Equal(h.Counted("web"), parachute.Counted{})
		is.Equal(h.Counted("api"), parachute.Counted{})
	})
}

func TestTimeInAPauseIsNotCountedAgainstAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("app", "app.test:80", 2*time.Second)
		is.NoErr(h.deploy("web", "app.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		answer := h.ask("any.test")
		time.Sleep(20 * time.Second)
		is.NoErr(h.Resume(t.Context(), "web"))
		is.Equal(<-answer, "200 app")
		c := h.Counted("web")
		took := c.Main.P99()
		is.True(time.Second <= took && took <= 4*time.Second) // counts are in classes
	})
}

// An elsewhere is a Proxy that serves new.test:80 as web, where nobody judges it.
type elsewhere struct {
	*house
	told parachute.Counted
}

func (b *bakery) elsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{house: newHouseAt(t, b.house, "elsewhere.test:80")}
	e.client = b.client
	b.is.NoErr(e.deploy("web", "new.test:80"))
	return e
}

// visit sends n requests, and returns what has been counted of them.
func (e *elsewhere) visit(n int) parachute.Counts {
	for range n {
		resp, err := e.client.Get("http://elsewhere.test:80/")
		if err != nil {
			e.t.Error(err)
			break
		}
		resp.Body.Close()
	}
	before := e.told.Main
	e.told = e.Counted("web")
	return e.told.Main.Since(before)
}

func TestBakeIsJudgedByWhatOthersHaveCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		other := b.elsewhere(t)
		b.failing.Store(true)
		for range 20 {
			b.CountedElsewhere("web", parachute.Counted{Main: other.visit(10)})
			time.Sleep(time.Second)
		}
		is.Equal(len(b.deployed), 1) // long before the bake is over
		err := <-b.deployed
		is.True(errors.Is(err, parachute.ErrTakenBack))
		why, _ := errors.AsType[*parachute.TakenBackError](err)
		is.True(why.Bake.Now.Requests >= 50 && why.Bake.Now.Errors == why.Bake.Now.Requests)
		is.Equal(b.serves(), "3 1 [old.test:80]")
	})
}

func TestCanaryIsJudgedByWhatOthersHaveCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := trying(50, 90)
		d.Canary.Step = time.Minute
		b := newBakeryOf(t, d)
		is := b.is
		other := b.elsewhere(t)
		well := other.visit(10)
		for range 10 {
			b.CountedElsewhere("web", parachute.Counted{Main: well, Rollout: well})
			time.Sleep(time.Second)
		}
		is.Equal(len(b.deployed), 0)
		b.failing.Store(true)
		for range 30 {
			b.CountedElsewhere("web", parachute.Counted{Main: well, Rollout: other.visit(10)})
			time.Sleep(time.Second)
		}
		is.Equal(len(b.deployed), 1) // before the first step is over
		err := <-b.deployed
		is.True(errors.Is(err, parachute.ErrTakenBack))
		why, _ := errors.AsType[*parachute.TakenBackError](err)
		is.Equal(why.Bake.Before.Errors, uint64(0))
		is.Equal(why.Bake.Now.Requests, why.Bake.Before.Requests)
		is.Equal(why.Bake.Now.Errors, why.Bake.Now.Requests-100) // all but the first
		is.Equal(b.Services()[0].Rollout, nil)
	})
}

// What is recent takes the place of all that was told before of the version that serves,
// unless it is empty.
func TestVersionBeforeIsWhatOthersHaveCountedOfItToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		is := b.is
		b.visitFor(time.Second)
		is.NoErr(b.Deploy(context.Background(), parachute.Deployment{Service: "web", Targets: []string{"old.test:80"}}))
		is.True(errors.Is(<-b.deployed, parachute.ErrSuperseded))
		other := b.elsewhere(t)
		seventy := other.visit(70)
		b.CountedElsewhere("web", parachute.Counted{Recent: seventy})
		b.CountedElsewhere("web", parachute.Counted{Recent: seventy}) // the same once more
		b.CountedElsewhere("web", parachute.Counted{Main: seventy})   // and another 70
		b.visitFor(2 * time.Second)

		b.begin(baking("new.test:80"))
		told := b.of(parachute.EventBaking)
		is.Equal(told[len(told)-1].Bake.Before.Requests, uint64(70+70+20))
	})
}
