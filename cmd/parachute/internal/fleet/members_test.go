package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

func TestMemberThatLeavesHasNothingLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b", "c")
		w.slow("one", 30*time.Second)
		w.app("two")
		is.NoErr(w.nodes["a"].deploy(web("one")))
		go w.ask("c", "any.test")
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(web("two")) }()
		time.Sleep(time.Second)
		w.nodes["c"].leave()
		is.NoErr(<-ended)
		is.Equal(w.members(), []string{"a", "b", "c/left"})
		w.nodes["c"].start()
		w.await("c is back")
		is.Equal(w.all(), "two two two")
		is.NoErr(w.nodes["c"].deploy(web("two")))
	})
}

// Who tells a proxy to stop waits for its requests, and not for an etcd that is away.
func TestMemberEndsThoughTheStoreDoesNotAnswerAboutAChange(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		a, ended := w.nodes["a"], make(chan error, 1)
		w.memory.Stop()
		go func() { ended <- a.proxy.Stop(w.t.Context(), "web", parachute.Stop{}) }()
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		a.leave()
		is.True(time.Since(began) <= 2*time.Second)
		is.True(errors.Is(<-ended, parachute.ErrClosed)) // it had not come to the transaction
		w.memory.Start()
		w.await("the store is back")
	})
}

func TestChangeWhoseOutcomeIsNotKnownWhenTheProxyEndsIsUndecided(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		a, ended := w.nodes["a"], make(chan error, 1)
		time.Sleep(time.Minute) // there is nothing to be reported any more
		a.client.Fail(func(c kvtest.Call) kvtest.Fault {
			if c == "commit" {
				time.AfterFunc(time.Millisecond, a.client.Cut)
			}
			return kvtest.Fault{LoseAnswer: c == "commit"}
		})
		go func() { ended <- a.proxy.Stop(w.t.Context(), "web", parachute.Stop{}) }()
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		a.leave()
		is.True(time.Since(began) <= 2*time.Second)
		is.True(errors.Is(<-ended, parachute.ErrUndecided))
	})
}

func TestMemberThatIsAdoptedIsTheSameToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b")
		w.app("one")
		w.app("sick").SetHealth(503)
		w.app("two")
		is.NoErr(w.nodes["a"].deploy(web("one")))
		b := w.nodes["b"]
		b.handOver()
		d := web("two") // while neither is there
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(d) }()
		time.Sleep(3 * time.Second)
		is.Equal(len(ended), 0) // it waits for b
		b.start()
		is.NoErr(<-ended)
		is.Equal(w.all(), "two two")
		is.True(b.member.Ready() == nil)
	})
}

func TestMembersAreListedWithWhatTheyHaveYetToDo(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.add("d").dial = w.allBut("one.app:80")
		w.nodes["d"].start()
		w.await("d is ready")
		time.Sleep(25 * time.Second)
		tell := func() (all []string) {
			members, err := w.nodes["a"].member.Members(w.t.Context())
			is.NoErr(err)
			for _, m := range members {
				all = append(all, fmt.Sprint(m.Name, " ", m.Address, " ", m.Version, " ", m.Self, " ", m.Services, " ", m.Unhealthy, " ", m.Behind))
			}
			return all
		}
		is.Equal(tell(), []string{"a a.test:80 1.2.3 true 1 [] 0", "b b.test:80 1.2.3 false 1 [] 0", "c c.test:80 1.2.3 false 1 [] 0", "d d.test:80 1.2.3 false 1 [web] 0"})
		w.nodes["c"].client.Fail(func(call kvtest.Call) kvtest.Fault {
			if call == "watch" {
				return kvtest.Fault{Before: 1500 * time.Millisecond}
			}
			return kvtest.Fault{}
		})
		go w.nodes["a"].deploy(web("two"))
		time.Sleep(2 * time.Second)
		is.Equal(tell()[2], "c c.test:80 1.2.3 false 1 [] 1")
		time.Sleep(25 * time.Second)
		is.Equal(tell()[2], "c c.test:80 1.2.3 false 1 [] 0")
	})
}

func TestServicesOfAnotherMemberAreCountedAMomentAfterAChange(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		time.Sleep(30 * time.Second)
		for _, name := range []string{"x", "y", "z"} { // in no time
			is.NoErr(w.nodes["b"].deploy(parachute.Deployment{Service: name, Targets: []string{"two.app:80"}, Hosts: []string{name + ".test"}}))
		}
		time.Sleep(2 * time.Second)
		members, err := w.nodes["a"].member.Members(w.t.Context())
		is.NoErr(err)
		for _, m := range members {
			is.Equal(m.Services, 4)
			is.Equal(m.Reached, members[0].Reached) // comparable
		}
		is.True(members[0].Reached > 0)
	})
}

func TestSecondProxyOfOneNameIsRefused(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		twin := w.add("twin")
		twin.named = "a"
		twin.start()
		time.Sleep(time.Minute)
		err := twin.member.Ready()
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "there is a proxy a in the fleet, at a.test:80"))
		is.True(w.nodes["a"].member.Ready() == nil)
		w.nodes["a"].leave()
		w.await("the name is free")
	})
}
