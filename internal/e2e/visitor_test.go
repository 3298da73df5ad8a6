package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// startWithCertificate returns a proxy that serves web at app1 over HTTPS.
func startWithCertificate(t *testing.T, args ...string) (*proxy, *authority) {
	t.Helper()
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca, args...)
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	return p, ca
}

// It offers TLS 1.3 alone, whose cipher suites tell nothing of the kind of key.
func TestVisitorOverHTTP3CausesNoOrder(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca, "--http3")
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), "--tls", "--host", app1) // the visitor comes while the order runs

	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.roots},
		Dial: func(ctx context.Context, _ string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, p.http3, config, quicConfig)
		},
	}
	defer transport.Close()
	visitor := &http.Client{Transport: transport, Timeout: patience}
	var resp *http.Response
	eventually(t, "an answer over HTTP/3", func() (ok bool) {
		var err error
		resp, err = visitor.Get("https://" + app1 + "/")
		return err == nil
	})
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	is.NoErr(err)
	is.Equal(resp.Proto, "HTTP/3.0")
	is.Equal(string(body), "web over https")
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})
}

func TestHTTP3IsAnnounced(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	p, ca := startWithCertificate(t, "--http3")
	resp, err := client(t, p.https, ca.roots).Get("https://" + app1 + "/")
	is.NoErr(err)
	is.NoErr(resp.Body.Close())
	_, port, err := net.SplitHostPort(p.http3)
	is.NoErr(err)
	is.True(strings.HasPrefix(resp.Header.Get("Alt-Svc"), `h3=":`+port+`"`))
}

func TestVisitorsOverHTTP1AndHTTP2AreServed(t *testing.T) {
	t.Parallel()
	p, ca := startWithCertificate(t)
	for _, version := range []string{"1.1", "2"} {
		t.Run("HTTP/"+version, func(t *testing.T) {
			is := is.New(t)
			protocols := new(http.Protocols)
			protocols.SetHTTP1(version == "1.1")
			protocols.SetHTTP2(version == "2")
			visitor := client(t, p.https, ca.roots)
			visitor.Transport.(*http.Transport).Protocols = protocols
			resp, err := visitor.Get("https://" + app1 + "/")
			is.NoErr(err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			is.NoErr(err)
			is.Equal(string(body), "web over https")
			is.Equal(strings.TrimSuffix(strings.TrimPrefix(resp.Proto, "HTTP/"), ".0"), version)

			if curl, err := exec.LookPath("curl"); err == nil {
				is.Equal(runCurl(t, curl, p, ca, "--http"+version), "web over https "+version)
			}
		})
	}
}

// runCurl gets the page of app1 with a curl that is on this machine, and
// returns it and the version of HTTP that it came by.
func runCurl(t *testing.T, curl string, p *proxy, ca *authority, flag string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(p.https)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), curl, flag, "--silent", "--show-error", "--fail", "--cacert", ca.issuerFile,
		"--noproxy", "*", "--resolve", app1+":"+port+":127.0.0.1", "--write-out", " %{http_version}", "https://"+app1+":"+port+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	return string(out)
}

func TestWebSocketIsCarriedOverTLS(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	p, ca := startWithCertificate(t)
	dialer := tls.Dialer{Config: &tls.Config{ServerName: app1, RootCAs: ca.roots, NextProtos: []string{"http/1.1"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", p.https)
	is.NoErr(err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: "+app1+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	is.NoErr(err)
	received := bufio.NewReader(conn)
	resp, err := http.ReadResponse(received, nil)
	is.NoErr(err)
	is.Equal(resp.StatusCode, 101)
	is.Equal(resp.Header.Get("Upgrade"), "websocket")
	for _, frame := range []string{"\x81\x85\x00\x00\x00\x00hello", "\x81\x83\x00\x00\x00\x00bye"} {
		_, err = io.WriteString(conn, frame)
		is.NoErr(err)
		echo := make([]byte, len(frame))
		_, err = io.ReadFull(received, echo)
		is.NoErr(err)
		is.Equal(string(echo), frame)
	}
}

func TestStaticPairIsServedWithoutTheCA(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	ca.set(gone)
	p := startProxy(t, ca)
	pairs := proxytest.NewCA()
	certFile, keyFile := pairs.WritePair(t, t.TempDir(), app1)
	p.deploy(t, "web", newApp(t, "web"), "--tls", "--host", app1, "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile)
	answer, err := get(client(t, p.https, pairs.Pool()), "https://"+app1+"/")
	is.NoErr(err)
	is.Equal(answer, "200 web over https")
	is.Equal(p.certificates(t)[app1].Source, parachute.TLSFiles)
	is.Equal(ca.set(gone), 0) // it was not asked
}
