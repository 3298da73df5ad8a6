package parachute_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// A request waits for its app, gets to it, loses it again after 3.2 s, and has as
// much patience left as it has not spent waiting.
func TestHoldCountsTheTimeThatIsWaitedAndNotThatOfBeingServed(t *testing.T) {
	for name, tt := range map[string]struct {
		back   bool // the app is, before the rest of the time is up
		answer string
		after  time.Duration
	}{
		"the app is back in time": {true, "200 app", 7750 * time.Millisecond},
		"the app stays away":      {false, "502 502 Bad Gateway", 5*time.Second + 3200*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				var requests atomic.Int64
				app := h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) == 1 {
						<-r.Context().Done() // the app's end
						return
					}
					io.WriteString(w, "app")
				}))
				is.NoErr(h.deploy("web", "app.test:80"))
				app.Stop()
				begin := time.Now()
				answer := h.ask("any.test")
				time.Sleep(1300 * time.Millisecond)
				app.Start()
				time.Sleep(250 * time.Millisecond) // until the next look
				synctest.Wait()
				is.Equal(requests.Load(), int64(1))
				time.Sleep(3200 * time.Millisecond)
				app.Stop()
				if tt.back {
					time.Sleep(2500 * time.Millisecond)
					app.Start()
				}
				is.Equal(<-answer, tt.answer)
				is.Equal(time.Since(begin), tt.after)
			})
		})
	}
}

func TestHoldDoesNotCountThePauseOfItsService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		app.Stop()
		begin := time.Now()
		answer := h.ask("any.test")
		time.Sleep(time.Second)
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		time.Sleep(10 * time.Second) // in which it is paused, but for the half second before its next look
		is.NoErr(h.Resume(t.Context(), "web"))
		is.Equal(<-answer, "502 502 Bad Gateway")
		is.Equal(time.Since(begin), 5*time.Second+10*time.Second-550*time.Millisecond)
	})
}

// The time that a request was served before it came to be paused is none that it
// waited for a resume.
func TestPauseCountsTheTimeThatIsWaitedAndNotThatOfBeingServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.slow("app", "app.test:80", time.Minute)
		is.NoErr(h.deploy("web", "app.test:80"))
		begin := time.Now()
		answer := h.ask("any.test")
		go h.Pause(t.Context(), "web", parachute.Pause{Max: 10 * time.Second})
		time.Sleep(20 * time.Second)
		app.Stop()
		is.Equal(<-answer, "504 504 Gateway Timeout")
		is.Equal(time.Since(begin), 30*time.Second)
	})
}

// dying serves apps that die with each of the first n requests that they get
// together, and answer from then on. It returns how many they have had.
func (h *house) dying(n int64, addresses ...string) *atomic.Int64 {
	requests := new(atomic.Int64)
	for _, address := range addresses {
		h.net.Script(h.t, address, func(conn net.Conn, _ int) {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/up" || requests.Add(1) > n {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\napp")
			}
		})
	}
	return requests
}

func TestRequestIsSentAgainTwiceAtMostAfterItsTargetDied(t *testing.T) {
	var fleet []string
	for i := range 5 {
		fleet = append(fleet, fmt.Sprintf("web-%d.test:80", i))
	}
	const bad = "502 502 Bad Gateway"
	for name, tt := range map[string]struct {
		method string
		deaths int64
		apps   []string
		answer string
		sent   int64
	}{
		"one app that dies twice":     {"GET", 2, fleet[:1], "200 app", 3},
		"one app that dies of it":     {"GET", 1000, fleet[:1], bad, 3},
		"a fleet of which two die":    {"GET", 2, fleet, "200 app", 3},
		"a fleet that dies of it":     {"GET", 1000, fleet, bad, 3}, // two of the five are spared
		"what must not be sent twice": {"POST", 1, fleet, bad, 1},
		"what has a body":             {"PUT", 1, fleet, bad, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				outcomes := make(chan parachute.Outcome, 1)
				h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
				requests := h.dying(tt.deaths, tt.apps...)
				is.NoErr(h.deploy("web", tt.apps...))
				var body io.Reader
				if tt.method != "GET" {
					body = strings.NewReader("hello")
				}
				r, err := http.NewRequest(tt.method, "http://proxy.test/", body)
				is.NoErr(err)
				begin := time.Now()
				is.Equal(h.do(r), tt.answer)
				is.True(time.Since(begin) < time.Second) // it does not hang on, either
				is.Equal(requests.Load(), tt.sent)
				is.Equal(int64((<-outcomes).Retries), tt.sent-1)
			})
		})
	}
}

func TestRequestThatIsPausedTwiceHasOneLimit(t *testing.T) {
	for name, between := range map[string]time.Duration{ // in which the service is not paused
		"paused again while it is": 0,
		"resumed in between":       time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				app := h.app("app", "app.test:80")
				is.NoErr(h.deploy("web", "app.test:80"))
				app.Stop()
				is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{Max: 10 * time.Second}))
				begin := time.Now()
				answer := h.ask("any.test")
				time.Sleep(6 * time.Second)
				if between > 0 {
					is.NoErr(h.Resume(t.Context(), "web"))
					time.Sleep(between) // in which it waits for its app
				}
				is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{Max: 10 * time.Second}))
				is.Equal(<-answer, "504 504 Gateway Timeout")
				took := time.Since(begin) - between
				is.True(took >= 10*time.Second)
				is.True(took <= 11*time.Second) // when it has looked for its app again
			})
		})
	}
}
