package parachute_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// trying is a deployment of new.test:80 that these shares of the visitors try first.
func trying(steps ...int) parachute.Deployment {
	return parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, MaxRequestBody: 7,
		Canary: parachute.Canary{Steps: steps}, Bake: parachute.Bake{MinRequests: 20}}
}

// shares returns the steps that events of a canary have told of, each once.
func (h *house) shares() (shares []int) {
	for _, e := range h.of(parachute.EventBaking) {
		if !slices.Contains(shares, e.Split.Percent) {
			shares = append(shares, e.Split.Percent)
		}
	}
	return shares
}

func TestCanaryGoesStepByStepAndIsPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakeryOf(t, trying(20, 60))
		is := b.is
		s := b.Services()[0]
		is.Equal(s.Deployment.Targets, []string{"old.test:80"})
		is.Equal(s.Rollout.Split.Percent, 20)
		is.Equal(s.Live.Changes[0].Kind, parachute.EventBaking)
		b.visitFor(28 * time.Second)
		is.Equal(b.Services()[0].Rollout.Split.Percent, 20)
		b.visitFor(3 * time.Second)
		is.Equal(b.Services()[0].Rollout.Split.Percent, 60)
		b.visitFor(27 * time.Second)
		is.Equal(len(b.deployed), 0)
		b.visitFor(3 * time.Second)
		is.NoErr(<-b.deployed)

		s = b.Services()[0]
		is.Equal(s.Deployment.Targets, []string{"new.test:80"})
		is.Equal(s.Deployment.MaxRequestBody, int64(7)) // with the options of the deploy
		is.Equal(s.Rollout, nil)
		is.Equal(b.shares(), []int{20, 60})
		is.Equal(len(b.of(parachute.EventSplit)), 1) // the first share came with the rollout
		switched := b.of(parachute.EventSwitched)
		is.Equal(switched[1].Generation, uint64(2)) // to the rollout
		is.Equal([2]uint64{switched[2].Generation, switched[2].Was}, [2]uint64{3, 2})
		drained := b.of(parachute.EventDrained)
		is.Equal(drained[len(drained)-1].Unused, []string{"old.test:80"})
	})
}

func TestCanaryThatAnswersErrorsIsTakenBackForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := trying(50, 90)
		d.Canary.Step = time.Minute
		b := newBakeryOf(t, d)
		is := b.is
		b.failing.Store(true)
		lost := 0
		for range 580 {
			if b.get("any.test") == "500 new" {
				lost++
			}
			time.Sleep(100 * time.Millisecond)
			if len(b.deployed) > 0 {
				break
			}
		}
		err := <-b.deployed
		is.True(errors.Is(err, parachute.ErrTakenBack))
		why, _ := errors.AsType[*parachute.TakenBackError](err)
		is.Equal([2]uint64{why.Generation, why.Restores}, [2]uint64{1, 1})
		is.True(strings.Contains(err.Error(), "generation 1 serves everybody: old.test:80"))
		is.True(why.Bake.Now.Errors >= 50 && why.Bake.Before.Errors == 0)
		is.Equal(why.Routes[0].Route, "GET /")
		is.True(lost < 200)

		s := b.Services()[0]
		is.Equal(s.Rollout, nil)
		is.Equal(s.Generation, uint64(1))
		for range 20 {
			is.Equal(b.get("any.test"), "200 old")
		}
		is.Equal(len(b.of(parachute.EventTakenBack)), 1)
		is.Equal(len(b.of(parachute.EventRolloutEnded)), 1)
	})
}

func TestCanaryWithTooFewRequestsStaysAndIsNotDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakeryOf(t, trying(1, 50))
		is := b.is
		began := time.Now()
		err := <-b.deployed
		is.True(time.Since(began) > 328*time.Second && time.Since(began) < 332*time.Second) // a step, and ten times the same
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.True(strings.Contains(err.Error(), "too little traffic to judge: 0 requests in 11 times 30s; the rollout stays at 1 percent"))
		is.Equal(b.Services()[0].Rollout.Split.Percent, 1)

		is.NoErr(b.Promote(t.Context(), "web")) // no flag is repeated
		is.Equal(b.Services()[0].Deployment.MaxRequestBody, int64(7))
		is.Equal(b.get("any.test"), "200 new")
	})
}

func TestCanaryAllOfWhoseTargetsDieIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakeryOf(t, trying(1))
		b.new.Stop()
		time.Sleep(10 * time.Second)
		b.is.True(errors.Is(<-b.deployed, parachute.ErrTakenBack))
		b.is.Equal(b.Services()[0].Rollout, nil)
	})
}

