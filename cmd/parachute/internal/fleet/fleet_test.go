package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

// inWorld runs a test in a world with nodes a, b and c that serve app one.
func inWorld(t *testing.T, f func(is *checks.I, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b", "c")
		w.app("one")
		w.app("two")
		is.NoErr(w.nodes["a"].deploy(web("one")))
		is.Equal(w.all(), "one one one")
		f(is, w)
	})
}

func TestChangeOnOneIsMadeOnAll(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		ctx, b := context.Background(), w.nodes["b"]
		is.NoErr(b.deploy(web("two")))
		is.Equal(w.all(), "two two two")
		is.NoErr(b.change("web", func() error { return b.proxy.Stop(ctx, "web", parachute.Stop{}) }))
		is.Equal(w.all(), strings.TrimSpace(strings.Repeat("503 Service Unavailable ", 3)))
		is.NoErr(b.change("web", func() error { return b.proxy.Resume(ctx, "web") }))
		is.Equal(w.all(), "two two two")
		r := parachute.Rollout{Targets: []string{"one.app:80"}, Split: parachute.Split{Percent: 100}}
		is.NoErr(b.change("web", func() error { return b.proxy.Rollout(ctx, "web", r) }))
		is.Equal(w.all(), "one one one")
		c := w.nodes["c"]
		is.NoErr(c.change("web", func() error { return c.proxy.SetSplit(ctx, "web", parachute.Split{}) }))
		is.Equal(w.all(), "two two two")
		is.NoErr(c.change("web", func() error { return c.proxy.Promote(ctx, "web") }))
		is.Equal(w.all(), "one one one")
		is.NoErr(c.change("web", func() error { return c.proxy.Rollback(ctx, "web", parachute.Rollback{}) }))
		is.Equal(w.all(), "two two two")
		is.NoErr(c.change("web", func() error { return c.proxy.Remove(ctx, "web") }))
		is.Equal(w.all(), strings.TrimSpace(strings.Repeat("404 Not Found ", 3)))
		is.NoErr(b.deploy(web("one"))) // its name is free again
		is.Equal(w.all(), "one one one")
	})
}

func TestApplyMovesHostsOnAllInOneStep(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		of := func(service, app, host string) parachute.Deployment {
			return parachute.Deployment{Service: service, Targets: []string{app + ".app:80"}, Hosts: []string{host}}
		}
		is.NoErr(w.nodes["a"].apply(of("x", "one", "x.test"), of("y", "two", "y.test")))
		is.NoErr(w.nodes["b"].apply(of("x", "one", "y.test"), of("y", "two", "x.test")))
		for _, node := range w.names() {
			is.Equal(w.ask(node, "x.test"), "two")
			is.Equal(w.ask(node, "y.test"), "one")
		}
	})
}

func TestTargetThatOneMemberCannotReachFailsTheDeploy(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.add("d").dial = w.allBut("two.app:80")
		w.nodes["d"].start()
		w.await("d is ready")
		d := web("two")
		d.Timeouts.Deploy = 5 * time.Second
		err := w.nodes["b"].deploy(d)
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "d refuses it: "))
		is.True(strings.Contains(err.Error(), "two.app:80"))
		is.True(strings.Contains(fmt.Sprintf("%+v", err), "web still serves one.app:80"))
		is.Equal(w.ask("b", "any.test")+" "+w.ask("c", "any.test"), "one one")
		is.NoErr(w.nodes["b"].deploy(parachute.Deployment{Service: "web", Targets: []string{"one.app:80"}}))
	})
}

func TestCommandReturnsWhenAllHaveDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b", "c")
		w.slow("one", 7*time.Second)
		w.app("two")
		is.NoErr(w.nodes["a"].deploy(web("one")))
		running := make(chan string, 1)
		go func() { running <- w.ask("c", "any.test") }()
		synctest.Wait()
		began := time.Now()
		var told []string
		a := w.nodes["a"]
		is.NoErr(a.proxy.Deploy(t.Context(), web("two")))
		synctest.Wait()
		is.Equal(w.ask("c", "any.test"), "two")
		is.NoErr(a.member.Settle(t.Context(), []string{"web"}, nil, func(_, member string) { told = append(told, member) }))
		is.Equal(<-running, "one")
		is.Equal(time.Since(began), 7*time.Second)
		is.Equal(slices.Sorted(slices.Values(told)), []string{"b", "c"})
	})
}

