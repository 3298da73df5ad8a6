package parachute_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestPausedRequestsWaitForResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		is.Equal(h.Services()[0].State, parachute.StatePaused)
		waiting := []<-chan string{h.ask("any.test"), h.ask("any.test")}
		time.Sleep(20 * time.Second)
		is.Equal(app.Requests(), 0)
		is.Equal(h.Services()[0].Live.Held, int64(2))
		is.NoErr(h.Resume(t.Context(), "web"))
		for _, answer := range waiting {
			is.Equal(<-answer, "200 web")
		}
		is.Equal(h.get("any.test"), "200 web")
		is.Equal(h.Services()[0].State, parachute.StateServing)
		is.Equal(h.Services()[0].Live.Held, int64(0))
	})
}

func TestPausedRequestsDoNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{MaxHeld: 1})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{Max: 10 * time.Second}))
		began := time.Now()
		first := h.ask("any.test")
		is.True(strings.HasPrefix(h.get("any.test"), "503 ")) // one more than may wait
		is.Equal(time.Since(began), time.Duration(0))
		is.True(strings.HasPrefix(<-first, "504 "))
		is.Equal(time.Since(began), 10*time.Second)
	})
}

func TestClientThatLeavesFreesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{MaxHeld: 1})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
		is.NoErr(err)
		conn.Write([]byte("GET / HTTP/1.1\r\nHost: any.test\r\n\r\n"))
		synctest.Wait()
		is.Equal(h.Services()[0].Live.Held, int64(1))
		conn.Close()
		time.Sleep(time.Second) // some servers take as long to notice
		synctest.Wait()
		is.Equal(h.Services()[0].Live.Held, int64(0))
	})
}

func TestPauseWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("web", "web.test:80", 5*time.Second)
		is.NoErr(h.deploy("web", "web.test:80"))
		running := h.ask("any.test")
		began := time.Now()
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		is.Equal(time.Since(began), 5*time.Second)
		is.Equal(<-running, "200 web")

		is.NoErr(h.Resume(t.Context(), "web"))
		late := h.ask("any.test")
		began = time.Now()
		is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{Drain: time.Second}))
		is.Equal(time.Since(began), time.Second)
		is.True(strings.HasPrefix(<-late, "504 ")) // cut off
	})
}

// Its targets are those that resume uses: what a pause gives up must not cut
// what came after it.
func TestResumeEndsTheDrainOfAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("web", "web.test:80", 20*time.Second)
		is.NoErr(h.deploy("web", "web.test:80"))
		before := h.ask("any.test")
		paused := make(chan error, 1)
		go func() { paused <- h.Pause(t.Context(), "web", parachute.Pause{Drain: 10 * time.Second}) }()
		time.Sleep(5 * time.Second)
		is.NoErr(h.Resume(t.Context(), "web"))
		is.NoErr(<-paused)
		after := h.ask("any.test")
		is.Equal(<-before, "200 web")
		is.Equal(<-after, "200 web")
	})
}

// "Move the database now" must not be said while something still writes to it.
func TestHaltWaitsForWhatRanBeforeEarlierChanges(t *testing.T) {
	pause := func(h *house) error { return h.Pause(h.t.Context(), "web", parachute.Pause{}) }
	stop := func(h *house) error { return h.Stop(h.t.Context(), "web", parachute.Stop{}) }
	resume := func(h *house) error { return h.Resume(h.t.Context(), "web") }
	deploy := func(h *house) error { return h.deploy("web", "new.test:80") }
	rollout := func(h *house) error {
		return h.Rollout(h.t.Context(), "web", parachute.Rollout{Targets: []string{"new.test:80"}})
	}
	split := func(h *house) error { return h.SetSplit(h.t.Context(), "web", parachute.Split{Percent: 50}) }
	end := func(h *house) error { return h.EndRollout(h.t.Context(), "web") }
	remove := func(h *house) error { return h.Remove(h.t.Context(), "web") }
	for name, changes := range map[string][]func(*house) error{
		"pause, resume, pause":                 {pause, resume, pause},
		"pause, stop":                          {pause, stop},
		"stop, pause":                          {stop, pause},
		"pause, pause":                         {pause, pause},
		"pause, resume, deploy, pause":         {pause, resume, deploy, pause},
		"deploy, pause":                        {deploy, pause},
		"deploy, stop":                         {deploy, stop},
		"rollout, deploy, split, stop":         {rollout, deploy, split, stop},
		"rollout, deploy, end, pause":          {rollout, deploy, end, pause},
		"deploy, pause, resume, stop":          {deploy, pause, resume, stop},
		"pause, resume, remove":                {pause, resume, remove},
		"deploy, remove":                       {deploy, remove},
		"deploy, deploy, pause":                {deploy, deploy, pause},
		"pause, deploy, remove":                {pause, deploy, remove},
		"pause, rollout, resume, split, pause": {pause, rollout, resume, split, pause},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.slow("old", "old.test:80", 20*time.Second)
				h.app("new", "new.test:80")
				is.NoErr(h.deploy("web", "old.test:80"))
				began := time.Now()
				before := h.ask("any.test")
				errs := make(chan error, len(changes))
				for i, change := range changes {
					if i == len(changes)-1 {
						is.NoErr(change(h))
						break
					}
					go func() { errs <- change(h) }()
					time.Sleep(time.Second)
				}
				is.Equal(time.Since(began), 20*time.Second) // when the last of old's has ended
				is.Equal(<-before, "200 old")
				for range len(changes) - 1 {
					is.NoErr(<-errs)
				}
			})
		})
	}
}

