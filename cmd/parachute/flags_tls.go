package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// The types of flag values about TLS.

// An httpsPort is the port for HTTPS, or -1 for none. isSet tells a 0 that was
// given from a missing flag.
type httpsPort struct {
	number int
	isSet  bool
}

// Decode is used in place of UnmarshalText because kong takes -1 for a flag.
func (p *httpsPort) Decode(ctx *kong.DecodeContext) error {
	text := fmt.Sprint(ctx.Scan.Pop())
	if text == "-1" {
		*p = httpsPort{-1, true}
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is no port: want a number from 0 to 65535, or -1 for none", text)
	}
	*p = httpsPort{int(n), true}
	return nil
}

// orDefault returns the port, or 443 if the flag was not given.
func (p httpsPort) orDefault() int {
	if !p.isSet {
		return 443
	}
	return p.number
}

// A tlsVersion is a version of TLS, as a number of crypto/tls.
type tlsVersion uint16

func (v *tlsVersion) UnmarshalText(text []byte) error {
	switch string(text) {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return fmt.Errorf("%q is no version of TLS that is spoken here: want 1.2 or 1.3", text)
	}
	return nil
}

func (tlsVersion) choices() []string { return []string{"1.2", "1.3"} }

// A directory is the URL of an ACME server's directory.
type directory string

func (d *directory) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%q is no URL of an ACME directory: want one such as https://acme.example.com/directory", text)
	}
	*d = directory(text)
	return nil
}

// A secret is a key in base64url, the form in which certificate authorities
// hand it out. No error message shows it.
type secret []byte

// Decode is used in place of UnmarshalText because kong takes a key that begins
// with '-' for a flag, and repeats it in the error.
func (s *secret) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Pop()
	text := fmt.Sprint(token)
	if token.IsEOL() || token.Type == kong.UntypedToken && strings.HasPrefix(text, "--") {
		return errors.New("its value is missing; one that begins with '--' is written behind a '='")
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(key) == 0 {
		return errors.New("the key is not in base64url: want it as the certificate authority gave it, such as zWND...4Q")
	}
	*s = key
	return nil
}

// rootCAs returns the system's certificate authorities together with those of a
// file. If path is empty, it returns nil, which means the system's alone.
func rootCAs(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in it: want one in PEM form", path)
	}
	return pool, nil
}
