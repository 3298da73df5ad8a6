package parachute_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// crowded returns a house whose proxy can open no connection while short is true,
// and what it logs.
func crowded(t *testing.T, o parachute.Options) (h *house, short *atomic.Bool, log *bytes.Buffer) {
	t.Helper()
	h, short, log = &house{t: t, net: new(proxytest.Net)}, new(atomic.Bool), new(bytes.Buffer)
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	o.Notify = h.note
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if short.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("socket", syscall.EMFILE)}
		}
		return h.net.Dial(ctx, network, address)
	}
	h.Proxy = parachute.New(o)
	t.Cleanup(func() { h.Close() })
	h.net.Serve(t, "proxy.test:80", h.Proxy).SetHealth(0)
	h.client = h.net.Client(t)
	return h, short, log
}

func TestTargetIsNotBlamedWhereTheProxyMayOpenNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		outcomes := make(chan parachute.Outcome, 100)
		h, short, log := crowded(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80", "two.test:80"))
		time.Sleep(10 * time.Second) // no connection is kept, and all is told of the deploy
		events := len(h.kinds())

		short.Store(true)
		begin := time.Now()
		res, err := h.client.Get("http://proxy.test/")
		is.NoErr(err)
		is.NoErr(res.Body.Close())
		is.Equal(res.StatusCode, http.StatusServiceUnavailable)
		is.Equal(res.Header.Get("Retry-After"), "5")
		is.Equal(time.Since(begin), 5*time.Second) // it was held
		outcome := <-outcomes
		is.Equal(outcome.Reason, "descriptors")
		is.Equal(outcome.Target, "") // which nothing was sent to
		is.Equal(outcome.Status, http.StatusServiceUnavailable)
		is.True(errors.Is(outcome.Err, syscall.EMFILE))
		for range 10 {
			is.Equal(h.get("any.test"), "503 503 Service Unavailable")
		}
		is.Equal(len(h.kinds()), events) // nobody was taken out, or called unhealthy
		for _, target := range h.Services()[0].Live.Targets {
			is.Equal(target.Health, parachute.HealthHealthy)
			is.True(target.Probe.Passed) // the last that tells something
			is.Equal(target.Traffic.Rate, 0.0)
		}
		is.Equal(strings.Count(log.String(), "level=WARN"), 1) // in a minute
		is.Equal(strings.Count(log.String(), ": raise the limit of open files"), 1)

		answer := h.ask("any.test")
		time.Sleep(time.Second)
		short.Store(false)
		is.True(strings.HasPrefix(<-answer, "200 ")) // to whom it waited for that
		is.Equal(len(h.kinds()), events)
	})
}

func TestShortageDoesNotHideThatATargetFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, short, _ := crowded(t, parachute.Options{})
		app := h.app("app", "app.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"},
			HealthCheck: parachute.HealthCheck{Interval: time.Second, Fall: 2}}))
		time.Sleep(500 * time.Millisecond)
		app.SetHealth(500)
		time.Sleep(time.Second) // one has failed
		short.Store(true)
		time.Sleep(5 * time.Second)
		is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthHealthy)
		short.Store(false)
		time.Sleep(time.Second) // in a row with that, for nothing was seen in between
		is.Equal(h.Services()[0].Live.Targets[0].Health, parachute.HealthUnhealthy)
	})
}

func TestDeployThatCannotProbeSaysThatItIsTheProxysLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, short, log := crowded(t, parachute.Options{})
		h.app("app", "app.test:80")
		short.Store(true)
		err := h.deploy("web", "app.test:80")
		var unhealthy *parachute.UnhealthyError
		is.True(errors.As(err, &unhealthy))
		is.Equal(unhealthy.Targets[0].Last.Cause, parachute.CauseShortage)
		is.True(strings.Contains(err.Error(), "too many open files"))
		is.Equal(strings.Count(log.String(), "a target could not be probed: raise the limit of open files"), 1)

		answer := make(chan error)
		go func() { answer <- h.deploy("web", "app.test:80") }()
		time.Sleep(10 * time.Second)
		short.Store(false)
		is.NoErr(<-answer)
		is.Equal(h.get("any.test"), "200 app")
	})
}
