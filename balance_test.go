package parachute_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// fails serves an app that answers at once with 503, except to probes.
func (h *house) fails(address string) {
	h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
}

// fleet deploys n targets of which the first bad ones fail.
func (h *house) fleet(n, bad int) {
	h.t.Helper()
	var targets []string
	for i := range n {
		address := fmt.Sprintf("web-%d.test:80", i)
		targets = append(targets, address)
		if i < bad {
			h.fails(address)
		} else {
			h.slow("good", address, 50*time.Millisecond)
		}
	}
	if err := h.deploy("web", targets...); err != nil {
		h.t.Fatal(err)
	}
}

// out returns how many targets of the first service are taken out.
func (h *house) out() (n int) {
	for _, t := range h.Services()[0].Live.Targets {
		if t.Health == parachute.HealthUnhealthy {
			n++
		}
	}
	return n
}

func TestRequestsGoToTheTargetThatHasFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one, two := h.slow("app", "one.test:80", time.Minute), h.slow("app", "two.test:80", time.Minute)
		is.NoErr(h.deploy("web", "one.test:80", "two.test:80"))
		for n := range 20 {
			h.ask("any.test")
			is.Equal(one.Requests()+two.Requests(), n+1)
			is.Equal(max(one.Requests(), two.Requests()), n/2+1) // in turns
		}
	})
}

// Round robin would send each target the same: what it would have answered well
// is the least that is to be had.
func TestTargetsThatFailFastDoNotAttractTheTraffic(t *testing.T) {
	for _, tt := range []struct{ bad, of int }{{1, 2}, {1, 5}, {2, 5}, {3, 5}, {4, 5}} {
		t.Run(fmt.Sprintf("%d of %d", tt.bad, tt.of), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.fleet(tt.of, tt.bad)
				var good, all, most atomic.Int64
				end := load(t, 5, func(int) string {
					answer := h.get("any.test")
					if all.Add(1); answer == "200 good" {
						good.Add(1)
					}
					most.Store(max(most.Load(), int64(h.out())))
					return "200"
				})
				time.Sleep(4 * time.Second)
				end()
				share := float64(good.Load()) / float64(all.Load())
				t.Logf("%d of %d answers were good, %d targets were out", good.Load(), all.Load(), most.Load())
				is.True(share >= 1-float64(tt.bad)/float64(tt.of))
				is.True(most.Load() <= int64(tt.of/2)) // at most half of them are taken out
			})
		})
	}
}

// One URL that fails must not let anybody take out target after target.
func TestNobodyWhoAsksForWhatFailsTakesTargetsOut(t *testing.T) {
	for _, failure := range []string{"500", "reset", "late"} {
		for _, clients := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s beside %d clients", failure, clients), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					h := newHouse(t, parachute.Options{})
					var targets []string
					for _, name := range []string{"a", "b", "c"} {
						targets = append(targets, name+".test:80")
						h.net.Serve(t, name+".test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							switch r.URL.Path {
							case "/500":
								w.WriteHeader(http.StatusInternalServerError)
							case "/reset":
								panic(http.ErrAbortHandler)
							case "/late":
								<-r.Context().Done()
							}
							time.Sleep(20 * time.Millisecond) // the app's work
							io.WriteString(w, "good")
						}))
					}
					is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: targets,
						Timeouts: parachute.Timeouts{Response: 100 * time.Millisecond}}))
					end := load(t, clients, func(int) string { return h.get("any.test") })
					for range 500 { // a hundred times a second
						r, err := http.NewRequest("POST", "http://proxy.test/"+failure, nil)
						is.NoErr(err)
						go h.do(r) // which is sent but once
						time.Sleep(10 * time.Millisecond)
						is.Equal(h.out(), 0)
					}
					is.Equal(end(), nil) // nobody else was failed
					is.Equal(len(h.of(parachute.EventUnhealthy)), 0)
				})
			})
		}
	}
}

func TestOutlierIsOutForTimesThatGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.fleet(2, 1)
		end := load(t, 10, func(int) string {
			h.get("any.test")
			return "200"
		})
		unhealthy := func() []parachute.Event { return h.of(parachute.EventUnhealthy) }
		for len(unhealthy()) < 3 {
			time.Sleep(time.Second)
		}
		end()
		time.Sleep(time.Minute)
		back := h.of(parachute.EventHealthy)[2:] // but for those of the deploy
		is.Equal(len(back), 3)
		for i, least := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
			out := unhealthy()[i]
			is.Equal(out.Target, "web-0.test:80")
			is.True(strings.Contains(out.Err.Error(), "5xx"))
			took := back[i].Time.Sub(out.Time) // although its probes pass all the time
			is.True(took >= least && took <= least+time.Second)
		}
	})
}
