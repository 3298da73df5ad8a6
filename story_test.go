package parachute_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// of returns the events of a kind so far.
func (h *house) of(kind parachute.EventKind) []parachute.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.events), func(e parachute.Event) bool { return e.Kind != kind })
}

func TestProbesTellHowFarTheDeployIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		app.SetHealth(503)
		time.AfterFunc(100*time.Millisecond, func() { app.SetHealth(200) })
		is.NoErr(h.deploy("web", "app.test:80"))

		is.Equal(h.of(parachute.EventDeploying)[0].Limit, 30*time.Second)
		var told []string
		for _, e := range append(h.of(parachute.EventProbed), h.of(parachute.EventHealthy)...) {
			told = append(told, fmt.Sprintln(e.Kind, e.Probes, "after", e.Elapsed, "of", e.Limit))
		}
		is.Equal(strings.Join(told, ""), `probed 1 after 0s of 30s
probed 2 after 50ms of 30s
probed 3 after 150ms of 30s
healthy 3 after 150ms of 0s
`)
		app.SetHealth(503)
		time.Sleep(2 * time.Second)
		later := h.of(parachute.EventUnhealthy)[0]
		is.Equal(later.Probes, 0) // no deploy waits any more
		is.Equal(later.Elapsed, time.Duration(0))
	})
}

func TestDeployWithoutALimitTellsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			Timeouts: parachute.Timeouts{Deploy: -1}}))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"app.test:80"}}))
		for _, e := range append(h.of(parachute.EventDeploying), h.of(parachute.EventProbed)...) {
			is.Equal(e.Limit, time.Duration(0)) // as long as it takes
		}
	})
}

func TestDrainIsCountedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 2500*time.Millisecond)
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		answers := make(chan string, 3)
		for _, pause := range []time.Duration{0, 1700 * time.Millisecond, 0} { // between the requests
			go func() { answers <- h.get("any.test") }()
			synctest.Wait()
			time.Sleep(pause)
		}
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Stream: time.Minute}}))
		for range 3 {
			is.Equal(<-answers, "200 old")
		}
		var told []string
		for _, e := range append(h.of(parachute.EventDraining), h.of(parachute.EventDrained)...) {
			told = append(told, fmt.Sprintln(e.Kind, e.Requests, "after", e.Elapsed, "of", e.Limit, e.Unused))
		}
		// Two began 1.7 s before the third, and nothing is told twice.
		is.Equal(strings.Join(told, ""), `draining 3 after 0s of 1m30s []
draining 1 after 1s of 1m30s []
drained 0 after 2.5s of 0s [old.test:80]
`)
	})
}

func TestDrainAlwaysHasAMomentForWhatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{Drain: -1}))
		is.Equal(h.of(parachute.EventDraining)[0].Limit, time.Second)
		is.Equal(len(h.of(parachute.EventDrained)[0].Unused), 0) // its targets are to be used again
	})
}

func TestOnlyWhatNothingUsesAnyMoreMayBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"a", "b", "c", "d"} {
			h.app(name, name+".test:80")
		}
		slow := h.slow("slow", "slow.test:80", 10*time.Second)
		deploy := func(service string, targets ...string) (unused []string) {
			t.Helper()
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: service, Targets: targets, Hosts: []string{service + ".test"}}))
			told := h.of(parachute.EventDrained)
			if len(told) == 0 {
				return nil
			}
			return told[len(told)-1].Unused
		}
		deploy("web", "a.test:80", "b.test:80")
		is.Equal(deploy("web", "b.test:80", "c.test:80"), []string{"a.test:80"}) // b goes on, as a target of its own
		deploy("shop", "c.test:80")
		is.Equal(deploy("web", "d.test:80"), []string{"b.test:80"}) // another service has c

		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"a.test:80"}}))
		is.Equal(deploy("web", "b.test:80"), []string{"d.test:80"}) // the rollout keeps a
		is.NoErr(h.EndRollout(t.Context(), "web"))
		drained := h.of(parachute.EventDrained)
		is.Equal(drained[len(drained)-1].Unused, []string{"a.test:80"})

		ctx, giveUp := context.WithCancel(t.Context())
		waiting := make(chan error)
		go func() {
			waiting <- h.Deploy(ctx, parachute.Deployment{Service: "next", Targets: []string{"b.test:80", "nobody.test:80"}, Hosts: []string{"next.test"}})
		}()
		synctest.Wait()
		is.Equal(deploy("web", "slow.test:80"), nil) // a deploy waits for b
		giveUp()
		is.True(errors.Is(<-waiting, context.Canceled))

		answer := make(chan string)
		go func() { answer <- h.get("web.test") }()
		synctest.Wait()
		draining := make(chan []string)
		go func() { draining <- deploy("web", "d.test:80") }()
		synctest.Wait()
		is.Equal(slow.Requests(), 1)
		deploy("web", "slow.test:80")
		is.Equal(deploy("web", "d.test:80"), nil) // an older version still drains slow
		is.Equal(<-answer, "200 slow")
		is.Equal(<-draining, []string{"slow.test:80"})
	})
}