func TestDeployWithoutTheStoreIsRefused(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.memory.Stop()
		time.Sleep(11 * time.Second)
		err := w.nodes["a"].deploy(web("two"))
		is.True(errors.Is(err, kv.ErrUnreachable))
		is.True(strings.Contains(err.Error(), "nothing can be changed now: "))
		is.True(errors.Is(w.nodes["a"].proxy.Pause(w.t.Context(), "web", parachute.Pause{}), kv.ErrUnreachable))
		is.True(w.nodes["b"].member.Ready() != nil)
		is.Equal(w.all(), "one one one") // what serves serves on
		w.memory.Start()
		w.await("the store is back")
		is.NoErr(w.nodes["a"].deploy(web("two")))
		is.Equal(w.all(), "two two two")
	})
}

func TestPartedMemberSaysThatItIsNotReadyBeforeOthersCountItAsGone(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		c := w.nodes["c"]
		c.client.Cut()
		began := time.Now()
		for c.member.Ready() == nil {
			time.Sleep(100 * time.Millisecond)
		}
		notReady := time.Since(began)
		for len(w.members()) == 3 {
			time.Sleep(100 * time.Millisecond)
		}
		is.True(notReady < time.Since(began)-500*time.Millisecond)
		is.NoErr(w.nodes["a"].deploy(web("two")))
		is.Equal(w.all(), "two two one") // it serves what it has
		c.client.Mend()
		w.await("c is back")
		is.Equal(w.all(), "two two two")
	})
}

func TestMemberThatIsLostDuringADeployIsNamed(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.nodes["c"].kill()
		err := w.nodes["a"].deploy(web("two")) // its lease goes on for a while
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.True(strings.Contains(err.Error(), "the lease of c has ended"))
		is.True(strings.Contains(err.Error(), "do not stop the old targets"))
		is.Equal(w.all(), "two two")
		is.NoErr(w.nodes["a"].deploy(web("one")))
		w.nodes["c"].start() // with what it had: app one as its first generation
		w.await("c is back")
		is.Equal(w.all(), "one one one")
		is.NoErr(w.nodes["c"].deploy(web("two")))
		is.Equal(w.all(), "two two two")
	})
}

func TestMemberThatJoinsServesTheNewestBeforeItIsReady(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		d := w.add("d")
		d.start()
		for d.member.Ready() != nil {
			time.Sleep(10 * time.Millisecond)
		}
		is.Equal(w.ask("d", "any.test"), "one")
		is.NoErr(d.deploy(web("two")))
		is.Equal(w.all(), "two two two two")
	})
}

func TestProxyBeginsAFleetWithWhatItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t)
		w.app("one")
		a := w.add("a")
		a.disk["web"] = parachute.Status{Service: "web", Generation: 7, State: parachute.StateServing, Deployment: web("one")}
		a.start()
		w.await("a is ready")
		w.add("b").start()
		w.await("b is ready")
		is.Equal(w.all(), "one one")
		is.Equal(w.nodes["b"].proxy.Services()[0].Generation, uint64(7))
	})
}

func TestDataOfAnotherFormatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t)
		_, _, err := w.memory.Client().Commit(t.Context(), nil, []kv.Write{kv.Put("format", []byte("2"), 0)})
		is.NoErr(err)
		a := w.add("a")
		a.start()
		time.Sleep(5 * time.Second)
		err = a.member.Ready()
		is.True(strings.Contains(err.Error(), `format "2"`))
		is.True(strings.Contains(err.Error(), `knows format "1"`))
	})
}

func TestRecordThatCannotBeReadLeavesTheServiceAsItIs(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		_, _, err := w.memory.Client().Commit(w.t.Context(), nil, []kv.Write{kv.Put("services/web", []byte("by hand"), 0)})
		is.NoErr(err)
		time.Sleep(time.Second)
		is.Equal(w.all(), "one one one")
		w.nodes["b"].kill()
		w.nodes["b"].start()
		w.await("b is back")
		is.Equal(w.all(), "one one one")
		is.NoErr(w.nodes["a"].deploy(web("two")))
		is.Equal(w.all(), "two two two")
	})
}

