package parachute_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A keep is a house whose Proxy serves TLS as well, at proxy.test:443, with a
// certificate authority down the road, for which every name is the Proxy's.
type keep struct {
	*house
	ca *proxytest.CA
}

func newKeep(t *testing.T, opts parachute.Options) *keep {
	t.Helper()
	ca := proxytest.NewCA()
	k := &keep{ca: ca}
	ca.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return k.net.Dial(ctx, network, "proxy.test"+address[strings.LastIndexByte(address, ':'):])
	}
	opts.ACME.Directory = "https://ca.test:443/directory"
	opts.ACME.RootCAs = ca.Pool()
	k.house = newHouse(t, opts)
	ca.Serve(t, k.net, "ca.test:443")
	k.net.ServeTLS(t, "proxy.test:443", k.TLSConfig(), k.Proxy).SetHealth(0)
	return k
}

// dial connects over TLS as a client does that names sni and trusts the CA.
func (k *keep) dial(sni string, protocols ...string) (*tls.Conn, error) {
	conn, err := k.net.Dial(k.t.Context(), "tcp", "proxy.test:443")
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, &tls.Config{ServerName: sni, RootCAs: k.ca.Pool(), NextProtos: protocols, InsecureSkipVerify: sni == ""})
	if err := secured.HandshakeContext(k.t.Context()); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// getTLS returns the answer to a GET of a path on host, over a connection to
// sni, or why there is none.
func (k *keep) getTLS(sni, host, path string) string {
	conn, err := k.dial(sni)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}

// told reports whether there was an event of trouble with a certificate for
// host that has text in it.
func (k *keep) told(host, text string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.events, func(e parachute.Event) bool {
		return e.Kind == parachute.EventNoCertificate && e.Host == host && strings.Contains(e.Err.Error(), text)
	})
}

// location returns the status and the Location of the answer to a plain
// request.
func (k *keep) location(method, host, target string, header ...string) string {
	r, err := http.NewRequest(method, "http://proxy.test/", nil)
	if err != nil {
		return err.Error()
	}
	r.Host, r.URL.Opaque = host, target
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := k.client.Do(r)
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location")))
}

// secure deploys an app that answers with its name, for hosts, as t says.
func (k *keep) secure(name string, t parachute.TLS, hosts ...string) error {
	k.t.Helper()
	k.app(name, name+".internal:80")
	return k.Deploy(k.t.Context(), parachute.Deployment{Service: name, Targets: []string{name + ".internal:80"}, Hosts: hosts, TLS: t})
}

// files returns the TLS of a pair of the CA's, for hosts.
func (k *keep) files(hosts ...string) parachute.TLS {
	k.t.Helper()
	certFile, keyFile := k.ca.WritePair(k.t, k.t.TempDir(), hosts...)
	return parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile}
}

var automatic = parachute.TLS{Mode: parachute.TLSAutomatic}

const unrecognized = "remote error: tls: unrecognized name"

func TestCertificateIsObtainedAtTheDeploy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", automatic, "app.test", "www.app.test"))
		synctest.Wait()
		is.Equal(k.ca.TotalOrders(), 2) // without a visitor
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.getTLS("WWW.App.test", "www.app.test:443", "/"), "200 web")
		is.Equal(k.ca.TotalOrders(), 2)

		certs := k.Certificates()
		is.Equal(len(certs), 2)
		is.Equal(certs[0].Host, "app.test")
		is.Equal(certs[0].Source, parachute.TLSAutomatic)
		is.Equal(certs[0].Issuer, "proxytest root")
		is.Equal(certs[0].Error, "")
		is.True(certs[0].Renews.Before(certs[0].Expires))
		is.Equal(certs[1].Host, "www.app.test")
	})
}

func TestEitherChallengeIsAnswered(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{})
				k.ca.Challenges = []string{challenge}
				k.app("any", "any.internal:80")
				is.NoErr(k.deploy("any", "any.internal:80")) // does not get the question
				is.NoErr(k.secure("web", parachute.TLS{Mode: parachute.TLSAutomatic, Wait: true}, "app.test"))
				is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
			})
		})
	}
}

func TestHandshakeWaitsForACertificateThatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.ca.Slow(5 * time.Second)
		is.NoErr(k.secure("web", automatic, "app.test"))
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")

		k.ca.Slow(25 * time.Second)
		is.NoErr(k.secure("other", automatic, "other.test"))
		began := time.Now()
		is.Equal(k.getTLS("other.test", "other.test", "/"), unrecognized)
		is.Equal(time.Since(began), 10*time.Second) // but not for ever
	})
}

func TestDeployWithTheAuthorityDownBreaksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.ca.Down(true)
		is.NoErr(k.secure("web", automatic, "app.test"))
		is.Equal(k.get("app.test"), "200 web") // no redirect to what is not there
		began := time.Now()
		is.Equal(k.getTLS("app.test", "app.test", "/"), unrecognized)
		is.Equal(time.Since(began), time.Duration(0)) // nothing is on its way
		is.True(strings.Contains(k.Certificates()[0].Error, "refused"))
		is.True(!k.Certificates()[0].Renews.IsZero())

		k.ca.Down(false)
		time.Sleep(2 * time.Minute)
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.location("GET", "app.test", "/"), "301 https://app.test/")
		is.Equal(k.ca.TotalOrders(), 1)
	})
}

func TestDeployMayWaitForTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.ca.Slow(7 * time.Second)
		wait := parachute.TLS{Mode: parachute.TLSAutomatic, Wait: true}
		began := time.Now()
		is.NoErr(k.secure("web", wait, "app.test"))
		is.True(time.Since(began) >= 7*time.Second)
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
	})
}

func TestDeployThatWaitsInVainChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", parachute.TLS{}, "app.test"))
		k.app("new", "new.internal:80")
		deploy := func(limit time.Duration) error {
			return k.Deploy(t.Context(), parachute.Deployment{
				Service: "web", Targets: []string{"new.internal:80"}, Hosts: []string{"app.test"},
				TLS:      parachute.TLS{Mode: parachute.TLSAutomatic, Wait: true},
				Timeouts: parachute.Timeouts{Deploy: limit},
			})
		}
		k.ca.Down(true)
		began := time.Now()
		err := deploy(0)
		is.True(errors.Is(err, parachute.ErrNoCertificate))
		is.True(strings.HasPrefix(err.Error(), "parachute: deploy web: no certificate for app.test: "))
		is.True(strings.Contains(err.Error(), "refused"))
		is.Equal(time.Since(began), time.Duration(0)) // there is no attempt to wait for
		is.Equal(k.get("app.test"), "200 web")
		is.Equal(k.Services()[0].Generation, uint64(1))

		time.Sleep(5 * time.Minute)
		k.ca.Down(false)
		k.ca.Slow(20 * time.Second)
		began = time.Now()
		err = deploy(10 * time.Second)
		is.True(errors.Is(err, parachute.ErrNoCertificate))
		is.Equal(time.Since(began), 10*time.Second)
		is.Equal(k.get("app.test"), "200 web")
	})
}

func TestDeployThatIsGivenUpTellsWhichCertificateItWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("new", "new.internal:80")
		k.ca.Slow(20 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := k.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{"new.internal:80"}, Hosts: []string{"app.test"},
			TLS: parachute.TLS{Mode: parachute.TLSAutomatic, Wait: true}})
		is.True(errors.Is(err, parachute.ErrNoCertificate) && errors.Is(err, context.DeadlineExceeded))
		is.True(strings.HasPrefix(err.Error(), "parachute: deploy web: context deadline exceeded: no certificate for app.test: "))
	})
}

func TestRestoredServicesHaveTheirCertificatesWithoutOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		saved := make(chan []parachute.Status, 1)
		dir := t.TempDir()
		k := newKeep(t, parachute.Options{Commit: func(all []parachute.Status) error { saved <- all; return nil }})
		is.NoErr(k.secure("web", parachute.TLS{Mode: parachute.TLSAutomatic, CacheDir: dir}, "app.test"))
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		k.Close()

		p := parachute.New(parachute.Options{Dial: k.net.Dial, ACME: parachute.ACME{Directory: "https://ca.test:443/directory", RootCAs: k.ca.Pool()}})
		defer p.Close()
		is.NoErr(p.Restore(<-saved))
		synctest.Wait()
		is.Equal(len(p.Certificates()), 1)
		is.Equal(p.Certificates()[0].Issuer, "proxytest root")
		is.Equal(p.CertificatesOf("web"), p.Certificates())
		is.Equal(k.ca.TotalOrders(), 1)
	})
}