func TestNewerChangeEndsACanary(t *testing.T) {
	for name, change := range map[string]func(b *bakery) error{
		"deploy": func(b *bakery) error { return b.deploy("web", "third.test:80") },
		"end":    func(b *bakery) error { return b.EndRollout(b.t.Context(), "web") },
		"rollout": func(b *bakery) error {
			return b.Rollout(b.t.Context(), "web", parachute.Rollout{Targets: []string{"third.test:80"}})
		},
		"canary": func(b *bakery) error {
			d := trying(30)
			d.Targets = []string{"third.test:80"}
			deployed := make(chan error, 1)
			go func() { deployed <- b.Deploy(b.t.Context(), d) }()
			b.visitFor(35 * time.Second)
			return <-deployed
		},
		"remove": func(b *bakery) error { return b.Remove(b.t.Context(), "web") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBakeryOf(t, trying(20, 60))
				b.t = t
				b.app("third", "third.test:80")
				b.is.NoErr(change(b))
				b.is.True(errors.Is(<-b.deployed, parachute.ErrSuperseded))
				for _, s := range b.Services() {
					if s.Rollout != nil {
						b.is.Equal(s.Rollout.Targets, []string{"third.test:80"}) // what was tried is gone
					}
					b.is.True(!slices.Contains(s.Deployment.Targets, "new.test:80"))
				}
			})
		})
	}
}

func TestCanaryThatIsEndedDrainsForItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := trying(100)
		d.Targets, d.Timeouts.Drain = []string{"slow.test:80"}, 3*time.Second
		b := newBakeryOf(t, d)
		is := b.is
		b.slow("slow", "slow.test:80", 20*time.Second)
		time.Sleep(2 * time.Second)
		answer := b.ask("any.test")
		synctest.Wait()
		began := time.Now()
		is.NoErr(b.deploy("web", "old.test:80"))
		is.True(errors.Is(<-b.deployed, parachute.ErrSuperseded))
		took := time.Since(began)
		is.True(took >= 3*time.Second && took < 4*time.Second)
		is.True(strings.HasPrefix(<-answer, "504 ")) // it was cut off then
	})
}

func TestCanaryStaysWhereItIsWhenTheProxyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakeryOf(t, trying(20, 60))
		go b.Shutdown(t.Context())
		err := <-b.deployed
		b.is.True(errors.Is(err, parachute.ErrUndecided))
		kept := b.kept.Load().([]parachute.Status)
		b.is.Equal(kept[0].Rollout.Split.Percent, 20)
	})
}

func TestClockOfACanaryStandsInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakeryOf(t, trying(50))
		is := b.is
		b.visitFor(20 * time.Second)
		is.NoErr(b.Pause(t.Context(), "web", parachute.Pause{}))
		time.Sleep(10 * time.Minute)
		is.Equal(len(b.deployed), 0)
		is.NoErr(b.Resume(t.Context(), "web"))
		b.visitFor(11 * time.Second)
		is.NoErr(<-b.deployed)
		is.Equal(b.get("any.test"), "200 new")
	})
}

func TestFirstVersionHasNoCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("new", "new.test:80")
		is.NoErr(h.Deploy(t.Context(), trying(1, 50)))
		is.Equal(h.Services()[0].Rollout, nil)
		is.Equal(h.Services()[0].Deployment.Canary.Step, 30*time.Second)
	})
}

func TestCanaryThatCannotBeIsRefused(t *testing.T) {
	is := is.New(t)
	h := parachute.New(parachute.Options{})
	defer h.Close()
	for want, d := range map[string]parachute.Deployment{
		"canary of 0 percent":          {Canary: parachute.Canary{Steps: []int{0, 10}}},
		"canary of 101 percent":        {Canary: parachute.Canary{Steps: []int{1, 101}}},
		"canary of 10 percent after 5": {Canary: parachute.Canary{Steps: []int{50, 10}}},
		"canary step of -1s":           {Canary: parachute.Canary{Steps: []int{50}, Step: -time.Second}},
		"without steps":                {Canary: parachute.Canary{Step: time.Second}},
		"want one of them":             {Canary: parachute.Canary{Steps: []int{50}}, Bake: parachute.Bake{For: time.Minute}},
	} {
		d.Service, d.Targets = "web", []string{"a:1"}
		err := h.Deploy(t.Context(), d)
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), want)) // its message
	}
}

func TestWhoWaitsForTheirTurnWaitsForACanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakeryOf(t, trying(50))
		turn := make(chan error, 1)
		go func() {
			leave, err := b.Turn(t.Context(), "web")
			if err == nil {
				leave()
			}
			turn <- err
		}()
		b.visitFor(28 * time.Second)
		b.is.Equal(len(turn), 0)
		b.visitFor(2 * time.Second)
		b.is.NoErr(<-b.deployed)
		b.is.NoErr(<-turn)
	})
}

// Exit code 1 would say that what was tried serves nobody.
func TestCanaryThatCannotBeKeptIsNotDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		full := false
		h := newHouse(t, parachute.Options{Commit: func([]parachute.Status) error {
			if full {
				return errors.New("no space left on device")
			}
			return nil
		}})
		h.app("old", "old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		deployed := make(chan error, 1)
		go func() { deployed <- h.Deploy(t.Context(), trying(50, 90)) }()
		h.visitFor(10 * time.Second)
		full = true
		h.visitFor(25 * time.Second)
		err := <-deployed
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.True(strings.Contains(err.Error(), "no space left on device; the rollout stays as it is"))
		is.Equal(h.Services()[0].Rollout.Split.Percent, 50)
	})
}
