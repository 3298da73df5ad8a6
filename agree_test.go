package parachute_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestDeployIsAskedAboutOnceItsTargetsAreHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var h *house
		var asked []parachute.Deployment
		h = newHouse(t, parachute.Options{Agree: func(ctx context.Context, d parachute.Deployment, generation uint64) error {
			asked = append(asked, d)
			is.Equal(generation, uint64(len(asked)))
			is.Equal(h.kinds()[len(h.kinds())-1], parachute.EventHealthy)
			if generation == 2 {
				is.Equal(h.get("any.test"), "200 one") // it has not switched
			}
			return nil
		}})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.deploy("web", "two.test:80"))
		is.Equal(h.get("any.test"), "200 two")
		is.Equal(asked[1].Targets, []string{"two.test:80"})
		is.Equal(asked[1].HealthCheck.Path, "/up") // it is complete
	})
}

func TestDeployThatIsNotAgreedToChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		refusal := errors.New("the smoke test failed")
		var answer error
		commits := 0
		h := newHouse(t, parachute.Options{
			Agree:  func(context.Context, parachute.Deployment, uint64) error { return answer },
			Commit: func([]parachute.Status) error { commits++; return nil },
		})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		answer = refusal
		is.True(errors.Is(h.deploy("web", "two.test:80"), refusal))
		is.True(errors.Is(h.Apply(t.Context(), []parachute.Deployment{{Service: "web", Targets: []string{"two.test:80"}}}), refusal))
		is.Equal(h.get("any.test"), "200 one")
		is.Equal(commits, 1)
		kinds := h.kinds()
		is.Equal(kinds[len(kinds)-1], parachute.EventFailed)
		answer = nil
		is.NoErr(h.deploy("web", "two.test:80"))
	})
}

func TestWhoIsAskedAboutADeployHasUntilItsEndOrItsTimeout(t *testing.T) {
	errKilled := errors.New("the smoke test was killed")
	for name, tt := range map[string]struct {
		end  func(h *house, cancel context.CancelFunc)
		took time.Duration
		want error
	}{
		"its timeout": {func(*house, context.CancelFunc) {}, 20 * time.Second, errKilled},
		"a newer one": {func(h *house, _ context.CancelFunc) { h.deploy("web", "two.test:80") }, time.Second, parachute.ErrSuperseded},
		"its caller":  {func(_ *house, cancel context.CancelFunc) { cancel() }, time.Second, context.Canceled},
		"its service": {func(h *house, _ context.CancelFunc) { h.Remove(context.Background(), "web") }, time.Second, parachute.ErrSuperseded},
		"the Proxy":   {func(h *house, _ context.CancelFunc) { h.Close() }, time.Second, parachute.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{Agree: func(ctx context.Context, d parachute.Deployment, generation uint64) error {
					if generation != 2 {
						return nil
					}
					<-ctx.Done()
					return errKilled
				}})
				h.app("one", "one.test:80")
				h.app("two", "two.test:80")
				is.NoErr(h.deploy("web", "one.test:80"))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := time.Now()
				ended := make(chan error)
				go func() {
					ended <- h.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{"two.test:80"}, Timeouts: parachute.Timeouts{Deploy: 20 * time.Second}})
				}()
				time.Sleep(time.Second)
				tt.end(h, cancel)
				err := <-ended
				is.True(errors.Is(err, tt.want))
				if tt.want == context.Canceled {
					is.True(errors.Is(err, errKilled)) // both tell why
				}
				is.Equal(time.Since(began), tt.took)
			})
		})
	}
}

func TestTargetThatFailsWhileADeployIsAskedAboutIsNotSwitchedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{Agree: func(_ context.Context, d parachute.Deployment, _ uint64) error {
			time.Sleep(5 * time.Second)
			return nil
		}})
		one, two := h.app("one", "one.test:80"), h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		time.AfterFunc(2*time.Second, func() { two.SetHealth(503) })
		err := h.deploy("web", "two.test:80")
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		is.True(strings.Contains(err.Error(), "GET /up answered 503"))
		is.Equal(h.get("any.test"), "200 one")

		two.SetHealth(200)
		time.AfterFunc(2*time.Second, func() { two.SetHealth(503) })
		time.AfterFunc(12*time.Second, func() { two.SetHealth(200) })
		is.NoErr(h.deploy("web", "two.test:80")) // it is well again in time
		is.Equal(h.get("any.test"), "200 two")

		one.SetHealth(503)
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Force: true}))
	})
}

