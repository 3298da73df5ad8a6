package parachute_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// visit sends a GET on host with a cookie ("": none), and returns the answer,
// and the cookie that came with it.
func (h *house) visit(method, host, cookie string) (answer, set string) {
	r, err := http.NewRequest(method, "http://proxy.test/", nil)
	if err != nil {
		return err.Error(), ""
	}
	r.Host = host
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return err.Error(), ""
	}
	defer resp.Body.Close()
	set = strings.Join(resp.Header["Set-Cookie"], "; ")
	name := make([]byte, 32)
	n, _ := resp.Body.Read(name)
	return string(name[:n]), set
}

// rolled returns a house with a service that has a rollout for nobody.
func rolled(t *testing.T) *house {
	t.Helper()
	h := newHouse(t, parachute.Options{})
	h.app("one", "one.test:80")
	h.app("two", "two.test:80")
	is := is.New(t)
	is.NoErr(h.deploy("web", "one.test:80"))
	is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
	return h
}

func TestRolloutServesWhomTheSplitSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := rolled(t)
		answer, set := h.visit("GET", "any.test", "")
		is.Equal(answer, "one") // nobody yet
		is.Equal(set, "")       // so nobody has to be known again

		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{List: []string{"beta"}}))
		for cookie, want := range map[string]string{
			"parachute-rollout=beta": "two", "kamal-rollout=beta": "two", "parachute-rollout=other": "one", "": "one",
		} {
			answer, _ = h.visit("GET", "any.test", cookie)
			is.Equal(answer, want) // cookie
		}

		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 100, CookieOnly: true}))
		for cookie, want := range map[string]string{"parachute-rollout=other": "two", "kamal-rollout=other": "two", "": "one"} {
			answer, set = h.visit("GET", "any.test", cookie)
			is.Equal(answer, want) // cookie
			is.Equal(set, "")
		}

		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 100}))
		answer, _ = h.visit("GET", "any.test", "")
		is.Equal(answer, "two")
		is.NoErr(h.EndRollout(t.Context(), "web"))
		answer, _ = h.visit("GET", "any.test", "")
		is.Equal(answer, "one")
		is.Equal(h.Services()[0].Rollout, nil)
	})
}

func TestVisitorsStayWhereTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := rolled(t)
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 50}))
		count := map[string]int{}
		for range 100 {
			answer, set := h.visit("GET", "any.test", "")
			cookie, _, _ := strings.Cut(set, ";")
			is.True(strings.HasPrefix(cookie, "parachute-rollout="))
			count[answer]++
			again, set := h.visit("GET", "any.test", cookie)
			is.Equal(again, answer)
			is.Equal(set, "") // they have it
		}
		is.True(count["one"] > 20 && count["two"] > 20)
	})
}

func TestRolloutOutlivesADeployOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("three", "three.test:80")
		h.slow("two", "two.test:80", 5*time.Second)
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{List: []string{"b"}}}))
		running := make(chan string, 1)
		go func() { answer, _ := h.visit("GET", "any.test", "parachute-rollout=b"); running <- answer }()
		synctest.Wait()
		began := time.Now()
		is.NoErr(h.deploy("web", "three.test:80"))
		is.Equal(time.Since(began), time.Duration(0)) // the rollout's requests are not waited for
		is.Equal(<-running, "two")
		answer, _ := h.visit("GET", "any.test", "")
		is.Equal(answer, "three")
		answer, _ = h.visit("GET", "any.test", "parachute-rollout=b")
		is.Equal(answer, "two")

		go func() { answer, _ := h.visit("GET", "any.test", "parachute-rollout=b"); running <- answer }()
		synctest.Wait()
		began = time.Now()
		is.NoErr(h.EndRollout(t.Context(), "web"))
		is.Equal(time.Since(began).Round(time.Millisecond), 5*time.Second)
		is.Equal(<-running, "two")
	})
}

func TestRolloutGoesOnWhenADeployIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		full := false
		h := newHouse(t, parachute.Options{Commit: func([]parachute.Status) error {
			if full {
				return errors.New("disk full")
			}
			return nil
		}})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{Percent: 100}}))
		full = true
		is.True(h.deploy("web", "one.test:80") != nil)
		is.True(h.Pause(t.Context(), "web", parachute.Pause{}) != nil)
		is.True(h.EndRollout(t.Context(), "web") != nil)
		is.Equal(h.get("any.test"), "200 two")
	})
}

func TestRolloutIsReplacedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := rolled(t)
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{List: []string{"b"}}))
		h.app("next", "next.test:80")
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"next.test:80"}}))
		answer, _ := h.visit("GET", "any.test", "parachute-rollout=b")
		is.Equal(answer, "next") // for the same visitors
		err := h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"gone.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second}})
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		answer, _ = h.visit("GET", "any.test", "parachute-rollout=b")
		is.Equal(answer, "next")
	})
}

func TestRolloutTellsWhatItHasOtherThanTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{Compare: func(before, after parachute.Deployment) parachute.Difference {
			return parachute.Difference{NoLonger: before.Targets, Now: append(after.Targets, after.Timeouts.Drain.String())}
		}})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		h.app("three", "three.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 10}))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"three.test:80"}, Timeouts: parachute.Timeouts{Drain: time.Minute}}))
		switched := h.of(parachute.EventSwitched)
		is.Equal(switched[1].Difference, parachute.Difference{}) // there was none before
		is.Equal(switched[2].Difference, parachute.Difference{NoLonger: []string{"two.test:80"}, Now: []string{"three.test:80", "1m0s"}})
		is.Equal(h.of(parachute.EventSplit)[0].Difference, parachute.Difference{})
	})
}

func TestRolloutMustGoWithWhatTheServiceIsByThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		two := h.app("two", "two.test:80")
		two.SetHealth(503)
		is.NoErr(h.deploy("web", "one.test:80"))
		ended := make(chan error)
		go func() { ended <- h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}) }()
		time.Sleep(time.Second)
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"https://three.test:443"}, TargetTLS: parachute.TargetTLS{Insecure: true}, Force: true}))
		two.SetHealth(200)
		err := <-ended
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), "none of the targets is an https:// one"))
		is.True(h.Services()[0].Rollout == nil)
	})
}

func TestRolloutIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		s := status("web", 1, "one.test:80")
		s.Rollout = &parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{List: []string{"b"}}}
		is.NoErr(h.Restore([]parachute.Status{s}))
		answer, _ := h.visit("GET", "any.test", "parachute-rollout=b")
		is.Equal(answer, "two")
		answer, _ = h.visit("GET", "any.test", "")
		is.Equal(answer, "one")
	})
}

func TestRolloutsThatCannotBeAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		err := h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}})
		is.True(errors.Is(err, parachute.ErrNotFound))
		is.NoErr(h.deploy("web", "one.test:80"))
		err = h.SetSplit(t.Context(), "web", parachute.Split{Percent: 10})
		is.Equal(err.Error(), "parachute: split web: the service has no rollout: deploy one first")
		err = h.SetSplit(t.Context(), "web", parachute.Split{Percent: 130})
		is.Equal(err.Error(), "parachute: split web: 130 percent of the visitors: want 0 to 100")
		err = h.Rollout(t.Context(), "web", parachute.Rollout{})
		is.True(errors.Is(err, parachute.ErrInvalid))
	})
}

// A script may repeat it.
func TestEndOfNoRolloutChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		before := h.Services()[0]
		is.NoErr(h.EndRollout(t.Context(), "web"))
		after := h.Services()[0]
		is.Equal(after.Deployment, before.Deployment)
		is.Equal(after.Generation, before.Generation)
		is.Equal(after.Rollout, nil)
		is.Equal(h.get("any.test"), "200 one")
	})
}

