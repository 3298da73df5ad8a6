package keypair_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/keypair"
)

func TestOpenedPairHasItsCertificateOnceTheFilesFit(t *testing.T) {
	is := is.New(t)
	f, old, renewed := newFolder(t), newKey(t), newKey(t)
	f.writePair(issue(t, renewed, nil), pkcs8(t, old), 0) // the certificate was replaced, and the key will be
	p, err := keypair.Open(f.cert, f.key, "a.example.com")
	is.True(strings.Contains(err.Error(), "does not fit the certificate"))
	is.Equal(p.Err(), err)
	is.True(p.Certificate() == nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, awaited := p.Await(ended)
	is.Equal(awaited, err) // which says more than that time is over

	f.write(f.key, pkcs8(t, renewed), 0)
	changed, err := p.Refresh([]string{"a.example.com"})
	is.NoErr(err)
	is.True(changed)
	is.Equal(p.Certificate().PrivateKey, renewed)
	c, err := p.Await(t.Context())
	is.NoErr(err)
	is.True(c == p.Certificate())
}

func TestOpenedPairIsInUseThoughItHasExpired(t *testing.T) {
	is := is.New(t)
	f, key := newFolder(t), newKey(t)
	expired := issue(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	f.writePair(expired, pkcs8(t, key), time.Hour)
	p, err := keypair.Open(f.cert, f.key, "a.example.com")
	is.True(strings.Contains(err.Error(), "has expired"))
	is.Equal(p.Certificate().PrivateKey, key) // as before a restart
	p, err = keypair.Open(f.cert, f.key, "b.example.com")
	is.True(err != nil)
	is.True(p.Certificate() == nil) // for that host it never was
	_, err = keypair.Load(f.cert, f.key, "a.example.com")
	is.True(strings.Contains(err.Error(), "has expired"))
}

func TestHandshakesWaitForTheFirstCertificateOfAPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFolder(t)
		p, err := keypair.Open(f.cert, f.key, both...)
		is.True(strings.Contains(err.Error(), "does not exist"))
		told := new(telling)
		r := keypair.NewRefresher(told.notify)
		defer r.Close()
		source := r.Source(p, both)
		is.True(source.Expects(t.Context(), both[0], netip.Addr{})) // nothing for TLS is served without
		for _, known := range source.Known(both[0]) {
			is.True(known.Certificate == nil)
			is.Equal(known.Err, err)
		}
		got := make(chan *tls.Certificate, 1)
		go func() {
			c, _ := source.Await(t.Context(), both[0], netip.Addr{})
			got <- c
		}()
		time.Sleep(6500 * time.Millisecond)
		is.Equal(len(got), 0)
		is.Equal(len(*told), 0) // whoever opened the pair knows
		f.renew()
		began := time.Now()
		is.True(<-got == p.Certificate())
		is.Equal(time.Since(began), 500*time.Millisecond) // within a second
		synctest.Wait()
		is.Equal([]string(*told), []string{"a.example.com <nil>", "b.example.com <nil>"})
	})
}
