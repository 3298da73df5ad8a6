package parachute_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestDeploymentIsValidUpToItsLimits(t *testing.T) {
	health := func(h parachute.HealthCheck) parachute.Deployment {
		return parachute.Deployment{Service: "web", HealthCheck: h}
	}
	for name, tt := range map[string]struct {
		d     parachute.Deployment
		valid bool
	}{
		"longest name":              {parachute.Deployment{Service: strings.Repeat("n", 128)}, true},
		"name too long":             {parachute.Deployment{Service: strings.Repeat("n", 129)}, false},
		"highest port":              {health(parachute.HealthCheck{Port: 65535}), true},
		"port too high":             {health(parachute.HealthCheck{Port: 65536}), false},
		"lowest status":             {health(parachute.HealthCheck{Status: "100-599"}), true},
		"status too low":            {health(parachute.HealthCheck{Status: "99-599"}), false},
		"status too high":           {health(parachute.HealthCheck{Status: "100-600"}), false},
		"tilde in the path":         {health(parachute.HealthCheck{Path: "/~user/up"}), true},
		"DEL in the path":           {health(parachute.HealthCheck{Path: "/\x7f"}), false},
		"tilde in a header's name":  {health(parachute.HealthCheck{Headers: []string{"X~Probe: yes"}}), true},
		"tab in a header's value":   {health(parachute.HealthCheck{Headers: []string{"X-Probe: a\tb"}}), true},
		"line in a header's value":  {health(parachute.HealthCheck{Headers: []string{"X-Probe: a\nb"}}), false},
		"redirect to https":         {parachute.Deployment{Service: "web", Redirects: []parachute.Redirect{{From: "/a", To: "https://b.test/"}}}, true},
		"redirect to http":          {parachute.Deployment{Service: "web", Redirects: []parachute.Redirect{{From: "/a", To: "http://b.test/"}}}, true},
		"redirect to another thing": {parachute.Deployment{Service: "web", Redirects: []parachute.Redirect{{From: "/a", To: "ftp://b.test/"}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.app("web", "web.test:80")
				tt.d.Targets, tt.d.Force = []string{"web.test:80"}, true
				err := h.Deploy(t.Context(), tt.d)
				is.Equal(errors.Is(err, parachute.ErrInvalid), !tt.valid)
				is.Equal(err == nil, tt.valid)
			})
		})
	}
}

func TestGRPCServiceHasAtMost1024Bytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for length, valid := range map[int]bool{1024: true, 1025: false} {
			err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"h2c://web.test:80"}, Force: true,
				HealthCheck: parachute.HealthCheck{GRPC: true, GRPCService: strings.Repeat("s", length)}})
			is.Equal(err == nil, valid)
		}
	})
}

func TestServicesOfAHostMustAgreeOnItsPolicy(t *testing.T) {
	at := func(canonical string, tls parachute.TLS) parachute.Deployment {
		return parachute.Deployment{CanonicalHost: canonical, TLS: tls}
	}
	off := parachute.TLS{Mode: parachute.TLSOff}
	automatic := parachute.TLS{Mode: parachute.TLSAutomatic}
	plain := parachute.TLS{Mode: parachute.TLSAutomatic, NoRedirect: true}
	for name, tt := range map[string]struct {
		one, other parachute.Deployment
		dispute    string // empty: they agree
	}{
		"the same canonical host":      {at("a.test", off), at("a.test", off), ""},
		"one canonical host":           {at("a.test", off), at("", off), ""},
		"the other's canonical host":   {at("", off), at("a.test", off), ""},
		"two canonical hosts":          {at("a.test", off), at("b.test", off), "canonical host"},
		"two modes":                    {at("", automatic), at("", off), "TLS mode"},
		"plain requests of one":        {at("", automatic), at("", plain), "redirected to https"},
		"certificates from two places": {at("", automatic), at("", parachute.TLS{Mode: parachute.TLSAutomatic, Staging: true}), "from elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{ACME: parachute.ACME{Directory: "https://ca.invalid/"}})
				deploy := func(d parachute.Deployment, service, prefix string) error {
					d.Service, d.PathPrefixes, d.Hosts = service, []string{prefix}, []string{"a.test", "b.test"}
					d.Targets, d.Force = []string{"app.test:80"}, true
					return h.Deploy(t.Context(), d)
				}
				is.NoErr(deploy(tt.one, "one", "/one"))
				err := deploy(tt.other, "other", "/other")
				if tt.dispute == "" {
					is.NoErr(err)
					return
				}
				is.True(errors.Is(err, parachute.ErrConflict))
				is.True(strings.Contains(err.Error(), tt.dispute))
			})
		})
	}
}