func TestProbeTellsWhyItDidNotPass(t *testing.T) {
	const target = "app.test:80"
	raw := func(answer string) func(*testing.T, *house) {
		return func(t *testing.T, h *house) {
			h.net.Script(t, target, func(conn net.Conn, n int) {
				proxytest.ReadHead(conn)
				io.WriteString(conn, answer)
			})
		}
	}
	status := func(status int, header string) func(*testing.T, *house) {
		return raw(fmt.Sprintf("HTTP/1.1 %d X\r\n%sContent-Length: 0\r\n\r\n", status, header))
	}
	badRequest := func(body string) func(*testing.T, *house) {
		return raw(fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	ca := proxytest.NewCA()
	tlsServer := func(config *tls.Config) func(*testing.T, *house) {
		return func(t *testing.T, h *house) {
			config.Certificates = []tls.Certificate{ca.Issue("app.test")}
			h.net.Script(t, target, func(conn net.Conn, n int) {
				server := tls.Server(conn, config)
				if server.Handshake() == nil {
					io.Copy(io.Discard, server)
				}
			})
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(*testing.T, *house)
		scheme string
		cause  parachute.Cause
		hint   string
	}{
		{"nobody listens", func(*testing.T, *house) {}, "", parachute.CauseRefused, "nothing listens on app.test:80"},
		{"no way", func(t *testing.T, h *house) { h.net.Blackhole(target) }, "", parachute.CauseTimeout, "HealthCheck.Timeout"},
		{"hangs up", raw(""), "", parachute.CauseNoAnswer, "hangs up without an answer"},
		{"not HTTP", raw("SSH-2.0-OpenSSH_9.2\r\n"), "", parachute.CauseMalformed, "does not speak HTTP/1.1"},
		{"an alert of TLS", raw("\x15\x03\x01\x00\x02\x02\x46"), "", parachute.CauseSpeaksTLS, "deploy it as https://app.test:80"},
		{"an alert of TLS, and more", raw("\x15\x03\x03\x00\x02\x02\x0a\n\n"), "", parachute.CauseSpeaksTLS, "https://app.test:80"},
		{"net/http wants TLS", badRequest("Client sent an HTTP request to an HTTPS server.\n"), "", parachute.CauseSpeaksTLS, "https://app.test:80"},
		{"nginx wants TLS", badRequest("<h1>The plain HTTP request was sent to HTTPS port</h1>"), "", parachute.CauseSpeaksTLS, "https://app.test:80"},
		{"Apache wants TLS", badRequest(strings.Repeat("<p>a long page</p>\n", 20) + "You're speaking plain HTTP to an SSL-enabled server port."), "", parachute.CauseSpeaksTLS, "https://app.test:80"},
		{"another 400", badRequest("bad host"), "", parachute.CauseStatus, "HealthCheck.Status"},
		{"no TLS", func(t *testing.T, h *house) {
			h.net.Script(t, target, func(conn net.Conn, n int) {
				conn.Read(make([]byte, 1))
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			})
		}, "https://", parachute.CauseSpeaksPlain, "does not speak TLS: deploy it as app.test:80"},
		{"a certificate of nobody's", func(t *testing.T, h *house) {
			cert := ca.Issue("app.test")
			h.net.Script(t, target, func(conn net.Conn, n int) {
				tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
			})
		}, "https://", parachute.CauseCertificate, "TargetTLS.CAFile"},
		{"TLS of another version", tlsServer(&tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}), "https://", parachute.CauseHandshake, "no version of TLS in common"},
		{"TLS of other suites", tlsServer(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}), "https://", parachute.CauseHandshake, "no cipher suite in common"},
		{"TLS 1.3 with certificates of clients", tlsServer(&tls.Config{ClientAuth: tls.RequireAnyClientCert}), "https://", parachute.CauseHandshake, "wants a certificate of its client"},
		{"TLS 1.2 with certificates of clients", tlsServer(&tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}), "https://", parachute.CauseHandshake, "wants a certificate of its client"},
		{"to https", status(301, "Location: https://app1.example.com/up\r\n"), "", parachute.CauseRedirect, "exclude /up from force_ssl"},
		{"elsewhere", status(302, "Location: /login\r\n"), "", parachute.CauseRedirect, "HealthCheck.Status 200-399"},
		{"not modified", status(304, ""), "", parachute.CauseStatus, "HealthCheck.Status"},
		{"401", status(401, ""), "", parachute.CauseUnauthorized, "HealthCheck.Headers"},
		{"403", status(403, ""), "", parachute.CauseForbidden, "HealthCheck.Host app1.example.com"},
		{"404", status(404, ""), "", parachute.CauseNotFound, "nothing at /up"},
		{"500", status(500, ""), "", parachute.CauseServerError, "look at its log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				c.serve(t, h)
				err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{c.scheme + target},
					Hosts: []string{"*.example.com", "app1.example.com"}, TargetTLS: parachute.TargetTLS{Insecure: c.cause == parachute.CauseHandshake}})
				var unhealthy *parachute.UnhealthyError
				is.True(errors.As(err, &unhealthy))
				is.Equal(unhealthy.Targets[0].Last.Cause, c.cause)
				is.True(strings.Contains(unhealthy.Hint(), c.hint)) // says what to try
				is.True(strings.Contains(fmt.Sprintf("%+v", err), c.hint))
			})
		})
	}
}

