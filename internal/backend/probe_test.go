package backend_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/trust"
)

// start has b probed, eagerly once, and returns a channel with the results.
func start(b *backend.Backend) <-chan *backend.Result {
	results := make(chan *backend.Result, 100)
	b.Start(func(pause time.Duration) (time.Duration, bool) { return pause, false }, func(r *backend.Result) { results <- r })
	return results
}

func TestProbesGoToAPortOfTheirOwn(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	seen := b.serve(200, "10.0.0.1:80", "10.0.0.1:9000")
	to := b.new("10.0.0.1:80", backend.Settings{Check: healthcheck.Settings{Port: 9000, Path: "/health"}})
	saw := to.Probe(t.Context())
	is.True(saw.Passed)
	is.Equal([]string{saw.URL(), saw.Host()}, []string{"http://10.0.0.1:9000/health", "10.0.0.1:9000"})
	is.Equal((<-seen).at, "10.0.0.1:9000")
	is.Equal(status(t, to), 200)
	is.Equal((<-seen).at, "10.0.0.1:80")
}

func TestTimeoutOfTheCheckBoundsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t)
		b.network.Script(t, "10.0.0.1:80", func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			time.Sleep(2 * time.Second)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		})
		b.network.Blackhole("10.0.0.2:80")
		with := backend.Settings{ResponseTimeout: time.Second, Check: healthcheck.Settings{Timeout: 8 * time.Second}}
		slow, away := b.new("10.0.0.1:80", with), b.new("10.0.0.2:80", with)
		saw := slow.Probe(t.Context())
		is.True(saw.Passed)
		is.Equal(saw.Took, 2*time.Second) // though a request has one second
		began := time.Now()
		is.Equal(status(t, slow), 0)
		is.Equal(time.Since(began), time.Second)
		saw = away.Probe(t.Context())
		is.Equal(saw.Cause, healthcheck.Timeout)
		is.Equal(saw.Took, 8*time.Second) // though a request would wait for five to be connected
	})
}

func TestResultTellsWhatItSaysAboutHealth(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error // of dialling
		want health.Result
		said string
	}{
		"passed":        {nil, health.Result{Passed: true}, ""},
		"refused":       {syscall.ECONNREFUSED, health.Result{Refused: true}, "connection refused"},
		"reset":         {syscall.ECONNRESET, health.Result{}, "connection reset by peer"},
		"no descriptor": {syscall.EMFILE, health.Result{Void: true}, "too many open files"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBed(t)
				b.serve(200, "10.0.0.1:80")
				shared := backend.Shared{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					if tt.err != nil {
						return nil, tt.err
					}
					return b.network.Dial(ctx, network, address)
				}}
				to := newOf(t, &shared, "10.0.0.1:80", backend.Settings{})
				defer to.Close()
				tt.want.Began = time.Now()
				saw := to.Probe(t.Context())
				is.Equal(saw.Health(), tt.want)
				is.Equal(saw.Error, tt.said) // the Cause stands for the rest
			})
		})
	}
}

// differing returns two Settings that differ by change alone.
func differing(change func(*backend.Settings)) [2]backend.Settings {
	a := backend.Settings{Check: healthcheck.Settings{Interval: time.Second, Fall: 1}}
	b := a
	change(&b)
	return [2]backend.Settings{a, b}
}

func TestProbeIsSharedByThoseForWhichItWouldBeTheSame(t *testing.T) {
	certificate := proxytest.NewCA().Issue("10.0.0.1")
	insecure := trust.Settings{Config: &tls.Config{InsecureSkipVerify: true}}
	named, err := trust.Load("", "10.0.0.1", true)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		target   string
		change   func(*backend.Settings)
		isShared bool
	}{
		"nothing differs":             {"10.0.0.1:80", func(*backend.Settings) {}, true},
		"rise":                        {"10.0.0.1:80", func(s *backend.Settings) { s.Check.Rise = 3 }, true},
		"fall":                        {"10.0.0.1:80", func(s *backend.Settings) { s.Check.Fall = 3 }, true},
		"fall of a name":              {"web:80", func(s *backend.Settings) { s.Check.Fall = 3 }, false},
		"rise of a name":              {"web:80", func(s *backend.Settings) { s.Check.Rise = 3 }, true},
		"interval":                    {"10.0.0.1:80", func(s *backend.Settings) { s.Check.Interval += time.Millisecond }, false},
		"path":                        {"10.0.0.1:80", func(s *backend.Settings) { s.Check.Path = "/" }, false},
		"port":                        {"10.0.0.1:80", func(s *backend.Settings) { s.Check.Port = 81 }, false},
		"what clients send by":        {"10.0.0.1:80", func(s *backend.Settings) { s.OverTLS = true }, false},
		"limits of requests":          {"10.0.0.1:80", func(s *backend.Settings) { s.ResponseTimeout, s.KeepAlive.Off = 1, true }, true},
		"trust":                       {"https://10.0.0.1:443", func(s *backend.Settings) { s.Trust = named }, false},
		"trust where there is no TLS": {"10.0.0.1:80", func(s *backend.Settings) { s.Trust = named }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBed(t, "10.0.0.1")
				b.serve(200, "10.0.0.1:80", "10.0.0.1:81")
				b.network.ServeTLS(t, "10.0.0.1:443", &tls.Config{Certificates: []tls.Certificate{certificate}}, http.NotFoundHandler())
				dials := func() int {
					return b.network.Dials("10.0.0.1:80") + b.network.Dials("10.0.0.1:81") + b.network.Dials("10.0.0.1:443")
				}
				for _, with := range differing(tt.change) {
					if with.Trust.Config == nil {
						with.Trust = insecure
					}
					to := newOf(t, &b.shared, tt.target, with)
					defer to.Close()
					results := start(to)
					defer func() { is.Equal(len(results), 10) }()
				}
				time.Sleep(9500 * time.Millisecond) // nine intervals, and something
				want := 2 + 9                       // the eager ones are not shared
				if !tt.isShared {
					want += 9
				}
				is.Equal(dials(), want)
			})
		})
	}
}

func TestEndpointsOfTwoSchemesShareNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t)
		version := b.versions("10.0.0.1:80")
		for _, target := range []string{"10.0.0.1:80", "h2c://10.0.0.1:80"} {
			to := newOf(t, &b.shared, target, backend.Settings{})
			defer to.Close()
			start(to)
		}
		time.Sleep(1500 * time.Millisecond)
		is.Equal(version()+version()+version()+version(), 1+2+1+2)
	})
}

func TestSharedProbeOutlivesWhoBeganIt(t *testing.T) {
	for _, target := range []string{"10.0.0.1:80", "web:80"} {
		t.Run(target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBed(t, "10.0.0.1")
				b.serve(200, "10.0.0.1:80")
				first, second := newOf(t, &b.shared, target, backend.Settings{}), newOf(t, &b.shared, target, backend.Settings{})
				defer second.Close()
				gone := start(first)
				synctest.Wait()
				results := start(second)
				time.Sleep(1500 * time.Millisecond)
				first.Close()
				is.Equal(len(gone), 2)
				time.Sleep(2 * time.Second)
				is.Equal(len(gone), 2)
				is.Equal(len(results), 4)
				for range 4 {
					is.True((<-results).Passed)
				}
			})
		})
	}
}

func TestStoppedProbesLeaveRequestsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t)
		b.serve(200, "10.0.0.1:80")
		to := b.new("10.0.0.1:80", backend.Settings{})
		results := start(to)
		time.Sleep(1500 * time.Millisecond)
		to.StopProbes()
		time.Sleep(10 * time.Second)
		is.Equal(len(results), 2)
		is.Equal(status(t, to), 200)
		is.True(to.IsPlaceUsed())
	})
}

func TestConnectionsAreClosedWhenAProbeFindsTheNameElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, "10.0.0.1")
		seen := b.serve(200, "10.0.0.1:80", "10.0.0.2:80")
		var backends []*backend.Backend
		for range 2 {
			to := newOf(t, &b.shared, "web:80", backend.Settings{})
			defer to.Close()
			start(to)
			exchange(t, to)
			backends = append(backends, to)
		}
		synctest.Wait()
		is.Equal(b.network.Conns("10.0.0.1:80"), 2)
		b.leadTo("10.0.0.2")
		b.mu.Lock()
		asked := b.lookups
		b.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		is.Equal(b.network.Conns("10.0.0.1:80"), 0)
		b.mu.Lock()
		is.Equal(b.lookups, asked+1) // by the probe, for both
		b.mu.Unlock()
		for len(seen) > 0 {
			<-seen
		}
		for _, to := range backends {
			is.Equal(status(t, to), 200)
			is.Equal((<-seen).at, "10.0.0.2:80")
		}
	})
}

func TestAddressWhoseProbesFailIsLeftWhileNoNameServerAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		fall int
		want string
	}{"one is enough": {1, "10.0.0.2:80"}, "more are asked for": {9, "10.0.0.1:80"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBed(t, "10.0.0.1", "10.0.0.2")
				seen := b.serve(503, "10.0.0.1:80", "10.0.0.2:80")
				with := backend.Settings{Check: healthcheck.Settings{Fall: tt.fall}}
				first, second := newOf(t, &b.shared, "web:80", with), newOf(t, &b.shared, "web:80", with)
				defer first.Close()
				defer second.Close()
				for _, to := range []*backend.Backend{first, second} {
					start(to)
					synctest.Wait()
					is.Equal((<-seen).at, "10.0.0.1:80")
				}
				time.Sleep(1100 * time.Millisecond) // one probe is for both
				is.Equal((<-seen).at, "10.0.0.1:80")
				first.StopProbes()
				second.StopProbes()
				b.leadTo()
				for _, to := range []*backend.Backend{first, second} {
					is.Equal(status(t, to), 503)
					is.Equal((<-seen).at, tt.want)
				}
			})
		})
	}
}

// The one that shares a probe has not failed one of its own.
func TestSharedProbeSpeaksAgainstTheAddressesOfAllWhoShareIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, "10.0.0.1", "10.0.0.2")
		answers := b.network.Serve(t, "10.0.0.1:80", http.NotFoundHandler())
		b.network.Serve(t, "10.0.0.2:80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
		var backends []*backend.Backend
		for range 2 {
			to := newOf(t, &b.shared, "web:80", backend.Settings{Check: healthcheck.Settings{Fall: 2}})
			defer to.Close()
			start(to)
			backends = append(backends, to)
		}
		synctest.Wait() // the eager ones have passed
		answers.SetHealth(503)
		time.Sleep(2100 * time.Millisecond)
		b.leadTo()
		for _, to := range backends {
			to.StopProbes()
			is.Equal(status(t, to), 204)
		}
	})
}