func TestOutcomeThatGotLostIsReadBack(t *testing.T) {
	for name, tt := range map[string]struct {
		fault kvtest.Fault
		ok    bool
	}{
		"it was made":                     {kvtest.Fault{LoseAnswer: true}, true},
		"it was not made":                 {kvtest.Fault{LoseCall: true}, false},
		"it would be made after a moment": {kvtest.Fault{LoseAnswer: true, Late: time.Second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				a := w.nodes["a"]
				commits := 0
				time.Sleep(time.Minute) // there is nothing to be reported any more
				a.client.Fail(func(c kvtest.Call) kvtest.Fault {
					if c == "commit" {
						if commits++; commits == 2 { // after the proposal
							return tt.fault
						}
					}
					return kvtest.Fault{}
				})
				err := a.deploy(web("two"))
				time.Sleep(time.Minute)
				is.Equal(w.asked(), nil)
				if tt.ok {
					is.NoErr(err)
					is.Equal(w.all(), "two two two")
					return
				}
				is.True(errors.Is(err, kv.ErrUnreachable))
				is.True(!errors.Is(err, parachute.ErrUndecided))
				is.Equal(w.all(), "one one one")
			})
		})
	}
}

func TestOutcomeThatCannotBeKnownIsUndecided(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		a := w.nodes["a"]
		commits := 0
		time.Sleep(time.Minute) // there is nothing to be reported any more
		a.client.Fail(func(c kvtest.Call) kvtest.Fault {
			if c == "commit" {
				if commits++; commits == 2 {
					time.AfterFunc(time.Millisecond, a.client.Cut)
					return kvtest.Fault{LoseAnswer: true, Late: time.Second}
				}
			}
			return kvtest.Fault{}
		})
		err := a.deploy(web("two"))
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.Equal(w.all(), "one two two") // it was made
		a.client.Mend()
		w.await("a is back")
		is.Equal(w.all(), "two two two")
	})
}

func TestNewerDeployThroughAnotherProxySupersedes(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.app("sick").SetHealth(503)
		w.app("three")
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(web("sick")) }()
		time.Sleep(time.Second)
		is.NoErr(w.nodes["b"].deploy(web("two")))
		is.True(errors.Is(<-ended, parachute.ErrSuperseded))
		is.Equal(w.all(), "two two two")
	})
}

func TestTakeBackReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b", "c")
		w.slow("one", 20*time.Second)
		two := w.app("two")
		is.NoErr(w.nodes["a"].deploy(web("one")))
		go w.ask("a", "any.test") // so that the drain takes a while
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(web("two")) }()
		time.Sleep(time.Second)
		is.Equal(w.all(), "two two two")
		two.Stop()
		is.True(errors.Is(<-ended, parachute.ErrTakenBack))
		for _, name := range w.names() {
			is.Equal(w.nodes[name].proxy.Services()[0].Deployment.Targets, []string{"one.app:80"})
		}
	})
}

func TestBakeOfALostCoordinatorEnds(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		d := web("two")
		d.Bake.For = time.Hour
		go w.nodes["a"].deploy(d)
		time.Sleep(time.Second)
		is.Equal(w.all(), "two two two")
		is.True(w.nodes["b"].proxy.Services()[0].Bake != nil)
		w.nodes["a"].kill()
		time.Sleep(20 * time.Second)
		is.True(w.nodes["b"].proxy.Services()[0].Bake == nil)
		is.True(w.nodes["c"].proxy.Services()[0].Bake == nil)
		w.nodes["a"].start()
		w.await("a is back")
		is.Equal(w.all(), "two two two")
	})
}

func TestWhatCannotBeSavedHereIsServedAllTheSame(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		b := w.nodes["b"]
		b.fill(errors.New("no space left on device"))
		is.NoErr(w.nodes["a"].deploy(web("two")))
		is.NoErr(b.deploy(web("one")))
		is.Equal(w.all(), "one one one")
		b.fill(nil)
		time.Sleep(10 * time.Second)
		is.Equal(b.saved("web").Generation, b.proxy.Services()[0].Generation)
	})
}

