package keypair

import (
	"context"
	"crypto/tls"
	"iter"
	"net/netip"

	"github.com/shahnk19/parachute/internal/certificate"
)

// Source has r refresh p, which has to cover hosts, and returns p as the source of their
// certificate. Release ends that.
func (r *Refresher) Source(p *Pair, hosts []string) certificate.Source {
	r.Add(p, hosts)
	return filesSource{p, r}
}

type filesSource struct {
	pair      *Pair
	refresher *Refresher
}

func (s filesSource) Certificate(string) *tls.Certificate { return s.pair.Certificate() }

func (s filesSource) Await(ctx context.Context, _ string, _ netip.Addr) (*tls.Certificate, error) {
	return s.pair.Await(ctx)
}

// Expects reports true also while there is no certificate: files that cannot be used may
// be replaced at any moment, and what is for TLS alone must not be served without.
func (s filesSource) Expects(context.Context, string, netip.Addr) bool { return true }

func (s filesSource) Known(host string) iter.Seq2[string, certificate.Status] {
	return func(yield func(string, certificate.Status) bool) {
		yield(host, certificate.Status{Certificate: s.pair.Certificate(), Err: s.pair.Err()})
	}
}

func (s filesSource) Release() { s.refresher.Remove(s.pair) }