func TestLongestPrefixWinsWhateverCameFirst(t *testing.T) {
	prefixes := []string{"/a", "/a/b", "/a/b/c", "/a/b/c/d"}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			h := newHouse(t, parachute.Options{})
			for _, i := range order {
				name := fmt.Sprint("app", i)
				h.app(name, name+".test:80")
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: name, Targets: []string{name + ".test:80"}, PathPrefixes: prefixes[i : i+1]}))
			}
			for i, prefix := range prefixes {
				r, err := http.NewRequest("GET", "http://proxy.test"+prefix+"/x", nil)
				is.NoErr(err)
				is.Equal(h.do(r), fmt.Sprint("200 app", i))
			}
		})
	}
}

func TestServicesTellWhichTargetsAreForReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"a", "b", "c"} {
			h.app(name, name+".test:80")
		}
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"a.test:80"}, ReadTargets: []string{"b.test:80", "c.test:80"}}))
		reads := make(map[string]bool)
		for _, target := range h.Services()[0].Live.Targets {
			reads[target.Address] = target.Reads
		}
		is.Equal(reads, map[string]bool{"a.test:80": false, "b.test:80": true, "c.test:80": true})
	})
}

func TestErrorRateIsTheShareOfRequestsThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		var n atomic.Int64
		h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%4 == 0 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		is.NoErr(h.deploy("web", "app.test:80"))
		for range 8 {
			h.get("any.test")
		}
		time.Sleep(11 * time.Second) // a part of the window has passed
		is.Equal(h.Services()[0].Live.Targets[0].Traffic.ErrorRate, 0.25)
	})
}

func TestTargetThatRefusesThreeConnectionsInARowIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		network := new(proxytest.Net)
		h := &house{t: t, net: network}
		var refusing atomic.Bool
		var refused atomic.Int64
		h.Proxy = parachute.New(parachute.Options{Notify: h.note, Dial: func(ctx context.Context, kind, address string) (net.Conn, error) {
			if address == "one.test:80" && refusing.Load() {
				refused.Add(1)
				return nil, &net.OpError{Op: "dial", Net: kind, Err: errors.New("refused")}
			}
			return network.Dial(ctx, kind, address)
		}})
		defer h.Close()
		network.Serve(t, "proxy.test:80", h.Proxy).SetHealth(0)
		h.client = network.Client(t)
		answers := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close") // so that each request wants a connection
			io.WriteString(w, "app")
		}
		one := network.Serve(t, "one.test:80", http.HandlerFunc(answers))
		network.Serve(t, "two.test:80", http.HandlerFunc(answers))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80", "two.test:80"},
			HealthCheck: parachute.HealthCheck{Interval: time.Hour}}))
		until := func(done func() bool) {
			for range 1000 {
				if done() {
					return
				}
				is.Equal(h.get("any.test"), "200 app")
			}
			is.Fail()
		}
		out := func() bool { return h.Services()[0].Live.Targets[0].Health == parachute.HealthUnhealthy }
		for range 3 { // two, and then one that comes to something
			refusing.Store(true)
			before := refused.Load()
			until(func() bool { return refused.Load() == before+2 })
			is.True(!out())
			refusing.Store(false)
			served := one.Requests()
			until(func() bool { return one.Requests() > served })
		}
		refusing.Store(true)
		before := refused.Load()
		until(out)
		is.Equal(refused.Load(), before+3)
	})
}

func TestDrainIsAWarningInTheLogOnlyIfItCutRequests(t *testing.T) {
	for _, cut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var log bytes.Buffer
			h := newHouse(t, parachute.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			h.slow("old", "old.test:80", 3*time.Second)
			h.slow("old", "older.test:80", 90*time.Second)
			h.app("new", "new.test:80")
			targets := []string{"old.test:80"}
			if cut {
				targets = []string{"older.test:80"}
			}
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: targets, Timeouts: parachute.Timeouts{Response: -1}}))
			answers := []<-chan string{h.ask("any.test")}
			time.Sleep(1500 * time.Millisecond)
			answers = append(answers, h.ask("any.test"))
			is.NoErr(h.deploy("web", "new.test:80"))
			for _, answer := range answers {
				<-answer
			}
			levels := map[string][]string{}
			for line := range strings.Lines(log.String()) {
				_, rest, _ := strings.Cut(line, "level=")
				level, rest, _ := strings.Cut(rest, " msg=")
				msg, _, _ := strings.Cut(rest, " ")
				levels[msg] = append(levels[msg], level)
			}
			if cut {
				is.Equal(levels["draining"][0], "INFO")
				is.Equal(levels["drained"], []string{"WARN"})
			} else {
				is.Equal(levels["draining"][:2], []string{"INFO", "DEBUG"}) // the second tells how far it is
				is.Equal(levels["drained"], []string{"INFO"})
			}
		})
	}
}

