package parachute_test

import (
	"errors"
	"fmt"
	"io"
	"net"
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

func TestHostsChooseTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for service, hosts := range map[string][]string{
			"exact":    {"app.example.com", "Bücher.example"},
			"wildcard": {"*.example.com"},
			"v6":       {"[2001:db8::1]"},
			"any":      nil,
		} {
			h.app(service, service+".test:80")
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: service, Targets: []string{service + ".test:80"}, Hosts: hosts}))
		}
		for host, want := range map[string]string{
			"app.example.com":       "exact",
			"APP.Example.Com":       "exact",
			"app.example.com.":      "exact",
			"app.example.com:8080":  "exact",
			"app.example.com.:8080": "exact",
			"xn--bcher-kva.example": "exact",
			"other.example.com":     "wildcard",
			"a.b.example.com":       "any", // a wildcard is one label
			"example.com":           "any",
			"[2001:db8::1]:8080":    "v6",
			"192.0.2.1":             "any",
		} {
			if got := h.get(host); got != "200 "+want {
				t.Errorf("%s: got %q, want the answer of %s", host, got, want)
			}
		}
	})
}

func TestObserveIsCalledOnceForEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var mu sync.Mutex
		var outcomes []parachute.Outcome
		h := newHouse(t, parachute.Options{Observe: func(r *http.Request, o parachute.Outcome) {
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, o)
		}})
		observed := func() parachute.Outcome {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			is.Equal(len(outcomes), 1) // once
			o := outcomes[0]
			outcomes = nil
			return o
		}
		h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			time.Sleep(2 * time.Second)
			w.Header().Set("X-App", "yes")
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%d", len(body))
			if r.URL.Path == "/cut" {
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}, Hosts: []string{"app.test"}}))

		post := func(path string) string {
			r, _ := http.NewRequest("POST", "http://proxy.test"+path, strings.NewReader("hello"))
			r.Host = "app.test"
			r.Header.Set("X-Request-Id", "abc")
			return h.do(r)
		}
		is.Equal(post("/"), "418 5")
		o := observed()
		is.Equal(o.Header.Get("X-App"), "yes")
		is.Equal(o.Client.String(), "127.0.0.1")
		is.Equal(o.Deployment.Hosts, []string{"app.test"})
		o.Header, o.Deployment = nil, nil
		o.Client = parachute.Outcome{}.Client
		is.Equal(o, parachute.Outcome{Service: "web", Target: "app.test:80", Generation: 1, Status: 418, BytesIn: 5, BytesOut: 1,
			Duration: 2 * time.Second, FirstByte: 2 * time.Second, RequestID: "abc"})

		is.True(strings.Contains(post("/cut"), "unexpected EOF"))
		o = observed()
		is.Equal(o.Status, 418)
		is.Equal(o.Reason, "broken")
		is.True(o.Err != nil)

		is.Equal(h.get("unknown.test"), "404 404 Not Found")
		o = observed()
		is.Equal(o.Service, "")
		is.Equal(o.Status, 404)
		is.Equal(len(o.RequestID), 36) // made for the client that sent none, a UUID
	})
}

// A panicking hook takes its own request down and no other.
func TestPanicWhileServingEndsThatRequestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		reasons := make(chan string, 1)
		h := newHouse(t, parachute.Options{
			NotFound: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
			Observe:  func(r *http.Request, o parachute.Outcome) { reasons <- o.Reason },
		})
		h.app("app", "app.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}, Hosts: []string{"app.test"}}))
		is.True(strings.HasSuffix(h.get("unknown.test"), "EOF"))
		is.Equal(<-reasons, "panic")
		is.Equal(h.get("app.test"), "200 app")
	})
}

func TestNotFoundAnswersWhatNoServiceClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		statuses := make(chan int, 1)
		h := newHouse(t, parachute.Options{
			NotFound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusGone) }),
			Observe:  func(r *http.Request, o parachute.Outcome) { statuses <- o.Status },
		})
		is.Equal(h.get("unknown.test"), "410 ")
		is.Equal(<-statuses, 410)
	})
}

