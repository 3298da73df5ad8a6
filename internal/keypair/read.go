package keypair

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/regular"
)

// maxSize is how many bytes a file may have. A long chain has some ten thousand.
const maxSize = 1 << 20

// read returns the certificate and key in the two files if both are well-formed and
// belong together.
func read(certFile, keyFile string) (*tls.Certificate, error) {
	chain, err := readChain(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	switch i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return fits(key, c) }); {
	case i < 0:
		return nil, fmt.Errorf("the key in %s does not fit the certificate in %s: want the one that the certificate was issued for", keyFile, certFile)
	case i > 0:
		return nil, fmt.Errorf("the key in %s fits certificate %d in %s: want that one first, and those of its issuers behind it", keyFile, i+1, certFile)
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

func fits(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// readChain returns the certificates in a file: at least one.
func readChain(name string) ([]*x509.Certificate, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in %s is damaged: %w: want it as it was issued", len(chain)+1, name, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM form: want one that begins with -----BEGIN CERTIFICATE-----", name)
	}
	return chain, nil
}

// readKey returns the first private key in a file.
func readKey(name string) (crypto.Signer, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY") {
			continue
		}
		// The type says whether a PKCS #8 key is encrypted; for older forms a
		// header does (RFC 1421, section 4.6.1.1).
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, fmt.Errorf("the key in %s is encrypted, and nobody is there to give its passphrase: want it decrypted, as by openssl pkey", name)
		}
		if key := parseKey(block.Bytes); key != nil {
			return key, nil
		}
		return nil, fmt.Errorf("the key in %s (%s) cannot be used: want an RSA, ECDSA or Ed25519 key as PKCS #8, PKCS #1 or SEC 1 have it", name, block.Type)
	}
	return nil, fmt.Errorf("%s has no private key in PEM form: want one that begins with -----BEGIN PRIVATE KEY-----", name)
}

// parseKey parses a key in any form, or returns nil. It tries all forms, for the type of
// a PEM block is not always right.
func parseKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer) // nil: a key for something else
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

func readFile(name string) ([]byte, error) {
	data, err := regular.ReadFile(name, maxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist: want a file in PEM form there", name)
	case errors.Is(err, regular.ErrNotRegular):
		return nil, fmt.Errorf("%s is no regular file: want one in PEM form there", name)
	case errors.Is(err, regular.ErrTooLarge):
		return nil, fmt.Errorf("%s has more than 1 MiB: want a certificate or a key, which have some thousand bytes", name)
	case err != nil:
		return nil, readError(name, err)
	}
	return data, nil
}

// readError returns the error for a file that could not be read because of err.
func readError(name string, err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err
	}
	if descriptors.IsShortage(err) {
		return fmt.Errorf("%s cannot be read: %w: %s", name, err, descriptors.Advice(err))
	}
	return fmt.Errorf("%s cannot be read: %w: want a file that uid %d may read", name, err, os.Geteuid())
}