// What a change of the service keeps is wanted still, also where it is not there yet.
func TestCertificateThatIsOnItsWayComesWhateverChangesInItsService(t *testing.T) {
	for name, change := range map[string]func(k *keep) error{
		"a deploy": func(k *keep) error {
			return k.Deploy(k.t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.internal:80"}, Hosts: []string{"app.test"}, TLS: automatic})
		},
		"a rollout": func(k *keep) error {
			return k.Rollout(k.t.Context(), "web", parachute.Rollout{Targets: []string{"new.internal:80"}})
		},
		"a rollout that ends": func(k *keep) error {
			return errors.Join(k.Rollout(k.t.Context(), "web", parachute.Rollout{Targets: []string{"new.internal:80"}}), k.EndRollout(k.t.Context(), "web"))
		},
		"a pause": func(k *keep) error {
			return errors.Join(k.Pause(k.t.Context(), "web", parachute.Pause{}), k.Resume(k.t.Context(), "web"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{})
				k.ca.Down(true)
				k.app("new", "new.internal:80")
				is.NoErr(k.secure("web", automatic, "app.test"))
				synctest.Wait()
				is.NoErr(change(k))
				synctest.Wait()
				is.True(strings.Contains(k.Certificates()[0].Error, "refused"))
				k.ca.Down(false)
				time.Sleep(5 * time.Minute)
				is.True(strings.HasPrefix(k.getTLS("app.test", "app.test", "/"), "200 "))
				is.Equal(k.ca.TotalOrders(), 1)
			})
		})
	}
}

func TestStagingIsAnAuthorityOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", parachute.TLS{Mode: parachute.TLSAutomatic, Staging: true}, "app.test"))
		synctest.Wait()
		is.Equal(k.ca.TotalOrders(), 0)
		is.Equal(k.net.Dials("acme-staging-v02.api.letsencrypt.org:443"), 1)
	})
}

func TestStaticPairIsServedAndSwappedWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		dir := t.TempDir()
		certFile, keyFile := k.ca.WritePair(t, dir, "app.test", "*.app.test")
		pair := parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile}
		is.NoErr(k.secure("web", pair, "app.test", "*.app.test"))
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.getTLS("x.app.test", "x.app.test", "/"), "200 web")
		is.Equal(k.getTLS("x.app.test", "app.test", "/"), "200 web") // one certificate, one policy
		is.Equal(k.Certificates()[0].Source, parachute.TLSFiles)

		is.NoErr(os.WriteFile(keyFile, []byte("garbage"), 0o600))
		time.Sleep(6 * time.Second)
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web") // the old one stays
		is.True(strings.Contains(k.Certificates()[0].Error, keyFile))

		time.Sleep(time.Minute)
		_, _ = k.ca.WritePair(t, dir, "app.test", "*.app.test")
		old := k.Certificates()[0].Expires
		time.Sleep(6 * time.Second)
		is.True(k.Certificates()[0].Expires.After(old))
		is.Equal(k.Certificates()[0].Error, "")
		var told []parachute.EventKind
		for _, kind := range k.kinds() {
			if kind == parachute.EventCertificate || kind == parachute.EventNoCertificate {
				told = append(told, kind)
			}
		}
		is.Equal(told, []parachute.EventKind{ // of each host
			parachute.EventNoCertificate, parachute.EventNoCertificate,
			parachute.EventCertificate, parachute.EventCertificate,
		})
	})
}