func TestWhatCannotBePassedOnIsRefused(t *testing.T) {
	for request, want := range map[string]string{
		"GET x:http://evil.test/admin HTTP/1.1\r\nHost: app.test\r\n\r\n":  "400",
		"GET /a#b HTTP/1.1\r\nHost: app.test\r\n\r\n":                      "400",
		"GET * HTTP/1.1\r\nHost: app.test\r\n\r\n":                         "400",
		"OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n":                     "200",
		"OPTIONS /x HTTP/1.1\r\nHost: app.test\r\nMax-Forwards: 0\r\n\r\n": "200",
		"CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n":      "405",
		"TRACE / HTTP/1.1\r\nHost: app.test\r\n\r\n":                       "405",
		"GET / HTTP/1.0\r\n\r\n":                                           "200", // no host: the service without hosts
	} {
		t.Run(request, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				app := h.app("app", "app.test:80")
				is.NoErr(h.deploy("web", "app.test:80"))
				conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
				is.NoErr(err)
				defer conn.Close()
				io.WriteString(conn, request)
				head, _ := proxytest.ReadHead(conn)
				_, status, _ := strings.Cut(head, " ")
				is.Equal(status[:3], want)
				if !strings.HasPrefix(request, "GET / ") {
					is.Equal(app.Requests(), 0) // nothing of it reached the target
				}
			})
		})
	}
}

// RFC 9112, section 3.2.4: the last proxy of a chain makes it an asterisk.
func TestOptionsOfAHostAloneGoesToTheServiceOfItsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		lines := make(chan string, 1)
		h.net.Script(t, "root.test:80", func(conn net.Conn, _ int) {
			for {
				head, err := proxytest.ReadHead(conn)
				if err != nil {
					return
				}
				if line, _, _ := strings.Cut(head, "\r\n"); !strings.HasPrefix(line, "GET ") { // of a probe
					lines <- line
				}
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n")
			}
		})
		api := h.app("api", "api.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "root", Targets: []string{"root.test:80"}, Hosts: []string{"app.test"}}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "api", Targets: []string{"api.test:80"}, Hosts: []string{"app.test", "api.test"}, PathPrefixes: []string{"/api"}}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "moved", Targets: []string{"api.test:80"}, Hosts: []string{"old.test", "new.test"}, CanonicalHost: "new.test"}))
		probes := api.Requests()
		options := func(target string) (status, head string) {
			conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
			is.NoErr(err)
			defer conn.Close()
			io.WriteString(conn, "OPTIONS "+target+" HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n")
			head, err = proxytest.ReadHead(conn)
			is.NoErr(err)
			return head[len("HTTP/1.1 "):][:3], head
		}
		status, head := options("http://app.test")
		is.Equal(status, "200")
		is.True(strings.Contains(head, "Allow: GET\r\n")) // the target's own answer
		is.Equal(<-lines, "OPTIONS * HTTP/1.1")
		status, _ = options("http://app.test/")
		is.Equal(status, "200")
		is.Equal(<-lines, "OPTIONS / HTTP/1.1")
		status, _ = options("http://api.test") // where all that is served is below a prefix
		is.Equal(status, "404")
		status, head = options("http://old.test")
		is.Equal(status, "308")
		is.True(strings.Contains(head, "Location: http://new.test\r\n")) // not http://new.test*
		is.Equal(api.Requests(), probes)
	})
}

func TestRequestGoesToAnotherTargetWhereOneIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one := h.slow("one", "one.test:80", time.Second)
		h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80", "two.test:80"))
		var load sync.WaitGroup
		answers := make(chan string, 100)
		for range 20 {
			load.Go(func() { answers <- h.get("any.test") })
		}
		time.Sleep(500 * time.Millisecond)
		one.Stop() // with requests on it
		for range 20 {
			load.Go(func() { answers <- h.get("any.test") }) // before a probe has seen it
		}
		load.Wait()
		close(answers)
		for a := range answers {
			is.Equal(a, "200 two")
		}
	})
}

func TestAppThatIsRestartedInPlaceCostsLatencyAndNoErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		is.Equal(h.get("any.test"), "200 app") // leaves a connection in the pool
		app.Stop()
		answers := make(chan string, 2)
		go func() { answers <- h.get("any.test") }()
		go func() {
			resp, err := h.client.Post("http://proxy.test/", "text/plain", strings.NewReader("hello"))
			if err != nil {
				answers <- err.Error()
				return
			}
			resp.Body.Close()
			answers <- resp.Status
		}()
		time.Sleep(2 * time.Second)
		app.Start()
		begin := time.Now()
		is.True(strings.HasPrefix(<-answers, "200 "))
		is.True(strings.HasPrefix(<-answers, "200 "))
		is.True(time.Since(begin) <= time.Second) // no longer than the longest pause
	})
}

