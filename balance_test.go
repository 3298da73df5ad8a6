package parachute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
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
		for range 300 {
			if len(unhealthy()) == 3 {
				break
			}
			time.Sleep(time.Second)
		}
		is.Equal(len(unhealthy()), 3)
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

func TestHalfOfTheTargetsAreTakenOutAsOutliersAndNoMore(t *testing.T) {
	for n, most := range map[int]int{2: 1, 3: 1, 4: 2, 5: 2} {
		t.Run(fmt.Sprintf("%d of %d", most, n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				var targets []string
				broken := make([]atomic.Bool, n)
				for i := range n {
					targets = append(targets, fmt.Sprintf("web-%d.test:80", i))
					h.net.Serve(t, targets[i], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if broken[i].Load() {
							w.WriteHeader(http.StatusInternalServerError)
							return
						}
						time.Sleep(500 * time.Millisecond) // the app's work
					}))
				}
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: targets,
					HealthCheck: parachute.HealthCheck{Interval: time.Hour}})) // so that no probe brings one back
				end := load(t, 40, func(int) string {
					h.get("any.test")
					return "200"
				})
				for i := range n - 1 { // one after another, so that each is alone in failing
					broken[i].Store(true)
					time.Sleep(30 * time.Second)
					is.Equal(h.out(), min(i+1, most))
				}
				end()
				is.Equal(len(h.of(parachute.EventUnhealthy)), most)
			})
		})
	}
}

// A writer serves everybody in want of readers, but a reader takes no writes.
func TestTargetIsTakenOutOnlyWhereAHealthyOneGetsItsRequests(t *testing.T) {
	const target = "a.test:80" // which refuses connections
	for name, tt := range map[string]struct {
		method           string
		writers, readers []string
		sick             string // fails its probes
		out              int    // how many times it is taken out
	}{
		"a writer beside another":                {"POST", []string{target, "b.test:80"}, nil, "", 1},
		"a writer beside a sick one":             {"POST", []string{target, "b.test:80"}, nil, "b.test:80", 0},
		"the only writer, beside a reader":       {"POST", []string{target}, []string{"b.test:80"}, "", 0},
		"a writer beside a sick one, and reader": {"POST", []string{target, "b.test:80"}, []string{"c.test:80"}, "b.test:80", 0},
		"the only target":                        {"GET", []string{target}, nil, "", 0},
		"a reader beside a writer":               {"GET", []string{"b.test:80"}, []string{target}, "", 1},
		"a reader beside another":                {"GET", []string{"b.test:80"}, []string{target, "c.test:80"}, "b.test:80", 1},
		"a reader beside a sick one":             {"GET", []string{"b.test:80"}, []string{target, "c.test:80"}, "c.test:80", 1},
		"the only reader, and a sick writer":     {"GET", []string{"b.test:80"}, []string{target}, "b.test:80", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				network := new(proxytest.Net)
				h := &house{t: t, net: network}
				var refused atomic.Int64
				h.Proxy = parachute.New(parachute.Options{Notify: h.note, Dial: func(ctx context.Context, kind, address string) (net.Conn, error) {
					if address == target {
						refused.Add(1)
						return nil, &net.OpError{Op: "dial", Net: kind, Err: errors.New("refused")}
					}
					return network.Dial(ctx, kind, address)
				}})
				defer h.Close()
				network.Serve(t, "proxy.test:80", h.Proxy).SetHealth(0)
				h.client = network.Client(t)
				for _, address := range slices.Concat(tt.writers, tt.readers) {
					host, _, _ := net.SplitHostPort(address)
					health := h.app("health", host+":81")
					if address != target {
						h.app("app", address)
					}
					if address == tt.sick {
						time.AfterFunc(time.Minute, func() { health.SetHealth(503) })
					}
				}
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: tt.writers, ReadTargets: tt.readers,
					HealthCheck: parachute.HealthCheck{Port: 81, Interval: 10 * time.Minute}}))
				time.Sleep(15 * time.Minute) // by then the sick one is known
				for range 1000 {
					if refused.Load() >= 3 {
						break
					}
					r, err := http.NewRequest(tt.method, "http://proxy.test/", nil)
					is.NoErr(err)
					h.do(r)
				}
				is.True(refused.Load() >= 3)
				out := 0
				for _, e := range h.of(parachute.EventUnhealthy) {
					if e.Target == target {
						out++
					} else {
						is.Equal(e.Target, tt.sick)
					}
				}
				is.Equal(out, tt.out)
			})
		})
	}
}