func TestForgottenChangesAreReadAnew(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		c := w.nodes["c"]
		c.client.Fail(func(call kvtest.Call) kvtest.Fault {
			if call == "watch" {
				return kvtest.Fault{Before: 2 * time.Second}
			}
			return kvtest.Fault{}
		})
		go func() {
			time.Sleep(5 * time.Second)
			w.memory.Compact()
			c.client.Fail(nil)
		}()
		is.NoErr(w.nodes["a"].deploy(web("two")))
		is.Equal(w.all(), "two two two")
	})
}

func TestDeployRightAfterTheStartWaitsForTheFleet(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		d := w.add("d")
		d.slowly = time.Second
		d.start()
		is.NoErr(d.deploy(web("two")))
		is.Equal(w.all(), "two two two two")
	})
}

func TestMemberThatComesBeforeTheCommitHasAVote(t *testing.T) {
	for name, tt := range map[string]struct {
		reaches bool
		answers string
	}{
		"and finds the target healthy": {true, "two two two two"},
		"and does not reach it":        {false, "one one one one"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				a, d := w.nodes["a"], w.add("d")
				if !tt.reaches {
					d.dial = w.allBut("two.app:80")
				}
				time.Sleep(time.Minute) // there is nothing to be reported any more
				commits := 0
				a.client.Fail(func(c kvtest.Call) kvtest.Fault {
					if c == "commit" {
						if commits++; commits == 2 { // after the proposal, and all votes
							d.start()
							return kvtest.Fault{Before: time.Second}
						}
					}
					return kvtest.Fault{}
				})
				deployment := web("two")
				deployment.Timeouts.Deploy = 8 * time.Second
				err := a.deploy(deployment)
				is.Equal(err == nil, tt.reaches)
				is.True(err == nil || strings.Contains(err.Error(), "d refuses it: "))
				is.Equal(w.all(), tt.answers)
			})
		})
	}
}

func TestChangeThatWasNotMadeKeepsNoOtherFromWaiting(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		a := w.nodes["a"]
		is.NoErr(a.proxy.Deploy(w.t.Context(), web("two")))
		is.NoErr(a.member.Settle(w.t.Context(), []string{"web"}, parachute.ErrSuperseded, nil)) // of an older one
		var told []string
		is.NoErr(a.member.Settle(w.t.Context(), []string{"web"}, nil, func(_, member string) { told = append(told, member) }))
		is.Equal(slices.Sorted(slices.Values(told)), []string{"b", "c"})
		w.nodes["c"].kill()
		is.NoErr(a.member.Settle(w.t.Context(), []string{"web"}, nil, nil)) // what has drained has drained
	})
}

func TestWhoHasLostTheConnectionLearnsOfTheDrainsAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b", "c")
		w.slow("one", 7*time.Second)
		w.app("two")
		a := w.nodes["a"]
		is.NoErr(a.deploy(web("one"))) // c serves it as well by now
		go w.ask("c", "any.test")
		synctest.Wait()
		began := time.Now()
		is.NoErr(a.proxy.Deploy(t.Context(), web("two")))
		lost, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		is.True(a.member.Settle(lost, []string{"web"}, nil, func(_, _ string) {}) != nil)
		is.NoErr(a.member.Settled(t.Context(), "web"))
		is.Equal(time.Since(began), 7*time.Second)

		w.nodes["c"].kill()
		is.True(errors.Is(a.deploy(web("two")), parachute.ErrUndecided))
		err := a.member.Settled(t.Context(), "web") // also when it is asked again
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.True(strings.Contains(err.Error(), "the lease of c has ended"))

		a.leave() // the next process has made no change
		a.start()
		w.await("a is back")
		err = a.member.Settled(t.Context(), "web")
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.True(strings.Contains(err.Error(), "the lease of c has ended"))
		w.nodes["c"].start()
		w.await("c is back")
		a.leave()
		a.start()
		w.await("a is back")
		is.NoErr(a.member.Settled(t.Context(), "web"))
		w.memory.Stop()
		time.Sleep(11 * time.Second)
		err = w.nodes["b"].member.Settled(t.Context(), "web")
		is.True(errors.Is(err, parachute.ErrUndecided))
		is.True(strings.Contains(err.Error(), "the store cannot be reached"))
	})
}
