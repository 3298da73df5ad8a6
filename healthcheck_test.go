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
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestProbesComeOftenAtFirstAndOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		begin := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			at = append(at, time.Since(begin).Round(time.Millisecond))
			n := len(at)
			mu.Unlock()
			if n < 8 {
				w.WriteHeader(503)
			}
		})).SetHealth(0)
		is.NoErr(h.deploy("web", "app.test:80"))
		time.Sleep(2500 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		ms := func(n ...int) (d []time.Duration) {
			for _, n := range n {
				d = append(d, time.Duration(n)*time.Millisecond)
			}
			return d
		}
		is.Equal(at, ms(0, 50, 150, 350, 750, 1550, 2550, 3550, 4550, 5550)) // the last two after the switch
	})
}

func TestProbeIsAPlainGetOnAConnectionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{UserAgent: "parachute/1.2.3"})
		heads := make(chan string, 100)
		h.net.Script(t, "app.test:3001", func(conn net.Conn, n int) {
			head, _ := proxytest.ReadHead(conn)
			heads <- head
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			io.Copy(io.Discard, conn)
		})
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			HealthCheck: parachute.HealthCheck{Path: "/health?deep=1", Port: 3001, Host: "app1.example.com"}}))
		time.Sleep(1500 * time.Millisecond)
		is.Equal(h.net.Dials("app.test:3001"), 2) // a fresh connection for each
		head := <-heads
		is.True(strings.HasPrefix(head, "GET /health?deep=1 HTTP/1.1\r\nHost: app1.example.com\r\n"))
		is.True(strings.Contains(head, "\r\nUser-Agent: parachute/1.2.3\r\n"))
		is.Equal(h.net.Dials("app.test:80"), 0) // the port to probe is another
	})
}

func TestProbePassesWithAsManyInterimAnswersAsTheAppLikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.net.Script(t, "app.test:80", func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </app.css>\r\n\r\n", 9))
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, conn)
		})
		is.NoErr(h.deploy("web", "app.test:80"))
		is.Equal(h.Services()[0].Live.Targets[0].Probe.Status, 200)
	})
}

func TestLoneUnhealthyTargetStaysInService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		app.SetHealth(500)
		time.Sleep(2 * time.Second)
		target := h.Services()[0].Live.Targets[0]
		is.Equal(target.Health, parachute.HealthUnhealthy) // its health is shown
		is.Equal(target.Probe.Status, 500)
		is.Equal(h.get("any.test"), "200 app")
		app.SetHealth(200)
		time.Sleep(2 * time.Second)
		is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthHealthy)
		kinds := h.kinds()
		is.Equal(kinds[len(kinds)-2:], []parachute.EventKind{parachute.EventUnhealthy, parachute.EventHealthy}) // only changes are events now
	})
}

func TestUnhealthyTargetIsPassedOverWhileAnotherIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one, two := h.app("one", "one.test:80"), h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80", "two.test:80"))
		for range 50 {
			h.get("any.test")
		}
		is.True(one.Requests() > 0 && two.Requests() > 0) // both serve
		one.SetHealth(500)
		time.Sleep(2 * time.Second)
		before := one.Requests()
		for range 50 {
			is.Equal(h.get("any.test"), "200 two")
		}
		is.Equal(one.Requests(), before)
	})
}

func TestRiseAndFallCountProbesInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		begin := time.Now()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			HealthCheck: parachute.HealthCheck{Rise: 3, Fall: 2}}))
		is.Equal(time.Since(begin), 150*time.Millisecond) // the third probe
		app.SetHealth(500)
		time.Sleep(1500 * time.Millisecond)
		is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthHealthy) // one failure is not two
		time.Sleep(time.Second)
		is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthUnhealthy)
	})
}

func TestTargetThatFlapsIsNotHealthyWhereTwoProbesAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		var probes atomic.Int64
		h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if probes.Add(1)%2 == 0 {
				w.WriteHeader(503)
			}
		})).SetHealth(0)
		err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			HealthCheck: parachute.HealthCheck{Rise: 2, Fall: 3}})
		is.True(errors.Is(err, parachute.ErrUnhealthy)) // never twice in a row
	})
}

