package certificate_test

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/certificate"
)

// A source has a certificate, or will have one when it is issued.
type source struct {
	cert     *tls.Certificate
	issued   chan struct{} // closed when there is one; nil: never
	client   netip.Addr    // for whom it was last asked
	released int
}

func (s *source) Certificate(string) *tls.Certificate { return s.cert }

func (s *source) Await(ctx context.Context, name string, client netip.Addr) (*tls.Certificate, error) {
	s.client = client
	select {
	case <-s.issued:
		return new(tls.Certificate), nil
	default:
	}
	select {
	case <-s.issued:
		return new(tls.Certificate), nil
	case <-ctx.Done():
		return nil, errors.New("not issued: " + name)
	}
}

func (s *source) Expects(_ context.Context, _ string, client netip.Addr) bool {
	s.client = client
	return s.cert != nil
}

func (s *source) Known(host string) iter.Seq2[string, certificate.Status] {
	return maps.All(map[string]certificate.Status{host: {Certificate: s.cert}})
}

func (s *source) Release() { s.released++ }

// each returns a Set of named sources, its hosts in the order of their names.
func each(sources map[string]*source) *certificate.Set {
	hosts := slices.Sorted(maps.Keys(sources))
	return certificate.Each(hosts, func(host string) certificate.Source { return sources[host] })
}

func TestEachHostHasTheCertificateOfItsOwnSource(t *testing.T) {
	is := is.New(t)
	a, b := new(tls.Certificate), new(tls.Certificate)
	s := each(map[string]*source{"a.example.com": {cert: a}, "b.example.com": {cert: b}})
	is.True(s.Certificate("a.example.com", "a.example.com") == a)
	is.True(s.Certificate("b.example.com", "b.example.com") == b)
	is.True(s.Certificate("c.example.com", "c.example.com") == nil)
	is.True(s.Expects(t.Context(), "a.example.com", "a.example.com", netip.Addr{}))
	is.True(!s.Expects(t.Context(), "c.example.com", "c.example.com", netip.Addr{}))
	for name, known := range s.Known("b.example.com") {
		is.Equal(name, "b.example.com")
		is.True(known.Certificate == b)
	}
	for range s.Known("c.example.com") {
		t.Error("something is known of a host without a source")
	}
}

func TestSharedSourceIsThatOfEveryHost(t *testing.T) {
	is := is.New(t)
	one := &source{cert: new(tls.Certificate)}
	s := certificate.Shared(one)
	is.True(s.Certificate("", "a.example.com") == one.cert)
	is.True(s.Certificate("b.example.com", "b.example.com") == one.cert)
	host, err := s.AwaitEach(t.Context()) // nobody knows which names to ask for
	is.NoErr(err)
	is.Equal(host, "")
	s.Release()
	is.Equal(one.released, 1)
}

func TestSetWithoutSourcesHasNothing(t *testing.T) {
	is := is.New(t)
	var s certificate.Set
	is.True(s.Certificate("a.example.com", "a.example.com") == nil)
	_, err := s.AwaitEach(t.Context())
	is.NoErr(err)
	s.Release()
}

func TestEverySourceIsReleasedOnce(t *testing.T) {
	is := is.New(t)
	sources := map[string]*source{"a.example.com": {}, "b.example.com": {}}
	each(sources).Release()
	is.Equal(sources["a.example.com"].released, 1)
	is.Equal(sources["b.example.com"].released, 1)
}

func TestAwaitEachNamesTheFirstHostWithoutCertificate(t *testing.T) {
	is := is.New(t)
	issued := make(chan struct{})
	close(issued)
	sources := map[string]*source{"a.example.com": {issued: issued}, "b.example.com": {}, "c.example.com": {}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	host, err := each(sources).AwaitEach(ctx)
	is.Equal(host, "b.example.com")
	is.Equal(err.Error(), "not issued: b.example.com")
}

// shake has a client at 192.0.2.7 begin a handshake, which ends when serve returns.
func shake(serve func(*tls.ClientHelloInfo)) {
	server, client := net.Pipe()
	defer client.Close()
	go tls.Client(client, &tls.Config{ServerName: "a.example.com"}).Handshake() // ends when client is closed
	defer server.Close()
	tls.Server(from{server}, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		serve(hello)
		return nil, errors.New("served")
	}}).Handshake()
}

// from is a connection from 192.0.2.7.
type from struct{ net.Conn }

func (from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:1234"))
}

func TestHandshakeWaitsForACertificateWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		issued := make(chan struct{})
		pending := &source{issued: issued}
		s := each(map[string]*source{"a.example.com": pending})
		var got *tls.Certificate
		began := time.Now()
		await := func(hello *tls.ClientHelloInfo) {
			got = s.Await(hello, "a.example.com", "a.example.com", 10*time.Second)
		}
		shake(await)
		is.True(got == nil)
		is.Equal(time.Since(began), 10*time.Second)
		is.Equal(pending.client, netip.MustParseAddr("192.0.2.7"))
		time.AfterFunc(3*time.Second, func() { close(issued) })
		shake(await)
		is.True(got != nil)
		is.Equal(time.Since(began), 13*time.Second)
	})
}

func TestHandshakeDoesNotWaitForWhatIsThere(t *testing.T) {
	is := is.New(t)
	there := &source{cert: new(tls.Certificate)}
	shake(func(hello *tls.ClientHelloInfo) {
		is.True(each(map[string]*source{"a.example.com": there}).Await(hello, "a.example.com", "a.example.com", time.Hour) == there.cert)
		is.True(new(certificate.Set).Await(hello, "a.example.com", "a.example.com", time.Hour) == nil)
	})
	is.Equal(there.client, netip.Addr{}) // nothing was asked for
}