// A restart may come while the two files are being replaced.
func TestRestoredServiceHasItsPairAsSoonAsTheFilesFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("web", "web.internal:80")
		k.app("other", "other.internal:80")
		web, other := status("web", 1, "web.internal:80", "app.test"), status("other", 2, "other.internal:80", "other.test")
		before, after := k.files("app.test"), k.files("app.test")
		web.Deployment.TLS, other.Deployment.TLS = after, k.files("other.test")
		web.Deployment.TLS.KeyFile = before.KeyFile // not replaced yet
		err := k.Restore([]parachute.Status{web, other})
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), "web: the service serves without a valid certificate until the files can be used: the key in "+before.KeyFile+" does not fit"))
		is.Equal(k.Services()[1].State, parachute.StateServing)
		is.Equal(k.getTLS("other.test", "other.test", "/"), "200 other")
		is.True(strings.HasPrefix(k.get("app.test"), "301 ")) // what is for TLS is not served without
		is.True(strings.Contains(k.Certificates()[0].Error, "does not fit"))
		answer := make(chan string, 1)
		go func() { answer <- k.getTLS("app.test", "app.test", "/") }()
		time.Sleep(3 * time.Second)
		key, err := os.ReadFile(after.KeyFile)
		is.NoErr(err)
		is.NoErr(os.WriteFile(before.KeyFile, key, 0o600))
		is.Equal(<-answer, "200 web") // the handshake has waited
		is.Equal(k.Certificates()[0].Error, "")
	})
}

func TestNameWithoutACertificateIsCountedAndNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.Equal(k.getTLS("", "app.test", "/"), unrecognized) // there is no certificate at all
		is.NoErr(k.secure("web", k.files("b.test"), "b.test"))
		is.NoErr(k.secure("plain", parachute.TLS{}, "plain.test"))
		is.Equal(k.getTLS("unknown.test", "b.test", "/"), unrecognized)
		is.Equal(k.getTLS("plain.test", "plain.test", "/"), unrecognized)
		is.Equal(k.UnknownNames(), uint64(3))
		is.Equal(len(k.Certificates()), 1)
	})
}

func TestWhoNamesNoHostGetsTheFirstCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", k.files("b.test"), "b.test"))
		is.NoErr(k.secure("other", k.files("a.test"), "a.test"))
		is.NoErr(k.secure("third", k.files("c.test"), "c.test"))
		conn, err := k.dial("")
		is.NoErr(err)
		defer conn.Close()
		is.Equal(conn.ConnectionState().PeerCertificates[0].DNSNames, []string{"a.test"})
		is.Equal(k.getTLS("", "c.test", "/"), "200 third") // whatever it asks for then
		is.NoErr(k.secure("plain", parachute.TLS{}))
		is.Equal(k.getTLS("", "192.0.2.1", "/"), "421 421 Misdirected Request") // if that has TLS
	})
}

func TestRequestOnAConnectionToAnotherHostIsMisdirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("a", automatic, "a.test"))
		is.NoErr(k.secure("b", automatic, "b.test"))
		both := k.files("c.test", "d.test")
		is.NoErr(k.secure("c", both, "c.test"))
		is.NoErr(k.secure("d", both, "d.test"))
		is.NoErr(k.secure("e", k.files("e.test"), "e.test"))
		is.NoErr(k.secure("plain", parachute.TLS{}, "plain.test"))
		is.Equal(k.getTLS("a.test", "a.test", "/"), "200 a")
		is.Equal(k.getTLS("a.test", "A.test.:443", "/"), "200 a")
		is.Equal(k.getTLS("a.test", "b.test", "/"), "421 421 Misdirected Request")
		is.Equal(k.getTLS("a.test", "plain.test", "/"), "421 421 Misdirected Request")
		is.Equal(k.getTLS("a.test", "unknown.test", "/"), "421 421 Misdirected Request")
		is.Equal(k.getTLS("c.test", "d.test", "/"), "200 d") // the certificate is for both
		is.Equal(k.getTLS("c.test", "e.test", "/"), "421 421 Misdirected Request")
		both.NoRedirect = true
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{Service: "d", Targets: []string{"d.internal:80"}, Hosts: []string{"d.test"}, TLS: both}))
		is.Equal(k.getTLS("c.test", "d.test", "/"), "421 421 Misdirected Request") // other settings
	})
}

func TestNoRequestIsServedOnAConnectionForAChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", k.files("app.test"), "app.test"))
		_, err := k.dial("app.test", "acme-tls/1")
		is.Equal(err.Error(), unrecognized) // nobody is being challenged
		conn, err := k.dial("app.test", "acme-tls/1", "x")
		is.NoErr(err)
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		_, err = http.ReadResponse(bufio.NewReader(conn), nil)
		is.True(err != nil) // the connection is closed
	})
}

func TestUnknownTokensGoToTheApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.echo("web", "web.internal:80")
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test"},
			TLS: parachute.TLS{Mode: parachute.TLSAutomatic, NoRedirect: true},
		}))
		for _, target := range []string{"/.well-known/acme-challenge/abc", "/.well-known/acme-challenge/"} {
			is.Equal(k.getPath("app.test", target), "200 web "+target)
		}
		is.Equal(k.getPath("app.test", "/.well-known/acme-challenge/../x"), "400 400 Bad Request")
	})
}

func TestPlainRequestsAreRedirected(t *testing.T) {
	for name, tt := range map[string]struct {
		hosts     []string
		canonical string
		port      int
		public    int
		method    string
		host      string
		target    string
		header    []string
		want      string
	}{
		"to https":                      {host: "app.test", target: "/a%2Fb?c=%20", want: "301 https://app.test/a%2Fb?c=%20"},
		"by the configured name":        {host: "APP.test.:80", target: "/", want: "301 https://app.test/"},
		"HEAD as GET":                   {method: "HEAD", host: "app.test", target: "/", want: "301 https://app.test/"},
		"POST with its body":            {method: "POST", host: "app.test", target: "/", want: "308 https://app.test/"},
		"to the port that is served":    {port: 8443, host: "app.test:8080", target: "/", want: "301 https://app.test:8443/"},
		"to the port that clients know": {port: 8443, public: 443, host: "app.test:8080", target: "/", want: "301 https://app.test/"},
		"to that of a proxy before it":  {port: 8443, public: 443, host: "app.test", target: "/", header: []string{"X-Forwarded-Port", "9443"}, want: "301 https://app.test:9443/"},
		"not to its port for http":      {port: 8443, host: "app.test", target: "/", header: []string{"X-Forwarded-Proto", "http", "X-Forwarded-Port", "9080"}, want: "301 https://app.test:8443/"},
		"to the canonical host at once": {canonical: "app.test", host: "www.app.test", target: "/x", want: "301 https://app.test/x"},
		"of a wildcard by its own name": {hosts: []string{"*.app.test"}, host: "X.app.test", target: "/", want: "301 https://x.app.test/"},
		"also what may be a probe":      {host: "app.test", target: "/up", want: "301 https://app.test/up"},
		"unless it came over https":     {host: "app.test", target: "/", header: []string{"X-Forwarded-Proto", "https"}, want: "200"},
		"or is a WebSocket over TLS":    {host: "app.test", target: "/", header: []string{"X-Forwarded-Proto", "wss"}, want: "200"},
		"or came through two proxies":   {host: "app.test", target: "/", header: []string{"X-Forwarded-Proto", "https,http"}, want: "200"},
		"also if that was over http":    {host: "app.test", target: "/", header: []string{"X-Forwarded-Proto", "http"}, want: "301 https://app.test/"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{HTTPSPort: tt.port, PublicHTTPSPort: tt.public})
				k.app("web", "web.internal:80")
				hosts := tt.hosts
				if hosts == nil {
					hosts = []string{"app.test", "www.app.test"}
				}
				is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"web.internal:80"}, Hosts: hosts,
					TLS: k.files(hosts...), CanonicalHost: tt.canonical,
				}))
				method := tt.method
				if method == "" {
					method = "GET"
				}
				is.Equal(k.location(method, tt.host, tt.target, tt.header...), tt.want)
			})
		})
	}
}

