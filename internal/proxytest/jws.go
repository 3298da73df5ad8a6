package proxytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"

	"golang.org/x/crypto/acme"
)

// A jws is a signed message in the form of RFC 8555, section 6.2.
type jws struct {
	Protected string `json:"protected"`
	Payload   string `json:"payload"`
	Signature string `json:"signature"`
}

// A jwsHeader is what a jws protects beside its payload.
type jwsHeader struct {
	Alg   string          `json:"alg"`
	KID   string          `json:"kid"`
	JWK   json.RawMessage `json:"jwk"`
	Nonce string          `json:"nonce"`
	URL   string          `json:"url"`
}

// header returns the header of m, whose signature nobody has verified.
func (m jws) header() (jwsHeader, error) {
	var h jwsHeader
	raw, err := base64.RawURLEncoding.DecodeString(m.Protected)
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	return h, err
}

// verify returns the payload if m was signed as ES256 (RFC 7518, section 3.4)
// by the owner of key.
func (m jws) verify(key *ecdsa.PublicKey) ([]byte, error) {
	signature, err := base64.RawURLEncoding.DecodeString(m.Signature)
	if err != nil {
		return nil, err
	}
	if len(signature) != 64 {
		return nil, errors.New("a signature by ES256 has 64 bytes")
	}
	digest := sha256.Sum256([]byte(m.Protected + "." + m.Payload))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return nil, errors.New("wrong signature")
	}
	return base64.RawURLEncoding.DecodeString(m.Payload)
}

// verifyMAC returns the payload if m was signed as HS256 by somebody who
// knows key.
func (m jws) verifyMAC(key []byte) ([]byte, error) {
	signature, err := base64.RawURLEncoding.DecodeString(m.Signature)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(m.Protected + "." + m.Payload))
	if !hmac.Equal(mac.Sum(nil), signature) {
		return nil, errors.New("wrong MAC")
	}
	return base64.RawURLEncoding.DecodeString(m.Payload)
}

// parseJWK returns the key and its thumbprint (RFC 7638). It takes none but
// P-256.
func parseJWK(raw []byte) (*ecdsa.PublicKey, string, error) {
	var k struct{ Kty, Crv, X, Y string }
	if err := json.Unmarshal(raw, &k); err != nil {
		return nil, "", err
	}
	if k.Kty != "EC" || k.Crv != "P-256" {
		return nil, "", errors.New("the key is not EC with P-256")
	}
	x, err := base64.RawURLEncoding.DecodeString(k.X)
	if err != nil {
		return nil, "", err
	}
	y, err := base64.RawURLEncoding.DecodeString(k.Y)
	if err != nil {
		return nil, "", err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, "", err
	}
	thumbprint, err := acme.JWKThumbprint(key)
	return key, thumbprint, err
}
