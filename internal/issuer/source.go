package issuer

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"net/netip"

	"github.com/shahnk19/parachute/internal/certificate"
)

// Source returns n as the source of the certificate of its host. Its Release is that of n.
func (n *Name) Source() certificate.Source { return nameSource{n} }

type nameSource struct{ *Name }

func (s nameSource) Certificate(string) *tls.Certificate { return s.Name.Certificate() }

func (s nameSource) Await(ctx context.Context, _ string, _ netip.Addr) (*tls.Certificate, error) {
	return s.Name.Await(ctx)
}

func (s nameSource) Expects(context.Context, string, netip.Addr) bool {
	return s.Name.Certificate() != nil
}

func (s nameSource) Known(host string) iter.Seq2[string, certificate.Status] {
	return func(yield func(string, certificate.Status) bool) { yield(host, s.Status().known()) }
}

// Source returns d as the source of the certificates of the names that clients come to.
// Its Release is that of d.
func (d *Demand) Source() certificate.Source { return demandSource{d} }

type demandSource struct{ *Demand }

var errNotAdmitted = errors.New("the name is not admitted")

func (s demandSource) Await(ctx context.Context, name string, client netip.Addr) (*tls.Certificate, error) {
	n := s.Name(ctx, name, client)
	if n == nil {
		return nil, errNotAdmitted
	}
	return n.Await(ctx)
}

func (s demandSource) Expects(ctx context.Context, name string, client netip.Addr) bool {
	return s.Certificate(name) != nil || s.Demand.Expects(ctx, name, client)
}

func (s demandSource) Known(string) iter.Seq2[string, certificate.Status] {
	return func(yield func(string, certificate.Status) bool) {
		for name, status := range s.All() {
			if !yield(name, status.known()) {
				return
			}
		}
	}
}

func (s Status) known() certificate.Status {
	return certificate.Status{Certificate: s.Certificate, Renews: s.Next, Err: s.Err}
}
