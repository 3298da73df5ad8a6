package parachute_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// newKeepWithDNS returns a keep whose Proxy can set TXT records in the zone app.test.
func newKeepWithDNS(t *testing.T, opts parachute.Options) *keep {
	t.Helper()
	d := new(proxytest.DNS)
	d.Zone("app.test", "192.0.2.1")
	opts.ACME.DNS.Present, opts.ACME.DNS.Cleanup = d.Present, d.Cleanup
	opts.ACME.DNS.Resolvers = []string{proxytest.Resolver}
	k := newKeep(t, opts)
	k.ca.TXT = d.TXT
	for _, server := range []string{proxytest.Resolver, "192.0.2.1:53"} {
		k.net.Script(t, server, func(conn net.Conn, _ int) { d.Converse(conn, server) })
	}
	return k
}

func TestWildcardIsServedWithACertificateThatTXTRecordsProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeepWithDNS(t, parachute.Options{})
		is.NoErr(k.secure("web", automatic, "*.app.test", "app.test", "www.app.test"))
		synctest.Wait()
		is.Equal(k.getTLS("x.app.test", "x.app.test", "/"), "200 web")
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.getTLS("a.b.app.test", "a.b.app.test", "/"), unrecognized)
		is.Equal(k.location("GET", "x.app.test", "/"), "301 https://x.app.test/")
		is.True(k.net.Dials("192.0.2.1:53") > 0) // the zone's server was asked for the record
		is.Equal(k.ca.Orders("*.app.test"), 1)
		is.Equal(k.ca.Orders("app.test"), 1)
		is.Equal(k.ca.TotalOrders(), 2) // the name and its wildcard together, and www

		var hosts []string
		for _, c := range k.Certificates() {
			is.Equal(c.Error, "")
			hosts = append(hosts, c.Host)
		}
		is.Equal(strings.Join(hosts, " "), "*.app.test app.test www.app.test")
	})
}

func TestAllNamesAreProvenByTXTRecordsWhereThePortsCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeepWithDNS(t, parachute.Options{ACME: parachute.ACME{DNS: parachute.DNS{Always: true}}})
		k.ca.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return k.net.Dial(ctx, network, "nobody.test:1")
		}
		is.NoErr(k.secure("web", automatic, "www.app.test"))
		synctest.Wait()
		is.Equal(k.getTLS("www.app.test", "www.app.test", "/"), "200 web")
		is.Equal(k.ca.TotalOrders(), 1)
	})
}

// The next start may come without what sets the records: what is there goes on.
func TestWildcardIsRestoredWithoutAWayToSetRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		saved := make(chan []parachute.Status, 1)
		k := newKeepWithDNS(t, parachute.Options{Commit: func(all []parachute.Status) error { saved <- all; return nil }})
		is.NoErr(k.secure("web", parachute.TLS{Mode: parachute.TLSAutomatic, CacheDir: t.TempDir()}, "*.app.test"))
		is.Equal(k.getTLS("x.app.test", "x.app.test", "/"), "200 web")
		k.Close()

		p := parachute.New(parachute.Options{Dial: k.net.Dial, ACME: parachute.ACME{Directory: "https://ca.test:443/directory", RootCAs: k.ca.Pool()}})
		defer p.Close()
		is.NoErr(p.Restore(<-saved))
		synctest.Wait()
		is.Equal(p.Services()[0].State, parachute.StateServing)
		is.Equal(p.Certificates()[0].Issuer, "proxytest root")
		is.Equal(k.ca.TotalOrders(), 1)
	})
}
