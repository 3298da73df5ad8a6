package parachute_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// names is what a name server says of every name.
type names struct {
	mu    sync.Mutex // guards what follows
	addrs []netip.Addr
	err   error // nil, and no addrs: it is silent
}

func (n *names) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	addrs, err := n.addrs, n.err
	n.mu.Unlock()
	if addrs == nil && err == nil {
		<-ctx.Done()
		err = &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
	}
	return addrs, err
}

// say has names answer so from now on.
func (n *names) say(err error, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.addrs = err, nil
	for _, addr := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(addr))
	}
}

var (
	errServer  = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	errUnknown = &net.DNSError{Err: "no such host", IsNotFound: true}
)

// named returns a house whose targets have the names of n, which begins with
// 10.0.0.1.
func named(t *testing.T, o parachute.Options) (*house, *names) {
	h, n := newHouse(t, o), new(names)
	n.say(nil, "10.0.0.1")
	h.LookUpWith(n.lookup, h.net.Dial)
	return h, n
}

// health returns that of the only target of the only service.
func (h *house) health() parachute.Health { return h.live().Targets[0].Health }

func TestServiceOutlivesItsNameServer(t *testing.T) {
	for name, err := range map[string]error{"silent": nil, "SERVFAIL": errServer} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var log bytes.Buffer
				h, n := named(t, parachute.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				app := h.app("old", "10.0.0.1:80")
				h.app("new", "10.0.0.2:80")
				is.NoErr(h.deploy("web", "web-1:80"))
				n.say(err)
				time.Sleep(3 * time.Second) // by then it is known
				for range 100 {
					began := time.Now()
					is.Equal(h.get("any.test"), "200 old")
					is.Equal(time.Since(began), time.Duration(0)) // at once
					time.Sleep(6 * time.Second)                   // longer than connections are kept
				}
				is.Equal(h.health(), parachute.HealthHealthy)
				lines := strings.Count(log.String(), "gives no answer for the name of a target")
				is.True(10 <= lines && lines <= 11) // once a minute
				is.True(strings.Contains(log.String(), "service=web target=web-1:80"))

				app.SetHealth(500) // or it is somebody else's by now
				time.Sleep(2 * time.Second)
				is.Equal(h.get("any.test")[:3], "502") // nobody knows where it is
				app.SetHealth(200)
				time.Sleep(time.Minute)
				is.Equal(h.health(), parachute.HealthUnhealthy)

				n.say(nil, "10.0.0.2")
				time.Sleep(4 * time.Second)
				is.Equal(h.get("any.test"), "200 new")
				is.Equal(h.health(), parachute.HealthHealthy)
			})
		})
	}
}

func TestServiceOutlivesItsNameForHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, n := named(t, parachute.Options{})
		h.app("old", "10.0.0.1:80")
		is.NoErr(h.deploy("web", "web-1:80"))
		n.say(errUnknown)
		began := time.Now()
		for time.Since(began) < 28*time.Second {
			is.Equal(h.get("any.test"), "200 old")
			time.Sleep(time.Second) // its connection is always kept
		}
		time.Sleep(4 * time.Second)
		is.Equal(h.net.Conns("10.0.0.1:80"), 0)
		is.Equal(h.get("any.test")[:3], "502")
		is.Equal(h.health(), parachute.HealthUnhealthy)
	})
}

func TestRequestsGoWhereTheNameLeadsNow(t *testing.T) {
	for _, scheme := range []string{"", "h2c://"} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h, n := named(t, parachute.Options{})
				for addr, name := range map[string]string{"10.0.0.1:80": "old", "10.0.0.2:80": "new"} {
					answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(name)) })
					if scheme == "" {
						h.net.Serve(t, addr, answer)
					} else {
						h.overHTTP2(addr, answer)
					}
				}
				is.NoErr(h.deploy("web", scheme+"web-1:80"))
				for range 10 {
					is.Equal(h.get("any.test"), "200 old")
					time.Sleep(500 * time.Millisecond) // its connection is always kept
				}
				time.Sleep(100 * time.Millisecond) // between two probes
				n.say(nil, "10.0.0.2", "10.0.0.3")
				time.Sleep(1100 * time.Millisecond) // a probe has looked it up
				is.Equal(h.net.Conns("10.0.0.1:80"), 0)
				is.Equal(h.get("any.test"), "200 new") // which is whom the probe has asked

				dials := h.net.Dials("10.0.0.2:80")
				n.say(nil, "10.0.0.1", "10.0.0.2") // where probes go to the first now
				time.Sleep(1100 * time.Millisecond)
				is.Equal(h.get("any.test"), "200 new")      // it is still one of those
				is.Equal(h.net.Dials("10.0.0.2:80"), dials) // its connection was kept
			})
		})
	}
}

func TestAddressesAreNotLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, n := named(t, parachute.Options{})
		n.say(errUnknown)
		h.app("app", "10.0.0.1:80")
		is.NoErr(h.deploy("web", "10.0.0.1:80"))
		is.Equal(h.get("any.test"), "200 app")
	})
}

func TestDialOfAnEmbedderFindsNamesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "web-1:80") // a name that only this network knows
		is.NoErr(h.deploy("web", "web-1:80"))
		is.Equal(h.get("any.test"), "200 app")
	})
}

// A probe that has less time than a look-up takes has time to ask all the same.
func TestProbeInAHurryOutlivesTheNameServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, n := named(t, parachute.Options{})
		h.app("app", "10.0.0.1:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web-1:80"},
			HealthCheck: parachute.HealthCheck{Timeout: 50 * time.Millisecond}}))
		n.say(nil)
		for range 100 {
			time.Sleep(500 * time.Millisecond)
			is.Equal(h.health(), parachute.HealthHealthy)
		}
		is.Equal(h.get("any.test"), "200 app")
	})
}

// That the proxy has no descriptor left is nothing that a target is to be given up
// for.
func TestLimitsOfTheProxySpeakAgainstNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, n := named(t, parachute.Options{})
		var exhausted atomic.Bool
		h.LookUpWith(n.lookup, func(ctx context.Context, network, address string) (net.Conn, error) {
			if exhausted.Load() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
			return h.net.Dial(ctx, network, address)
		})
		h.app("app", "10.0.0.1:80")
		is.NoErr(h.deploy("web", "web-1:80"))
		n.say(errServer)
		time.Sleep(2 * time.Second)
		exhausted.Store(true)
		time.Sleep(6 * time.Second)
		exhausted.Store(false)
		time.Sleep(2 * time.Second)
		is.Equal(h.get("any.test"), "200 app")
		is.Equal(h.health(), parachute.HealthHealthy)
	})
}
