package keypair

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
)

// IssuerOf returns the name of the authority that signed leaf.
func IssuerOf(leaf *x509.Certificate) string {
	by := leaf.Issuer
	if len(by.Organization) == 0 || by.CommonName == "" {
		return cmp.Or(by.CommonName, by.String())
	}
	return by.CommonName + ", " + by.Organization[0]
}

// Same reports whether a and b are the same certificate. It returns false if either
// is nil.
func Same(a, b *tls.Certificate) bool {
	return a != nil && b != nil && (a == b || bytes.Equal(a.Certificate[0], b.Certificate[0]))
}