func TestRedirectToTheCanonicalHostNamesThePortOfTheClient(t *testing.T) {
	for name, tt := range map[string]struct {
		public  [2]int // for http and https
		trusted []netip.Prefix
		host    string
		header  []string
		want    string
	}{
		"as it named it":                   {host: "www.app.test:8080", want: "301 http://app.test:8080/"},
		"or did not name it":               {host: "www.app.test", want: "301 http://app.test/"},
		"over https as well":               {host: "www.app.test:8443", header: []string{"X-Forwarded-Proto", "https"}, want: "301 https://app.test:8443/"},
		"as it is published":               {public: [2]int{80, 443}, host: "www.app.test:8080", want: "301 http://app.test/"},
		"as another is published":          {public: [2]int{8080, 0}, host: "www.app.test", want: "301 http://app.test:8080/"},
		"as https is published":            {public: [2]int{80, 8443}, host: "www.app.test", header: []string{"X-Forwarded-Proto", "https"}, want: "301 https://app.test:8443/"},
		"as a proxy says":                  {public: [2]int{80, 443}, host: "www.app.test:3000", header: []string{"X-Forwarded-Port", "8080"}, want: "301 http://app.test:8080/"},
		"as a proxy says of https":         {host: "www.app.test", header: []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "8443"}, want: "301 https://app.test:8443/"},
		"as a proxy says of the usual one": {host: "www.app.test:3000", header: []string{"X-Forwarded-Proto", "https", "X-Forwarded-Port", "443"}, want: "301 https://app.test/"},
		"whatever a stranger says":         {trusted: []netip.Prefix{}, host: "www.app.test", header: []string{"X-Forwarded-Port", "8080"}, want: "301 http://app.test/"},
		"whatever is no port":              {host: "www.app.test", header: []string{"X-Forwarded-Port", "8080@evil.test"}, want: "301 http://app.test/"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{TrustedProxies: tt.trusted, PublicHTTPPort: tt.public[0], PublicHTTPSPort: tt.public[1], HTTPSPort: 4443})
				k.app("web", "web.internal:80")
				is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test", "www.app.test"}, CanonicalHost: "app.test",
				}))
				is.Equal(k.location("GET", tt.host, "/", tt.header...), tt.want)
			})
		})
	}
}

func TestOnlyATrustedPeerIsBelievedThatItCameOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{TrustedProxies: []netip.Prefix{}})
		is.NoErr(k.secure("web", k.files("app.test"), "app.test"))
		is.Equal(k.location("GET", "app.test", "/", "X-Forwarded-Proto", "https"), "301 https://app.test/")
	})
}

func TestWhetherItCameOverTLSIsBelievedAsTheServiceSays(t *testing.T) {
	for name, tt := range map[string]struct {
		trust   parachute.Trust
		trusted []netip.Prefix
		want    string
	}{
		"of everybody": {parachute.TrustEverybody, []netip.Prefix{}, "200"},
		"of nobody":    {parachute.TrustNobody, nil, "301 https://app.test/"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{TrustedProxies: tt.trusted})
				k.app("web", "web.internal:80")
				is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test"},
					TLS: k.files("app.test"), Forwarded: parachute.Forwarded{Trust: tt.trust},
				}))
				is.Equal(k.location("GET", "app.test", "/", "X-Forwarded-Proto", "https"), tt.want)
			})
		})
	}
}

func TestTLSBelongsToTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("web", "web.internal:80")
		k.app("api", "api.internal:80")
		web := parachute.Deployment{Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test"}}
		api := parachute.Deployment{Service: "api", Targets: []string{"api.internal:80"}, Hosts: []string{"app.test"}, PathPrefixes: []string{"/api"}}
		api.TLS = automatic
		is.NoErr(k.Deploy(t.Context(), web))
		is.NoErr(k.Deploy(t.Context(), api)) // asks for both
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.getTLS("app.test", "app.test", "/api/"), "200 api")
		is.Equal(k.location("GET", "app.test", "/x"), "301 https://app.test/x")

		web.TLS = parachute.TLS{Mode: parachute.TLSOff}
		err := k.Deploy(t.Context(), web)
		var conflict *parachute.ConflictError
		is.True(errors.As(err, &conflict))
		is.Equal(conflict.Owner, "api")
		is.Equal(err.Error(), `parachute: deploy web: host app.test is shared with service api, which has TLS mode "automatic", and this one "off": `+
			"deploy both alike, or one of them without a say in it")

		web.TLS = automatic
		is.NoErr(k.Deploy(t.Context(), web))
		is.NoErr(k.Remove(t.Context(), "api"))
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web") // now it is web that asks for it
		is.Equal(k.ca.TotalOrders(), 1)

		web.TLS = parachute.TLS{}
		is.NoErr(k.Deploy(t.Context(), web))
		is.Equal(k.getTLS("app.test", "app.test", "/"), unrecognized)
		is.Equal(k.get("app.test"), "200 web")
	})
}

func TestServicesThatAreRestoredMustAgreeToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("web", "web.internal:80")
		web := status("web", 1, "web.internal:80", "app.test")
		web.Deployment.TLS = automatic
		api := status("api", 2, "web.internal:80", "app.test")
		api.Deployment.PathPrefixes = []string{"/api"}
		api.Deployment.TLS = parachute.TLS{Mode: parachute.TLSOff}
		err := k.Restore([]parachute.Status{web, api})
		is.True(errors.Is(err, parachute.ErrConflict))
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.getTLS("app.test", "app.test", "/api"), "503 503 Service Unavailable") // it keeps its place
	})
}

func TestCertificatesOnDemandAreForNamesThatAreAllowed(t *testing.T) {
	for _, ask := range []string{"/allowed?key=1", "http://answers.test/allowed?key=1"} {
		t.Run(ask, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{})
				var asked atomic.Int64
				app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/allowed" {
						io.WriteString(w, "web")
						return
					}
					asked.Add(1)
					switch r.URL.RawQuery {
					case "key=1&host=good.test":
					case "key=1&host=elsewhere.test":
						http.Redirect(w, r, "/up", http.StatusFound)
					case "key=1&host=hangs.test":
						<-r.Context().Done()
					default:
						http.Error(w, strings.Repeat("no", 1<<19), http.StatusForbidden)
					}
				})
				k.net.Serve(t, "web.internal:80", app)
				k.net.Serve(t, "answers.test:80", app)
				is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"web.internal:80"},
					TLS: parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: ask},
				}))
				is.Equal(k.location("GET", "good.test", "/"), "301 https://good.test/") // at once
				is.Equal(k.getTLS("good.test", "good.test", "/"), "200 web")
				is.Equal(k.getTLS("Good.test", "good.test", "/"), "200 web")
				is.Equal(asked.Load(), int64(1)) // not about a name that has its certificate
				is.Equal(k.getTLS("bad.test", "bad.test", "/"), unrecognized)
				is.Equal(k.getTLS("bad.test", "bad.test", "/"), unrecognized)
				is.Equal(k.getTLS("elsewhere.test", "elsewhere.test", "/"), unrecognized)
				is.Equal(asked.Load(), int64(3)) // what was refused is remembered
				began := time.Now()
				is.Equal(k.getTLS("hangs.test", "hangs.test", "/"), unrecognized)
				is.Equal(time.Since(began), 2*time.Second)
				is.True(k.told("hangs.test", "GET "+ask+"&host=hangs.test: no answer within 2s"))
				is.Equal(k.getTLS("local", "local", "/"), unrecognized)
				is.Equal(asked.Load(), int64(4)) // nobody is asked about what could not be had
				is.Equal(k.ca.TotalOrders(), 1)
				is.Equal(k.getTLS("good.test", "other.test", "/"), "421 421 Misdirected Request")

				is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"web.internal:80"},
					TLS: parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: ask},
				}))
				is.Equal(k.getTLS("good.test", "good.test", "/"), "200 web")
				is.Equal(asked.Load(), int64(4)) // not after the next deploy either
				is.Equal(k.Certificates()[0].Source, parachute.TLSOnDemand)
			})
		})
	}
}