// What a failed deploy says of the last probe, for each way an app can fail.
func TestFailedDeploySaysWhatTheTargetAnswered(t *testing.T) {
	raw := func(answer string) func(*testing.T, *house) {
		return func(t *testing.T, h *house) {
			h.net.Script(t, "app.test:80", func(conn net.Conn, n int) {
				proxytest.ReadHead(conn)
				io.WriteString(conn, answer)
			})
		}
	}
	for _, c := range []struct {
		name  string
		serve func(*testing.T, *house)
		want  string
	}{
		{"refused", func(*testing.T, *house) {}, "connection refused"},
		{"silent", func(t *testing.T, h *house) {
			h.net.Script(t, "app.test:80", func(conn net.Conn, n int) { io.Copy(io.Discard, conn) })
		}, "GET /up got no answer: none within 5s"},
		{"unreachable", func(t *testing.T, h *house) { h.net.Blackhole("app.test:80") }, "none within 5s"},
		{"redirect", raw("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"), "GET /up answered 302 to /login"},
		{"error", raw("HTTP/1.1 500 Oops\r\n\r\n" + strings.Repeat("x", 300)), "answered 500 \"" + strings.Repeat("x", 200) + "\""},
		{"empty", raw(""), "EOF"},
		{"not http", raw("SSH-2.0-OpenSSH_9.2\r\n"), `not a status line of HTTP/1.0 or HTTP/1.1: "SSH-2.0-OpenSSH_9.2\r\n"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				c.serve(t, h)
				err := h.deploy("web", "app.test:80")
				is.True(err != nil)
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %q, want it to say %q", err, c.want)
				}
			})
		})
	}
}

// What is between the machine and the internet is not between the proxy and its
// targets.
func TestProxyInTheEnvironmentDoesNotBendProbes(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://elsewhere.test:80")
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		elsewhere := h.app("elsewhere", "elsewhere.test:80")
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		is.Equal(h.get("any.test"), "200 web")
		is.Equal(elsewhere.Probes(), 0)
		is.Equal(elsewhere.Requests(), 0)
	})
}

// TestProbeOfAPortThatSpeaksFirstHasOneCause is about sockets: whether the
// target or the probe is faster there is nobody's to say.
func TestProbeOfAPortThatSpeaksFirstHasOneCause(t *testing.T) {
	for name, tt := range map[string]struct {
		says string
		want parachute.Cause
	}{
		"out of workers": {"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n", parachute.CauseServerError},
		"a mail server":  {"220 mail.test ESMTP\r\n", parachute.CauseMalformed},
		"nothing":        {"", parachute.CauseNoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			is.NoErr(err)
			defer listener.Close()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					io.WriteString(conn, tt.says)
					conn.Close()
				}
			}()
			ctx, cancel := context.WithCancel(t.Context())
			causes := make(map[parachute.Cause]bool)
			probes := 0
			p := parachute.New(parachute.Options{Notify: func(e parachute.Event) {
				if e.Kind != parachute.EventProbed {
					return
				}
				causes[e.Probe.Cause] = true
				if probes++; probes == 50 {
					cancel()
				}
			}})
			defer p.Close()
			err = p.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{listener.Addr().String()},
				HealthCheck: parachute.HealthCheck{Interval: time.Millisecond}, Timeouts: parachute.Timeouts{Deploy: -1}})
			is.True(errors.Is(err, context.Canceled))
			is.Equal(causes, map[parachute.Cause]bool{tt.want: true})
		})
	}
}

// An app may answer its health check with an event stream, or be stuck behind the
// head. Neither may use up the time of the check.
func TestVerdictOfAHealthCheckDoesNotWaitForABodyWithoutEnd(t *testing.T) {
	for name, scheme := range map[string]string{"HTTP/1": "", "HTTP/2": "h2c://"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				var status, open atomic.Int32
				status.Store(200)
				app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(10 * time.Millisecond)
					w.WriteHeader(int(status.Load()))
					open.Add(1)
					defer open.Add(-1)
					for r.Context().Err() == nil {
						io.WriteString(w, ".")
						w.(http.Flusher).Flush()
						time.Sleep(30 * time.Millisecond)
					}
				})
				if scheme == "" {
					h.net.Serve(t, "app.test:80", app).SetHealth(0)
				} else {
					h.overHTTP2("app.test:80", app)
				}
				began := time.Now()
				is.NoErr(h.deploy("web", scheme+"app.test:80"))
				is.True(time.Since(began) < 200*time.Millisecond) // not the 5 s of HealthCheck.Timeout
				probe := h.of(parachute.EventHealthy)[0].Probe
				is.Equal(probe.Took, 10*time.Millisecond) // until the head
				is.Equal(strings.Trim(probe.Body, "."), "")
				time.Sleep(100 * time.Millisecond)
				is.Equal(open.Load(), int32(0)) // the connection is gone

				status.Store(503)
				time.Sleep(3 * time.Second)
				is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthUnhealthy)
				is.Equal(h.Services()[0].Live.Targets[0].Probe.Status, 503)
			})
		})
	}
}