func TestServiceThatStaysDownIsAnswered502AfterTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{MaxHeld: 1})
		app := h.app("app", "app.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			Timeouts: parachute.Timeouts{Hold: 3 * time.Second}}))
		app.Stop()
		begin := time.Now()
		answer := h.ask("any.test")
		is.Equal(h.get("any.test"), "502 502 Bad Gateway") // one waits already
		is.Equal(time.Since(begin), time.Duration(0))
		is.Equal(<-answer, "502 502 Bad Gateway")
		is.Equal(time.Since(begin), 3*time.Second)

		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}, Force: true,
			Timeouts: parachute.Timeouts{Hold: -1}}))
		begin = time.Now()
		is.Equal(h.get("any.test"), "502 502 Bad Gateway")
		is.Equal(time.Since(begin), time.Duration(0)) // negative is off
	})
}

func TestHeldRequestGoesWhereTheNextDeployPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		old := h.app("old", "old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		old.Stop()
		answer := make(chan string)
		go func() { answer <- h.get("any.test") }()
		time.Sleep(time.Second)
		begin := time.Now()
		is.NoErr(h.deploy("web", "new.test:80"))
		is.Equal(time.Since(begin), time.Duration(0)) // who is held is not waited for
		is.Equal(<-answer, "200 new")
	})
}

// Nobody can resume the service any more.
func TestShutdownAnswersPausedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		answer := h.ask("any.test")
		is.NoErr(h.Shutdown(t.Context()))
		is.Equal(<-answer, "503 503 Service Unavailable")
	})
}

func TestShutdownLetsRequestsWaitForTheirTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		app.Stop()
		answer := h.ask("any.test")
		is.NoErr(h.Shutdown(t.Context()))
		h.app("app", "app.test:80") // it was restarted in place
		is.Equal(<-answer, "200 app")

		app.Stop()
		answer = h.ask("any.test")
		is.NoErr(h.Close())
		is.Equal(<-answer, "503 503 Service Unavailable")
	})
}

func TestRetriesCountWhatWasSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		outcomes := make(chan parachute.Outcome, 2)
		h := newHouse(t, parachute.Options{Observe: func(r *http.Request, o parachute.Outcome) { outcomes <- o }})
		app := h.app("app", "app.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			Timeouts: parachute.Timeouts{Hold: 100 * time.Millisecond}}))
		h.get("any.test")
		is.Equal((<-outcomes).Retries, 0)
		app.Stop()
		h.get("any.test") // at once, after 50 ms, and when the 100 ms are over
		o := <-outcomes
		is.Equal(o.Retries, 2)
		is.Equal(o.Reason, "dial")
	})
}

func TestTargetThatDoesNotAnswerIs504(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("app", "app.test:80", time.Minute)
		is.NoErr(h.deploy("web", "app.test:80"))
		begin := time.Now()
		is.Equal(h.get("any.test"), "504 504 Gateway Timeout")
		is.Equal(time.Since(begin), 30*time.Second) // the default of Timeouts.Response
	})
}

func TestClientThatGoesAwayEndsItsExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		outcomes := make(chan parachute.Outcome, 1)
		h := newHouse(t, parachute.Options{Observe: func(r *http.Request, o parachute.Outcome) { outcomes <- o }})
		h.net.Script(t, "app.test:80", func(conn net.Conn, n int) {
			if head, _ := proxytest.ReadHead(conn); strings.HasPrefix(head, "GET /up ") {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
			io.Copy(io.Discard, conn)
		})
		is.NoErr(h.deploy("web", "app.test:80"))
		conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
		is.NoErr(err)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any.test\r\n\r\n")
		synctest.Wait()
		is.Equal(h.Services()[0].Live.Targets[0].Requests, int64(1))
		conn.Close()
		o := <-outcomes
		is.Equal(o.Reason, "gone")
		is.Equal(o.Status, 499)
		is.Equal(h.Services()[0].Live.Targets[0].Requests, int64(0))
	})
}

