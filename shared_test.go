package parachute_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// share deploys n services with the same target, each at a host of its own, and
// waits until they are probed at the interval.
func (h *house) share(n int, target string, check parachute.HealthCheck) {
	h.t.Helper()
	is := is.New(h.t)
	for i := range n {
		name := fmt.Sprintf("web-%d", i)
		is.NoErr(h.Deploy(h.t.Context(), parachute.Deployment{Service: name, Targets: []string{target}, Hosts: []string{name + ".test"}, HealthCheck: check}))
	}
}

// healths returns the health of the first target of each service.
func (h *house) healths() (healths []parachute.Health) {
	synctest.Wait()
	for _, s := range h.Services() {
		healths = append(healths, s.Live.Targets[0].Health)
	}
	return healths
}

const (
	healthy   = parachute.HealthHealthy
	unhealthy = parachute.HealthUnhealthy
)

func TestTargetOfManyServicesIsProbedOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		h.share(20, "app.test:80", parachute.HealthCheck{})
		is.Equal(app.Probes(), 20) // each deploy asks itself
		time.Sleep(10500 * time.Millisecond)
		is.Equal(app.Probes(), 20+10)
		for i := range 19 {
			is.NoErr(h.Remove(t.Context(), fmt.Sprintf("web-%d", i)))
		}
		before := app.Probes()
		time.Sleep(10 * time.Second)
		is.Equal(app.Probes(), before+10) // for the one that is left, who was not the first
		is.NoErr(h.Remove(t.Context(), "web-19"))
		before = app.Probes()
		time.Sleep(10 * time.Second)
		is.Equal(app.Probes(), before)
	})
}

func TestRestoredServicesShareProbesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		app.SetHealth(503)
		var services []parachute.Status
		for i := range 20 {
			name := fmt.Sprintf("web-%d", i)
			services = append(services, status(name, uint64(i+1), "app.test:80", name+".test"))
		}
		is.NoErr(h.Restore(services))
		time.Sleep(5 * time.Second) // those of each for itself are over
		before := app.Probes()
		time.Sleep(10 * time.Second)
		is.True(app.Probes()-before <= 11) // although it is not healthy
		app.SetHealth(200)
		time.Sleep(time.Second)
		is.Equal(h.healths(), slices.Repeat([]parachute.Health{healthy}, 20))
	})
}

func TestHealthOfASharedTargetReachesEachServiceByItsOwnRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		h.share(2, "app.test:80", parachute.HealthCheck{})
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web-2", Targets: []string{"app.test:80"}, Hosts: []string{"web-2.test"},
			HealthCheck: parachute.HealthCheck{Rise: 2, Fall: 3}}))
		time.Sleep(500 * time.Millisecond)
		told := len(h.kinds())
		before := app.Probes()

		app.SetHealth(500)
		time.Sleep(time.Second)
		is.Equal(h.healths(), []parachute.Health{unhealthy, unhealthy, healthy})
		time.Sleep(2 * time.Second)
		is.Equal(h.healths(), []parachute.Health{unhealthy, unhealthy, unhealthy})
		app.SetHealth(200)
		time.Sleep(time.Second)
		is.Equal(h.healths(), []parachute.Health{healthy, healthy, unhealthy})
		time.Sleep(time.Second)
		is.Equal(h.healths(), []parachute.Health{healthy, healthy, healthy})
		is.Equal(app.Probes()-before, 5)

		h.mu.Lock()
		defer h.mu.Unlock()
		events := make(map[string][]parachute.EventKind)
		for _, e := range h.events[told:] {
			events[e.Service] = append(events[e.Service], e.Kind)
			is.Equal(e.Target, "app.test:80")
			is.True(e.Probe != nil)
		}
		each := []parachute.EventKind{parachute.EventUnhealthy, parachute.EventHealthy}
		is.Equal(events, map[string][]parachute.EventKind{"web-0": each, "web-1": each, "web-2": each})
	})
}

