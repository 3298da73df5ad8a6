// Package issuer obtains certificates from an ACME authority (RFC 8555), and renews
// them. Names are proven by TLS-ALPN-01 or HTTP-01, or by DNS-01 where the Issuer has a
// way to set TXT records, as wildcards need it. What it has obtained is kept in a cache,
// in the form that autocert gives it, and served even if the cache fails.
package issuer

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/acmecache"
)

// Options configure an Issuer.
type Options struct {
	// Directory is the URL of the authority; "": Let's Encrypt's.
	Directory string

	// Email is the account's contact address; "": none.
	Email string

	// ExternalAccount binds the account to an existing one of the authority; nil:
	// it is not bound.
	ExternalAccount *acme.ExternalAccountBinding

	// Cache keeps certificates, the account's key, and answers to challenges;
	// nil: they are kept in memory. If it has a method
	//
	//	Lock(ctx context.Context, name string) (unlock func(), err error)
	//
	// the Issuer calls it before it orders a certificate for name. An error of the Cache
	// or of that method with a method
	//
	//	ForbidsOrder() bool
	//
	// that returns true has it order nothing, and try again a minute later.
	Cache autocert.Cache

	// DNS is how TXT records are set. Without a Present in it, there is no way.
	DNS DNS

	// Transport carries requests to the authority; nil: [http.DefaultTransport].
	Transport http.RoundTripper

	// UserAgent is sent to the authority.
	UserAgent string

	// Hold, if not nil, has nothing sent to the authority before it is closed.
	// Certificates from the Cache are there all the same.
	Hold <-chan struct{}

	// Notify, if not nil, is called when name has a new certificate, with a nil
	// err, and when one could not be obtained or stored. An empty name stands for
	// the account. Notify must not block, nor call the Issuer.
	Notify func(name string, err error)
}

const (
	// maxOrders is how many orders may run at once of those that DNS-01 proves, and
	// of the others: a provider of DNS that hangs holds up no other name.
	maxOrders = 20

	// firstPause is the pause after the first failure, which doubles up to
	// lastPause, or to lastRenewalPause while there is a certificate to renew.
	firstPause       = time.Minute + time.Second
	lastPause        = 6 * time.Hour
	lastRenewalPause = 50 * time.Minute
)

// An Issuer obtains certificates for the names that are wanted. Its methods may be
// called from any goroutine.
//
// A certificate is renewed when the authority suggests it (RFC 9773), or else when a
// third of its lifetime is left, or 30 days, until Close, even if its name is not wanted
// any more.
type Issuer struct {
	o         Options
	transport *transport
	account   account
	store     *store
	renewals  renewals
	slots     chan struct{} // has an element for each order that may begin
	dnsSlots  chan struct{} // likewise, for those that DNS-01 proves
	closing   chan struct{}
	running   sync.WaitGroup // grows only with mu held and closed false

	mu     sync.Mutex // guards what follows
	closed bool
	names  map[string]*Name // that were ever wanted
	pairs  map[string]*pair // by the name without "*."
}

// New returns an Issuer. It sends nothing to the authority yet.
func New(o Options) *Issuer {
	if o.Directory == "" {
		o.Directory = acme.LetsEncryptURL
	}
	if o.Notify == nil {
		o.Notify = func(string, error) {}
	}
	i := &Issuer{
		o:         o,
		transport: newTransport(o.Transport),
		slots:     newSlots(maxOrders),
		dnsSlots:  newSlots(maxOrders),
		closing:   make(chan struct{}),
		names:     make(map[string]*Name),
		pairs:     make(map[string]*pair),
	}
	i.store = &store{inner: o.Cache, prefix: acmecache.Prefix(o.Directory), answers: make(map[string][]byte)}
	return i
}

// Want is WantAll for one name.
func (i *Issuer) Want(name string) *Name { return i.WantAll([]string{name})[name] }

// WantAll returns the Name for each of names, which must be in lower case and ASCII, and
// starts to obtain a certificate for it if there is none: at once, or a minute after the
// last attempt if that failed. A name and its wildcard that are wanted together are
// ordered together. The caller must call Release once for each name.
func (i *Issuer) WantAll(names []string) map[string]*Name {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make(map[string]*Name, len(names))
	for _, name := range names {
		n := i.names[name]
		if n == nil {
			n = &Name{issuer: i, name: name, pair: i.pairLocked(name), nudged: make(chan struct{}, 1)}
			i.names[name] = n
		}
		all[name] = n
		n.wantLocked()
	}
	return all
}

// Has reports whether there is a certificate for name, here or in the cache.
func (i *Issuer) Has(ctx context.Context, name string) bool {
	if n := i.lookup(name); n != nil && n.Certificate() != nil {
		return true
	}
	cert, err := i.store.certificate(ctx, name)
	return err == nil && cert != nil
}

// lookup returns the Name for name, or nil if Want was never called for it.
func (i *Issuer) lookup(name string) *Name {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.names[name]
}

// Close ends all attempts and renewals, and returns when no goroutine of the Issuer is
// left. TXT records that were set are removed before, for which it waits a few seconds
// at most. Names still return their certificates.
func (i *Issuer) Close() {
	i.beginClosing()
	i.transport.close()
	i.running.Wait()
}

// Finish is Close, but lets attempts and renewals that are under way end by themselves.
// Those who wait for their certificates get them.
func (i *Issuer) Finish() {
	i.beginClosing()
	i.running.Wait()
	i.transport.close()
}

// beginClosing lets no attempt or renewal begin any more.
func (i *Issuer) beginClosing() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.closed = true
		close(i.closing)
	}
}

// isClosing reports whether Close or Finish was called.
func (i *Issuer) isClosing() bool {
	select {
	case <-i.closing:
		return true
	default:
		return false
	}
}

// isHeld reports whether the authority may not be asked yet.
func (i *Issuer) isHeld() bool {
	select {
	case <-i.o.Hold:
		return false
	default:
		return i.o.Hold != nil
	}
}

// within calls f with a context that ends after limit, or when the Issuer is closed. It
// returns ErrClosed if that has happened.
func (i *Issuer) within(limit time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	forget, isOpen := i.transport.onClose(cancel)
	if !isOpen {
		return ErrClosed
	}
	defer forget()
	return f(ctx)
}

// lock keeps other processes that share the cache from ordering a certificate for
// name. If it fails, the order is made anyway, unless err is returned: two certificates
// are better than none.
func (i *Issuer) lock(name string) (unlock func(), err error) {
	locker, ok := i.o.Cache.(interface {
		Lock(ctx context.Context, name string) (unlock func(), err error)
	})
	if !ok {
		return func() {}, nil
	}
	err = i.within(lockTimeout, func(ctx context.Context) (err error) {
		unlock, err = locker.Lock(ctx, i.store.prefix+name)
		return err
	})
	switch {
	case err == nil:
		return unlock, nil
	case forbidsOrder(err):
		return nil, err
	case err != ErrClosed:
		i.o.Notify(name, err)
	}
	return func() {}, nil
}
