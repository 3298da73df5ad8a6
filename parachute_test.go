package parachute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A house is a Proxy on a network of its own, with a client in front.
type house struct {
	*parachute.Proxy
	t      *testing.T
	net    *proxytest.Net
	client *http.Client

	mu     sync.Mutex // guards events
	events []parachute.Event
}

// newHouse starts a Proxy that serves at proxy.test:80. It is closed when the
// test ends.
func newHouse(t *testing.T, opts parachute.Options) *house {
	t.Helper()
	h := &house{t: t, net: new(proxytest.Net)}
	opts.Dial = h.net.Dial
	if opts.Notify == nil {
		opts.Notify = h.note
	}
	h.Proxy = parachute.New(opts)
	t.Cleanup(func() { h.Close() })
	h.net.Serve(t, "proxy.test:80", h.Proxy).SetHealth(0)
	h.client = h.net.Client(t)
	return h
}

func (h *house) note(e parachute.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// kinds returns the kinds of all events so far.
func (h *house) kinds() []parachute.EventKind {
	h.mu.Lock()
	defer h.mu.Unlock()
	var kinds []parachute.EventKind
	for _, e := range h.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// app serves an app that answers with its name.
func (h *house) app(name, address string) *proxytest.Backend {
	h.t.Helper()
	return h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, name)
	}))
}

// slow serves an app that answers with its name after d.
func (h *house) slow(name, address string, d time.Duration) *proxytest.Backend {
	h.t.Helper()
	return h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d) // the app's work
		io.WriteString(w, name)
	}))
}

// deploy deploys targets to a service without hosts.
func (h *house) deploy(service string, targets ...string) error {
	return h.Deploy(h.t.Context(), parachute.Deployment{Service: service, Targets: targets})
}

// get returns the answer to a GET of / on host: its status and its body, or
// what went wrong.
func (h *house) get(host string) string {
	r, err := http.NewRequest("GET", "http://proxy.test/", nil)
	if err != nil {
		return err.Error()
	}
	r.Host = host
	return h.do(r)
}

// ask sends a GET of / on host as get does, and returns where its answer comes.
func (h *house) ask(host string) <-chan string {
	answer := make(chan string, 1)
	go func() { answer <- h.get(host) }()
	synctest.Wait()
	return answer
}

func (h *house) do(r *http.Request) string {
	resp, err := h.client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}

func TestDeployKeepsOldTargetsUntilNewOnesAreHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80").SetHealth(503)
		three := h.app("three", "three.test:80")
		three.SetHealth(503)
		is.NoErr(h.deploy("web", "one.test:80"))

		deployed := make(chan error)
		go func() { deployed <- h.deploy("web", "three.test:80") }()
		time.Sleep(10 * time.Second) // of the 30 that a deploy waits
		is.Equal(h.get("any.test"), "200 one")
		three.SetHealth(200)
		is.NoErr(<-deployed)
		is.Equal(h.get("any.test"), "200 three")
	})
}

func TestDeployThatDoesNotBecomeHealthyChangesNothingAndSaysWhatWasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.net.Serve(t, "two.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://app.test/up", http.StatusMovedPermanently)
		})).SetHealth(0)
		is.NoErr(h.deploy("web", "one.test:80"))

		begin := time.Now()
		err := h.deploy("web", "two.test:80")
		is.Equal(time.Since(begin), 30*time.Second) // the default of Timeouts.Deploy
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		is.Equal(err.Error(), "parachute: deploy web: two.test:80 did not become healthy in 30s: GET /up answered 301 to https://app.test/up (34 probes)")
		unhealthy := new(parachute.UnhealthyError)
		is.True(errors.As(err, &unhealthy))
		is.Equal(unhealthy.Targets[0].Last.Status, 301)
		is.Equal(h.get("any.test"), "200 one") // nothing was changed
		is.Equal(h.net.Conns("two.test:80"), 0)
		is.Equal(h.Services()[0].Generation, uint64(1))
	})
}

func TestDeployWaitsForRequestsOnTheOldTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 2*time.Second)
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))

		answer := h.ask("any.test")
		begin := time.Now()
		is.NoErr(h.deploy("web", "new.test:80"))
		is.Equal(time.Since(begin), 2*time.Second) // the deploy took as long as the request
		is.Equal(<-answer, "200 old")              // and the request was answered
		is.Equal(h.net.Conns("old.test:80"), 0)    // nothing goes to the old target any more
	})
}

func TestDrainTimeoutCutsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", time.Minute)
		h.app("new", "new.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"old.test:80"},
			Timeouts: parachute.Timeouts{Response: -1}}))

		answer := h.ask("any.test")
		begin := time.Now()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Drain: 3 * time.Second}}))
		is.Equal(time.Since(begin), 3*time.Second)
		is.Equal(<-answer, "504 504 Gateway Timeout") // it was cut before its answer began
		h.mu.Lock()
		last := h.events[len(h.events)-1]
		h.mu.Unlock()
		is.Equal(last.Kind, parachute.EventDrained)
		is.Equal(last.Requests, int64(1)) // the event counts what was cut
	})
}

func TestSwitchIsSeenByEveryRequestAfterDeployReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		apps := map[string]*proxytest.Backend{
			"one": h.slow("one", "one.test:80", 8*time.Millisecond),
			"two": h.slow("two", "two.test:80", 8*time.Millisecond),
		}
		is.NoErr(h.deploy("web", "one.test:80"))

		ctx, stop := context.WithCancel(t.Context())
		var load sync.WaitGroup
		failures := make(chan string, 1000)
		for range 32 {
			load.Go(func() {
				for ctx.Err() == nil {
					if answer := h.get("any.test"); !strings.HasPrefix(answer, "200 ") {
						failures <- answer
					}
					time.Sleep(time.Millisecond) // the client thinks; a busy one would stop the clock
				}
			})
		}
		serving, idle := "two", "one"
		for range 100 {
			is.NoErr(h.deploy("web", serving+".test:80"))
			before := apps[idle].Requests()
			time.Sleep(5 * time.Millisecond)
			is.Equal(apps[idle].Requests(), before) // the old target gets nothing more
			serving, idle = idle, serving
		}
		stop()
		load.Wait()
		close(failures)
		for answer := range failures {
			t.Error("a request failed:", answer)
		}
	})
}

func TestAppThatBecomesReadyLateIsSwitchedToSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		app.Stop()
		go func() {
			time.Sleep(120 * time.Millisecond)
			app.Start()
		}()
		begin := time.Now()
		is.NoErr(h.deploy("web", "app.test:80"))
		is.True(time.Since(begin) <= 300*time.Millisecond)
	})
}

func TestHostOfAnotherServiceIsRefusedBeforeAnyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		hosts := []string{"b.test", "a.test"}
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "one", Targets: []string{"one.test:80"}, Hosts: hosts}))

		begin := time.Now()
		err := h.Deploy(t.Context(), parachute.Deployment{Service: "two", Targets: []string{"nobody.test:80"}, Hosts: []string{"A.TEST."}})
		is.Equal(time.Since(begin), time.Duration(0))
		conflict := new(parachute.ConflictError)
		is.True(errors.As(err, &conflict))
		is.Equal(*conflict, parachute.ConflictError{Host: "a.test", Owner: "one"})
		is.True(errors.Is(err, parachute.ErrConflict))

		is.NoErr(h.Remove(t.Context(), "one"))
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "two", Targets: []string{"two.test:80"}, Hosts: hosts})) // the host is free again
		is.Equal(h.get("a.test"), "200 two")
	})
}

func TestHostIsReservedWhileItsDeployWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("two", "two.test:80")
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			first <- h.Deploy(ctx, parachute.Deployment{Service: "one", Targets: []string{"nobody.test:80"}, Hosts: []string{"a.test"}})
		}()
		synctest.Wait()
		second := parachute.Deployment{Service: "two", Targets: []string{"two.test:80"}, Hosts: []string{"a.test"}}
		err := h.Deploy(t.Context(), second)
		is.True(errors.Is(err, parachute.ErrConflict))
		cancel()
		is.True(errors.Is(<-first, context.Canceled)) // giving up ends the deploy
		is.NoErr(h.Deploy(t.Context(), second))       // and frees its host
	})
}

func TestNewerDeployEndsAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("two", "two.test:80")
		older := make(chan error)
		go func() { older <- h.deploy("web", "nobody.test:80") }()
		synctest.Wait()
		is.NoErr(h.deploy("web", "two.test:80"))
		err := <-older
		is.True(errors.Is(err, parachute.ErrSuperseded))
		is.Equal(err.Error(), "parachute: deploy web: superseded by generation 2 of the service, which was asked for later")
		is.Equal(h.get("any.test"), "200 two")
	})
}

func TestRemoveEndsARunningDeploy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		deployed := make(chan error)
		go func() { deployed <- h.deploy("web", "nobody.test:80") }()
		synctest.Wait()
		is.NoErr(h.Remove(t.Context(), "web"))
		is.True(errors.Is(<-deployed, parachute.ErrSuperseded))
		is.True(errors.Is(h.Remove(t.Context(), "web"), parachute.ErrNotFound))
		is.Equal(len(h.Services()), 0)
	})
}

func TestRemoveDrainsAndThenForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("app", "app.test:80", 2*time.Second)
		is.NoErr(h.deploy("web", "app.test:80"))
		answer := h.ask("any.test")
		removed := make(chan error)
		go func() { removed <- h.Remove(t.Context(), "web") }()
		synctest.Wait()
		is.Equal(h.get("any.test"), "404 404 Not Found") // no new request
		is.Equal(<-answer, "200 app")                    // the running one was answered
		is.NoErr(<-removed)
		is.Equal(h.net.Conns("app.test:80"), 0)
	})
}

func TestForceSwitchesWithoutHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80").SetHealth(500)
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}, Force: true}))
		is.Equal(h.get("any.test"), "200 app")
	})
}

func TestCommitComesBeforeTheSwitchAndAnErrorRefusesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		full := errors.New("no space left on device")
		var h *house
		var kept []parachute.Status
		var refuse error
		h = newHouse(t, parachute.Options{Commit: func(s []parachute.Status) error {
			if refuse != nil {
				return refuse
			}
			is.Equal(h.get("any.test") == "200 new", false) // not switched yet
			kept = s
			return nil
		}})
		h.app("old", "old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		refuse = full
		is.True(errors.Is(h.deploy("web", "new.test:80"), full))
		is.Equal(h.get("any.test"), "200 old")
		is.True(errors.Is(h.Remove(t.Context(), "web"), full))
		is.Equal(h.get("any.test"), "200 old")
		refuse = nil
		is.NoErr(h.deploy("web", "new.test:80"))
		is.Equal(h.get("any.test"), "200 new")
		is.Equal(len(kept), 1)
		is.Equal(kept[0].Generation, uint64(4)) // what was refused used up two
		is.Equal(kept[0].Deployment.Targets, []string{"new.test:80"})
		is.True(kept[0].Live == nil)
	})
}

func TestDeployTellsItsStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("old", "old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		is.NoErr(h.deploy("web", "new.test:80"))
		is.Equal(h.kinds(), []parachute.EventKind{
			parachute.EventDeploying, parachute.EventProbed, parachute.EventHealthy, parachute.EventSwitched,
			parachute.EventDeploying, parachute.EventProbed, parachute.EventHealthy, parachute.EventSwitched,
			parachute.EventDraining, parachute.EventDrained,
		})
	})
}

func TestTwoProxiesShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a, b := newHouse(t, parachute.Options{}), newHouse(t, parachute.Options{})
		a.app("a", "app.test:80")
		b.app("b", "app.test:80")
		is.NoErr(a.deploy("web", "app.test:80"))
		is.Equal(b.get("any.test"), "404 404 Not Found")
		is.NoErr(b.deploy("web", "app.test:80"))
		is.NoErr(a.Close())
		is.Equal(a.get("any.test"), "503 503 Service Unavailable")
		is.Equal(b.get("any.test"), "200 b")
	})
}
