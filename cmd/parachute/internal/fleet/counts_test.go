package fleet_test

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

// fragile serves an app that fails for whoever asks for bad.test.
func (w *world) fragile(name string) {
	w.net.Serve(w.t, name+".app:80", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Host == "bad.test" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(rw, name)
	}))
}

// traffic has clients ask for good.test through a, and for bad.test through b, ten times a
// second each for so long.
func (w *world) traffic(seconds int) {
	for range 10 * seconds {
		w.ask("a", "good.test")
		if w.nodes["b"].isUp() {
			w.ask("b", "bad.test")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// counts returns how many members have said what they counted of what others judge.
func (w *world) counts() int {
	pairs, _, err := w.memory.Client().Read(w.t.Context(), "counts/")
	if err != nil {
		w.t.Fatal(err)
	}
	return len(pairs)
}

// bakeReport returns how the last bake stood when it was told of last.
func (n *node) bakeReport() (last parachute.BakeReport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.Kind == parachute.EventBaking && e.Bake != nil {
			last = *e.Bake
		}
	}
	return last
}

func baking(app string) parachute.Deployment {
	d := web(app)
	d.Bake = parachute.Bake{For: time.Minute}
	return d
}

func TestBakeIsJudgedByTheRequestsOfAll(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.fragile("fragile")
		w.traffic(30)
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(baking("fragile")) }()
		w.traffic(30)
		err := <-ended
		is.True(errors.Is(err, parachute.ErrTakenBack))
		var takenBack *parachute.TakenBackError
		is.True(errors.As(err, &takenBack))
		is.True(takenBack.Bake.Now.Errors > 0) // none of which a has seen
		is.Equal(w.all(), "one one one")
		time.Sleep(2 * time.Second)
		is.Equal(w.counts(), 0)
	})
}

func TestBakeIsJudgedByWhatAllHaveSeenBefore(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.fragile("fragile")
		w.fragile("next")
		is.NoErr(w.nodes["a"].deploy(web("fragile")))
		w.traffic(60)
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(baking("next")) }()
		w.traffic(55)
		is.NoErr(<-ended) // it fails as often as what served before, where it does
		is.Equal(w.all(), "next next next")
	})
}

func TestWhatALostProxyHasCountedCounts(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.fragile("fragile")
		d := baking("fragile")
		d.Bake.MinRequests = 100
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(d) }()
		time.Sleep(time.Second)
		w.ask("b", "bad.test")
		time.Sleep(2 * time.Second)
		w.nodes["b"].kill()
		time.Sleep(20 * time.Second)
		is.Equal(w.counts(), 0) // they went with the lease, as c has none
		w.ask("a", "good.test")
		<-ended
		told := w.nodes["a"].bakeReport()
		is.Equal(told.Now.Requests, uint64(2))
		is.Equal(told.Now.Errors, uint64(1))
	})
}

func TestCanaryIsJudgedByTheRequestsOfAll(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.fragile("fragile")
		w.traffic(30)
		d := web("fragile")
		d.Canary = parachute.Canary{Steps: []int{10}, Step: 2 * time.Minute}
		ended := make(chan error, 1)
		go func() { ended <- w.nodes["a"].deploy(d) }()
		w.traffic(119)
		is.True(errors.Is(<-ended, parachute.ErrTakenBack))
		is.Equal(w.all(), "one one one")
	})
}

func TestTheStoreIsLeftAloneWhileNothingIsJudged(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		time.Sleep(time.Minute) // there is nothing to be reported any more
		var calls atomic.Int64
		for _, n := range w.nodes {
			n.client.Fail(func(c kvtest.Call) kvtest.Fault {
				if c == "read" || c == "commit" {
					calls.Add(1)
				}
				return kvtest.Fault{}
			})
		}
		w.traffic(5)
		is.True(calls.Load() <= 3) // each looks every ten seconds whether its report is there
	})
}
