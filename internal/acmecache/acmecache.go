// Package acmecache names what a cache keeps for autocert, so that those who fill a cache
// and those who read it agree.
package acmecache

import (
	"net/url"
	"strings"

	"golang.org/x/crypto/acme"
)

// The keys that autocert uses. That of a certificate is its name.
const (
	AccountKey       = "acme_account+key" // the key of the account
	LegacyAccountKey = "acme_account.key" // likewise, as an older autocert had it
	RSASuffix        = "+rsa"             // behind the name of a certificate for clients that know RSA alone
	TokenSuffix      = "+http-01"         // behind the token of an HTTP-01 challenge
	ProofSuffix      = "+token"           // behind the name whose certificate answers a TLS-ALPN-01 challenge
)

// Prefix returns what stands before the keys of the certificates and the account of an
// authority in a cache that may have those of several. directory is the authority's URL;
// for Let's Encrypt, which "" stands for, the prefix is "".
func Prefix(directory string) string {
	u, err := url.Parse(directory)
	if directory == "" || directory == acme.LetsEncryptURL || err != nil {
		return ""
	}
	return u.Host + "+"
}

// IsAnswer reports whether key is that of an answer to a challenge.
func IsAnswer(key string) bool {
	return strings.HasSuffix(key, TokenSuffix) || strings.HasSuffix(key, ProofSuffix)
}

// IsAccount reports whether the key of an account is kept under key.
func IsAccount(key string) bool {
	return strings.HasSuffix(key, AccountKey) || strings.HasSuffix(key, LegacyAccountKey)
}

// OrderOf returns the name that is locked during the order that key belongs to: key is
// that of the certificate which is ordered, or of the proof of its name. The name has
// the prefix of the authority. A wildcard shares the lock of the name that it is below.
// If key belongs to no name, OrderOf returns "".
func OrderOf(key string) string {
	if IsAccount(key) || strings.HasSuffix(key, TokenSuffix) {
		return ""
	}
	key = strings.TrimSuffix(strings.TrimSuffix(key, ProofSuffix), RSASuffix)
	i := strings.LastIndexByte(key, '+') + 1
	return key[:i] + strings.TrimPrefix(key[i:], "*.")
}

// Ordered returns the keys that an order may put while that name is locked: those of
// its certificates, and that of the account.
func Ordered(order string) []string {
	i := strings.LastIndexByte(order, '+') + 1
	prefix, name := order[:i], order[i:]
	return []string{order, prefix + "*." + name, prefix + AccountKey}
}
