package server_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
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
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/internal/proxytest"
)

const stagingDirectory = "https://acme-staging-v02.api.letsencrypt.org/directory"

// A volume is what a kamal-proxy has left: the state of one that ran, whose paths and
// addresses are those of this machine, its certificates, and error pages.
type volume struct {
	dir, pages  string
	main, other string // the addresses that are 127.0.0.1:3001 and :3002 in the state
	ca          *proxytest.CA
}

func leaveVolume(t *testing.T, c server.Config) *volume {
	t.Helper()
	v := &volume{dir: c.DataDir, pages: t.TempDir(), main: named(t, "main"), other: named(t, "other"), ca: proxytest.NewCA()}
	state, err := os.ReadFile("../kamal/testdata/kamal-proxy.state")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := v.ca.WritePair(t, t.TempDir(), "static.example.com")
	_, port, _ := net.SplitHostPort(v.other)
	leave(t, c, strings.NewReplacer(
		"127.0.0.1:3001", v.main, "127.0.0.1:3002", v.other, `"port":3002`, `"port":`+port,
		"/home/kamal-proxy/.apps-config/pages", v.pages,
		"/home/kamal-proxy/.apps-config/cert.pem", certFile, "/home/kamal-proxy/.apps-config/key.pem", keyFile,
	).Replace(string(state)))
	v.write(t, filepath.Join(v.pages, "503.html"), "<h1>our own page</h1>")
	v.write(t, filepath.Join(v.pages, "406-unsupported-browser.html"), "{{broken")
	return v
}

// keep puts something where kamal-proxy keeps what it has from an authority.
func (v *volume) keep(t *testing.T, directory, name, text string) {
	t.Helper()
	hash := sha256.Sum256([]byte(directory))
	v.write(t, filepath.Join(v.dir, "certs", hex.EncodeToString(hash[:]), name), text)
}

func (v *volume) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// named returns the address of an app that answers with its name, and the path.
func named(t *testing.T, name string) string {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, name, " ", r.URL.Path)
	}))
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

