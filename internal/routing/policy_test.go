package routing_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/routing"
)

func TestServicesOfAHostAgreeOrSayInWhatTheyDoNot(t *testing.T) {
	type source struct{ file string }
	files := routing.TLS{Mode: "files", Source: source{"a"}}
	for name, tt := range map[string]struct {
		p, q, agreed routing.Policy
		dispute      string
	}{
		"neither has a say": {},
		"the first has one": {p: routing.Policy{TLS: files, Canonical: "a.test"}, agreed: routing.Policy{TLS: files, Canonical: "a.test"}},
		"the other has one": {q: routing.Policy{TLS: files, Canonical: "a.test"}, agreed: routing.Policy{TLS: files, Canonical: "a.test"}},
		"each has one":      {p: routing.Policy{TLS: files}, q: routing.Policy{Canonical: "a.test"}, agreed: routing.Policy{TLS: files, Canonical: "a.test"}},
		"both have the same": {
			p: routing.Policy{TLS: files, Canonical: "a.test"}, q: routing.Policy{TLS: files, Canonical: "a.test"},
			agreed: routing.Policy{TLS: files, Canonical: "a.test"},
		},
		"canonical hosts": {
			p: routing.Policy{Canonical: "a.test"}, q: routing.Policy{TLS: files, Canonical: "b.test"}, agreed: routing.Policy{Canonical: "a.test"},
			dispute: "redirects to the canonical host a.test, and this one to b.test",
		},
		"modes": {
			p: routing.Policy{TLS: files}, q: routing.Policy{TLS: routing.TLS{Mode: routing.Off}, Canonical: "b.test"}, agreed: routing.Policy{TLS: files},
			dispute: `has TLS mode "files", and this one "off"`,
		},
		"redirects": {
			p: routing.Policy{TLS: files}, q: routing.Policy{TLS: routing.TLS{Mode: "files", NoRedirect: true, Source: source{"a"}}}, agreed: routing.Policy{TLS: files},
			dispute: "says otherwise whether plain requests are redirected to https",
		},
		"sources": {
			p: routing.Policy{TLS: files}, q: routing.Policy{TLS: routing.TLS{Mode: "files", Source: source{"b"}}}, agreed: routing.Policy{TLS: files},
			dispute: `has its certificates for TLS mode "files" from elsewhere`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			agreed, dispute := tt.p.Merge(tt.q)
			is.Equal(agreed, tt.agreed)
			is.Equal(dispute, tt.dispute)
		})
	}
}

func TestTLSIsOnWhereItAsksForCertificates(t *testing.T) {
	is := is.New(t)
	is.True(!routing.TLS{}.IsOn())
	is.True(!routing.TLS{Mode: routing.Off}.IsOn())
	is.True(routing.TLS{Mode: "files"}.IsOn())
}
