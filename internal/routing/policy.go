package routing

import (
	"cmp"
	"fmt"
)

// A Policy holds the settings that the services of a host have to agree on. The zero
// Policy leaves all of them to the other services.
type Policy struct {
	TLS       TLS
	Canonical string // the host that the others are redirected to; if empty, the other services decide
}

// TLS says how a host is served over TLS. Two hosts with equal values are served alike.
type TLS struct {
	Mode       string // Off, or where the certificates come from; if Inherit, the other services decide
	NoRedirect bool   // plain requests are served, too
	Source     any    // what else says where the certificates come from: nil, or a comparable value
}

// The modes of TLS that ask for no certificate.
const (
	Inherit = ""
	Off     = "off"
)

// IsOn reports whether t asks for TLS.
func (t TLS) IsOn() bool { return t.Mode != Inherit && t.Mode != Off }

// Merge returns the policy that two services of a host agree on. If they contradict
// each other, it returns p, and dispute says how they do, as the end of a sentence about
// the service of p, in which "this one" is that of q.
func (p Policy) Merge(q Policy) (agreed Policy, dispute string) {
	agreed = Policy{p.TLS, cmp.Or(p.Canonical, q.Canonical)}
	if p.TLS.Mode == Inherit {
		agreed.TLS = q.TLS
	}
	switch {
	case p.Canonical != "" && q.Canonical != "" && p.Canonical != q.Canonical:
		return p, fmt.Sprintf("redirects to the canonical host %s, and this one to %s", p.Canonical, q.Canonical)
	case p.TLS.Mode == Inherit || q.TLS.Mode == Inherit || p.TLS == q.TLS:
		return agreed, ""
	case p.TLS.Mode != q.TLS.Mode:
		return p, fmt.Sprintf("has TLS mode %q, and this one %q", p.TLS.Mode, q.TLS.Mode)
	case p.TLS.NoRedirect != q.TLS.NoRedirect:
		return p, "says otherwise whether plain requests are redirected to https"
	}
	return p, fmt.Sprintf("has its certificates for TLS mode %q from elsewhere", p.TLS.Mode)
}