func TestChecksThatDifferAreMadeForThemselves(t *testing.T) {
	dir := t.TempDir()
	for name, change := range map[string]func(*parachute.Deployment){
		"path":     func(d *parachute.Deployment) { d.HealthCheck.Path = "/healthz" },
		"host":     func(d *parachute.Deployment) { d.HealthCheck.Host = "other.test" },
		"header":   func(d *parachute.Deployment) { d.HealthCheck.Headers = []string{"X-Probe: yes"} },
		"status":   func(d *parachute.Deployment) { d.HealthCheck.Status = "200-399" },
		"timeout":  func(d *parachute.Deployment) { d.HealthCheck.Timeout = time.Second },
		"interval": func(d *parachute.Deployment) { d.HealthCheck.Interval = time.Second + time.Millisecond },
		"TLS": func(d *parachute.Deployment) {
			certFile, keyFile := proxytest.NewCA().WritePair(t, dir, "web-1.test")
			d.TLS = parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile}
		},
		"h2c": func(d *parachute.Deployment) { d.Targets[0] = "h2c://app.test:80" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.net.Serve(t, "app.test:80", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).SetHealth(0)
				d := parachute.Deployment{Service: "web-1", Targets: []string{"app.test:80"}, Hosts: []string{"web-1.test"}, Force: true}
				change(&d)
				h.share(1, "app.test:80", parachute.HealthCheck{})
				is.NoErr(h.Deploy(t.Context(), d))
				time.Sleep(time.Minute + 500*time.Millisecond) // until it is probed at the interval, healthy or not
				before := h.net.Dials("app.test:80")
				time.Sleep(10 * time.Second)
				is.True(h.net.Dials("app.test:80")-before >= 19)
			})
		})
	}
}

func TestTargetsThatAreCheckedAtOnePortShareThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("health", "app.test:9000")
		for _, port := range []string{"3000", "3001"} {
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web-" + port, Targets: []string{"app.test:" + port}, Hosts: []string{port + ".test"},
				HealthCheck: parachute.HealthCheck{Port: 9000}}))
		}
		time.Sleep(500 * time.Millisecond)
		before := app.Probes()
		time.Sleep(10 * time.Second)
		is.Equal(app.Probes()-before, 10)
	})
}

func TestChecksAreTheSameWhereTheSameCertificatesAreTrusted(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		certFile, keyFile := proxytest.NewCA().WritePair(t, dir, "app.test")
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		is.NoErr(err)
		app := h.net.ServeTLS(t, "app.test:443", &tls.Config{Certificates: []tls.Certificate{pair}}, http.NotFoundHandler())
		deploy := func(service string, trust parachute.TargetTLS) {
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: service, Targets: []string{"https://app.test:443"}, Hosts: []string{service + ".test"}, TargetTLS: trust}))
		}
		perInterval := func() int {
			time.Sleep(5 * time.Second) // until each new one has joined the others
			const intervals = 20
			before := app.Probes()
			time.Sleep(intervals * time.Second)
			return (app.Probes() - before + intervals/2) / intervals // one more or less is at the edges
		}
		deploy("a", parachute.TargetTLS{Insecure: true})
		deploy("b", parachute.TargetTLS{Insecure: true})
		is.Equal(perInterval(), 1)
		deploy("c", parachute.TargetTLS{CAFile: certFile})
		is.Equal(perInterval(), 2)
		copied := filepath.Join(dir, "copy.pem")
		pem, err := os.ReadFile(certFile)
		is.NoErr(err)
		is.NoErr(os.WriteFile(copied, pem, 0o600))
		deploy("d", parachute.TargetTLS{CAFile: copied})
		is.Equal(perInterval(), 2) // what is in the file counts, when it is read
		other, _ := proxytest.NewCA().WritePair(t, t.TempDir(), "other.test")
		more, err := os.ReadFile(other)
		is.NoErr(err)
		is.NoErr(os.WriteFile(certFile, append(pem, more...), 0o600))
		deploy("e", parachute.TargetTLS{CAFile: certFile})
		is.Equal(perInterval(), 3)
	})
}

func TestDeployIsJudgedByProbesOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		check := parachute.HealthCheck{Interval: time.Minute}
		h.share(3, "app.test:80", check)
		time.Sleep(30 * time.Second)
		app.SetHealth(503)
		before, begin := app.Probes(), time.Now()
		go func() {
			time.Sleep(time.Second)
			app.SetHealth(200)
		}()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "new", Targets: []string{"app.test:80"}, Hosts: []string{"new.test"}, HealthCheck: check}))
		is.Equal(time.Since(begin), 1550*time.Millisecond) // at 0, 50, 150, 350, 750 and 1550 ms
		is.Equal(app.Probes()-before, 6)
		is.Equal(h.healths(), []parachute.Health{healthy, healthy, healthy, healthy}) // the others heard nothing of that

		app.SetHealth(503)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := h.Deploy(ctx, parachute.Deployment{Service: "newer", Targets: []string{"app.test:80"}, Hosts: []string{"newer.test"}, HealthCheck: check})
		is.True(errors.Is(err, context.DeadlineExceeded)) // whatever the others saw last
	})
}

func TestCloseEndsAProbeThatIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		var silent atomic.Bool
		h.net.Script(t, "app.test:80", func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			if !silent.Load() {
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}
			io.Copy(io.Discard, conn)
		})
		h.share(3, "app.test:80", parachute.HealthCheck{})
		silent.Store(true)
		time.Sleep(1500 * time.Millisecond)
		is.Equal(h.net.Conns("app.test:80"), 1) // one probe waits
		begin := time.Now()
		is.NoErr(h.Remove(t.Context(), "web-0"))
		is.Equal(h.net.Conns("app.test:80"), 1) // for the others it goes on
		is.NoErr(h.Close())
		is.Equal(time.Since(begin), time.Duration(0))
		is.Equal(h.net.Conns("app.test:80"), 0)
	})
}

// TestServicesThatShareATargetFollowItsName is about names: the probe looks up
// what the connections of all are judged by.
func TestServicesThatShareATargetFollowItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, n := named(t, parachute.Options{})
		var lookups atomic.Int64
		h.LookUpWith(func(ctx context.Context, host string) ([]netip.Addr, error) {
			lookups.Add(1)
			return n.lookup(ctx, host)
		}, h.net.Dial)
		h.app("old", "10.0.0.1:80")
		h.app("new", "10.0.0.2:80")
		h.share(5, "app:80", parachute.HealthCheck{})
		time.Sleep(500 * time.Millisecond)
		before := lookups.Load()
		time.Sleep(10 * time.Second)
		is.Equal(lookups.Load()-before, int64(10)) // for all of them
		for i := range 5 {
			is.Equal(h.get(fmt.Sprintf("web-%d.test", i)), "200 old")
		}
		is.True(h.net.Conns("10.0.0.1:80") >= 5)
		n.say(nil, "10.0.0.2")
		time.Sleep(1100 * time.Millisecond)
		is.Equal(h.net.Conns("10.0.0.1:80"), 0) // those that nobody uses are closed
		for i := range 5 {
			is.Equal(h.get(fmt.Sprintf("web-%d.test", i)), "200 new")
		}

		n.say(errServer)
		time.Sleep(time.Second)
		is.NoErr(h.Remove(t.Context(), "web-0")) // who began the probes that all share
		time.Sleep(10 * time.Second)
		for i := 1; i < 5; i++ {
			is.Equal(h.get(fmt.Sprintf("web-%d.test", i)), "200 new") // the last address
		}
		is.Equal(h.healths(), []parachute.Health{healthy, healthy, healthy, healthy})
	})
}