func TestTargetThatReadsAndWritesHasTrafficOfEitherRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		both := h.app("both", "both.test:80")
		h.app("reader", "reader.test:80")
		d := parachute.Deployment{Service: "web", Targets: []string{"both.test:80"}, ReadTargets: []string{"both.test:80", "reader.test:80"}}
		for range 2 { // the second takes over what was counted
			is.NoErr(h.Deploy(t.Context(), d))
			for range 20 {
				answer, _ := h.visit("POST", "any.test", "")
				is.Equal(answer, "both")
				h.visit("GET", "any.test", "")
			}
		}
		is.True(both.Requests() > 40) // it gets what only reads as well
		live := h.Services()[0].Live.Targets
		is.Equal(len(live), 3)
		is.Equal([]bool{live[0].Reads, live[1].Reads, live[2].Reads}, []bool{false, true, true})
		var reads float64
		for _, s := range live[1:] {
			reads += s.Traffic.Rate
		}
		is.Equal(live[0].Traffic.Rate, reads) // each role has its own traffic

		both.Stop()
		time.Sleep(2 * time.Second)
		for range 20 {
			answer, _ := h.visit("GET", "any.test", "")
			is.Equal(answer, "reader")
		}
		events := h.of(parachute.EventDrained)
		is.Equal(events[len(events)-1].Unused, nil) // the address goes on being used
	})
}

func TestTargetThatIsNamedTwiceCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"one.test:80", "two.test:80", "http://one.test:80"}, ReadTargets: []string{"two.test:80", "two.test:80"},
		}))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80", "two.test:80"}}))
		s := h.Services()[0]
		is.Equal(s.Deployment.Targets, []string{"one.test:80", "two.test:80"})
		is.Equal(s.Deployment.ReadTargets, []string{"two.test:80"})
		is.Equal(s.Rollout.Targets, []string{"two.test:80"})
		is.Equal(len(s.Live.Targets), 4) // of them the last is the rollout's
		is.True(s.Live.Targets[2].Reads)
		is.True(s.Live.Targets[3].Rollout)
	})
}

func TestTargetThatReadsAndWritesIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("both", "both.test:80").SetHealth(500)
		d := parachute.Deployment{Service: "web", Targets: []string{"both.test:80"}, ReadTargets: []string{"both.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second}}
		var unhealthy *parachute.UnhealthyError
		is.True(errors.As(h.Deploy(t.Context(), d), &unhealthy))
		is.Equal(len(unhealthy.Targets), 1)
		d.Force = true
		is.NoErr(h.Deploy(t.Context(), d))
		is.NoErr(h.Remove(t.Context(), "web"))
		drained := h.of(parachute.EventDrained)
		is.Equal(drained[len(drained)-1].Unused, []string{"both.test:80"})
	})
}

// They are for when there are some.
func TestWebSocketsMayBeForReadersThatAreNotThereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, ReadWebSockets: true}))
		is.Equal(h.get("any.test"), "200 one")
		is.True(h.Services()[0].Deployment.ReadWebSockets)
	})
}

func TestReadersGetWhatOnlyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		optOut := false
		h.net.Serve(t, "writer.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if optOut {
				w.Header().Set("X-Writer-Affinity", "false")
			}
			w.Write([]byte("writer"))
		}))
		reader := h.app("reader", "reader.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"writer.test:80"}, ReadTargets: []string{"reader.test:80"},
		}))
		answer, set := h.visit("GET", "any.test", "")
		is.Equal(answer+set, "reader")
		answer, set = h.visit("POST", "any.test", "")
		is.Equal(answer, "writer")
		cookie, _, _ := strings.Cut(set, ";")
		is.True(strings.HasPrefix(cookie, "parachute-writer="))
		answer, _ = h.visit("GET", "any.test", cookie)
		is.Equal(answer, "writer") // it shall see what it has written
		answer, _ = h.visit("GET", "any.test", "kamal-writer="+strconv.FormatInt(time.Now().Add(time.Second).UnixMilli(), 10))
		is.Equal(answer, "writer")
		time.Sleep(2 * time.Second)
		answer, _ = h.visit("GET", "any.test", cookie)
		is.Equal(answer, "reader")

		optOut = true
		answer, set = h.visit("POST", "any.test", "")
		is.Equal(answer+set, "writer")

		reader.Stop()
		time.Sleep(2 * time.Second)
		answer, _ = h.visit("GET", "any.test", "")
		is.Equal(answer, "writer") // which serve where no reader is healthy
	})
}

func TestTargetMayBothWriteAndRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("both", "both.test:80")
		h.app("reader", "reader.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "my shop", Targets: []string{"both.test:80"}, ReadTargets: []string{"both.test:80", "reader.test:80"},
		}))
		read := make(map[string]int)
		for range 100 {
			answer, _ := h.visit("GET", "any.test", "")
			read[answer]++
			answer, _ = h.visit("POST", "any.test", "")
			is.Equal(answer, "both") // which alone takes writes
		}
		is.True(read["both"] > 10 && read["reader"] > 10) // each has its share of what only reads
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "my shop", Targets: []string{"reader.test:80"}}))
		answer, _ := h.visit("POST", "any.test", "")
		is.Equal(answer, "reader")
	})
}

func TestFailingRequestsTakeATargetOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("good", "good.test:80", 10*time.Millisecond)
		var failing atomic.Bool
		bad := h.net.Serve(t, "bad.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !failing.Load() {
				time.Sleep(10 * time.Millisecond) // the app's work
				io.WriteString(w, "good")
				return
			}
			panic(http.ErrAbortHandler) // which its health checks do not tell
		}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"good.test:80", "bad.test:80"}, HealthCheck: parachute.HealthCheck{Interval: time.Hour},
		}))
		for _, fails := range []bool{false, true} {
			failing.Store(fails)
			asks := 60
			if fails {
				asks = 100
			}
			var answers []<-chan string
			for range asks { // at once, so that both are asked
				answers = append(answers, h.ask("any.test"))
			}
			for _, answer := range answers {
				is.Equal(<-answer, "200 good") // GET is sent again
			}
			is.Equal(h.Services()[0].Live.Targets[1].Health == parachute.HealthUnhealthy, fails)
		}
		is.True(bad.Requests() < 30+2*100) // once it was, it was asked no more
		time.Sleep(time.Hour + time.Second)
		is.Equal(h.Services()[0].Live.Targets[1].Health, parachute.HealthHealthy) // its probe has passed
	})
}

func TestLastHealthyTargetIsNotTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		sick := h.app("sick", "sick.test:80")
		bad := h.net.Serve(t, "bad.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			panic(http.ErrAbortHandler)
		}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"bad.test:80", "sick.test:80"}, Timeouts: parachute.Timeouts{Hold: -1},
		}))
		sick.SetHealth(500)
		time.Sleep(2 * time.Second)
		for range 10 {
			h.visit("POST", "any.test", "")
		}
		is.Equal(bad.Requests(), 10)
		is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthHealthy)
	})
}

func TestRolloutOfAServiceThatCouldNotBeRestoredIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.True(h.Restore([]parachute.Status{status("web", 1, "no port", "web.test")}) != nil)
		began := time.Now()
		err := h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"app.test:80"}})
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), "could not be restored"))
		is.Equal(time.Since(began), time.Duration(0)) // nobody was asked for its health
	})
}

func TestClosedProxyRefusesRollouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		is.NoErr(h.Close())
		is.True(errors.Is(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"app.test:80"}}), parachute.ErrClosed))
	})
}

