package fleet_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

// asked returns the keys that there are of proposals and votes.
func (w *world) asked() (keys []string) {
	for _, prefix := range []string{"proposals/", "votes/"} {
		pairs, _, err := w.memory.Client().Read(w.t.Context(), prefix)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, p := range pairs {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// A way is how a node reaches its targets.
type way struct {
	world   *world
	dialled atomic.Int64  // what is not app one
	blocked atomic.Bool   // none of these can be reached
	delay   time.Duration // until a connection is there
}

func (y *way) dial(ctx context.Context, network, address string) (net.Conn, error) {
	time.Sleep(y.delay)
	if address != "one.app:80" {
		y.dialled.Add(1)
		if y.blocked.Load() {
			return nil, errors.New("no route to host")
		}
	}
	return y.world.net.Dial(ctx, network, address)
}

// addWith adds a node that reaches its targets that way.
func (w *world) addWith(name string, y *way) *node {
	n := w.add(name)
	y.world, n.dial = w, y.dial
	n.start()
	w.await(name + " is ready")
	return n
}

func TestAllProbeFromTheBeginningOfADeploy(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		y := new(way)
		w.addWith("d", y)
		late := w.app("late")
		late.SetHealth(503)
		time.AfterFunc(10*time.Second, func() { late.SetHealth(200) })
		began, ended := time.Now(), make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(web("late")) }()
		time.Sleep(5 * time.Second)
		is.True(y.dialled.Load() > 0) // though it is not healthy yet for anybody
		is.NoErr(<-ended)
		is.True(time.Since(began) < 12*time.Second)
		is.Equal(w.all(), "late late late late")
		is.Equal(w.asked(), nil)
	})
}

func TestRolloutAndItsPromotionAreProbedByAll(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		y, b := new(way), w.nodes["b"]
		w.addWith("d", y)
		y.blocked.Store(true)
		r := parachute.Rollout{Targets: []string{"two.app:80"}, Split: parachute.Split{Percent: 100}, Timeouts: parachute.Timeouts{Deploy: 5 * time.Second}}
		rollOut := func() error { return b.proxy.Rollout(context.Background(), "web", r) }
		promote := func() error { return b.proxy.Promote(context.Background(), "web") }
		err := b.change("web", rollOut)
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "d refuses it: "))
		is.True(strings.Contains(err.Error(), "two.app:80"))
		is.Equal(w.all(), "one one one one")
		is.True(b.proxy.Services()[0].Rollout == nil)
		is.Equal(w.asked(), nil)

		y.blocked.Store(false)
		is.NoErr(b.change("web", rollOut))
		is.Equal(w.all(), "two two two two")
		is.Equal(w.asked(), nil)

		y.blocked.Store(true)
		err = b.change("web", promote)
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "d refuses it: "))
		for _, name := range w.names() {
			is.Equal(w.nodes[name].proxy.Services()[0].Deployment.Targets, []string{"one.app:80"})
		}
		y.blocked.Store(false)
		is.NoErr(b.change("web", promote))
		is.Equal(w.all(), "two two two two")
		is.Equal(w.asked(), nil)
	})
}

func TestCanaryIsProbedByAllBeforeItsFirstStep(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		y := new(way)
		w.addWith("d", y)
		y.blocked.Store(true)
		d := web("two")
		d.Timeouts.Deploy = 5 * time.Second
		d.Canary = parachute.Canary{Steps: []int{50}}
		err := w.nodes["a"].deploy(d)
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "d refuses it: "))
		is.True(w.nodes["b"].proxy.Services()[0].Rollout == nil) // nobody has tried it
		is.Equal(w.asked(), nil)
	})
}

func TestDeployAndRolloutOfOneServiceDoNotEndEachOther(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		late, a := w.app("late"), w.nodes["a"]
		w.app("three")
		late.SetHealth(503)
		time.AfterFunc(5*time.Second, func() { late.SetHealth(200) })
		ended := make(chan error, 1)
		go func() { ended <- a.deploy(web("late")) }()
		time.Sleep(time.Second)
		r := parachute.Rollout{Targets: []string{"three.app:80"}}
		is.NoErr(a.change("web", func() error { return a.proxy.Rollout(w.t.Context(), "web", r) }))
		is.NoErr(<-ended)
		is.Equal(w.all(), "late late late")
		is.Equal(w.nodes["c"].proxy.Services()[0].Rollout.Targets, []string{"three.app:80"})
		is.Equal(w.asked(), nil)
	})
}