// The Status of the check is one that none of these passes.
func TestCauseTellsRedirectsAndErrorsOfTheServerByTheirRange(t *testing.T) {
	const here = "/up/"
	for _, tt := range []struct {
		status   int
		location string
		cause    parachute.Cause
	}{
		{299, here, parachute.CauseStatus},
		{300, here, parachute.CauseRedirect},
		{300, "", parachute.CauseStatus},
		{399, here, parachute.CauseRedirect},
		{399, "", parachute.CauseStatus},
		{400, here, parachute.CauseStatus},
		{401, here, parachute.CauseUnauthorized},
		{499, here, parachute.CauseStatus},
		{500, "", parachute.CauseServerError},
		{500, here, parachute.CauseServerError},
		{599, "", parachute.CauseServerError},
	} {
		t.Run(fmt.Sprint(tt.status, tt.location), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if tt.location != "" {
						w.Header().Set("Location", tt.location)
					}
					w.WriteHeader(tt.status)
				})).SetHealth(0)
				err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
					HealthCheck: parachute.HealthCheck{Status: "204"}})
				var unhealthy *parachute.UnhealthyError
				is.True(errors.As(err, &unhealthy))
				is.Equal(unhealthy.Targets[0].Last.Status, tt.status)
				is.Equal(unhealthy.Targets[0].Last.Cause, tt.cause)
			})
		})
	}
}

// The app may know its hosts by name, so that a hint needs one to try.
func TestUnhealthyErrorNamesTheFirstHostThatIsNoWildcard(t *testing.T) {
	for name, tt := range map[string]struct {
		hosts []string
		host  string
	}{
		"no host":                 {nil, ""},
		"a wildcard alone":        {[]string{"*.a.test"}, ""},
		"two":                     {[]string{"b.test", "a.test"}, "b.test"},
		"wildcards before":        {[]string{"*.a.test", "*.b.test", "c.test", "d.test"}, "c.test"},
		"a wildcard in the midst": {[]string{"d.test", "*.b.test", "c.test"}, "d.test"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.app("app", "app.test:80").SetHealth(http.StatusForbidden)
				err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}, Hosts: tt.hosts})
				var unhealthy *parachute.UnhealthyError
				is.True(errors.As(err, &unhealthy))
				is.Equal(unhealthy.Host, tt.host)
			})
		})
	}
}

