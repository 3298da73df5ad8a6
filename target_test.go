package parachute_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// front serves a Proxy on a socket of the system, and returns a func that asks
// it for / and gives back the answer's body.
func front(t *testing.T, opts parachute.Options) (*parachute.Proxy, func() string) {
	t.Helper()
	p := parachute.New(opts)
	t.Cleanup(func() { p.Close() })
	server := proxytest.NewFront(t, p)
	return p, func() string {
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
}

// proto is an app that answers with the protocol it was spoken to in.
var proto = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/up" && r.TLS != nil {
		io.WriteString(w, "TLS, ")
	}
	io.WriteString(w, r.Proto)
})

func TestTargetMayBeAUnixSocket(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(proxytest.ShortDir(t), "s")
	l, err := net.Listen("unix", path)
	is.NoErr(err)
	app := &httptest.Server{Listener: l, Config: &http.Server{Handler: proto}}
	app.Start()
	defer app.Close()
	p, get := front(t, parachute.Options{})
	is.NoErr(p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"unix:" + path}}))
	is.Equal(get(), "HTTP/1.1")
}

func TestTargetMaySpeakTLSAndIsVerified(t *testing.T) {
	is := is.New(t)
	app := httptest.NewUnstartedServer(proto)
	app.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail as they should
	app.StartTLS()
	defer app.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	is.NoErr(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: app.Certificate().Raw}), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	probes := make(chan parachute.Probe, 1)
	p, get := front(t, parachute.Options{Notify: func(e parachute.Event) {
		if e.Kind == parachute.EventProbed && ctx.Err() == nil {
			probes <- *e.Probe
			cancel() // one is enough
		}
	}})
	web := parachute.Deployment{Service: "web", Targets: []string{"https://" + app.Listener.Addr().String()}}
	err := p.Deploy(ctx, web)
	is.True(errors.Is(err, context.Canceled))
	is.True(strings.Contains((<-probes).Error, "certificate")) // no authority of this system vouches for it

	web.TargetTLS = parachute.TargetTLS{CAFile: ca, ServerName: "example.com"} // a name in httptest's certificate
	is.NoErr(p.Deploy(t.Context(), web))
	is.Equal(get(), "TLS, HTTP/1.1")

	web.TargetTLS = parachute.TargetTLS{Insecure: true}
	is.NoErr(p.Deploy(t.Context(), web))
	is.Equal(get(), "TLS, HTTP/1.1")

	web.TargetTLS = parachute.TargetTLS{CAFile: filepath.Join(t.TempDir(), "gone.pem")}
	err = p.Deploy(t.Context(), web)
	is.True(errors.Is(err, parachute.ErrInvalid))
	is.True(strings.Contains(err.Error(), "gone.pem: no such file or directory"))
	is.Equal(get(), "TLS, HTTP/1.1") // nothing was changed
}

// Or the deploy would wait for somebody to write to it, whatever ends its context.
func TestTargetCAThatIsAPipeIsRefused(t *testing.T) {
	is := is.New(t)
	pipe := filepath.Join(t.TempDir(), "ca.pem")
	is.NoErr(syscall.Mkfifo(pipe, 0o600))
	p := parachute.New(parachute.Options{})
	defer p.Close()
	err := p.Deploy(t.Context(), parachute.Deployment{
		Service: "web", Targets: []string{"https://web.test:443"}, TargetTLS: parachute.TargetTLS{CAFile: pipe},
	})
	is.True(errors.Is(err, parachute.ErrInvalid))
	is.True(strings.Contains(err.Error(), "target CA: read "+pipe+": no regular file"))
}

func TestTargetMaySpeakHTTP2WithoutTLS(t *testing.T) {
	is := is.New(t)
	app := httptest.NewUnstartedServer(proto)
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	defer app.Close()
	p, get := front(t, parachute.Options{})
	is.NoErr(p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"h2c://" + app.Listener.Addr().String()}}))
	is.Equal(get(), "HTTP/2.0")
}

// It is what httptest calls its servers.
func TestTargetMayBeAnOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "http://web.test:80"))
		is.Equal(h.get("any.test"), "200 web")
		is.Equal(h.Services()[0].Live.Targets[0].Address, "http://web.test:80") // as it was deployed
	})
}

// Five nanoseconds are never what somebody means who writes 5.
func TestDurationsWithoutAUnitAreRefusedWhereverTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		for want, err := range map[string]error{
			"parachute: pause web: Pause.Max: 5 is 5 ns: want 5 * time.Second":          h.Pause(t.Context(), "web", parachute.Pause{Max: 5}),
			"parachute: pause web: Pause.Drain: 30 is 30 ns: want 30 * time.Second":     h.Pause(t.Context(), "web", parachute.Pause{Drain: 30}),
			"parachute: stop web: Stop.Drain: 30 is 30 ns: want 30 * time.Second":       h.Stop(t.Context(), "web", parachute.Stop{Drain: 30}),
			"parachute: roll out web: Timeouts.Stream: 1 is 1 ns: want 1 * time.Second": h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"web.test:80"}, Timeouts: parachute.Timeouts{Stream: 1}}),
		} {
			is.True(errors.Is(err, parachute.ErrInvalid))
			is.Equal(err.Error(), want)
		}
		is.Equal(h.Services()[0].State, parachute.StateServing)
	})
}

func TestServiceWithADurationThatIsTooShortIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		s := status("web", 7, "web.test:80")
		s.Deployment.Timeouts.Drain, s.Deployment.HealthCheck.Timeout = 5, time.Microsecond
		s.Rollout = &parachute.Rollout{Targets: []string{"web.test:80"}, Timeouts: parachute.Timeouts{Stream: 1}}
		is.NoErr(h.Restore([]parachute.Status{s}))
		is.Equal(h.Services()[0].State, parachute.StateServing)
		is.Equal(h.Services()[0].Deployment.Timeouts.Drain, time.Millisecond)
		is.Equal(h.Services()[0].Rollout.Timeouts.Stream, time.Millisecond)
		is.Equal(s.Rollout.Timeouts.Stream, time.Duration(1)) // what is the caller's was left alone
	})
}
