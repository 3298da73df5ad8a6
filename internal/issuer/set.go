package issuer

import (
	"context"
	"crypto/tls"
	"sync"
)

// An Authority is where certificates come from, and where they are kept.
type Authority struct {
	Directory string // the URL of an ACME directory
	CacheDir  string // if empty, the cache is that of all who name none
}

// A Set has an Issuer for each Authority that was asked for. Make one with NewSet. Its
// methods may be called from any goroutine.
type Set struct {
	options func(Authority) Options

	mu      sync.Mutex // guards what follows
	closed  bool
	issuers map[Authority]*Issuer
}

// NewSet returns an empty Set, whose issuers have what options returns.
func NewSet(options func(Authority) Options) *Set {
	return &Set{options: options, issuers: make(map[Authority]*Issuer)}
}

// Get returns the Issuer for an authority. After Close it is a closed one.
func (s *Set) Get(from Authority) *Issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.issuers[from]; i != nil {
		return i
	}
	i := New(s.options(from))
	if s.closed {
		i.Close()
	}
	s.issuers[from] = i
	return i
}

// Challenge returns the certificate by which one of the issuers answers a TLS-ALPN-01
// challenge for name, or nil.
func (s *Set) Challenge(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	for _, i := range s.all() {
		if cert := i.Challenge(hello, name); cert != nil {
			return cert
		}
	}
	return nil
}

// Token returns the answer of one of the issuers to an HTTP-01 challenge for name, and
// whether there is one.
func (s *Set) Token(ctx context.Context, name, token string) (answer []byte, ok bool) {
	for _, i := range s.all() {
		if answer, ok := i.Token(ctx, name, token); ok {
			return answer, true
		}
	}
	return nil, false
}

// Close closes all issuers.
func (s *Set) Close() {
	for _, i := range s.close() {
		i.Close()
	}
}

// Finish lets what is being ordered end, and nothing more be ordered.
func (s *Set) Finish() {
	var finishing sync.WaitGroup
	for _, i := range s.close() {
		finishing.Go(i.Finish)
	}
	finishing.Wait()
}

// close has issuers that are made later closed from the beginning, and returns those
// that there are.
func (s *Set) close() []*Issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.allLocked()
}

func (s *Set) all() []*Issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allLocked()
}

func (s *Set) allLocked() []*Issuer {
	all := make([]*Issuer, 0, len(s.issuers))
	for _, i := range s.issuers {
		all = append(all, i)
	}
	return all
}