func TestHintNamesThePortThatIsProbed(t *testing.T) {
	is := is.New(t)
	for address, want := range map[string]string{
		"app.test:80":            "nothing listens on app.test:3001",
		"https://app.test:80":    "nothing listens on app.test:3001",
		"unix:/run/web/web.sock": "nothing listens on unix:/run/web/web.sock",
	} {
		err := &parachute.UnhealthyError{Targets: []parachute.UnhealthyTarget{{Address: address, Probes: 1,
			Last: &parachute.Probe{URL: "http://app.test:3001/up", Cause: parachute.CauseRefused}}}}
		is.True(strings.HasPrefix(err.Hint(), want+":"))
	}
}

func TestNameWithoutAnAddressIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		unknown := &net.DNSError{Err: "no such host", Name: "app.test", IsNotFound: true}
		p := parachute.New(parachute.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: unknown}
		}})
		defer p.Close()
		err := p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}})
		var unhealthy *parachute.UnhealthyError
		is.True(errors.As(err, &unhealthy))
		is.Equal(unhealthy.Targets[0].Last.Cause, parachute.CauseUnknownHost)
		is.True(strings.Contains(unhealthy.Hint(), "no address for the name in app.test:80"))
	})
}

func TestErrorTellsAllThatIsKnownToWhoAsksForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("old", "old.test:80")
		h.net.Serve(t, "new.test:3000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://app1.example.com/up", http.StatusMovedPermanently)
		})).SetHealth(0)
		web := parachute.Deployment{Service: "web", Targets: []string{"new.test:3000"}, Hosts: []string{"app1.example.com"},
			HealthCheck: parachute.HealthCheck{Host: "app1.example.com"}}

		all := func(err error) string { return fmt.Sprintf("%+v", err) }
		const story = `parachute: deploy web: new.test:3000 did not become healthy in 30s
  GET http://new.test:3000/up  Host: app1.example.com   34 probes
  last answer: 301 to https://app1.example.com/up
  the app redirects plain requests to app1.example.com: say that visitors use https with TLS.Mode, or with HealthCheck.Headers 'X-Forwarded-Proto: https' where something before the proxy has the certificate; or exclude /up from force_ssl, or use HealthCheck.Path
  nothing was changed; web `
		err := h.Deploy(t.Context(), web)
		is.Equal(all(err), story+"is not deployed")
		const brief = "parachute: deploy web: new.test:3000 did not become healthy in 30s: GET /up answered 301 to https://app1.example.com/up (34 probes)"
		is.Equal(err.Error(), brief) // which is one line
		is.Equal(fmt.Sprintf("%v|%s|%q", err, err, err), brief+"|"+brief+`|"`+brief+`"`)

		serving := web
		serving.Targets = []string{"old.test:80"}
		is.NoErr(h.Deploy(t.Context(), serving))
		is.Equal(all(h.Deploy(t.Context(), web)), story+"still serves old.test:80")
		is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{}))
		is.Equal(all(h.Deploy(t.Context(), web)), story+"is still stopped")

		is.Equal(all(h.Deploy(t.Context(), parachute.Deployment{Service: "shop", Targets: []string{"a:1"}, Hosts: web.Hosts})),
			`parachute: deploy shop: host app1.example.com is used by another service: web; remove that one first
  Proxy.Services shows the hosts of every service; Proxy.Remove("web") frees those of that one
  nothing was changed; shop is not deployed`)
		is.Equal(all(h.Deploy(t.Context(), parachute.Deployment{Service: "we/b"})),
			`parachute: deploy: service name "we/b" has '/' in it: want no '/', line breaks or control characters, such as web
  nothing was changed`)
		is.Equal(all(h.Remove(t.Context(), "shop")), "parachute: remove shop: no such service")
	})
}