func TestRolloutThroughAnotherProxyDoesNotEndADeploy(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		late, b := w.app("late"), w.nodes["b"]
		w.app("sick").SetHealth(503)
		late.SetHealth(503)
		time.AfterFunc(5*time.Second, func() { late.SetHealth(200) })
		deployed, rolledOut := make(chan error, 1), make(chan error, 1)
		go func() { deployed <- w.nodes["a"].deploy(web("late")) }()
		time.Sleep(time.Second)
		r := parachute.Rollout{Targets: []string{"sick.app:80"}, Timeouts: parachute.Timeouts{Deploy: 10 * time.Second}}
		go func() {
			rolledOut <- b.change("web", func() error { return b.proxy.Rollout(context.Background(), "web", r) })
		}()
		is.NoErr(<-deployed)
		is.Equal(w.all(), "late late late")
		is.True(<-rolledOut != nil)
	})
}

func TestDeployThatHasEndedIsProbedByNobody(t *testing.T) {
	for name, end := range map[string]func(w *world, cancel func()){
		"it was too late":           func(*world, func()) {},
		"it was given up":           func(_ *world, cancel func()) { cancel() },
		"a newer one came":          func(w *world, _ func()) { w.nodes["a"].deploy(web("one")) },
		"a newer one came by b":     func(w *world, _ func()) { w.nodes["b"].deploy(web("one")) },
		"the service was taken out": func(w *world, _ func()) { w.nodes["a"].proxy.Remove(w.t.Context(), "web") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				w.app("sick").SetHealth(503)
				d := web("sick")
				d.Timeouts.Deploy = 8 * time.Second
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- w.nodes["a"].proxy.Deploy(ctx, d) }()
				time.Sleep(5 * time.Second)
				is.Equal(w.asked(), []string{"proposals/web"})
				end(w, cancel)
				is.True(<-ended != nil)
				synctest.Wait()
				is.Equal(w.asked(), nil)
			})
		})
	}
}

func TestVotesGoWithTheProposalThatAnotherTakesThePlaceOf(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		y := new(way)
		d := w.addWith("d", y)
		y.blocked.Store(true)
		ended := make(chan error, 1)
		go func() { ended <- d.deploy(web("two")) }()
		time.Sleep(5 * time.Second)
		is.Equal(len(w.asked()), 4) // with the votes of the others, who reach it
		is.NoErr(w.nodes["a"].deploy(web("one")))
		is.True(errors.Is(<-ended, parachute.ErrSuperseded))
		synctest.Wait()
		is.Equal(w.asked(), nil)
	})
}

func TestDeployOutlivesTheLeaseThatItWasProposedWith(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		late, a := w.app("late"), w.nodes["a"]
		late.SetHealth(503)
		ended := make(chan error, 1)
		go func() { ended <- a.deploy(web("late")) }()
		time.Sleep(time.Second)
		a.client.Cut()
		time.Sleep(15 * time.Second)
		is.Equal(w.asked(), nil) // it went with the lease
		a.client.Mend()
		w.await("a is back")
		late.SetHealth(200)
		is.NoErr(<-ended)
		is.Equal(w.all(), "late late late")
	})
}

func TestProposalThatComesLateDoesNotEndTheNewerOne(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.addWith("d", &way{delay: 4500 * time.Millisecond}) // so that the vote takes a while
		w.app("sick").SetHealth(503)
		a, commits := w.nodes["a"], 0
		time.Sleep(time.Minute) // there is nothing to be reported any more
		a.client.Fail(func(c kvtest.Call) kvtest.Fault {
			if c == "commit" {
				if commits++; commits == 1 {
					return kvtest.Fault{LoseAnswer: true, Late: time.Millisecond}
				}
			}
			return kvtest.Fault{}
		})
		first := make(chan error, 1)
		go func() { first <- a.proxy.Deploy(context.Background(), web("sick")) }()
		time.Sleep(time.Second)
		is.NoErr(a.deploy(web("two")))
		is.True(errors.Is(<-first, parachute.ErrSuperseded))
		is.Equal(w.all(), "two two two two")
	})
}

func TestTwoDeploysOfOneHostAreNotBothMade(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		ended := make(chan error, 2)
		for node, service := range map[string]string{"a": "x", "b": "y"} {
			go func() {
				ended <- w.nodes[node].deploy(parachute.Deployment{Service: service, Targets: []string{"two.app:80"}, Hosts: []string{"x.test"}})
			}()
		}
		first, second := <-ended, <-ended
		is.True((first == nil) != (second == nil))
		is.True(errors.Is(errors.Join(first, second), parachute.ErrConflict))
		time.Sleep(time.Second)
		is.Equal(w.asked(), nil)
		for _, name := range w.names() {
			is.Equal(len(w.nodes[name].proxy.Services()), 2)
		}
		done := make(chan error, 2)
		for node, service := range map[string]string{"a": "p", "b": "q"} { // they have nothing to do with each other
			go func() {
				done <- w.nodes[node].deploy(parachute.Deployment{Service: service, Targets: []string{"two.app:80"}, Hosts: []string{service + ".test"}})
			}()
		}
		is.NoErr(<-done)
		is.NoErr(<-done)
	})
}