func TestPauseEndsOnlyWithItsDrainOrWithResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 20*time.Second)
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		before := h.ask("any.test")
		began := time.Now()
		paused := make(chan time.Duration, 1)
		go func() {
			h.Pause(t.Context(), "web", parachute.Pause{})
			paused <- time.Since(began)
		}()
		time.Sleep(time.Second)
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"new.test:80"}}))
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 50}))
		go h.Stop(t.Context(), "web", parachute.Stop{})
		is.Equal(<-paused, 20*time.Second)
		is.Equal(<-before, "200 old")
	})
}

func TestPauseThatIsResumedEarlyCutsNothingAndSaysSo(t *testing.T) {
	for _, limit := range []time.Duration{-1, 0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			h := newHouse(t, parachute.Options{})
			h.net.Serve(t, "web.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(5 * time.Second) // the app's work
				w.Header().Set("Content-Type", "text/event-stream")
				http.NewResponseController(w).Flush()
				time.Sleep(time.Hour)
				io.WriteString(w, "data: last")
			}))
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80"},
				Timeouts: parachute.Timeouts{Stream: limit}}))
			events := h.ask("any.test")
			paused := make(chan error, 1)
			go func() { paused <- h.Pause(t.Context(), "web", parachute.Pause{}) }()
			time.Sleep(time.Second)
			is.NoErr(h.Resume(t.Context(), "web"))
			is.NoErr(<-paused)
			drained := h.of(parachute.EventDrained)
			is.Equal(drained[len(drained)-1].Requests, int64(0))
			is.Equal(drained[len(drained)-1].Streams, int64(0))
			is.Equal(<-events, "200 data: last")
		})
	}
}

func TestDeployDrainsWhatRanBeforeAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 20*time.Second)
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		before := h.ask("any.test")
		paused := make(chan error, 1)
		go func() { paused <- h.Pause(t.Context(), "web", parachute.Pause{}) }()
		time.Sleep(time.Second)
		began := time.Now()
		is.NoErr(h.deploy("web", "new.test:80"))
		is.Equal(time.Since(began), 19*time.Second)
		is.Equal(<-before, "200 old")
		is.NoErr(<-paused)
		is.Equal(h.Services()[0].State, parachute.StatePaused) // it never resumes
		waiting := h.ask("any.test")
		is.NoErr(h.Resume(t.Context(), "web"))
		is.Equal(<-waiting, "200 new")
	})
}

func TestStoppedServiceAnswersWithItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		held := h.ask("any.test")
		is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{Message: "<script>back at noon</script>"}))
		is.True(strings.HasPrefix(<-held, "503 ")) // those that waited are told too

		r, err := http.NewRequest("GET", "http://proxy.test/", nil)
		is.NoErr(err)
		r.Header.Set("Accept", "text/html")
		resp, err := h.client.Do(r)
		is.NoErr(err)
		resp.Body.Close()
		is.Equal(resp.Header.Get("Retry-After"), "5")
		is.Equal(resp.Header.Get("X-Parachute-Error"), "stopped")
		page := h.do(r)
		is.True(strings.Contains(page, "&lt;script&gt;back at noon&lt;/script&gt;"))
		is.NoErr(h.Resume(t.Context(), "web"))
		is.Equal(h.get("any.test"), "200 web")
	})
}

