package parachute_test

import (
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
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// front serves a Proxy on a socket of the system, and returns a func that asks
// it for / and gives back the answer's body.
func front(t *testing.T) (*parachute.Proxy, func() string) {
	t.Helper()
	p := parachute.New(parachute.Options{})
	server := httptest.NewServer(p)
	t.Cleanup(func() { p.Close() })
	t.Cleanup(server.Close)
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
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	is.NoErr(err)
	app := &httptest.Server{Listener: l, Config: &http.Server{Handler: proto}}
	app.Start()
	defer app.Close()
	p, get := front(t)
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
	p, get := front(t)
	web := parachute.Deployment{Service: "web", Targets: []string{"https://" + app.Listener.Addr().String()},
		Timeouts: parachute.Timeouts{Deploy: 300 * time.Millisecond}}

	err := p.Deploy(t.Context(), web)
	is.True(errors.Is(err, parachute.ErrUnhealthy))
	is.True(strings.Contains(err.Error(), "certificate")) // no authority of this system vouches for it

	web.Timeouts.Deploy = 0
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
