package e2e_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
)

const app1, app2, app3 = "app1.example.com", "app2.example.com", "app3.example.com"

func TestCertificateIsProvenByTLSALPN(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca)
	ca.tls.lead(p.https) // and nobody answers HTTP-01
	printed := p.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	is.True(saysOfCertificate(printed, "ready")) // the deploy tells

	answer, err := get(client(t, p.https, ca.roots), "https://"+app1+"/")
	is.NoErr(err)
	is.Equal(answer, "200 web over https")
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})

	known := p.certificates(t)[app1]
	is.True(strings.HasPrefix(known.Issuer, "Pebble Intermediate CA"))
	is.Equal(known.Error, "")
	is.True(time.Until(known.Expires) > 89*24*time.Hour)
	is.True(known.Renews.Before(known.Expires))
}

func TestCertificateIsProvenByHTTP(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca)
	ca.http.lead(p.http) // and nobody answers TLS-ALPN-01
	p.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	_, err := shown(t, p.https, app1, ca.roots)
	is.NoErr(err)
	is.True(ca.ordered()[app1] >= 2) // the first came to nothing, for TLS-ALPN-01 is tried first
}

func TestPlainRequestsAreRedirectedOnceThereIsACertificate(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca)
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	p.deploy(t, "plain", newApp(t, "plain"), append(secured(app2), "--tls-redirect=false")...)

	plain := client(t, p.http, nil)
	resp, err := plain.Get("http://" + app1 + "/a%2Fb?c=d")
	is.NoErr(err)
	is.NoErr(resp.Body.Close())
	is.Equal(resp.StatusCode, 301)
	_, port, err := net.SplitHostPort(p.https)
	is.NoErr(err)
	is.Equal(resp.Header.Get("Location"), "https://"+app1+":"+port+"/a%2Fb?c=d")

	answer, err := get(plain, "http://"+app2+"/")
	is.NoErr(err)
	is.Equal(answer, "200 plain over http")
}

func TestCertificateIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{validity: 48 * time.Second})
	p := startProxy(t, ca)
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	first, err := shown(t, p.https, app1, ca.roots)
	is.NoErr(err)

	// Nobody visits meanwhile.
	eventually(t, "a second order", func() bool { return ca.ordered()[app1] >= 2 })
	is.True(time.Now().Before(first.NotAfter))
	eventually(t, "another certificate", func() bool {
		next, err := shown(t, p.https, app1, ca.roots)
		is.NoErr(err) // at no time is there none that is valid
		return next.NotAfter.After(first.NotAfter)
	})
}

func TestRejectedNoncesAreOfNoConsequence(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{badNonces: 25})
	p := startProxy(t, ca)
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), secured(app1, app2, app3)...)
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1, app2: 1, app3: 1})
}

func TestAccountIsBoundToTheExternalOne(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	key := base64.RawURLEncoding.EncodeToString([]byte("a key that both sides have known"))
	other := base64.RawURLEncoding.EncodeToString([]byte("a key that one side has not seen"))
	ca := newAuthority(t, authorityConfig{externalAccounts: map[string]string{"kid-1": key}})
	web := newApp(t, "web")

	for _, refused := range []struct {
		why   string
		flags []string
	}{
		{"externalAccountRequired", nil},
		{"unauthorized", []string{"--acme-eab-kid", "kid-1", "--acme-eab-hmac-key", other}},
	} {
		stranger := startProxy(t, ca, refused.flags...)
		ca.tls.lead(stranger.https)
		printed, code := stranger.command(t, "deploy", "web", "--target", web.address,
			"--tls", "--host", app1, "--wait-certificate", "--deploy-timeout", "2s")
		is.Equal(code, 1)
		is.True(strings.Contains(printed, "no certificate for "+app1))
		is.True(strings.Contains(printed, refused.why))
		answer, err := get(client(t, stranger.http, nil), "http://"+app1+"/")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, "404")) // nothing was changed
	}
	is.Equal(ca.ordered(), map[string]int{})

	p := startProxy(t, ca, "--acme-eab-kid", "kid-1", "--acme-eab-hmac-key", key)
	ca.tls.lead(p.https)
	p.deploy(t, "web", web, secured(app1)...)
	_, err := shown(t, p.https, app1, ca.roots)
	is.NoErr(err)
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})
}