func TestOuterHealthChecksPassWhileAServiceIsHalted(t *testing.T) {
	for name, tt := range map[string]struct {
		probed string // "": what is probed if nothing is said
		prefix string
		method string
		path   string
		passes bool
	}{
		"GET":                          {method: "GET", path: "/up", passes: true},
		"HEAD":                         {method: "HEAD", path: "/up", passes: true},
		"POST":                         {method: "POST", path: "/up"},
		"OPTIONS":                      {method: "OPTIONS", path: "/up"},
		"DELETE":                       {method: "DELETE", path: "/up"},
		"with a query":                 {method: "GET", path: "/up?x"},
		"below it":                     {method: "GET", path: "/up/load"},
		"with the query that is asked": {probed: "/check?full=1", method: "GET", path: "/check?full=1", passes: true},
		"with another query":           {probed: "/check?full=1", method: "GET", path: "/check?full=2"},
		"without the query":            {probed: "/check?full=1", method: "GET", path: "/check"},
		"below a prefix":               {prefix: "/api", method: "GET", path: "/api/up", passes: true},
		"the front page":               {probed: "/", method: "GET", path: "/"},
		"the front page of a prefix":   {probed: "/", prefix: "/api", method: "HEAD", path: "/api"},
		"the front page with a query":  {probed: "/?probe", method: "GET", path: "/?probe"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				d := parachute.Deployment{HealthCheck: parachute.HealthCheck{Path: tt.probed}}
				if tt.prefix != "" {
					d.PathPrefixes = []string{tt.prefix}
				}
				is.NoErr(h.with(hello, d))
				pausedAs, stoppedAs := 504, 503
				if tt.passes {
					pausedAs, stoppedAs = 200, 200
				}
				is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
				resp, _ := h.answer(tt.method, tt.path, "")
				is.Equal(resp.StatusCode, pausedAs)
				is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{}))
				resp, body := h.answer(tt.method, tt.path, "")
				is.Equal(resp.StatusCode, stoppedAs)
				is.Equal(body == "halted\n", tt.passes && tt.method == "GET")
			})
		})
	}
}

func TestRequestThatOnlyLooksLikeAHealthCheckIsNotLostInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, parachute.Deployment{}))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		answer := make(chan string, 1)
		go func() {
			_, body := h.answer("POST", "/up", "an order")
			answer <- body
		}()
		synctest.Wait()
		is.NoErr(h.Resume(t.Context(), "web"))
		is.Equal(<-answer, "an order")
	})
}

func TestHealthChecksOfAHaltedServiceAreForThoseWhoMayComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(hello, parachute.Deployment{Access: parachute.Access{Deny: []string{"127.0.0.1"}}}))
		is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{}))
		resp, _ := h.answer("GET", "/up", "")
		is.Equal(resp.StatusCode, 403)
	})
}

func TestHaltedServicesAreRestoredSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var mu sync.Mutex
		var saved []parachute.Status
		h := newHouse(t, parachute.Options{Commit: func(all []parachute.Status) error {
			mu.Lock()
			defer mu.Unlock()
			saved = all
			return nil
		}})
		h.app("web", "web.test:80")
		h.app("shop", "shop.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "shop", Targets: []string{"shop.test:80"}, Hosts: []string{"shop.test"}}))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{Max: time.Minute}))
		is.NoErr(h.Stop(t.Context(), "shop", parachute.Stop{Message: "moving"}))

		again := parachute.New(parachute.Options{Dial: h.net.Dial})
		defer again.Close()
		is.NoErr(again.Restore(saved))
		is.Equal(again.Services()[0].State, parachute.StateStopped)
		is.Equal(again.Services()[0].Stop.Message, "moving")
		is.Equal(again.Services()[1].State, parachute.StatePaused)
		is.Equal(again.Services()[1].Pause.Max, time.Minute)
		is.NoErr(again.Resume(t.Context(), "web"))
		is.Equal(again.Services()[1].State, parachute.StateServing)
	})
}

func TestWhatIsNotThereCannotBeHalted(t *testing.T) {
	is := is.New(t)
	p := parachute.New(parachute.Options{})
	is.True(errors.Is(p.Pause(t.Context(), "web", parachute.Pause{}), parachute.ErrNotFound))
	is.True(errors.Is(p.Stop(t.Context(), "web", parachute.Stop{}), parachute.ErrNotFound))
	err := p.Resume(t.Context(), "web")
	is.True(errors.Is(err, parachute.ErrNotFound))
	is.Equal(err.Error(), "parachute: resume web: no such service")
	is.True(errors.Is(p.SetSplit(t.Context(), "web", parachute.Split{Percent: 10}), parachute.ErrNotFound))
	is.True(errors.Is(p.EndRollout(t.Context(), "web"), parachute.ErrNotFound))
	p.Close()
	is.True(errors.Is(p.Pause(t.Context(), "web", parachute.Pause{}), parachute.ErrClosed))
	is.True(errors.Is(p.Resume(t.Context(), "web"), parachute.ErrClosed))
}

// No target has had it, and the one that it was for is still there.
func TestRequestThatAPauseCutsBeforeItIsSentIsAnsweredAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		var hangs atomic.Bool
		p := parachute.New(parachute.Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if hangs.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return h.net.Dial(ctx, network, address)
		}})
		defer p.Close()
		h.net.Serve(t, "second.test:80", p)
		is.NoErr(p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80"}}))
		hangs.Store(true)
		answer := make(chan string, 1)
		r, err := http.NewRequest("GET", "http://second.test/", nil)
		is.NoErr(err)
		go func() { answer <- h.do(r) }()
		synctest.Wait() // it is being connected
		is.NoErr(p.Pause(t.Context(), "web", parachute.Pause{Drain: -1}))
		synctest.Wait()
		is.Equal(p.Services()[0].Live.Held, int64(1))
		hangs.Store(false)
		is.NoErr(p.Resume(t.Context(), "web"))
		is.Equal(<-answer, "200 web")
	})
}
