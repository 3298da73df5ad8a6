package issuer

import (
	"context"
	"crypto/tls"
	"strings"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute/internal/acmecache"
)

// The types of challenge that can be answered (RFC 8737; RFC 8555, sections 8.3 and 8.4).
const (
	tlsALPN01 = "tls-alpn-01"
	http01    = "http-01"
	dns01     = "dns-01"
)

// Challenge returns the certificate that answers the TLS-ALPN-01 challenge for name
// (RFC 8737), or nil if there is no such challenge.
func (i *Issuer) Challenge(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	if i.lookup(name) == nil {
		return nil
	}
	data, err := i.store.answer(hello.Context(), name+acmecache.ProofSuffix)
	if err != nil {
		return nil
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil
	}
	return &cert
}

// IsChallenge reports whether hello begins a TLS-ALPN-01 challenge (RFC 8737,
// section 3).
func IsChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto
}

// CutToken returns the token in the request target of an HTTP-01 challenge (RFC 8555,
// section 8.3), and whether it is one.
func CutToken(target string) (token string, ok bool) {
	return strings.CutPrefix(target, "/.well-known/acme-challenge/")
}

// Token returns the answer to the HTTP-01 challenge (RFC 8555, section 8.3) for name
// with that token, and reports whether there is such a challenge.
func (i *Issuer) Token(ctx context.Context, name, token string) (answer []byte, ok bool) {
	if i.lookup(name) == nil || !isToken(token) {
		return nil, false
	}
	answer, err := i.store.answer(ctx, token+acmecache.TokenSuffix)
	return answer, err == nil
}

// isToken reports whether s is valid as a token: base64url (RFC 8555, section 8.1).
func isToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// answer makes what answers the TLS-ALPN-01 or HTTP-01 challenge c for name, until
// withdraw is called.
func (i *Issuer) answer(ctx context.Context, client *acme.Client, c *acme.Challenge, name string) (withdraw func(), err error) {
	key, data := c.Token+acmecache.TokenSuffix, []byte(nil)
	if c.Type == tlsALPN01 {
		key = name + acmecache.ProofSuffix
		cert, err := client.TLSALPN01ChallengeCert(c.Token, name)
		if err != nil {
			return nil, err
		}
		if data, err = encode(&cert); err != nil {
			return nil, err
		}
	} else {
		answer, err := client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return nil, err
		}
		data = []byte(answer)
	}
	withdraw, err = i.store.putAnswer(ctx, key, data)
	if err != nil {
		i.o.Notify(name, notKept(err)) // this machine answers all the same
	}
	return withdraw, nil
}