// A request is sent once there is a target, from its first byte, wherever its body
// was kept.
func TestBufferedRequestIsSentWholeHoweverLateItsTargetComes(t *testing.T) {
	dir := t.TempDir()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	for target, serve := range map[string]func(h *house){
		"app.test:80":       func(h *house) { h.net.Serve(h.t, "app.test:80", echo) },
		"h2c://app.test:80": func(h *house) { h.overHTTP2("app.test:80", echo) },
	} {
		for kept, size := range map[string]int{"small": 10, "in memory": 100_000, "in a file": 500_000} {
			t.Run(target+", "+kept, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					outcomes := make(chan parachute.Outcome, 1)
					h := newHouse(t, parachute.Options{Spool: parachute.Spool{Dir: dir}, Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
					is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}, Force: true,
						Buffer: parachute.Buffer{Requests: true, Memory: 200_000}}))
					sent := strings.Repeat("0123456789", size/10)
					got := make(chan string, 1)
					go func() {
						_, body := h.answer("POST", "/", sent)
						got <- body
					}()
					time.Sleep(time.Second)
					serve(h)
					is.True(<-got == sent)
					is.True((<-outcomes).Retries > 0)
				})
			})
		}
	}
}

// Nor does a target have to take what is buffered as fast as clients must send.
func TestBufferedRequestIsSentHoweverSlowlyItsTargetReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		sent := strings.Repeat("0123456789", 50_000)
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Minute)
			body, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, len(body))
		}, parachute.Deployment{Buffer: parachute.Buffer{Requests: true}, Timeouts: parachute.Timeouts{Response: -1}}))
		resp, body := h.answer("POST", "/", sent)
		is.Equal(resp.StatusCode, 200)
		is.Equal(body, "500000")
	})
}

// The whole body was read from the client, so that its connection can be used again.
func TestConnectionOutlivesABufferedRequestThatNobodyTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			Buffer: parachute.Buffer{Requests: true}, Timeouts: parachute.Timeouts{Hold: -1}}))
		app.Stop()
		before := h.net.Dials("proxy.test:80")
		for range 2 {
			resp, _ := h.answer("POST", "/", strings.Repeat("x", 100_000))
			is.Equal(resp.StatusCode, 502)
			time.Sleep(time.Minute)
		}
		is.Equal(h.net.Dials("proxy.test:80"), before+1)
	})
}

// A server of HTTP/1 cancels a request whose body it cannot read, as it does when
// the client has left; a transport of HTTP/2 then only tells that it was canceled.
func TestClientWhoseBodyFailsHasNotLeft(t *testing.T) {
	for name, tt := range map[string]struct {
		body, answer, reason string
		then                 func(*house, net.Conn)
	}{
		"it stalls":        {largeUpload, got + "408", "client", goOn(time.Minute)},
		"a chunk is none":  {chunked + "3\r\nfoo\r\nwhat?\r\n", got + "400", "client", goOn(time.Second)},
		"it leaves":        {largeUpload, "", "gone", leave},
		"it is over large": {chunked + "3\r\nfoo\r\n30000\r\n" + strings.Repeat("x", 0x30000), got + "413", "too large", goOn(time.Second)},
	} {
		for _, scheme := range []string{"", "h2c://"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				if name == "it stalls" && scheme == "" && proxytest.HasHTTP1() {
					t.Skip("the app gives up at the same moment")
				}
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					outcomes := make(chan parachute.Outcome, 1)
					h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
					reads := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
					if scheme == "" {
						h.net.Serve(t, "app.test:80", reads)
					} else {
						h.overHTTP2("app.test:80", reads)
					}
					is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{scheme + "app.test:80"}, MaxRequestBody: 0x30000}))
					client, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
					is.NoErr(err)
					defer client.Close()
					go io.WriteString(client, upload+tt.body)
					time.Sleep(100 * time.Millisecond) // the exchange is no longer young
					head := make(chan string, 1)
					go func() {
						answer, _ := proxytest.ReadHead(client)
						head <- answer
					}()
					tt.then(h, client)
					o := <-outcomes
					is.Equal(o.Reason, tt.reason)
					if tt.answer != "" {
						is.True(strings.HasPrefix(<-head, tt.answer))
					}
				})
			})
		}
	}
}

// Who has written is only of interest to those who might read from another target.
func TestServiceWithoutReadTargetsRemembersNoWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Writer-Affinity", r.Header.Get("X-Said"))
		}, parachute.Deployment{Timeouts: parachute.Timeouts{WriterAffinity: time.Minute}}))
		resp, _ := h.answer("POST", "/", "", "X-Said", "true")
		is.Equal(resp.Header["Set-Cookie"], nil)
		is.Equal(resp.Header.Get("X-Writer-Affinity"), "true") // it is the app's own
	})
}

// A program that speaks TLS by itself has one certificate for all hosts: then none
// of them has settings of its own that a connection could miss.
func TestHostsOfAProxyBehindSomebodyElsesTLSShareAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"one", "two"} {
			h.app(name, name+".internal:80")
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: name, Targets: []string{name + ".internal:80"}, Hosts: []string{name + ".test"}}))
		}
		for _, host := range []string{"one.test", "two.test"} {
			r := httptest.NewRequest("GET", "https://"+host+"/", nil)
			r.TLS = &tls.ConnectionState{ServerName: "one.test"}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			is.Equal(w.Code, 200)
			is.Equal(w.Body.String()+".test", host)
		}
	})
}
