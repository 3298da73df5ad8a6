package parachute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// second adds a Proxy to h's network, at an address.
func (h *house) second(address string) *parachute.Proxy {
	p := parachute.New(parachute.Options{Dial: h.net.Dial})
	h.t.Cleanup(func() { p.Close() })
	h.net.Serve(h.t, address, p).SetHealth(0)
	return p
}

// forced is a Deployment of web to a target, whatever its health is.
func forced(target string) parachute.Deployment {
	return parachute.Deployment{Service: "web", Targets: []string{target}, Force: true, HealthCheck: parachute.HealthCheck{Interval: time.Hour}}
}

// counting returns Options that count requests and keep the last reason.
func counting(n *atomic.Int64, reason *atomic.Value) parachute.Options {
	return parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) {
		n.Add(1)
		if o.Reason != "" {
			reason.Store(o.Reason)
		}
	}}
}

func TestRequestThatComesBackIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n atomic.Int64
		var reason atomic.Value
		h := newHouse(t, counting(&n, &reason))
		is.NoErr(h.Deploy(t.Context(), forced("proxy.test:80")))
		synctest.Wait()
		n.Store(0)
		resp, _ := h.answer("POST", "/", "body")
		is.Equal(resp.StatusCode, 508)
		is.Equal(resp.Header.Get("X-Parachute-Error"), "loop")
		is.Equal(resp.Header["X-Parachute-Hop"], nil)
		is.Equal(n.Load(), int64(2)) // it has come once, and come back once
		is.Equal(reason.Load(), "loop")
	})
}

func TestRequestThatComesBackThroughAnotherProxyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n atomic.Int64
		var reason atomic.Value
		h := newHouse(t, counting(&n, &reason))
		second := h.second("second.test:80")
		is.NoErr(h.Deploy(t.Context(), forced("second.test:80")))
		is.NoErr(second.Deploy(t.Context(), forced("proxy.test:80")))
		synctest.Wait()
		n.Store(0)
		resp, _ := h.answer("GET", "/", "")
		is.Equal(resp.StatusCode, 508)
		is.Equal(n.Load(), int64(2))
	})
}

func TestProxyBehindAProxyIsNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		second := h.second("second.test:80")
		hops := make(chan string, 10)
		h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hops <- strings.Join(r.Header["X-Parachute-Hop"], "|")
		}))
		is.NoErr(second.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}}))
		is.NoErr(h.deploy("web", "second.test:80")) // whose probe goes through as well
		resp, _ := h.answer("GET", "/", "", "X-Parachute-Hop", "stranger")
		is.Equal(resp.StatusCode, 200)
		passed := strings.Split(<-hops, ", ")
		is.Equal(len(passed), 3)
		is.Equal(passed[0], "stranger")
		is.True(passed[1] != passed[2]) // both have a name of their own
	})
}

// An app may ask another service of the same proxy in its visitor's name.
func TestOneServiceMayAskAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("api", "api.test:80")
		h.net.Serve(t, "web.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked := r.Clone(r.Context())
			asked.URL.Scheme, asked.URL.Host, asked.RequestURI, asked.Host = "http", "proxy.test:80", "", "api.test"
			resp, err := h.client.Do(asked)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			io.Copy(w, resp.Body)
		}))
		is.NoErr(h.deploy("web", "web.test:80"))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "api", Targets: []string{"api.test:80"}, Hosts: []string{"api.test"}}))
		is.Equal(h.get("web.test"), "200 api")
	})
}

func TestDeployOfWhatLeadsBackFailsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.NoErr(h.deploy("other", "app.test:80")) // answers whatever it is asked
		err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Hosts: []string{"web.test"}, Targets: []string{"proxy.test:80"},
			Timeouts: parachute.Timeouts{Deploy: time.Second}})
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		unhealthy, ok := errors.AsType[*parachute.UnhealthyError](err)
		is.True(ok)
		is.Equal(unhealthy.Targets[0].Last.Status, 508)
		is.True(strings.Contains(fmt.Sprintf("%+v", err), "proxy.test:80 leads back to this proxy"))
		is.Equal(h.get("any.test"), "200 app")
	})
}

func TestTargetThatIsTheProxyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, n := named(t, parachute.Options{Listening: []netip.AddrPort{netip.MustParseAddrPort("[::]:80"), netip.MustParseAddrPort("192.0.2.1:443")}})
		h.LookUpWith(func(ctx context.Context, host string) ([]netip.Addr, error) {
			if host == "localhost" {
				return []netip.Addr{netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")}, nil
			}
			return n.lookup(ctx, host)
		}, h.net.Dial)
		h.app("app", "10.0.0.1:80")
		is.NoErr(h.deploy("web", "10.0.0.1:80")) // its port alone is no reason
		for _, target := range []string{"127.0.0.1:80", "127.0.0.2:80", "[::1]:80", "0.0.0.0:80", "localhost:80", "h2c://localhost:80", "https://192.0.2.1:443"} {
			for _, deploy := range map[string]func() error{
				"deploy": func() error { return h.Deploy(t.Context(), forced(target)) },
				"readers": func() error {
					d := forced("10.0.0.1:80")
					d.ReadTargets = []string{target}
					return h.Deploy(t.Context(), d)
				},
				"rollout": func() error { return h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{target}}) },
			} {
				err := deploy()
				is.True(errors.Is(err, parachute.ErrInvalid))
				is.True(strings.Contains(err.Error(), "is this proxy itself"))
			}
		}
		is.Equal(h.get("any.test"), "200 app")

		n.say(nil, "10.0.0.1", "192.0.2.1")
		err := h.Deploy(t.Context(), forced("https://web-1:443"))
		is.True(errors.Is(err, parachute.ErrInvalid)) // where the name leads
		n.say(&net.DNSError{Err: "no such host", IsNotFound: true})
		is.NoErr(h.Deploy(t.Context(), forced("web-1:80"))) // nobody knows, and it is wanted so
	})
}
