package issuer

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// How autocert calls what is no certificate in its cache. A certificate has the
// bare name.
const (
	tokenSuffix = "+http-01"         // behind the token of an HTTP-01 challenge
	accountKey  = "acme_account+key" // the key of the account
	legacyKey   = "acme_account.key" // likewise, as an older autocert had it
)

// cacheTimeout bounds one look into the cache.
const cacheTimeout = 10 * time.Second

var errNoKey = errors.New("the account's key in the cache is not one in PEM form: it is passed over, and a new account made")

// A store is the cache as autocert sees it. It makes every certificate that
// passes through it the current one of its name. Where the cache behind it
// fails, that is reported, but keeps no certificate from being served.
type store struct {
	issuer *Issuer
	inner  autocert.Cache // nil: there is none
	prefix string         // of keys in inner

	mu     sync.Mutex // guards tokens
	tokens map[string][]byte
}

// Get returns what is kept under key, or [autocert.ErrCacheMiss]. Any other error
// says that nothing could be looked for, and ends the attempt.
func (s *store) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasSuffix(key, tokenSuffix) {
		s.mu.Lock()
		answer, ok := s.tokens[key]
		s.mu.Unlock()
		if ok {
			return answer, nil
		}
		return s.getInner(ctx, key)
	}
	n := s.issuer.lookup(key)
	if n != nil && !n.isAttempting() {
		if err := s.beginRenewal(ctx, n); err != nil {
			return nil, err
		}
	}
	data, err := s.getInner(ctx, key)
	if err == nil {
		err = s.checkEntry(n, key, data)
	}
	switch {
	case err == nil:
		return data, nil
	case descriptors.IsShortage(err):
		return nil, err // which is no reason for another certificate, or account
	case err != autocert.ErrCacheMiss:
		s.report(n, err)
	}
	return nil, autocert.ErrCacheMiss
}

func (s *store) getInner(ctx context.Context, key string) ([]byte, error) {
	if s.inner == nil {
		return nil, autocert.ErrCacheMiss
	}
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	return s.inner.Get(ctx, s.prefix+key)
}

// checkEntry returns what is wrong with what was read under key, and takes over a
// certificate of n.
func (s *store) checkEntry(n *Name, key string, data []byte) error {
	switch {
	case n != nil:
		cert, err := parse(data, n.name)
		if err != nil {
			return err
		}
		if time.Now().Before(cert.Leaf.NotAfter) {
			n.setCertificate(cert)
		}
	case key == accountKey || key == legacyKey:
		if block, _ := pem.Decode(data); block == nil || !strings.Contains(block.Type, "PRIVATE KEY") {
			return errNoKey
		}
	}
	return nil
}

// parse reads a certificate and its key as autocert keeps them.
func parse(data []byte, name string) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(data, data)
	if err == nil {
		err = cert.Leaf.VerifyHostname(name)
	}
	if err != nil {
		return nil, fmt.Errorf("what the cache has for it is passed over: %w", err)
	}
	return &cert, nil
}

// beginRenewal is for when autocert looks whether somebody else has renewed n's
// certificate, before it does so itself. Others who share the cache are kept
// from doing that too until ctx, which is autocert's own, ends with the
// renewal.
func (s *store) beginRenewal(ctx context.Context, n *Name) error {
	if !s.issuer.addRunning() {
		return ErrClosed
	}
	before := n.current.Load()
	s.issuer.transport.forgetErrors(n.name)
	unlock := s.issuer.lock(ctx, n.name)
	context.AfterFunc(ctx, func() {
		defer s.issuer.running.Done()
		defer unlock()
		err := s.issuer.transport.explain(n.name, nil)
		if n.current.Load() == before && err != nil {
			n.report(err)
		}
	})
	return nil
}

// Put keeps data under key. It has no errors for autocert, which would have the
// certificate made again and again.
func (s *store) Put(ctx context.Context, key string, data []byte) error {
	if strings.HasSuffix(key, tokenSuffix) {
		s.mu.Lock()
		s.tokens[key] = data
		s.mu.Unlock()
	}
	n := s.issuer.lookup(key)
	if n != nil {
		if cert, err := parse(data, n.name); err == nil {
			n.setCertificate(cert)
		}
	}
	if s.inner == nil {
		return nil
	}
	if err := s.inner.Put(ctx, s.prefix+key, data); err != nil {
		s.report(n, fmt.Errorf("it could not be kept, and is lost at the next restart: %w", err))
	}
	return nil
}

// Delete removes what is kept under key, which autocert does with challenges
// that are over.
func (s *store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	delete(s.tokens, key)
	s.mu.Unlock()
	if s.inner == nil {
		return nil
	}
	return s.inner.Delete(ctx, s.prefix+key)
}

// report tells of trouble with the certificate of n or, if n is nil, with
// anything else.
func (s *store) report(n *Name, err error) {
	if n == nil {
		s.issuer.o.Notify("", err)
		return
	}
	n.report(err)
}
