package proxytest_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestIssuedCertificatesAreTheCAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := proxytest.NewCA()
		cert := ca.Issue("app1.example.com", "*.example.net", "10.0.0.7")
		for _, host := range []string{"app1.example.com", "x.example.net", "10.0.0.7"} {
			_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: ca.Pool()})
			is.NoErr(err)
		}
		_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: "app2.example.com", Roots: ca.Pool()})
		is.True(err != nil) // it is for no other name
		_, err = cert.Leaf.Verify(x509.VerifyOptions{Roots: proxytest.NewCA().Pool()})
		is.True(err != nil) // another CA does not know it
		is.Equal(time.Until(cert.Leaf.NotAfter), 90*24*time.Hour)
	})
}

func TestLifetimeIsTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ca := proxytest.NewCA()
		ca.Lifetime = time.Minute
		is.Equal(time.Until(ca.Issue("a.example.com").Leaf.NotAfter), time.Minute)

		start := time.Now().Add(-time.Hour)
		leaf := ca.IssueBetween(start, start.Add(time.Minute), "a.example.com").Leaf
		is.Equal(leaf.NotBefore.Sub(start), time.Duration(0))
		is.Equal(leaf.NotAfter.Sub(start), time.Minute)
	})
}

func TestWrittenPairCanBeLoaded(t *testing.T) {
	is := is.New(t)
	ca := proxytest.NewCA()
	dir := t.TempDir()
	certFile, keyFile := ca.WritePair(t, dir, "a.example.com")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	is.NoErr(err)
	is.NoErr(pair.Leaf.VerifyHostname("a.example.com"))

	next := ca.Issue("b.example.com")
	certFile2, keyFile2 := proxytest.WriteCertificate(t, dir, next)
	is.Equal([]string{certFile2, keyFile2}, []string{certFile, keyFile}) // in place of the first
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	is.NoErr(err)
	is.Equal(pair.Certificate, next.Certificate)
}

func TestClientTrustsTheCAAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca, other := proxytest.NewCA(), proxytest.NewCA()
		config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("web-1")}}
		b := n.ServeTLS(t, "web-1:0", config, http.HandlerFunc(hello))
		_, body, err := get(ca.Client(t, &n), "https://"+b.Addr())
		is.NoErr(err)
		is.Equal(body, "hello")
		_, _, err = get(other.Client(t, &n), "https://"+b.Addr())
		is.True(err != nil) // signed by an unknown authority
	})
}

func TestBackendSpeaksHTTP2WhereItIsOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		for _, offer := range []string{"h2", "http/1.1"} {
			config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("web-1")}, NextProtos: []string{offer}}
			b := n.ServeTLS(t, "web-1:0", config, http.HandlerFunc(hello))
			client := ca.Client(t, &n)
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
			resp, err := client.Get("https://" + b.Addr())
			is.NoErr(err)
			is.NoErr(resp.Body.Close())
			is.Equal(resp.ProtoMajor == 2, offer == "h2")
			is.Equal(b.Requests(), 1)
		}
	})
}
