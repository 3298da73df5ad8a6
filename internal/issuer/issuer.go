// Package issuer obtains certificates from an authority that speaks ACME (RFC
// 8555), and keeps them fresh. autocert does that work; this package says when,
// sees every certificate that comes of it, and does not lose one to a cache
// that fails.
package issuer

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// Options say whom an Issuer asks, and where it keeps what it gets.
type Options struct {
	// Directory is the URL of the authority; "": Let's Encrypt's.
	Directory string

	// Email is told to the authority; "": none is.
	Email string

	// ExternalAccount binds the account to one that the authority knows by
	// other means; nil: it is not bound.
	ExternalAccount *acme.ExternalAccountBinding

	// Cache keeps certificates, the account's key, and answers to challenges;
	// nil: they are kept in memory. If it has a method
	//
	//	Lock(ctx context.Context, name string) (unlock func(), err error)
	//
	// that is called before a certificate for name is ordered.
	Cache autocert.Cache

	// Transport carries requests to the authority; nil: [http.DefaultTransport].
	Transport http.RoundTripper

	// UserAgent is told to the authority.
	UserAgent string

	// Notify, if not nil, is called when name has a new certificate (err is
	// nil), and when one was not to be had or could not be kept. An empty name
	// stands for the account. It must not block, nor call the Issuer.
	Notify func(name string, err error)
}

const (
	// maxOrders bounds the orders that run at once.
	maxOrders = 20

	// firstPause comes after the first failure, and doubles up to lastPause. It
	// is longer than the minute for which autocert remembers a failure.
	firstPause = time.Minute + time.Second
	lastPause  = 6 * time.Hour
)

// An Issuer obtains certificates for the names that are wanted. Its methods may
// be called from any goroutine.
//
// A certificate is renewed when a third of its life is left, or 30 days, which
// autocert does by itself: also for a name that is not wanted any more, until
// Close.
type Issuer struct {
	o         Options
	manager   *autocert.Manager
	transport *transport
	store     *store
	slots     chan struct{} // one for each order that may run
	closing   chan struct{}
	running   sync.WaitGroup // grows only with mu held and closed false

	mu     sync.Mutex // guards what follows
	closed bool
	names  map[string]*Name // that were ever wanted
}

// New returns an Issuer. Nothing is asked of the authority yet.
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
		slots:     make(chan struct{}, maxOrders),
		closing:   make(chan struct{}),
		names:     make(map[string]*Name),
	}
	i.store = &store{issuer: i, inner: o.Cache, prefix: keyPrefix(o.Directory), tokens: make(map[string][]byte)}
	i.manager = &autocert.Manager{
		Prompt:                 autocert.AcceptTOS,
		Cache:                  i.store,
		Email:                  o.Email,
		ExternalAccountBinding: o.ExternalAccount,
		Client: &acme.Client{
			DirectoryURL: o.Directory,
			HTTPClient:   &http.Client{Transport: i.transport},
			RetryBackoff: i.transport.backoff,
			UserAgent:    o.UserAgent,
		},
	}
	i.manager.HTTPHandler(nil) // which has it offer HTTP-01 as well
	return i
}

// keyPrefix keeps what one authority has issued from being taken for another's.
func keyPrefix(directory string) string {
	u, err := url.Parse(directory)
	if directory == acme.LetsEncryptURL || err != nil {
		return ""
	}
	return u.Host + "+"
}

// Want returns name, which is in lower case and ASCII, and sees to it that a
// certificate for it is obtained: at once, or a minute after the last attempt
// if that failed. Whoever wants it calls Release once.
func (i *Issuer) Want(name string) *Name {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.names[name]
	if n == nil {
		n = &Name{issuer: i, name: name}
		i.names[name] = n
	}
	n.wantLocked()
	return n
}

// Has reports whether there is a certificate for name, here or in the cache.
func (i *Issuer) Has(ctx context.Context, name string) bool {
	if n := i.lookup(name); n != nil && n.Certificate() != nil {
		return true
	}
	data, err := i.store.getInner(ctx, name)
	if err != nil {
		return false
	}
	cert, err := parse(data, name)
	return err == nil && time.Now().Before(cert.Leaf.NotAfter)
}

// lookup returns a name that was ever wanted, or nil.
func (i *Issuer) lookup(name string) *Name {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.names[name]
}

// Challenge returns the certificate that answers a TLS-ALPN-01 challenge (RFC
// 8737), or nil if there is no such challenge for the name that the hello asks
// for.
func (i *Issuer) Challenge(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	if i.lookup(name) == nil {
		return nil
	}
	asked := *hello
	asked.ServerName = name
	cert, err := i.manager.GetCertificate(&asked)
	if err != nil {
		return nil
	}
	return cert
}

// Token returns the answer to the HTTP-01 challenge for name (RFC 8555, section
// 8.3) with that token, and reports whether there is one.
func (i *Issuer) Token(ctx context.Context, name, token string) (answer []byte, ok bool) {
	if i.lookup(name) == nil || !isToken(token) {
		return nil, false
	}
	answer, err := i.store.Get(ctx, token+tokenSuffix)
	return answer, err == nil
}

// isToken reports whether s may be a token: base64url, RFC 8555, section 8.1.
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

// Close ends what goes on. When it returns no goroutine of the Issuer is left;
// an order that waits for the authority's next answer may delay that by a few
// seconds. Certificates can still be had from the names.
func (i *Issuer) Close() {
	i.mu.Lock()
	if !i.closed {
		i.closed = true
		close(i.closing)
	}
	i.mu.Unlock()
	i.transport.close()
	i.running.Wait()
}

// addRunning counts something that Close waits for, and reports false if it is too
// late for that. Whoever it counted calls i.running.Done.
func (i *Issuer) addRunning() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.running.Add(1)
	return true
}

// lock keeps others that share the cache from ordering a certificate for name.
// Where that cannot be had the order is made all the same: two are better than
// none.
func (i *Issuer) lock(ctx context.Context, name string) (unlock func()) {
	locker, ok := i.o.Cache.(interface {
		Lock(ctx context.Context, name string) (unlock func(), err error)
	})
	if !ok {
		return func() {}
	}
	unlock, err := locker.Lock(ctx, i.store.prefix+name)
	if err != nil {
		i.o.Notify(name, err)
		return func() {}
	}
	return unlock
}
