// Package acmecache names what a cache keeps for autocert, so that those who fill a cache
// and those who read it agree.
package acmecache

import (
	"net/url"

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
