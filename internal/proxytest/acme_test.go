package proxytest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/proxytest"
)

const app1 = "app1.example.com"

// manager returns an ACME client for ca, which it serves.
func manager(t *testing.T, n *proxytest.Net, ca *proxytest.CA) *autocert.Manager {
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Client: &acme.Client{
			DirectoryURL: ca.Serve(t, n, "ca.example.com:14000"),
			HTTPClient:   ca.Client(t, n),
		},
	}
}

// obtain asks m for an ECDSA certificate.
func obtain(m *autocert.Manager, name string) (*tls.Certificate, error) {
	return m.GetCertificate(&tls.ClientHelloInfo{
		ServerName:   name,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
}

func TestOrderIsProvenByTLSALPN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		ca.Challenges = []string{"tls-alpn-01"}
		m := manager(t, &n, ca)
		n.ServeTLS(t, app1+":443", m.TLSConfig(), http.HandlerFunc(hello))
		for range 2 {
			_, body, err := get(ca.Client(t, &n), "https://"+app1)
			is.NoErr(err)
			is.Equal(body, "hello")
			is.Equal(ca.Orders(app1), 1)
		}
		is.Equal(ca.Orders("app2.example.com"), 0)
		is.Equal(ca.TotalOrders(), 1)
	})
}

func TestOrderIsProvenByHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		ca.Challenges = []string{"http-01"}
		ca.Lifetime = time.Hour
		m := manager(t, &n, ca)
		n.Serve(t, app1+":80", m.HTTPHandler(nil))
		cert, err := obtain(m, app1)
		is.NoErr(err)
		is.Equal(time.Until(cert.Leaf.NotAfter).Round(time.Minute), time.Hour)
		is.Equal(ca.TotalOrders(), 1)
	})
}

func TestNamesThatAreNotProvenGetNoCertificate(t *testing.T) {
	stranger := proxytest.NewCA().Issue(app1)
	tests := map[string]func(t *testing.T, n *proxytest.Net){
		"nobody listens": func(*testing.T, *proxytest.Net) {},
		"nobody answers": func(t *testing.T, n *proxytest.Net) {
			n.Blackhole(app1 + ":443")
			n.Blackhole(app1 + ":80")
		},
		"the token is answered with something else": func(t *testing.T, n *proxytest.Net) {
			n.Serve(t, app1+":80", http.HandlerFunc(hello))
		},
		"the token is redirected": func(t *testing.T, n *proxytest.Net) {
			n.Serve(t, app1+":80", http.RedirectHandler("https://"+app1, http.StatusFound))
		},
		"the protocol is not chosen": func(t *testing.T, n *proxytest.Net) {
			config := &tls.Config{Certificates: []tls.Certificate{stranger}}
			n.ServeTLS(t, app1+":443", config, http.HandlerFunc(hello))
		},
		"the certificate has no token": func(t *testing.T, n *proxytest.Net) {
			config := &tls.Config{Certificates: []tls.Certificate{stranger}, NextProtos: []string{acme.ALPNProto}}
			n.ServeTLS(t, app1+":443", config, http.HandlerFunc(hello))
		},
	}
	for name, serve := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				ca := proxytest.NewCA()
				m := manager(t, &n, ca)
				m.HTTPHandler(nil)
				serve(t, &n)
				_, err := obtain(m, app1)
				is.True(err != nil)
				is.Equal(ca.TotalOrders(), 3) // one for each type of challenge, and one to find that there is no third
			})
		})
	}
}

// An answer that is right in all but one thing is wrong.
func TestALPNCertificateIsCheckedToTheLetter(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(c *acme.Client, token string) (tls.Certificate, error){
		"another token": func(c *acme.Client, token string) (tls.Certificate, error) {
			return c.TLSALPN01ChallengeCert("x"+token, app1)
		},
		"another name": func(c *acme.Client, token string) (tls.Certificate, error) {
			return c.TLSALPN01ChallengeCert(token, "app2.example.com")
		},
		"another account": func(_ *acme.Client, token string) (tls.Certificate, error) {
			return (&acme.Client{Key: key}).TLSALPN01ChallengeCert(token, app1)
		},
	}
	for name, makeCertificate := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				client := register(t, &n, proxytest.NewCA())
				order, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
				is.NoErr(err)
				authz, err := client.GetAuthorization(t.Context(), order.AuthzURLs[0])
				is.NoErr(err)
				cert, err := makeCertificate(client, authz.Challenges[0].Token)
				is.NoErr(err)
				config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{acme.ALPNProto}}
				n.ServeTLS(t, app1+":443", config, http.HandlerFunc(hello))
				challenge, err := client.Accept(t.Context(), authz.Challenges[0])
				is.NoErr(err)
				is.Equal(challenge.Status, acme.StatusInvalid)
				_, err = client.WaitAuthorization(t.Context(), authz.URI)
				is.True(err != nil) // the authorization has failed with it
			})
		})
	}
}