func TestWhatCannotBeServedOverTLSIsRefused(t *testing.T) {
	pair := parachute.TLS{Mode: parachute.TLSFiles, CertFile: "/c.pem", KeyFile: "/k.pem"}
	demand := parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}
	with := func(t parachute.TLS, change func(*parachute.TLS)) parachute.TLS { change(&t); return t }
	app := []string{"app.test"}
	for name, tt := range map[string]struct {
		tls       parachute.TLS
		hosts     []string
		canonical string
		want      string
	}{
		"no host":             {tls: automatic, want: "TLS without a host: "},
		"files without host":  {tls: pair, want: "TLS without a host: "},
		"wildcard":            {tls: automatic, hosts: []string{"*.app.test"}, want: "host *.app.test: a certificate for a wildcard cannot be obtained automatically"},
		"one label":           {tls: automatic, hosts: []string{"localhost"}, want: "host localhost: a certificate for a name of one label cannot be obtained"},
		"address":             {tls: automatic, hosts: []string{"[::1]"}, want: "host ::1: a certificate for an address cannot be obtained"},
		"unknown mode":        {tls: parachute.TLS{Mode: "on"}, hosts: app, want: `TLS mode "on": want "off", "automatic", "files" or "on-demand"`},
		"no mode":             {tls: parachute.TLS{Staging: true}, hosts: app, want: `TLS settings with TLS mode "": they are of no use`},
		"off":                 {tls: parachute.TLS{Mode: parachute.TLSOff, NoRedirect: true}, hosts: app, want: `TLS settings with TLS mode "off": they are of no use`},
		"demand with host":    {tls: demand, hosts: app, want: "TLS on demand with host app.test: "},
		"demand for anybody":  {tls: parachute.TLS{Mode: parachute.TLSOnDemand}, want: "TLS on demand without an ask URL: anybody could have certificates made"},
		"ask URL that is odd": {tls: with(demand, func(t *parachute.TLS) { t.AskURL = "ftp://x" }), want: `ask URL "ftp://x": want a URL such as`},
		"ask URL alone":       {tls: with(automatic, func(t *parachute.TLS) { t.AskURL = "/x" }), hosts: app, want: "ask URL /x: it is of use with TLS mode"},
		"files automatically": {tls: with(automatic, func(t *parachute.TLS) { t.KeyFile = "/k.pem" }), hosts: app, want: "certificate file /k.pem: it is of use with"},
		"files from staging":  {tls: with(pair, func(t *parachute.TLS) { t.Staging = true }), hosts: app, want: `TLS mode "files" asks no authority`},
		"relative file":       {tls: with(pair, func(t *parachute.TLS) { t.KeyFile = "k.pem" }), hosts: app, want: `certificate file "/c.pem" and key file "k.pem": want an absolute path of each`},
		"relative cache":      {tls: with(automatic, func(t *parachute.TLS) { t.CacheDir = "certs" }), hosts: app, want: `certificate cache "certs": want an absolute path`},
		"missing file":        {tls: with(pair, func(t *parachute.TLS) { t.CertFile = "/nowhere/c.pem" }), hosts: app, want: "/nowhere/c.pem"},
		"canonical elsewhere": {hosts: app, canonical: "www.app.test", want: "canonical host www.app.test is not among the hosts of the service"},
		"canonical wildcard":  {hosts: []string{"*.app.test"}, canonical: "*.app.test", want: `canonical host "*.app.test": want one name`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			p := parachute.New(parachute.Options{})
			defer p.Close()
			err := p.Deploy(t.Context(), parachute.Deployment{
				Service: "web", Targets: []string{"web.test:80"}, Hosts: tt.hosts, TLS: tt.tls, CanonicalHost: tt.canonical,
				Force: true, // there is nobody whose health could be waited for
			})
			is.True(errors.Is(err, parachute.ErrInvalid))
			is.True(strings.Contains(err.Error(), tt.want)) // tt.want
		})
	}
}

func TestTLSIsRefusedWhereNobodyServesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{NoHTTPS: errors.New("port 443 is taken")})
		web := status("web", 1, "web.internal:80", "app.test")
		web.Deployment.TLS = automatic
		is.NoErr(k.Restore([]parachute.Status{web}))
		k.app("web", "web.internal:80")
		is.Equal(k.get("app.test"), "200 web") // a restart must not redirect to what is not there
		is.Equal(len(k.Certificates()), 0)     // nor order what nobody would get
		err := k.secure("new", automatic, "new.test")
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.Equal(err.Error(), "parachute: deploy new: TLS is not available here: port 443 is taken")
	})
}

func TestProbesOfSecureServicesSayThatTheyCameOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.net.Serve(t, "web.internal:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Forwarded-Proto") != "https" {
				http.Redirect(w, r, "https://app.test"+r.RequestURI, http.StatusMovedPermanently) // as an app that insists on TLS
			}
		})).SetHealth(0)
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test"}, TLS: automatic,
		}))
	})
}
