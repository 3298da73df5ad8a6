package parachute_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// live returns what goes on in the one service that there is.
func (h *house) live() *parachute.Live {
	h.t.Helper()
	services := h.Services()
	if len(services) != 1 {
		h.t.Fatal("want one service, not", len(services))
	}
	return services[0].Live
}

// traffic returns that of the first target.
func (h *house) traffic() parachute.Traffic {
	h.t.Helper()
	return h.live().Targets[0].Traffic
}

// about reports whether got is within the promised 10 % of want.
func about(got, want time.Duration) bool { return got >= want*9/10 && got <= want*11/10 }

// paced serves an app that answers after the time in the query, with the status
// in it.
func (h *house) paced(address string) {
	h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		took, err := time.ParseDuration(r.URL.RawQuery)
		switch {
		case r.URL.Path == "/break":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "hal")
			panic(http.ErrAbortHandler)
		case err == nil:
			time.Sleep(took) // the app's work
		}
		switch r.URL.Path {
		case "/length":
			io.WriteString(w, "counted")
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/404":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
}

func TestTrafficIsThatOfTheLastMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.paced("one.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.Equal(h.traffic(), parachute.Traffic{}) // nobody came yet

		for i := range 100 {
			path := "/?100ms"
			if i < 3 {
				path = "/?400ms"
			}
			resp, _ := h.answer("GET", path, "")
			is.Equal(resp.StatusCode, 200)
		}
		got := h.traffic() // of about 11 s
		is.True(got.Rate > 9 && got.Rate < 10)
		is.Equal(got.ErrorRate, 0.0)
		is.True(about(got.P50, 100*time.Millisecond))
		is.True(about(got.P99, 400*time.Millisecond))

		time.Sleep(40 * time.Second)
		got = h.traffic() // which is little over a minute old
		is.True(got.Rate > 1.6 && got.Rate < 2.1)
		time.Sleep(20 * time.Second)
		is.Equal(h.traffic(), parachute.Traffic{})
	})
}

func TestErrorsAreWhatTheServiceOwes(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path string
		isError      bool
	}{
		"fine":                     {"GET", "/", false},
		"not found":                {"GET", "/404", false},
		"an error of the target":   {"GET", "/500", true},
		"an answer that breaks":    {"GET", "/break", true},
		"an answer that is late":   {"GET", "/?1m", true},
		"a client that has left":   {"GET", "/?29s", false},
		"a body that is too large": {"POST", "/", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.paced("one.test:80")
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, MaxRequestBody: 1}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if tt.path == "/?29s" {
					ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
				}
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, tt.method, "http://proxy.test"+tt.path, nil)
				is.NoErr(err)
				if tt.method == "POST" {
					r.Body = io.NopCloser(&chunks{n: 3})
				}
				resp, err := h.client.Do(r)
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				synctest.Wait()
				got := h.traffic()
				is.True(got.Rate > 0) // it is counted
				is.Equal(got.ErrorRate == 1, tt.isError)
			})
		})
	}
}

// chunks is a body of n bytes whose length nobody knows before.
type chunks struct{ n int }

func (c *chunks) Read(p []byte) (int, error) {
	if c.n == 0 {
		return 0, io.EOF
	}
	c.n--
	return copy(p, "x"), nil
}

func TestARequestCountsForTheTargetThatHadItLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one := h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80", "two.test:80"},
			HealthCheck: parachute.HealthCheck{Interval: time.Hour}}))
		one.Stop()
		for range 20 {
			is.Equal(h.get("any.test"), "200 two")
		}
		targets := h.live().Targets
		is.Equal(targets[0].Traffic, parachute.Traffic{}) // others had what it could not take
		is.Equal(targets[1].Traffic.Rate, 20.0)           // all within the first second
		is.Equal(targets[1].Traffic.ErrorRate, 0.0)
	})
}

func TestStreamsCountUntilTheirAnswerBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		events := h.openEvents()
		conn, _ := h.upgrade()
		defer conn.Close()
		time.Sleep(10 * time.Second)
		is.Equal(h.traffic(), parachute.Traffic{}) // they go on
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		<-events
		got := h.traffic()
		is.True(got.Rate > 0)
		is.Equal(got.ErrorRate, 0.0) // a drain that ends them is no error
		is.True(got.P99 < time.Millisecond)
	})
}

func TestTrafficOutlivesChangesThatKeepTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"one", "two", "three"} {
			h.app(name, name+".test:80")
		}
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{List: []string{"b"}}}))
		h.visit("GET", "any.test", "")
		h.visit("GET", "any.test", "parachute-rollout=b")
		h.visit("GET", "any.test", "parachute-rollout=b")
		rates := func() map[string]float64 {
			all := make(map[string]float64)
			for _, target := range h.live().Targets {
				all[target.Address] = math.Round(target.Traffic.Rate)
			}
			return all
		}
		is.Equal(rates(), map[string]float64{"one.test:80": 1, "two.test:80": 2})

		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		is.NoErr(h.Resume(t.Context(), "web"))
		is.NoErr(h.deploy("web", "three.test:80", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
		is.Equal(rates(), map[string]float64{"three.test:80": 0, "one.test:80": 1, "two.test:80": 2})
		is.NoErr(h.deploy("web", "three.test:80"))
		is.NoErr(h.deploy("web", "one.test:80"))
		is.Equal(rates()["one.test:80"], 0.0) // it was gone in between
	})
}

func TestStatusTellsSinceWhenItIsSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one := h.app("one", "one.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		begin := time.Now()
		since := func() time.Duration { return h.live().Since.Sub(begin) }
		health := func() time.Duration { return h.live().Targets[0].Since.Sub(begin) }
		time.Sleep(10500 * time.Millisecond)
		is.Equal(since(), time.Duration(0))
		is.Equal(health(), time.Duration(0))

		one.SetHealth(http.StatusServiceUnavailable)
		time.Sleep(5 * time.Second)
		is.Equal(health(), 11*time.Second) // when the probe failed
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{h.app("two", "two.test:80").Addr()}}))
		is.Equal(since(), time.Duration(0)) // neither generation nor state has changed

		is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{}))
		is.Equal(since(), 15500*time.Millisecond)
		time.Sleep(time.Second)
		is.NoErr(h.Resume(t.Context(), "web"))
		is.Equal(since(), 16500*time.Millisecond)
		is.Equal(health(), 11*time.Second)
	})
}

func TestATargetIsOutSinceItsRequestsFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one := h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80", "two.test:80"},
			HealthCheck: parachute.HealthCheck{Interval: 10 * time.Second}}))
		begin := time.Now()
		time.Sleep(time.Second)
		one.Stop()
		for range 20 {
			h.get("any.test")
		}
		time.Sleep(time.Second)
		target := h.live().Targets[0]
		is.Equal(target.Health, parachute.HealthUnhealthy)
		is.Equal(target.Since.Sub(begin).Round(time.Second), time.Second)
		one.Start()
		time.Sleep(10 * time.Second)
		target = h.live().Targets[0]
		is.Equal(target.Health, parachute.HealthHealthy)
		is.Equal(target.Since.Sub(begin).Round(time.Second), 10*time.Second)
	})
}

func TestStatusTellsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("one", "one.test:80", 20*time.Second)
		h.app("two", "two.test:80").SetHealth(http.StatusServiceUnavailable)
		is.NoErr(h.deploy("web", "one.test:80"))
		is.Equal(h.live().Changes, nil) // nothing is
		running := make(chan string, 1)
		go func() { running <- h.get("any.test") }()
		synctest.Wait()

		begin := time.Now()
		deploying := make(chan error, 1)
		go func() { deploying <- h.deploy("web", "two.test:80") }()
		time.Sleep(time.Second)
		paused := make(chan error, 1)
		go func() { paused <- h.Pause(t.Context(), "web", parachute.Pause{}) }()
		time.Sleep(3 * time.Second)
		is.Equal(h.live().Changes, []parachute.Change{
			{Kind: parachute.EventDeploying, Generation: 2, Since: begin},
			{Kind: parachute.EventDraining, Generation: 1, Since: begin.Add(time.Second), Requests: 1},
		})

		is.Equal(<-running, "200 one")
		is.NoErr(<-paused)
		is.Equal(len(h.live().Changes), 1) // the deploy still waits
		is.True(<-deploying != nil)
		is.Equal(h.live().Changes, nil)
	})
}

func TestStatusTellsWhatADeployLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		h.openEvents()
		var conns []net.Conn
		for range 2 {
			conn, _ := h.upgrade()
			conns = append(conns, conn)
		}
		begin := time.Now()
		done := make(chan error, 1)
		go func() {
			done <- h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
				Timeouts: parachute.Timeouts{Stream: 10 * time.Second}})
		}()
		time.Sleep(4 * time.Second)
		is.Equal(h.Services()[0].Generation, uint64(2))
		is.Equal(h.live().Changes, []parachute.Change{{Kind: parachute.EventDraining, Generation: 2, Since: begin, Streams: 3}})
		conns[0].Close()
		synctest.Wait()
		is.Equal(h.live().Changes[0].Streams, int64(2))
		is.NoErr(<-done)
		is.Equal(h.live().Changes, nil)
		conns[1].Close()
	})
}

// Who waits for an operator, a target or a slow client says nothing about how fast the
// target is.
func TestTimeOfWaitingIsNotTheTargets(t *testing.T) {
	for name, tt := range map[string]struct {
		deployment parachute.Deployment
		ask        func(*house)
		wait       time.Duration
	}{
		"nobody waits": {parachute.Deployment{}, func(h *house) { h.answer("GET", "/?100ms", "") }, 0},
		"paused": {parachute.Deployment{}, func(h *house) {
			h.Pause(h.t.Context(), "web", parachute.Pause{})
			time.AfterFunc(10*time.Second, func() { h.Resume(h.t.Context(), "web") })
			h.answer("GET", "/?100ms", "")
		}, 10 * time.Second},
		"a body that is buffered": {parachute.Deployment{Buffer: parachute.Buffer{Requests: true}}, func(h *house) {
			body, client := io.Pipe()
			time.AfterFunc(5*time.Second, func() { client.Close() })
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/?100ms", body))
		}, 5 * time.Second},
		"an answer that is buffered": {parachute.Deployment{Buffer: parachute.Buffer{Responses: true}}, func(h *house) {
			h.ServeHTTP(slowly{httptest.NewRecorder()}, httptest.NewRequest("GET", "/length?100ms", nil))
		}, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var outcomes []parachute.Outcome
				h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes = append(outcomes, o) }})
				h.paced("one.test:80")
				d := tt.deployment
				d.Service, d.Targets = "web", []string{"one.test:80"}
				is.NoErr(h.Deploy(t.Context(), d))
				tt.ask(h)
				is.Equal(len(outcomes), 1)
				is.Equal(outcomes[0].Status, 200)
				is.Equal(outcomes[0].Waited, tt.wait)
				is.Equal(outcomes[0].Duration, tt.wait+100*time.Millisecond)
				got := h.traffic()
				is.True(about(got.P99, 100*time.Millisecond))
				if tt.wait == 0 {
					is.Equal([2]float64{got.Waited, float64(got.WaitP99)}, [2]float64{})
					return
				}
				is.Equal(got.Waited, 1.0)
				is.True(about(got.WaitP99, tt.wait))
			})
		})
	}
}

// slowly is a client that takes its time for the answer.
type slowly struct{ *httptest.ResponseRecorder }

func (s slowly) Write(p []byte) (int, error) {
	time.Sleep(3 * time.Second)
	return s.ResponseRecorder.Write(p)
}

func TestOutcomeTellsTheRoleOfItsTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		roles := make(map[string]bool)
		h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { roles[fmt.Sprintln(o.Target, o.Reads, o.Rollout)] = true }})
		for _, name := range []string{"a", "b", "c", "d"} {
			h.app(name, name+".test:80")
		}
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"a.test:80"}, ReadTargets: []string{"b.test:80"}}))
		ask := func() {
			h.answer("GET", "/", "")
			h.answer("POST", "/", "")
		}
		ask()
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"c.test:80"}, ReadTargets: []string{"d.test:80"}, Split: parachute.Split{Percent: 100}}))
		ask()
		is.Equal(roles, map[string]bool{"a.test:80 false false\n": true, "b.test:80 true false\n": true, "c.test:80 false true\n": true, "d.test:80 true true\n": true})
	})
}