func TestEveryTargetThatIsNotHealthyIsTold(t *testing.T) {
	is := is.New(t)
	err := &parachute.UnhealthyError{Waited: time.Second, Targets: []parachute.UnhealthyTarget{
		{Address: "a:1", Probes: 3, Last: &parachute.Probe{URL: "http://a:1/up", Host: "a:1", Status: 503, Body: "boot", Cause: parachute.CauseServerError}},
		{Address: "b:1", Probes: 4, Last: &parachute.Probe{URL: "http://b:1/up", Host: "b:1", Error: "EOF", Cause: parachute.CauseNoAnswer}},
		{Address: "c:1"},
	}}
	is.Equal(fmt.Sprintf("%+v", err), `a:1, b:1, c:1 did not become healthy in 1s
  GET http://a:1/up  Host: a:1   3 probes
  last answer: 503 "boot"
  GET http://b:1/up  Host: b:1   4 probes
  last answer: none: EOF
  no probe of c:1 has ended
  the app fails: look at its log; if it only takes longer to start, give it longer with Timeouts.Deploy
  the target hangs up without an answer: look at the app's log, and see whether that is its port for HTTP; if it speaks TLS there, deploy it as https://b:1; if the app is still booting, give it longer with Timeouts.Deploy, for a port that Docker publishes is open before that
  the deploy ended before the first answer: give Timeouts.Deploy more than HealthCheck.Timeout, or see why the target takes so long`)
	is.Equal(strings.Count(err.Hint(), "\n"), 2) // one for each
}

func TestDeployThatIsGivenUpTellsWhatTheProbesSaw(t *testing.T) {
	cause := errors.New("the pipeline was stopped")
	for name, tt := range map[string]struct {
		end   func(context.Context) (context.Context, func())
		is    []error
		isNot error
		says  string
	}{
		"by a deadline": {
			func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				return ctx, sync.OnceFunc(func() { <-ctx.Done(); cancel() })
			},
			[]error{context.DeadlineExceeded}, context.Canceled, "context deadline exceeded",
		},
		"by its caller": {
			func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithCancel(ctx)
				return ctx, sync.OnceFunc(func() { time.Sleep(2 * time.Second); cancel() })
			},
			[]error{context.Canceled}, context.DeadlineExceeded, "context canceled",
		},
		"for a reason": {
			func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithCancelCause(ctx)
				return ctx, sync.OnceFunc(func() { time.Sleep(2 * time.Second); cancel(cause) })
			},
			[]error{context.Canceled, cause}, context.DeadlineExceeded, cause.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.app("old", "old.test:80")
				is.NoErr(h.deploy("web", "old.test:80"))
				h.app("new", "new.test:80").SetHealth(503)
				for verb, change := range map[string]func(context.Context) error{
					"deploy": func(ctx context.Context) error {
						return h.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Hour}})
					},
					"roll out": func(ctx context.Context) error {
						return h.Rollout(ctx, "web", parachute.Rollout{Targets: []string{"new.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Hour}})
					},
				} {
					ctx, end := tt.end(t.Context())
					defer end()
					go end()
					err := change(ctx)
					for _, what := range append(tt.is, parachute.ErrUnhealthy) {
						is.True(errors.Is(err, what)) // why it ended, and what was waited for
					}
					is.True(!errors.Is(err, tt.isNot))
					var unhealthy *parachute.UnhealthyError
					is.True(errors.As(err, &unhealthy))
					is.Equal(unhealthy.Waited, 2*time.Second) // and not what Timeouts.Deploy allows
					is.Equal(unhealthy.Targets[0].Last.Status, 503)
					is.Equal(err.Error(), "parachute: "+verb+" web: "+tt.says+": "+unhealthy.Error())
					is.True(strings.Contains(fmt.Sprintf("%+v", err), "\n  the app fails: "))
					is.True(strings.HasSuffix(fmt.Sprintf("%+v", err), "\n  nothing was changed; web still serves old.test:80"))
				}
			})
		})
	}
}

func TestDeployThatIsSupersededTellsNothingOfItsTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		first := make(chan error)
		go func() { first <- h.deploy("web", "nobody.test:80") }()
		synctest.Wait()
		is.NoErr(h.deploy("web", "app.test:80"))
		err := <-first
		is.True(errors.Is(err, parachute.ErrSuperseded))
		is.True(!errors.Is(err, parachute.ErrUnhealthy)) // that is not why it ended
	})
}

func TestFailureIsLoggedAsASentence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		h := newHouse(t, parachute.Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
		err := h.deploy("web", "nobody.test:80")
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		var line struct{ Msg, Error string }
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		is.NoErr(json.Unmarshal([]byte(lines[len(lines)-1]), &line))
		is.Equal(line.Msg, "failed")
		is.True(strings.HasPrefix(line.Error, "nobody.test:80 did not become healthy in 30s: "))
	})
}
