package server_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go/http3"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/internal/proxytest"
)

const host = "app1.example.com"

// A site is a proxy that serves an app over TLS.
type site struct {
	*process
	app    *app
	ca     *proxytest.CA
	secure string // the address of HTTPS
}

// startSite starts a proxy with HTTPS on any free port, and deploys an app to
// it with a certificate of its own.
func startSite(t *testing.T, c server.Config) *site {
	t.Helper()
	s := &site{app: newApp(t), ca: proxytest.NewCA()}
	c.HTTPSPort = max(c.HTTPSPort, 0)
	s.process = start(t, c)
	s.secure = s.listening(t, "https")
	certFile, keyFile := s.ca.WritePair(t, t.TempDir(), host)
	client := &control.Client{Sockets: []string{c.Socket}}
	result, err := client.Deploy(t.Context(), parachute.Deployment{
		Service: "web",
		Targets: []string{s.app.Listener.Addr().String()},
		Hosts:   []string{host},
		TLS:     parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile, NoRedirect: true},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Certificate != control.CertificateReady {
		t.Fatalf("the certificate is %q", result.Certificate)
	}
	return s
}

// listening returns where a protocol is served.
func (p *process) listening(t testing.TB, protocol string) string {
	t.Helper()
	line := p.await(t, fmt.Sprintf(`"msg":"listening","protocol":%q`, protocol))
	var listening struct{ Address string }
	if err := json.Unmarshal([]byte(line), &listening); err != nil {
		t.Fatalf("it does not listen for %s: %v", protocol, p.err)
	}
	return listening.Address
}

// trust returns a config for a client of the site.
func (s *site) trust() *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: host}
}

// clients returns one for each version of HTTP.
func (s *site) clients(t *testing.T) map[string]*http.Client {
	one := &http.Transport{TLSClientConfig: s.trust()}
	two := &http.Transport{TLSClientConfig: s.trust(), ForceAttemptHTTP2: true}
	three := &http3.Transport{TLSClientConfig: s.trust()}
	one.TLSClientConfig.NextProtos = []string{"http/1.1"}
	t.Cleanup(func() {
		one.CloseIdleConnections()
		two.CloseIdleConnections()
		three.Close()
	})
	all := make(map[string]*http.Client)
	for proto, transport := range map[string]http.RoundTripper{"HTTP/1.1": one, "HTTP/2.0": two, "HTTP/3.0": three} {
		all[proto] = &http.Client{Transport: transport, Timeout: patience}
	}
	return all
}