// A cache would give the same cookie to everybody: all of them would be one visitor.
func TestAnswerThatManyMayGetSetsNoCookieOfTheRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		answer := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", r.Header.Get("X-Control"))
			w.Header().Set("Set-Cookie", "app=1")
			if status, _ := strconv.Atoi(r.Header.Get("X-Status")); status > 0 {
				w.WriteHeader(status)
			}
		}
		is.NoErr(h.with(answer, parachute.Deployment{Affinity: "cookie"}))
		h.net.Serve(t, "two.test:80", http.HandlerFunc(answer))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{Percent: 1}}))
		set := func(control, status string) int {
			resp, _ := h.answer("GET", "/", "", "Cookie", "parachute-rollout=aaaa", "X-Control", control, "X-Status", status)
			for _, cookie := range resp.Header["Set-Cookie"] {
				is.True(strings.HasPrefix(cookie, "app=") || strings.HasPrefix(cookie, "parachute-affinity="))
			}
			return len(resp.Header["Set-Cookie"])
		}
		is.Equal(set("private", ""), 2) // the app's, and the affinity's
		is.Equal(set("public, max-age=60", ""), 1)
		is.Equal(set("immutable", ""), 1)
		is.Equal(set("", "304"), 1)

		resp, _ := h.answer("GET", "/", "", "X-Control", "public")
		is.Equal(len(resp.Header["Set-Cookie"]), 1) // nor that of the rollout
		resp, _ = h.answer("GET", "/", "", "X-Control", "no-cache")
		is.Equal(len(resp.Header["Set-Cookie"]), 3)
	})
}

func TestWhoKnowsTheSecretSeesARolloutForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := rolled(t)
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Preview: "X-Preview: sesame"}))
		resp, body := h.answer("GET", "/", "", "X-Preview", "sesame")
		is.Equal(body, "two")
		cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
		_, body = h.answer("GET", "/", "", "Cookie", cookie)
		is.Equal(body, "two") // from now on without the secret
		_, body = h.answer("GET", "/", "", "X-Preview", "open")
		is.Equal(body, "one")

		// A newer second version keeps the preview, and those in it.
		h.app("three", "three.test:80")
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"three.test:80"}}))
		_, body = h.answer("GET", "/", "", "Cookie", cookie)
		is.Equal(body, "three")
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"three.test:80"}, Split: parachute.Split{Percent: 100}}))
		_, body = h.answer("GET", "/", "", "Cookie", cookie)
		is.Equal(body, "three")
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Preview: "X-Preview: other"}))
		_, body = h.answer("GET", "/", "", "Cookie", cookie)
		is.Equal(body, "one") // another secret ends it

		err := h.SetSplit(t.Context(), "web", parachute.Split{Preview: "X-Preview"})
		is.True(errors.Is(err, parachute.ErrInvalid))
	})
}

func TestRolloutSetKeepsWhatItDoesNotName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := rolled(t)
		served := func() parachute.Split { return h.Services()[0].Rollout.Split }
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 10, List: []string{"beta"}}))
		is.NoErr(h.AmendSplit(t.Context(), "web", func(s *parachute.Split) error { s.Percent = 20; return nil }))
		is.Equal(served(), parachute.Split{Percent: 20, List: []string{"beta"}})
		is.NoErr(h.AmendSplit(t.Context(), "web", func(s *parachute.Split) error { s.List[0] = "alpha"; return nil }))
		is.Equal(served(), parachute.Split{Percent: 20, List: []string{"alpha"}})

		refused := errors.New("not today")
		err := h.AmendSplit(t.Context(), "web", func(s *parachute.Split) error { s.Percent, s.List[0] = 99, "x"; return refused })
		is.True(errors.Is(err, refused))
		err = h.AmendSplit(t.Context(), "web", func(s *parachute.Split) error { s.Percent = 101; return nil })
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.Equal(served(), parachute.Split{Percent: 20, List: []string{"alpha"}}) // nothing was changed
	})
}
