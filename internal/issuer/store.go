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

	"github.com/shahnk19/parachute/internal/acmecache"
	"github.com/shahnk19/parachute/internal/descriptors"
)

// cacheTimeout is how long one read of the cache may take.
const cacheTimeout = 10 * time.Second

var errNoKey = errors.New("the account's key in the cache is not one in PEM form: it is passed over, and a new account made")

// A store is the cache that autocert uses. It makes every certificate that it reads or
// writes the current one of its name. It reports errors of the inner cache, but
// certificates are served all the same.
type store struct {
	issuer *Issuer
	inner  autocert.Cache // nil: there is none
	prefix string         // of keys in inner

	mu     sync.Mutex // guards tokens
	tokens map[string][]byte
}

// Get returns the data for key, or [autocert.ErrCacheMiss]. Any other error means that
// the cache could not be read, and ends the attempt.
func (s *store) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasSuffix(key, acmecache.TokenSuffix) {
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
		return nil, err // not a reason to order another certificate or make another account
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

// load makes what the inner cache has for n the current certificate, if it is one.
func (s *store) load(n *Name) {
	if data, err := s.getInner(context.Background(), n.name); err == nil {
		_ = s.checkEntry(n, n.name, data) // it will be told when it is read again
	}
}

// checkEntry returns an error if data is not what key should have. If it is a valid
// certificate of n, it becomes the current one.
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
	case key == acmecache.AccountKey || key == acmecache.LegacyAccountKey:
		if block, _ := pem.Decode(data); block == nil || !strings.Contains(block.Type, "PRIVATE KEY") {
			return errNoKey
		}
	}
	return nil
}

// parse parses a certificate and its key in the form that autocert stores.
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

// beginRenewal is called when autocert reads the cache before it renews n's
// certificate. It keeps other processes that share the cache from renewing it until the
// renewal is over, which is when ctx ends.
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

// Put stores data under key. It always returns nil, for after an error autocert would
// order the certificate again and again.
func (s *store) Put(ctx context.Context, key string, data []byte) error {
	if strings.HasSuffix(key, acmecache.TokenSuffix) {
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

// Delete deletes the data for key, as autocert does after a challenge.
func (s *store) Delete(ctx context.Context, key string) error {
	s.mu.Lock()
	delete(s.tokens, key)
	s.mu.Unlock()
	if s.inner == nil {
		return nil
	}
	return s.inner.Delete(ctx, s.prefix+key)
}

// report reports an error with the certificate of n or, if n is nil, with other data.
func (s *store) report(n *Name, err error) {
	if n == nil {
		s.issuer.o.Notify("", err)
		return
	}
	n.report(err)
}
