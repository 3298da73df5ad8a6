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

func TestCanaryIsAskedAboutOnceAndARolloutNotAtAll(t *testing.T) {
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
		b.is.Equal(len(asked), 2)
		b.is.NoErr(b.EndRollout(t.Context(), "web"))

		answer = refusal
		d := trying(50)
		d.Targets = []string{"old.test:80"}
		b.is.True(errors.Is(b.Deploy(t.Context(), d), refusal))
		b.is.True(b.Services()[0].Rollout == nil) // nobody has tried it
	})
}