func TestCanaryIsAskedAboutOnceAndARolloutAndItsPromotionAreToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		refusal := errors.New("the smoke test failed")
		var answer error
		b := newBakeryWith(t, trying(50), parachute.Options{Agree: func(_ context.Context, d parachute.Deployment, generation uint64) error {
			asked = append(asked, fmt.Sprint(generation, d.Targets, d.Canary.Steps))
			return answer
		}})
		b.visitFor(31 * time.Second)
		b.is.NoErr(<-b.deployed) // it was promoted, as generation 3
		b.is.Equal(asked, []string{"1 [old.test:80] []", "2 [new.test:80] [50]"})
		b.is.NoErr(b.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"old.test:80"}}))
		b.is.NoErr(b.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"old.test:80"}, Deployment: new(parachute.Deployment)}))
		b.is.Equal(asked[2:], []string{"4 [old.test:80] [50]", "5 [old.test:80] []"})
		b.is.NoErr(b.Promote(t.Context(), "web"))
		b.is.Equal(asked[4:], []string{"6 [old.test:80] []"})
		b.is.NoErr(b.deploy("web", "new.test:80"))

		answer = refusal
		d := trying(50)
		d.Targets = []string{"old.test:80"}
		b.is.True(errors.Is(b.Deploy(t.Context(), d), refusal))
		b.is.True(b.Services()[0].Rollout == nil) // nobody has tried it
	})
}

func TestRolloutOrPromotionThatIsNotAgreedToChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		refusal := errors.New("it cannot be reached from here")
		var answer error
		var asked []parachute.Deployment
		h := newHouse(t, parachute.Options{Agree: func(_ context.Context, d parachute.Deployment, _ uint64) error {
			asked = append(asked, d)
			return answer
		}})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Force: true}))
		answer = refusal
		all := parachute.Rollout{Targets: []string{"two.test:80"}, Release: "v2", Split: parachute.Split{Percent: 100}, Timeouts: parachute.Timeouts{Deploy: 7 * time.Second}}
		is.True(errors.Is(h.Rollout(t.Context(), "web", all), refusal))
		is.True(h.Services()[0].Rollout == nil)
		is.Equal(h.get("any.test"), "200 one")
		given := asked[1]
		is.Equal(given.Service, "web")
		is.Equal(given.Targets, []string{"two.test:80"})
		is.Equal(given.Release, "v2")
		is.Equal(given.Timeouts.Deploy, 7*time.Second)
		is.Equal(given.HealthCheck.Path, "/up") // it is complete
		is.True(!given.Force)                   // which was said of what serves

		answer = nil
		is.NoErr(h.Rollout(t.Context(), "web", all))
		answer = refusal
		is.True(errors.Is(h.Promote(t.Context(), "web"), refusal))
		is.Equal(h.Services()[0].Deployment.Targets, []string{"one.test:80"})
		is.Equal(h.get("any.test"), "200 two") // the rollout stays
		answer = nil
		is.NoErr(h.Promote(t.Context(), "web"))
		is.Equal(asked[4].Targets, []string{"two.test:80"})
		is.True(h.Services()[0].Rollout == nil)
	})
}

func TestChangeIsProposedWhenItsTargetsBeginToBeProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var proposed []string
		var last context.Context
		var agreed uint64
		h := newHouse(t, parachute.Options{
			Propose: func(ctx context.Context, d parachute.Deployment, generation uint64, rollout bool) {
				proposed, last = append(proposed, fmt.Sprint(d.Service, generation, d.Targets, rollout)), ctx
			},
			Agree: func(_ context.Context, _ parachute.Deployment, generation uint64) error {
				agreed = generation
				if last.Err() != nil {
					return errors.New("the proposal has ended before")
				}
				return nil
			},
		})
		one := h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		one.SetHealth(503)
		ended := make(chan error, 1)
		go func() { ended <- h.deploy("web", "one.test:80") }()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		is.Equal(proposed, []string{"web1 [one.test:80] false"}) // it is not healthy yet
		is.Equal(agreed, uint64(0))
		one.SetHealth(200)
		is.NoErr(<-ended)
		is.Equal(agreed, uint64(1))
		is.True(last.Err() != nil)

		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
		is.NoErr(h.Promote(t.Context(), "web"))
		is.Equal(proposed[1:], []string{"web2 [two.test:80] true", "web3 [two.test:80] false"})
		one.SetHealth(503)
		d := parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second}}
		is.True(errors.Is(h.Deploy(t.Context(), d), parachute.ErrUnhealthy))
		is.Equal(len(proposed), 4)
		is.True(last.Err() != nil) // it has failed
	})
}

// A newer deploy ends a canary, as it ends any deploy, but no rollout.
func TestCanaryIsNotProposedAsARollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var proposed []string
		b := newBakeryWith(t, trying(50), parachute.Options{Propose: func(_ context.Context, d parachute.Deployment, generation uint64, rollout bool) {
			proposed = append(proposed, fmt.Sprint(generation, d.Targets, rollout))
		}})
		b.visitFor(31 * time.Second)
		b.is.NoErr(<-b.deployed)
		b.is.Equal(proposed, []string{"1 [old.test:80] false", "2 [new.test:80] false"})
		r := parachute.Rollout{Targets: []string{"old.test:80"}}
		b.is.NoErr(b.Rollout(t.Context(), "web", r)) // with the options of the service, the canary's steps included
		r.Deployment = new(parachute.Deployment)
		b.is.NoErr(b.Rollout(t.Context(), "web", r))
		b.is.Equal(proposed[2:], []string{"4 [old.test:80] true", "5 [old.test:80] true"})
	})
}
