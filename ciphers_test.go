package parachute_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// selfSigned writes a certificate for app.test with a key of one algorithm, and
// returns the TLS that is served with it.
func selfSigned(t *testing.T, key any) parachute.TLS {
	t.Helper()
	is := is.New(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app.test"}, DNSNames: []string{"app.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	var public any
	switch key := key.(type) {
	case *rsa.PrivateKey:
		public = key.Public()
	case *ecdsa.PrivateKey:
		public = key.Public()
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	is.NoErr(err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	is.NoErr(err)
	dir := t.TempDir()
	pair := parachute.TLS{Mode: parachute.TLSFiles, CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	is.NoErr(os.WriteFile(pair.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	is.NoErr(os.WriteFile(pair.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	return pair
}

func TestTLS12HasForwardSecrecyAndAuthenticatedEncryptionAlone(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const refused = "remote error: tls: handshake failure"
	for name, tt := range map[string]struct {
		key    any
		suites []uint16
		want   string
	}{
		"ECDSA, CBC": {ecdsaKey, []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
		}, refused},
		"RSA, CBC": {rsaKey, []uint16{
			tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
		}, refused},
		"RSA without forward secrecy": {rsaKey, []uint16{
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		}, refused},
		"ECDSA, AES-128": {ecdsaKey, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, ""},
		"ECDSA, AES-256": {ecdsaKey, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, ""},
		"ECDSA, ChaCha":  {ecdsaKey, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, ""},
		"RSA, AES-128":   {rsaKey, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, ""},
		"RSA, AES-256":   {rsaKey, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}, ""},
		"RSA, ChaCha":    {rsaKey, []uint16{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{})
				is.NoErr(k.secure("web", selfSigned(t, tt.key), "app.test"))
				raw, err := k.net.Dial(t.Context(), "tcp", "proxy.test:443")
				is.NoErr(err)
				defer raw.Close()
				conn := tls.Client(raw, &tls.Config{ServerName: "app.test", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: tt.suites})
				got := ""
				if err := conn.HandshakeContext(t.Context()); err != nil {
					got = err.Error()
				}
				is.Equal(got, tt.want)
				if tt.want == "" {
					is.Equal(conn.ConnectionState().CipherSuite, tt.suites[0])
				}
			})
		})
	}
}

func TestCertificateForOldClientsIsObtainedWithoutCBC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", automatic, "app.test"))
		raw, err := k.net.Dial(t.Context(), "tcp", "proxy.test:443")
		is.NoErr(err)
		defer raw.Close()
		conn := tls.Client(raw, &tls.Config{ServerName: "app.test", RootCAs: k.ca.Pool(), MaxVersion: tls.VersionTLS12})
		is.NoErr(conn.HandshakeContext(t.Context()))
		is.Equal(conn.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm, x509.ECDSA)
		is.Equal(k.ca.TotalOrders(), 1) // no second one with an RSA key
	})
}
