package fleet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

// many is more services than one transaction of the store can be about.
const many = 150

// manyOf returns n deployments of an app.
func manyOf(n int, app string) (all []parachute.Deployment) {
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		all = append(all, parachute.Deployment{Service: name, Hosts: []string{name + ".test"}, Targets: []string{app + ".app:80"}})
	}
	return all
}

// inLargeWorld runs a test in a world with nodes a, b and c that serve app one as many services.
func inLargeWorld(t *testing.T, f func(is *checks.I, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		is := checks.New(t)
		w := newWorld(t, "a", "b", "c")
		w.app("one")
		w.app("two")
		is.NoErr(w.nodes["a"].apply(manyOf(many, "one")...))
		is.Equal(w.apps(), "many one, many one, many one")
		time.Sleep(time.Second)
		is.Equal(w.leftovers(), nil) // it is copied by now
		f(is, w)
	})
}

// apps returns which apps the services of each node are, by the node's name.
func (w *world) apps() string {
	var all []string
	for _, name := range w.names() {
		proxy, _ := w.nodes[name].now()
		all = append(all, appsOf(proxy))
	}
	return strings.Join(all, ", ")
}

// appsOf returns which apps the services of a proxy are at one moment.
func appsOf(proxy *parachute.Proxy) string {
	counts := make(map[string]int)
	for _, s := range proxy.Services() {
		counts[strings.TrimSuffix(s.Deployment.Targets[0], ".app:80")]++
	}
	for app, n := range counts {
		if n == many {
			return "many " + app
		}
	}
	return fmt.Sprint(counts)
}

// leftovers returns what the store has of proposals and batches.
func (w *world) leftovers() (keys []string) {
	pairs, _, err := w.memory.Client().Read(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range pairs {
		for _, prefix := range []string{"services-next", "proposals/", "votes/"} {
			if strings.HasPrefix(p.Key, prefix) {
				keys = append(keys, p.Key)
			}
		}
	}
	return keys
}

// steps returns how many services each node has changed in each step since it was asked last.
func (w *world) steps() string {
	var all []string
	for _, name := range w.names() {
		n := w.nodes[name]
		n.mu.Lock()
		all = append(all, fmt.Sprint(n.steps))
		n.steps = nil
		n.mu.Unlock()
	}
	return strings.Join(all, " ")
}

func TestApplyOfMoreThanATransactionTakesIsMadeInOneStep(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		for name, latency := range map[string]time.Duration{"a": 20, "b": 30, "c": 5} {
			w.nodes[name].client.Fail(func(kvtest.Call) kvtest.Fault {
				return kvtest.Fault{Before: latency * time.Millisecond, After: latency * time.Millisecond}
			})
		}
		w.steps()
		is.NoErr(w.nodes["b"].apply(manyOf(many, "two")...))
		is.Equal(w.apps(), "many two, many two, many two") // when the command has returned
		d := w.add("d")
		d.start()
		w.await("d is ready")
		is.Equal(w.apps(), "many two, many two, many two, many two")
		time.Sleep(time.Minute)
		is.Equal(w.steps(), "[150] [150] [150] [150]")
		is.Equal(w.leftovers(), nil)
		is.NoErr(w.nodes["c"].apply(manyOf(many, "one")[:5]...)) // of some of them, in one transaction
		is.Equal(w.apps(), strings.TrimSuffix(strings.Repeat("map[one:5 two:145], ", 4), ", "))
	})
}

func TestServicesThatALargeApplyTakesOutAreForgotten(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		a := w.nodes["a"]
		var remove []string
		for _, d := range manyOf(many, "one")[1:] {
			remove = append(remove, d.Service)
		}
		is.NoErr(a.changeAll(remove, func() error { return a.proxy.Apply(w.t.Context(), nil, remove...) }))
		is.Equal(w.apps(), "map[one:1], map[one:1], map[one:1]")
		time.Sleep(time.Minute)
		pairs, _, err := w.memory.Client().Read(w.t.Context(), "services")
		is.NoErr(err)
		is.Equal(len(pairs), 1)
		is.NoErr(w.nodes["b"].apply(manyOf(many, "two")...)) // their names are free again
		is.Equal(w.apps(), "many two, many two, many two")
	})
}