// request asks the site over TLS.
func (s *site) request(t *testing.T, client *http.Client, method, path string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.secure+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestEveryVersionOfHTTPIsServedOverTLS(t *testing.T) {
	t.Parallel()
	c := newConfig(t)
	c.HTTP3 = true
	s := startSite(t, c)
	for proto, client := range s.clients(t) {
		t.Run(proto, func(t *testing.T) {
			is := is.New(t)
			res := s.request(t, client, "GET", "/", nil)
			is.Equal(res.Proto, proto)
			is.Equal(bodyOf(t, res), "hello")
			is.Equal(res.Header.Get("X-Scheme"), "https") // what the app was told

			large := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB, more than any window
			res = s.request(t, client, "POST", "/echo", strings.NewReader(large))
			is.True(bodyOf(t, res) == large)              // there and back
			is.Equal(res.Trailer.Get("X-Sum"), "2097152") // with what comes after it

			events := s.request(t, client, "GET", "/events", nil)
			line, err := bufio.NewReader(events.Body).ReadString('\n')
			is.NoErr(err)
			is.Equal(line, "data: 1\n") // at once, although the stream goes on
			is.NoErr(events.Body.Close())
		})
	}
	is := is.New(t)
	is.NoErr(s.stop(t))
	_, port, err := net.SplitHostPort(s.secure)
	is.NoErr(err)
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"msg":"Request"`) {
			is.True(strings.Contains(line, `"port":`+port+`,`)) // also that of UDP
			is.True(strings.Contains(line, `"scheme":"https"`))
		}
	}
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPublicPortIsWhatClientsAreToldOf(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTP3 = true
	c.PublicHTTPPort, c.PublicHTTPSPort = 8080, 443
	s := startSite(t, c)
	is.Equal(s.request(t, s.clients(t)["HTTP/2.0"], "GET", "/", nil).Header["Alt-Svc"], []string{`h3=":443"; ma=86400`})

	certFile, keyFile := s.ca.WritePair(t, t.TempDir(), "app2.example.com")
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err := client.Deploy(t.Context(), parachute.Deployment{
		Service: "secure",
		Targets: []string{s.app.Listener.Addr().String()},
		Hosts:   []string{"app2.example.com"},
		TLS:     parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile},
	}, nil)
	is.NoErr(err)
	_, err = client.Deploy(t.Context(), parachute.Deployment{
		Service:       "plain",
		Targets:       []string{s.app.Listener.Addr().String()},
		Hosts:         []string{"app3.example.com", "www.app3.example.com"},
		CanonicalHost: "app3.example.com",
	}, nil)
	is.NoErr(err)
	is.Equal(s.location(t, "app2.example.com:8080"), "https://app2.example.com/")
	is.Equal(s.location(t, "www.app3.example.com"), "http://app3.example.com:8080/")
}

// location returns where a plain request for a host is redirected to, or "".
func (p *process) location(t *testing.T, host string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.Header.Get("Location")
}

func TestHTTP3IsToldOfOverTLSAlone(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTP3 = true
	s := startSite(t, c)
	_, port, err := net.SplitHostPort(s.secure)
	is.NoErr(err)
	is.Equal(s.listening(t, "http3"), s.secure) // the same address
	want := []string{fmt.Sprintf(`h3=":%s"; ma=86400`, port)}
	for proto, client := range s.clients(t) {
		got := s.request(t, client, "GET", "/", nil).Header["Alt-Svc"]
		if proto == "HTTP/3.0" {
			is.Equal(got, nil) // it is there already
		} else {
			is.Equal(got, want)
		}
	}
	res, err := http.Get("http://" + s.address)
	is.NoErr(err)
	defer res.Body.Close()
	is.Equal(res.Header["Alt-Svc"], nil) // anybody could have said that

	without := startSite(t, newConfig(t))
	is.Equal(without.request(t, without.clients(t)["HTTP/2.0"], "GET", "/", nil).Header["Alt-Svc"], nil)
}

func TestPlainRequestToThePortOfHTTPSIsToldSo(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.HTTPSPort = 0
	p := start(t, c)
	res, err := http.Get("http://" + p.listening(t, "https"))
	is.NoErr(err)
	defer res.Body.Close()
	is.Equal(res.StatusCode, http.StatusBadRequest)
	is.True(strings.Contains(bodyOf(t, res), "HTTP request to an HTTPS server"))
}

func TestHandshakesThatFailAreDebugMessages(t *testing.T) {
	t.Parallel()
	for _, debug := range []bool{false, true} {
		t.Run(fmt.Sprint("debug ", debug), func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.Debug = debug
			s := startSite(t, c)
			unknown := s.trust()
			unknown.ServerName = "unknown.example.com"
			_, err := tls.Dial("tcp", s.secure, unknown)
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), "unrecognized name"))
			is.NoErr(s.stop(t))
			is.Equal(strings.Contains(s.log.String(), "TLS handshake error"), debug)
		})
	}
}

func TestOldestVersionOfTLSIsKeptTo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		min, max uint16
		ok       bool
	}{
		{"1.2 where nothing is said", 0, tls.VersionTLS12, true},
		{"1.1 where nothing is said", 0, tls.VersionTLS11, false},
		{"1.2 where 1.3 is wanted", tls.VersionTLS13, tls.VersionTLS12, false},
		{"1.3 where 1.3 is wanted", tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.MinTLSVersion = test.min
			s := startSite(t, c)
			config := s.trust()
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, test.max
			conn, err := tls.Dial("tcp", s.secure, config)
			is.Equal(err == nil, test.ok)
			if err == nil {
				is.NoErr(conn.Close())
			}
		})
	}
}

func TestPortOfHTTPSThatCannotBeHad(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := newConfig(t)
	c.HTTPSPort = taken.Addr().(*net.TCPAddr).Port

	t.Run("was asked for", func(t *testing.T) {
		is := is.New(t)
		err := server.Run(t.Context(), c)
		is.True(errors.Is(err, syscall.EADDRINUSE))
		var refused *server.ListenError
		is.True(errors.As(err, &refused))
		is.Equal(refused.Protocol, "https")
		_, err = os.Lstat(c.Socket)
		is.True(errors.Is(err, os.ErrNotExist)) // nothing is left behind
	})
	t.Run("was not", func(t *testing.T) {
		is := is.New(t)
		c.HTTPSOptional = true
		p := start(t, c)
		reason := fmt.Sprintf("HTTPS is not served, because port %d could not be opened when the proxy started", c.HTTPSPort)
		is.True(strings.Contains(p.await(t, `"level":"WARN"`), reason)) // a warning
		is.Equal(p.get("/"), "404 404 Not Found")                       // and plain HTTP
		err := askForTLS(t, c)
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), reason)) // says so
	})
}

// askForTLS deploys a service with automatic TLS.
func askForTLS(t *testing.T, c server.Config) error {
	t.Helper()
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err := client.Deploy(t.Context(), parachute.Deployment{
		Service: "web", Targets: []string{"127.0.0.1:1"}, Hosts: []string{host},
		TLS: parachute.TLS{Mode: parachute.TLSAutomatic}, Force: true,
	}, nil)
	return err
}

func TestHTTPSThatIsTurnedOffIsNotThere(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	p := start(t, c)
	err := askForTLS(t, c)
	is.True(errors.Is(err, parachute.ErrInvalid))
	is.True(strings.Contains(err.Error(), "turned off by --https-port -1"))
	is.NoErr(p.stop(t))
	is.True(!strings.Contains(p.log.String(), `"protocol":"https"`))
}

func TestFolderOfCertificatesThatCannotBeMadeIsAnErrorAtTheStart(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	is.NoErr(os.MkdirAll(c.DataDir, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(c.DataDir, "certificates"), nil, 0o600))
	err := server.Run(t.Context(), c)
	is.True(err != nil)
	is.True(strings.HasPrefix(err.Error(), "certificate folder "+c.DataDir))
	_, err = os.Lstat(c.Socket)
	is.True(errors.Is(err, os.ErrNotExist)) // nothing is left behind
}
