package parachute

import (
	"crypto/tls"
	"crypto/x509"
	"os"
)

// config returns how targets are spoken to that are verified as o says. The
// file with the certificate authorities is read here.
func (o TargetTLS) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: o.ServerName, InsecureSkipVerify: o.Insecure}
	if o.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, faultf(ErrInvalid, "target CA: %v", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, faultf(ErrInvalid, "target CA: %s has no certificate in PEM form", o.CAFile)
	}
	return c, nil
}