// After its proposals, the coordinator writes aside in two commits, makes that count with the
// third, copies in two more, and takes out what was aside with the sixth.
func TestLargeApplyOfACoordinatorThatDiesIsMadeAsAWholeOrNotAtAll(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		serving := "one"
		for _, tt := range []struct {
			commit       int  // at which it dies, after the proposals
			isDone, want bool // that commit is done, and in the end the whole is
		}{
			{1, true, false}, {3, false, false}, {3, true, true}, {5, false, true}, {6, false, true},
		} {
			next, steps := map[string]string{"one": "two", "two": "one"}[serving], "[] []"
			w.nodes["a"].dieAt(many+tt.commit, tt.isDone)
			w.steps()
			go w.nodes["a"].apply(manyOf(many, next)...)
			time.Sleep(time.Minute)
			w.nodes["a"].kill()
			time.Sleep(time.Minute)
			if tt.want {
				serving, steps = next, "[150] [150]"
			}
			is.Equal(w.apps(), fmt.Sprintf("many %[1]s, many %[1]s", serving)) // tt
			is.Equal(w.steps(), steps)                                         // tt
			is.Equal(w.leftovers(), nil)                                       // tt
			is.NoErr(w.nodes["b"].apply(manyOf(many, serving)[0]))             // nothing is in the way of another change
			w.nodes["a"].start()
			w.await("a is back")
		}
	})
}

// dieAt has the node be cut off from the store, for good, at one of its commits from now on,
// which is done or is not.
func (n *node) dieAt(commit int, isDone bool) {
	time.Sleep(time.Minute) // there is nothing to be reported any more
	var mu sync.Mutex
	commits := 0
	n.client.Fail(func(c kvtest.Call) kvtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c == "commit" {
			commits++
		}
		if c != "commit" || commits != commit {
			return kvtest.Fault{}
		}
		time.AfterFunc(time.Millisecond, n.client.Cut)
		return kvtest.Fault{LoseCall: !isDone, LoseAnswer: isDone}
	})
}

// What somebody has changed meanwhile is not overwritten.
func TestLargeApplyIsRefusedWhereOneOfItsServicesHasChanged(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		a, b := w.nodes["a"], w.nodes["b"]
		a.client.Fail(func(c kvtest.Call) kvtest.Fault { return kvtest.Fault{Before: 50 * time.Millisecond} })
		ended := make(chan error, 1)
		go func() { ended <- a.apply(manyOf(many, "two")...) }()
		isAside := func(key string) bool { return strings.HasPrefix(key, "services-next/") }
		for !slices.ContainsFunc(w.leftovers(), isAside) {
			time.Sleep(time.Millisecond)
		}
		is.NoErr(b.change("service-7", func() error { return b.proxy.Stop(w.t.Context(), "service-7", parachute.Stop{}) }))
		err := <-ended
		is.True(errors.Is(err, parachute.ErrSuperseded))
		is.Equal(w.apps(), "many one, many one, many one")
		time.Sleep(time.Minute)
		is.Equal(w.leftovers(), nil)
	})
}

// What does not concern it does.
func TestLargeApplyIsMadeWhileOtherServicesChange(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		a, b := w.nodes["a"], w.nodes["b"]
		is.NoErr(b.deploy(web("one")))
		a.client.Fail(func(c kvtest.Call) kvtest.Fault { return kvtest.Fault{Before: 50 * time.Millisecond} })
		ended := make(chan error, 1)
		go func() { ended <- a.apply(manyOf(many, "two")...) }()
		changed := 0
		for len(ended) == 0 {
			time.Sleep(500 * time.Millisecond)
			is.NoErr(b.proxy.Stop(w.t.Context(), "web", parachute.Stop{}))
			is.NoErr(b.proxy.Resume(w.t.Context(), "web"))
			changed++
		}
		is.NoErr(<-ended)
		is.True(changed > 1)
		time.Sleep(time.Minute)
		is.Equal(w.leftovers(), nil)
	})
}

// An apply of which one service cannot be never comes to its commit.
func TestProposalsOfAnApplyThatFailsAreTakenOut(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		w.app("sick").SetHealth(503)
		all := manyOf(many, "two")[:5]
		all[2].Targets, all[2].Timeouts.Deploy = []string{"sick.app:80"}, 20*time.Second
		is.True(errors.Is(w.nodes["a"].apply(all...), parachute.ErrUnhealthy))
		is.True(len(w.leftovers()) > 0)
		time.Sleep(time.Minute)
		is.Equal(w.leftovers(), nil)
		is.Equal(w.apps(), "many one, many one, many one")
	})
}

func TestBatchThatSomebodyHasEditedIsTakenOut(t *testing.T) {
	inLargeWorld(t, func(is *checks.I, w *world) {
		for _, value := range []string{"by hand", `{"id":"1-1-1","by":"a","services":7}`} {
			_, _, err := w.memory.Client().Commit(w.t.Context(), nil, []kv.Write{kv.Put("services-next", []byte(value), 0), kv.Put("services-next/1-1-1/web", []byte("{}"), 0)})
			is.NoErr(err)
			is.NoErr(w.nodes["b"].deploy(web("two")))
			time.Sleep(time.Minute)
			is.Equal(w.leftovers(), nil)
			b := w.nodes["b"]
			is.NoErr(b.change("web", func() error { return b.proxy.Remove(w.t.Context(), "web") }))
		}
		is.Equal(w.apps(), "many one, many one, many one")
	})
}