func TestAccountIsBoundToAnExternalOneWhereThatIsRequired(t *testing.T) {
	key := []byte("a key that both know, 32 bytes..")
	tests := []struct {
		name    string
		binding *acme.ExternalAccountBinding
		want    string
	}{
		{"none", nil, "externalAccountRequired"},
		{"unknown", &acme.ExternalAccountBinding{KID: "kid-2", Key: key}, "unauthorized"},
		{"wrong key", &acme.ExternalAccountBinding{KID: "kid-1", Key: []byte("x")}, "unauthorized"},
		{"right", &acme.ExternalAccountBinding{KID: "kid-1", Key: key}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				ca := proxytest.NewCA()
				ca.ExternalAccounts = map[string][]byte{"kid-1": key}
				m := manager(t, &n, ca)
				m.ExternalAccountBinding = tt.binding
				n.ServeTLS(t, app1+":443", m.TLSConfig(), http.HandlerFunc(hello))
				_, err := obtain(m, app1)
				is.Equal(problemType(err), tt.want)
				is.Equal(err == nil, tt.want == "")
			})
		})
	}
}

func problemType(err error) string {
	var problem *acme.Error
	if !errors.As(err, &problem) {
		return ""
	}
	return strings.TrimPrefix(problem.ProblemType, "urn:ietf:params:acme:error:")
}

func TestCAThatWasDownIssuesOnceItIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		m := manager(t, &n, ca)
		n.ServeTLS(t, app1+":443", m.TLSConfig(), http.HandlerFunc(hello))
		ca.Down(true)
		_, err := obtain(m, app1)
		is.True(err != nil)
		is.Equal(ca.TotalOrders(), 0)
		is.Equal(n.Dials("ca.example.com:14000"), 1)
		ca.Down(false)
		time.Sleep(2 * time.Minute) // autocert remembers a failure for one
		_, err = obtain(m, app1)
		is.NoErr(err)
		is.Equal(ca.TotalOrders(), 1)
	})
}

func TestRateLimitHoldsUntilItIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		m := manager(t, &n, ca)
		n.ServeTLS(t, app1+":443", m.TLSConfig(), http.HandlerFunc(hello))
		start := time.Now()
		ca.RateLimit(time.Minute)
		time.AfterFunc(90*time.Second, func() { ca.RateLimit(0) })
		_, err := obtain(m, app1)
		is.NoErr(err)
		is.True(time.Since(start) >= 2*time.Minute) // the second retry is the first to be taken
		is.Equal(ca.Orders(app1), 3)
	})
}

func TestSlowCATakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		client := register(t, &n, ca)
		start := time.Now()
		ca.Slow(time.Minute)
		_, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
		is.NoErr(err)
		is.Equal(time.Since(start), time.Minute)
		ca.Slow(0)
		_, err = client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
		is.NoErr(err)
		is.Equal(time.Since(start), time.Minute)
	})
}

func TestAuthorizationCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		client := register(t, &n, proxytest.NewCA())
		order, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
		is.NoErr(err)
		is.NoErr(client.RevokeAuthorization(t.Context(), order.AuthzURLs[0]))
		authz, err := client.GetAuthorization(t.Context(), order.AuthzURLs[0])
		is.NoErr(err)
		is.Equal(authz.Status, acme.StatusDeactivated)
		_, err = client.WaitOrder(t.Context(), order.URI)
		is.True(err != nil) // the order has failed with it
	})
}

func TestAccountIsKnownByItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		client := register(t, &n, ca)
		again := &acme.Client{Key: client.Key, DirectoryURL: client.DirectoryURL, HTTPClient: client.HTTPClient}
		_, err := again.Register(t.Context(), &acme.Account{}, autocert.AcceptTOS)
		is.Equal(err, acme.ErrAccountAlreadyExists)
		known, err := again.GetReg(t.Context(), "")
		is.NoErr(err)
		is.Equal(known.URI, string(client.KID))
		stranger := newClient(t, &n, ca, client.DirectoryURL)
		_, err = stranger.GetReg(t.Context(), "")
		is.Equal(err, acme.ErrNoAccount)
	})
}

func TestOrderIsForItsAccountAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		client := register(t, &n, ca)
		order, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
		is.NoErr(err)
		other := newClient(t, &n, ca, client.DirectoryURL)
		_, err = other.Register(t.Context(), &acme.Account{}, autocert.AcceptTOS)
		is.NoErr(err)
		_, err = other.GetOrder(t.Context(), order.URI)
		is.Equal(problemType(err), "malformed")
		_, err = client.GetOrder(t.Context(), order.URI)
		is.NoErr(err)
	})
}

func TestCertificateIsNotHadWithoutProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		client := register(t, &n, proxytest.NewCA())
		order, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
		is.NoErr(err)
		csr, err := certificateRequest(app1)
		is.NoErr(err)
		_, _, err = client.CreateCertFromOrder(t.Context(), order, csr, true)
		is.Equal(problemType(err), "orderNotReady")
		csr, err = certificateRequest(app1, "app2.example.com")
		is.NoErr(err)
		_, _, err = client.CreateCertFromOrder(t.Context(), order, csr, true)
		is.Equal(problemType(err), "badCSR")
	})
}

func TestMessagesThatAreNotSoundAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		tamper func(r *http.Request, body string) string
		want   string
	}{
		{"sent elsewhere", func(r *http.Request, body string) string {
			r.URL.Path = "/orders/0"
			return body
		}, "unauthorized"},
		{"forged", func(_ *http.Request, body string) string {
			return strings.Replace(body, `"payload":"`, `"payload":"e30`, 1)
		}, "unauthorized"},
		{"garbled", func(_ *http.Request, body string) string { return body[1:] }, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				client := register(t, &n, proxytest.NewCA())
				intercept(client, func(r *http.Request, body string, send sender) (*http.Response, error) {
					return send(r, tt.tamper(r, body))
				})
				_, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
				is.Equal(problemType(err), tt.want)
			})
		})
	}
}

func TestMessageCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ca := proxytest.NewCA()
		client := register(t, &n, ca)
		intercept(client, func(r *http.Request, body string, send sender) (*http.Response, error) {
			if resp, err := send(r, body); err == nil {
				resp.Body.Close()
			}
			return send(r, body)
		})
		_, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs(app1))
		is.Equal(problemType(err), "badNonce")
		is.Equal(ca.TotalOrders(), 1)
	})
}

// newClient returns an ACME client of ca that has a key and no account.
func newClient(t *testing.T, n *proxytest.Net, ca *proxytest.CA, directoryURL string) *acme.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &acme.Client{Key: key, DirectoryURL: directoryURL, HTTPClient: ca.Client(t, n)}
}

// register returns an ACME client of ca, which it serves, with an account.
func register(t *testing.T, n *proxytest.Net, ca *proxytest.CA) *acme.Client {
	t.Helper()
	client := newClient(t, n, ca, ca.Serve(t, n, "ca.example.com:14000"))
	if _, err := client.Register(t.Context(), &acme.Account{}, autocert.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	return client
}

func certificateRequest(names ...string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
}

// A sender sends r with another body.
type sender func(r *http.Request, body string) (*http.Response, error)

// intercept hands the POST requests of client to f, and has it try nothing
// again.
func intercept(client *acme.Client, f func(r *http.Request, body string, send sender) (*http.Response, error)) {
	transport := client.HTTPClient.Transport
	send := func(r *http.Request, body string) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		return transport.RoundTrip(r)
	}
	client.RetryBackoff = func(int, *http.Request, *http.Response) time.Duration { return 0 }
	client.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPost {
			return transport.RoundTrip(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		return f(r, string(body), send)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
