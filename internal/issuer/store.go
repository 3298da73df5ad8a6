package issuer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// cacheTimeout is how long one read or write of the cache may take.
const cacheTimeout = 10 * time.Second

// A store is the cache, and the answers to challenges that are there even if the cache
// fails.
type store struct {
	inner  autocert.Cache // nil: there is none
	prefix string         // of keys in inner

	mu      sync.Mutex // guards answers
	answers map[string][]byte
}

// get returns what the cache has under key, or [autocert.ErrCacheMiss].
func (s *store) get(ctx context.Context, key string) ([]byte, error) {
	if s.inner == nil {
		return nil, autocert.ErrCacheMiss
	}
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	return s.inner.Get(ctx, s.prefix+key)
}

// put has the cache keep data under key.
func (s *store) put(ctx context.Context, key string, data []byte) error {
	if s.inner == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	return s.inner.Put(ctx, s.prefix+key, data)
}

// forbidsOrder reports whether err of the cache is a reason to order nothing now: what it
// has may be there all the same, or it can be ordered by one machine alone.
func forbidsOrder(err error) bool {
	var told interface{ ForbidsOrder() bool }
	return descriptors.IsShortage(err) || errors.As(err, &told) && told.ForbidsOrder()
}

// notKept returns the error for something that the cache does not keep, because of err.
func notKept(err error) error {
	return fmt.Errorf("it could not be kept, and is lost at the next restart: %w", err)
}

// certificate returns the certificate for name that the cache has, or nil if it has none
// that is still valid. An error says why what it has is of no use.
func (s *store) certificate(ctx context.Context, name string) (*tls.Certificate, error) {
	data, err := s.get(ctx, name)
	if err != nil {
		if err == autocert.ErrCacheMiss {
			err = nil
		}
		return nil, err
	}
	cert, err := tls.X509KeyPair(data, data)
	if err == nil {
		err = cert.Leaf.VerifyHostname(name)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("what the cache has for it is passed over: %w", err)
	case time.Now().After(cert.Leaf.NotAfter):
		return nil, nil
	}
	return &cert, nil
}

// putCertificate has the cache keep cert as that of name.
func (s *store) putCertificate(ctx context.Context, name string, cert *tls.Certificate) error {
	data, err := encode(cert)
	if err != nil {
		return err
	}
	return s.put(ctx, name, data)
}

// encode returns cert and its key, an ECDSA one, in PEM form.
func encode(cert *tls.Certificate) ([]byte, error) {
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	err = pem.Encode(&data, &pem.Block{Type: "EC PRIVATE KEY", Bytes: key})
	for _, der := range cert.Certificate {
		if err == nil {
			err = pem.Encode(&data, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		}
	}
	return data.Bytes(), err
}

// answer returns the answer to a challenge, which may be that of another machine.
func (s *store) answer(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	answer, ok := s.answers[key]
	s.mu.Unlock()
	if ok {
		return answer, nil
	}
	return s.get(ctx, key)
}

// putAnswer keeps the answer to a challenge, for other machines as well, until withdraw
// is called.
func (s *store) putAnswer(ctx context.Context, key string, answer []byte) (withdraw func(), err error) {
	s.mu.Lock()
	s.answers[key] = answer
	s.mu.Unlock()
	return func() { s.deleteAnswer(key) }, s.put(ctx, key, answer)
}

func (s *store) deleteAnswer(key string) {
	s.mu.Lock()
	delete(s.answers, key)
	s.mu.Unlock()
	if s.inner == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cacheTimeout)
	defer cancel()
	_ = s.inner.Delete(ctx, s.prefix+key) // a token that is left over proves nothing
}
