package keypair_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/keypair"
)

func TestIssuerIsNamedAsFarAsTheCertificateTells(t *testing.T) {
	for want, issuer := range map[string]pkix.Name{
		"R11, Let's Encrypt": {CommonName: "R11", Organization: []string{"Let's Encrypt"}},
		"R11":                {CommonName: "R11"},
		"O=Let's Encrypt":    {Organization: []string{"Let's Encrypt"}},
	} {
		is := is.New(t)
		is.Equal(keypair.IssuerOf(&x509.Certificate{Issuer: issuer}), want)
	}
}

func TestCertificatesAreTheSameByWhatTheySay(t *testing.T) {
	is := is.New(t)
	of := func(der string) *tls.Certificate { return &tls.Certificate{Certificate: [][]byte{[]byte(der)}} }
	is.True(keypair.Same(of("a"), of("a"))) // whichever copy
	is.True(!keypair.Same(of("a"), of("b")))
	is.True(!keypair.Same(nil, of("a")))
	is.True(!keypair.Same(nil, nil)) // no certificate is not the same certificate
}
