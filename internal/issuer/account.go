package issuer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/acmecache"
)

var errNoKey = errors.New("the account's key in the cache is not one in PEM form: it is passed over, and a new account made")

// An account is the one of an Issuer at the authority.
type account struct {
	mu     sync.Mutex   // guards client; held while the account is made, for all wait for that
	client *acme.Client // nil: the authority does not know the account's key yet
}

// client returns what speaks to the authority as the account. At the first time it has
// the authority make the account, if the cache has no key of one.
func (i *Issuer) client(ctx context.Context) (*acme.Client, error) {
	a := &i.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		return a.client, nil
	}
	key, err := i.accountKey(ctx)
	if err != nil {
		return nil, err
	}
	client := &acme.Client{
		Key:          key,
		DirectoryURL: i.o.Directory,
		HTTPClient:   &http.Client{Transport: i.transport},
		RetryBackoff: i.transport.backoff,
		UserAgent:    i.o.UserAgent,
	}
	asked := &acme.Account{ExternalAccountBinding: i.o.ExternalAccount}
	if i.o.Email != "" {
		asked.Contact = []string{"mailto:" + i.o.Email}
	}
	if _, err := client.Register(ctx, asked, autocert.AcceptTOS); err != nil && !isKnown(err) {
		return nil, err
	}
	a.client = client
	return client, nil
}

// isKnown reports whether err of a registration says that the account is there.
func isKnown(err error) bool {
	var problem *acme.Error
	return err == acme.ErrAccountAlreadyExists || errors.As(err, &problem) && problem.StatusCode == http.StatusConflict
}

// accountKey returns the account's key from the cache, or else a new one, which the cache
// keeps from now on.
func (i *Issuer) accountKey(ctx context.Context) (crypto.Signer, error) {
	for _, name := range []string{acmecache.AccountKey, acmecache.LegacyAccountKey} {
		key, err := i.cachedAccountKey(ctx, name)
		switch {
		case err == nil:
			return key, nil
		case forbidsOrder(err):
			return nil, err // not a reason to make another account
		case err != autocert.ErrCacheMiss:
			i.o.Notify("", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := i.store.put(ctx, acmecache.AccountKey, data); err != nil {
		if forbidsOrder(err) {
			return nil, err
		}
		if other, err := i.cachedAccountKey(ctx, acmecache.AccountKey); err == nil {
			return other, nil // another machine was faster
		}
		i.o.Notify("", notKept(err))
	}
	return key, nil
}

// cachedAccountKey returns the account's key that the cache has under that name.
func (i *Issuer) cachedAccountKey(ctx context.Context, name string) (crypto.Signer, error) {
	data, err := i.store.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if key := parseKey(data); key != nil {
		return key, nil
	}
	return nil, errNoKey
}

// parseKey returns the private key in data, in whatever form that programs keep one, or
// nil if there is none.
func parseKey(data []byte) crypto.Signer {
	block, _ := pem.Decode(data)
	if block == nil || !strings.Contains(block.Type, "PRIVATE KEY") {
		return nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key
	}
	key, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, _ := key.(crypto.Signer)
	return signer
}