// visitor returns a client that follows no redirects.
func visitor(t *testing.T, config *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// visit returns what a client without a wish gets from host.
func (p *process) visit(t *testing.T, method, host, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := visitor(t, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, fmt.Sprintf("%d %s", res.StatusCode, body)
}

// The state is that of a kamal-proxy that ran, whose services use every option that it
// has. It is taken over twice, for nothing is deployed before the second start.
func TestEachServiceOfAKamalProxyAnswersAsItDid(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTPSPort = 0
	v := leaveVolume(t, c)
	cert := v.ca.Issue("auto.example.com")
	v.keep(t, stagingDirectory, "auto.example.com", string(proxytest.CacheEntry(cert)))
	for range 2 {
		p := start(t, c)
		for _, tt := range []struct{ host, path, want string }{
			{"any.example.com", "/", "200 main /"},
			{"slash.example.com", "/app", "200 main /"},
			{"slash.example.com", "/app/x", "200 main /x"},
			{"twice.example.com", "/", "200 main /"},
			{"ok.example.org", "/", "200 main /"},
			{"x.example.net", "/", "200 main /"},
			{"pages.example.com", "/", "200 main /"},
			{"static.example.com", "/", "200 main /"},
			{"full.example.com", "/", "200 other /"},
			{"space.example.com", "/", "200 main /"},
			{"roll.example.com", "/", "200 main /"},
		} {
			res, answer := p.visit(t, "GET", tt.host, tt.path)
			is.Equal(answer, tt.want)
			is.Equal(res.Header["Set-Cookie"], nil) // kamal-proxy gave none
		}
		_, answer := p.visit(t, "GET", "b.example.com", "/api/x")
		is.True(strings.HasSuffix(answer, " /api/x")) // the prefix is kept
		res, _ := p.visit(t, "GET", "b.example.com", "/other")
		is.Equal(res.StatusCode, http.StatusNotFound)
		_, answer = p.visit(t, "POST", "both.example.com", "/")
		is.Equal(answer, "200 main /")
		read := make(map[string]bool)
		for range 100 {
			_, answer = p.visit(t, "GET", "both.example.com", "/")
			read[answer] = true
		}
		is.Equal(read, map[string]bool{"200 main /": true, "200 other /": true})
		_, answer = p.visit(t, "GET", "stopped.example.com", "/", "Accept", "text/html")
		is.True(strings.HasPrefix(answer, "503 ") && strings.Contains(answer, "Back &lt;soon&gt;"))
		for value, want := range map[string]string{"account-1": "200 other /", "account-8": "200 main /", "account-18": "200 other /", "vip2": "200 other /", "vip1": "200 other /"} {
			_, answer = p.visit(t, "GET", "roll.example.com", "/", "Cookie", "kamal-rollout="+value)
			is.Equal(answer, want) // value
		}

		secure := p.listening(t, "https")
		for _, host := range []string{"auto.example.com", "static.example.com"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+secure, nil)
			is.NoErr(err)
			r.Host = host
			is.Equal(answerOf(visitor(t, &tls.Config{RootCAs: v.ca.Pool(), ServerName: host}).Do(r)), "200 main /")
		}
		res, _ = p.visit(t, "GET", "auto.example.com", "/x")
		is.True(strings.HasPrefix(res.Header.Get("Location"), "https://auto.example.com:"))
		is.NoErr(p.stop(t))
	}

	p := start(t, c)
	client := &control.Client{Sockets: []string{c.Socket}}
	held := make(chan string)
	go func() {
		r, _ := http.NewRequest("GET", "http://"+p.address, nil)
		r.Host = "paused.example.com"
		held <- answerOf(visitor(t, nil).Do(r))
	}()
	_, err := client.Resume(t.Context(), "paused", nil)
	is.NoErr(err)
	is.Equal(<-held, "200 main /")
	_, err = client.Stop(t.Context(), "pages", parachute.Stop{}, nil)
	is.NoErr(err)
	res, answer := p.visit(t, "GET", "pages.example.com", "/")
	is.Equal(answer, "503 <h1>our own page</h1>")
	is.Equal(res.Header.Get("Content-Type"), "text/html; charset=utf-8") // who looks with curl sees it too
}

// Names are ordered anew by nobody whose certificate is there, whatever becomes of the
// authority; and their account goes on.
func TestCertificateOfKamalProxyOutlivesTheNextDeploy(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTPSPort = 0
	c.ACME.Directory = "https://127.0.0.1:1/nobody" // cannot be reached
	ca, app := proxytest.NewCA(), named(t, "web")
	leave(t, c, fmt.Sprintf(`[{"name":"web","active_targets":[%q],"options":{"hosts":["web.test"],"tls_enabled":true,"tls_redirect":true}}]`, app))
	v := &volume{dir: c.DataDir}
	v.keep(t, "", "web.test", string(proxytest.CacheEntry(ca.Issue("web.test"))))
	get := func(p *process) string {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+p.listening(t, "https"), nil)
		is.NoErr(err)
		r.Host = "web.test"
		return answerOf(visitor(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "web.test"}).Do(r))
	}
	p := start(t, c)
	is.Equal(get(p), "200 web /")
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err := client.Deploy(t.Context(), parachute.Deployment{
		Service: "web", Targets: []string{app}, Hosts: []string{"web.test"}, TLS: parachute.TLS{Mode: parachute.TLSAutomatic},
	}, nil)
	is.NoErr(err)
	is.Equal(get(p), "200 web /")
	is.NoErr(p.stop(t))
	is.NoErr(os.RemoveAll(filepath.Join(c.DataDir, "certs"))) // it is our own by now
	p = start(t, c)
	is.Equal(get(p), "200 web /")
	is.NoErr(p.stop(t))
}

func TestCertificateThatWasRenewedSinceIsKept(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	ca, now := proxytest.NewCA(), time.Now()
	leave(t, c, `[{"name":"web","active_targets":["127.0.0.1:1"],"options":{"hosts":["web.test"],"tls_enabled":true}}]`)
	v := &volume{dir: c.DataDir}
	v.keep(t, "", "web.test", string(proxytest.CacheEntry(ca.Issue("web.test"))))
	v.keep(t, "", "acme_account+key", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
	p := start(t, c)
	is.NoErr(p.stop(t))
	ours := filepath.Join(c.DataDir, "certificates")
	taken, err := os.ReadFile(filepath.Join(ours, "acme_account+key"))
	is.NoErr(err)
	is.True(strings.Contains(string(taken), "AAAA"))
	renewed := proxytest.CacheEntry(ca.IssueBetween(now, now.AddDate(1, 0, 0), "web.test"))
	is.NoErr(os.WriteFile(filepath.Join(ours, "web.test"), renewed, 0o600))
	p = start(t, c)
	is.NoErr(p.stop(t))
	left, err := os.ReadFile(filepath.Join(ours, "web.test"))
	is.NoErr(err)
	is.Equal(string(left), string(renewed))
}