func TestCertificateComesAllTheSameWhereTheCAIsBusyFirst(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	ca.set(busy)
	p := startProxy(t, ca)
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), "--tls", "--host", app1)
	eventually(t, "a refused request", func() bool { return ca.set(busy) > 0 })
	ca.set(up)
	eventually(t, "HTTPS", func() bool {
		_, err := shown(t, p.https, app1, ca.roots)
		return err == nil
	})
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})
}

// The proxy comes back to it a minute after it failed, which this test waits
// for.
func TestDeployWithoutTheCAServesPlainHTTPUntilTheCAIsBack(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	ca.set(gone)
	p := startProxy(t, ca)
	ca.tls.lead(p.https)
	printed := p.deploy(t, "web", newApp(t, "web"), "--tls", "--host", app1)
	is.True(saysOfCertificate(printed, "pending, see parachute certificates"))
	eventually(t, "the error in the list of certificates", func() bool { return p.certificates(t)[app1].Error != "" })
	is.True(p.certificates(t)[app1].Renews.After(time.Now())) // it will be tried again
	plain := client(t, p.http, nil)
	answer, err := get(plain, "http://"+app1+"/")
	is.NoErr(err)
	is.Equal(answer, "200 web over http") // no redirect leads where nobody answers

	refused := ca.set(up)
	eventually(t, "HTTPS", func() bool {
		answer, err := get(client(t, p.https, ca.roots), "https://"+app1+"/")
		return err == nil && answer == "200 web over https"
	})
	is.Equal(refused, 1) // it asked once, and then waited
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})
	answer, err = get(plain, "http://"+app1+"/")
	is.NoErr(err)
	is.True(strings.HasPrefix(answer, "301"))
}

func TestRestartUsesTheCertificateThatWasCached(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	p, ca := startWithCertificate(t)
	before, err := shown(t, p.https, app1, ca.roots)
	is.NoErr(err)

	ca.set(gone) // nor is it needed
	p.restart(t)
	after, err := shown(t, p.https, app1, ca.roots)
	is.NoErr(err)
	is.True(after.Equal(before))
	answer, err := get(client(t, p.https, ca.roots), "https://"+app1+"/")
	is.NoErr(err)
	is.Equal(answer, "200 web over https")
	is.Equal(ca.set(up), 0) // it was not asked
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})
}

// Whichever proxy the authority happens to reach answers for all.
func TestProxiesThatShareAFolderMakeOneOrderForAName(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	ca.set(mute) // until all have been deployed
	web, folder := newApp(t, "web"), t.TempDir()
	names := []string{app1, app2, app3}
	var proxies []*proxy
	var addresses []string
	for range 3 {
		p := startProxy(t, ca)
		p.deploy(t, "web", web, "--tls", "--tls-acme-cache-path", folder, "--host", strings.Join(names, ","))
		proxies, addresses = append(proxies, p), append(addresses, p.https)
	}
	ca.tls.lead(addresses...)
	ca.set(up)

	for _, name := range names {
		serials := make(map[string]bool)
		for _, p := range proxies {
			eventually(t, name+" at every proxy", func() bool {
				cert, err := shown(t, p.https, name, ca.roots)
				if err != nil {
					return false
				}
				serials[cert.SerialNumber.String()] = true
				return true
			})
		}
		is.Equal(len(serials), 1) // all have the same one
	}
	is.Equal(ca.orderedBy(proxies...), map[string]int{app1: 1, app2: 1, app3: 1})
}

// It is alone, for nobody else's authority is to be late for its sake.
func TestTwoHundredHostsGetTheirCertificatesAtOnce(t *testing.T) {
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca)
	ca.tls.lead(p.https)
	var hosts []string
	want := make(map[string]int)
	for i := range 200 {
		hosts = append(hosts, fmt.Sprintf("host-%d.example.com", i))
		want[hosts[i]] = 1
	}
	p.deploy(t, "web", newApp(t, "web"), secured(hosts...)...)
	is.Equal(ca.orderedBy(p), want)

	var visits sync.WaitGroup
	errs := make(chan error, len(hosts))
	for _, name := range hosts {
		visits.Go(func() {
			_, err := shown(t, p.https, name, ca.roots)
			errs <- err
		})
	}
	visits.Wait()
	for range hosts {
		is.NoErr(<-errs)
	}
}

// saysOfCertificate reports whether the last line of a deploy says so, in its
// columns.
func saysOfCertificate(printed, what string) bool {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	_, said, _ := strings.Cut(lines[len(lines)-1], "certificate")
	return strings.TrimSpace(said) == what
}
