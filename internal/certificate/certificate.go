// Package certificate serves the certificates of hosts, wherever they come from: an
// authority that was asked for them, files, or an authority that is asked on demand.
package certificate

import (
	"context"
	"crypto/tls"
	"iter"
	"net/netip"
	"time"
)

// A Source has the certificate of a host or, where the host stands for many names, those
// of these. Its methods may be called from any goroutine.
type Source interface {
	// Certificate returns the certificate for name, or nil if there is no valid one. It
	// never waits.
	Certificate(name string) *tls.Certificate

	// Await returns the certificate for name as soon as there is one. A source that
	// has certificates on demand asks for it, within the limits for the client's
	// address. An error says why there is none by the end of ctx.
	Await(ctx context.Context, name string, client netip.Addr) (*tls.Certificate, error)

	// Expects reports whether a handshake for name is likely to succeed: there is a
	// certificate, or one on demand is admitted and on its way. To find that out, it
	// may ask whether name is admitted, as Await does.
	Expects(ctx context.Context, name string, client netip.Addr) bool

	// Known yields what is known of the certificate of host, or of each name that it
	// stands for.
	Known(host string) iter.Seq2[string, Status]

	// Release lets go of what the source was made for. It is called once.
	Release()
}

// A Status is what is known of a certificate.
type Status struct {
	Certificate *tls.Certificate // with its Leaf set; nil: there is none yet
	Renews      time.Time        // about when it will be renewed, or ordered again; zero: it is not
	Err         error            // why the last attempt to get a new one failed; nil: it did not
}

// A Set has the sources of the hosts of one service. The zero value has none. It never
// changes.
type Set struct {
	hosts  []string
	byHost map[string]Source
	shared Source
}

// Each returns a Set in which each host has the source that of returns for it.
func Each(hosts []string, of func(host string) Source) *Set {
	s := &Set{hosts: hosts, byHost: make(map[string]Source, len(hosts))}
	for _, host := range hosts {
		s.byHost[host] = of(host)
	}
	return s
}

// Shared returns a Set in which every host has the same source.
func Shared(source Source) *Set { return &Set{shared: source} }

// of returns the source of a host, or nil.
func (s *Set) of(host string) Source {
	if source := s.byHost[host]; source != nil {
		return source
	}
	return s.shared
}

// Certificate returns the certificate for a name that host stands for, or nil if there is
// no valid one.
func (s *Set) Certificate(host, name string) *tls.Certificate {
	if source := s.of(host); source != nil {
		return source.Certificate(name)
	}
	return nil
}

// Expects reports whether a handshake for a name that host stands for is likely to
// succeed: see Source.
func (s *Set) Expects(ctx context.Context, host, name string, client netip.Addr) bool {
	source := s.of(host)
	return source != nil && source.Expects(ctx, name, client)
}

// Await returns the certificate for the name that a handshake is for and that host stands
// for, or nil if there is none within limit, nor before the handshake ends.
func (s *Set) Await(hello *tls.ClientHelloInfo, host, name string, limit time.Duration) *tls.Certificate {
	source := s.of(host)
	if source == nil {
		return nil
	}
	if c := source.Certificate(name); c != nil {
		return c
	}
	ctx, cancel := context.WithTimeout(hello.Context(), limit)
	defer cancel()
	client, _ := netip.ParseAddrPort(hello.Conn.RemoteAddr().String())
	c, _ := source.Await(ctx, name, client.Addr()) // Known has the error
	return c
}

// AwaitEach waits until every host with a source of its own has its certificate. An error
// says why the host that is returned has none.
func (s *Set) AwaitEach(ctx context.Context) (host string, err error) {
	for _, host := range s.hosts {
		if _, err := s.byHost[host].Await(ctx, host, netip.Addr{}); err != nil {
			return host, err
		}
	}
	return "", nil
}

// Known yields what is known of the certificate of host, or of each name that it stands
// for.
func (s *Set) Known(host string) iter.Seq2[string, Status] {
	if source := s.of(host); source != nil {
		return source.Known(host)
	}
	return func(func(string, Status) bool) {}
}

// Release releases every source.
func (s *Set) Release() {
	for _, source := range s.byHost {
		source.Release()
	}
	if s.shared != nil {
		s.shared.Release()
	}
}
