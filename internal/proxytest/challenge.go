package proxytest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// The types of challenge that a CA knows.
const (
	http01    = "http-01"
	tlsALPN01 = "tls-alpn-01"
	dns01     = "dns-01"
)

// validationTimeout bounds the validation of one challenge.
const validationTimeout = 10 * time.Second

// validate asks name for the key authorization, and returns why that was not
// found, or nil.
func (ca *CA) validate(ctx context.Context, kind, name, token, thumbprint string) error {
	ctx, cancel := context.WithTimeout(ctx, validationTimeout)
	defer cancel()
	keyAuthorization := token + "." + thumbprint
	switch kind {
	case tlsALPN01:
		return ca.validateTLSALPN(ctx, name, keyAuthorization)
	case http01:
		return ca.validateHTTP(ctx, name, token, keyAuthorization)
	case dns01:
		return ca.validateDNS(name, keyAuthorization)
	}
	return fmt.Errorf("challenges of type %q are unknown", kind)
}

// validateHTTP is RFC 8555, section 8.3. It follows no redirect.
func (ca *CA) validateHTTP(ctx context.Context, name, token, keyAuthorization string) error {
	url := "http://" + name + "/.well-known/acme-challenge/" + token
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		return ca.Dial(ctx, network, address) // a Transport would dial on when ctx has ended
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return err
	}
	if got := strings.TrimRight(string(body), " \t\r\n"); resp.StatusCode != http.StatusOK || got != keyAuthorization {
		return fmt.Errorf("GET %s: %s, %q instead of the key authorization", url, resp.Status, got)
	}
	return nil
}

// validateDNS is RFC 8555, section 8.4.
func (ca *CA) validateDNS(name, keyAuthorization string) error {
	digest := sha256.Sum256([]byte(keyAuthorization))
	var found []string
	if ca.TXT != nil {
		found = ca.TXT("_acme-challenge." + name)
	}
	if !slices.Contains(found, base64.RawURLEncoding.EncodeToString(digest[:])) {
		return fmt.Errorf("the TXT records of _acme-challenge.%s are %q", name, found)
	}
	return nil
}

// validateTLSALPN is RFC 8737, section 3.
func (ca *CA) validateTLSALPN(ctx context.Context, name, keyAuthorization string) error {
	raw, err := ca.Dial(ctx, "tcp", net.JoinHostPort(name, "443"))
	if err != nil {
		return err
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{
		ServerName:         name,
		NextProtos:         []string{acme.ALPNProto},
		InsecureSkipVerify: true, // it is the extension that counts
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != acme.ALPNProto {
		return fmt.Errorf("the server did not choose the protocol %s", acme.ALPNProto)
	}
	return checkALPNCertificate(state.PeerCertificates[0], name, keyAuthorization)
}

// acmeIdentifier is the extension of RFC 8737, section 3.
var acmeIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

func checkALPNCertificate(cert *x509.Certificate, name, keyAuthorization string) error {
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return fmt.Errorf("the certificate is not signed by its own key: %w", err)
	}
	if len(cert.DNSNames) != 1 || !strings.EqualFold(cert.DNSNames[0], name) {
		return fmt.Errorf("the certificate is for %q", cert.DNSNames)
	}
	digest := sha256.Sum256([]byte(keyAuthorization))
	want, err := asn1.Marshal(digest[:])
	if err != nil {
		return err
	}
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(acmeIdentifier) && extension.Critical && slices.Equal(extension.Value, want) {
			return nil
		}
	}
	return errors.New("the certificate does not identify the key authorization")
}