func TestNothingIsDeployedThatCannotBe(t *testing.T) {
	web := func(change func(*parachute.Deployment)) parachute.Deployment {
		d := parachute.Deployment{Service: "web", Targets: []string{"web-1:3000"}}
		change(&d)
		return d
	}
	target := func(targets ...string) parachute.Deployment {
		return web(func(d *parachute.Deployment) { d.Targets = targets })
	}
	host := func(host string) parachute.Deployment {
		return web(func(d *parachute.Deployment) { d.Hosts = []string{host} })
	}
	service := func(name string) parachute.Deployment {
		return web(func(d *parachute.Deployment) { d.Service = name })
	}
	health := func(h parachute.HealthCheck) parachute.Deployment {
		return web(func(d *parachute.Deployment) { d.HealthCheck = h })
	}
	for _, c := range []struct {
		d    parachute.Deployment
		want string
	}{
		{service(""), `parachute: deploy: no service name: want one such as web`},
		{service("a/b"), `service name "a/b" has '/' in it`},
		{service("a\x00b"), `service name "a\x00b" has '\x00' in it`},
		{service("a  b"), `want one space between words`},
		{service("a\tb"), `has '\t' in it`},
		{service(".."), `service name ".."`},
		{service(strings.Repeat("x", 129)), `129 bytes: want at most 128`},
		{target(), `no target`},
		{target(""), `target is empty`},
		{target("web-1"), `target "web-1" has no port: want host:port, such as web-1:3000`},
		{target("web-1:"), `has no port`},
		{target(":3000"), `has no host name`},
		{target("http://web-1:3000/"), `has a path: want host:port alone`},
		{target("http://web-1"), `target "http://web-1" has no port`},
		{web(func(d *parachute.Deployment) { d.Timeouts.Drain = 5 }), `Timeouts.Drain: 5 is 5 ns: want 5 * time.Second`},
		{web(func(d *parachute.Deployment) { d.HealthCheck.Interval = 5 }), `HealthCheck.Interval: 5 is 5 ns: want 5 * time.Second`},
		{web(func(d *parachute.Deployment) { d.HealthCheck.Timeout = time.Microsecond }), `HealthCheck.Timeout: 1µs is too short: want at least 1ms`},
		{target("ftp://web-1:3000"), `has an unknown scheme`},
		{target("https://web-1"), `target "https://web-1" has no port`},
		{target("unix:web.sock"), `target "unix:web.sock": want an absolute path`},
		{web(func(d *parachute.Deployment) { d.TargetTLS.Insecure = true }), `none of the targets is an https:// one`},
		{target("web-1:3000/app"), `has a path`},
		{target("web-1:99999"), `port "99999" is not between 1 and 65535`},
		{target("web-1:0"), `port "0"`},
		{target("web-1:http"), `port "http"`},
		{target("::1:3000"), `an IPv6 address stands in brackets, as in [::1]:3000`},
		{host(""), `host is empty`},
		{host("*"), `host "*": name no host at all`},
		{host("a.*.com"), `"*" may only stand for the whole first label`},
		{host("a*.example.com"), `"*" may only stand for`},
		{host("app.test:80"), `host "app.test:80" has a port`},
		{host("app.test/x"), `has a path`},
		{host("https://app.test"), `has a scheme`},
		{host("app..test"), `is no host name`},
		{host("-app.test"), `is no host name`},
		{host("a b.test"), `is no host name`},
		{health(parachute.HealthCheck{Path: "up"}), `health check path "up"`},
		{health(parachute.HealthCheck{Path: "/up x"}), `health check path "/up x"`},
		{health(parachute.HealthCheck{Path: "/up#f"}), `health check path "/up#f"`},
		{health(parachute.HealthCheck{Path: "/ü"}), `health check path "/ü"`},
		{health(parachute.HealthCheck{Port: 70000}), `health check port 70000`},
		{health(parachute.HealthCheck{Host: "a\r\nb"}), `health check host "a\r\nb"`},
		{health(parachute.HealthCheck{Interval: -1}), `health check interval`},
		{health(parachute.HealthCheck{Rise: -1}), `health check rise -1`},
	} {
		is := is.New(t)
		p := parachute.New(parachute.Options{})
		err := p.Deploy(t.Context(), c.d)
		is.True(errors.Is(err, parachute.ErrInvalid))
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("the error is %q, want it to say %q", err, c.want)
		}
		is.Equal(len(p.Services()), 0)
		p.Close()
	}
}

func TestTargetMayBeAnIPv6Address(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("six", "[::1]:3000")
		is.NoErr(h.deploy("web", "[::1]:3000"))
		is.Equal(h.get("any.test"), "200 six")
	})
}

// A target that goes away while a client is still sending its request: the
// client is there, and is told.
func TestTargetThatBreaksDuringAnUploadIs502(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		outcomes := make(chan parachute.Outcome, 1)
		h := newHouse(t, parachute.Options{Observe: func(r *http.Request, o parachute.Outcome) { outcomes <- o }})
		h.net.Script(t, "app.test:80", func(conn net.Conn, n int) {
			if head, _ := proxytest.ReadHead(conn); strings.HasPrefix(head, "GET /up ") {
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				return
			}
			time.Sleep(time.Second)
		})
		is.NoErr(h.deploy("web", "app.test:80"))
		conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
		is.NoErr(err)
		defer conn.Close()
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: any.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		head, _ := proxytest.ReadHead(conn)
		is.True(strings.HasPrefix(head, "HTTP/1.1 502 "))
		is.Equal((<-outcomes).Reason, "broken")
	})
}
