// Package issuer obtains certificates from an ACME authority (RFC 8555), and renews
// them. autocert does that work; this package decides when, keeps every certificate
// that autocert gets, and serves it even if the cache fails.
package issuer

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
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
	// the Issuer calls it before it orders a certificate for name.
	Cache autocert.Cache

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
	// maxOrders is how many orders may run at once.
	maxOrders = 20

	// firstPause is the pause after the first failure, which doubles up to
	// lastPause. It is longer than the minute for which autocert repeats a failure.
	firstPause = time.Minute + time.Second
	lastPause  = 6 * time.Hour
)

// An Issuer obtains certificates for the names that are wanted. Its methods may be
// called from any goroutine.
//
// autocert renews a certificate when a third of its lifetime is left, or 30 days,
// until Close, even if its name is not wanted any more.
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
		slots:     make(chan struct{}, maxOrders),
		closing:   make(chan struct{}),
		names:     make(map[string]*Name),
	}
	i.store = &store{issuer: i, inner: o.Cache, prefix: acmecache.Prefix(o.Directory), tokens: make(map[string][]byte)}
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
	i.manager.HTTPHandler(nil) // enables HTTP-01
	return i
}

// Want returns the Name for name, which must be in lower case and ASCII, and starts to
// obtain a certificate for it if there is none: at once, or a minute after the last
// attempt if that failed. The caller must call Release once.
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

// lookup returns the Name for name, or nil if Want was never called for it.
func (i *Issuer) lookup(name string) *Name {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.names[name]
}

// Challenge returns the certificate that answers the TLS-ALPN-01 challenge for name
// (RFC 8737), or nil if there is no such challenge.
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

// IsChallenge reports whether hello begins a TLS-ALPN-01 challenge (RFC 8737,
// section 3).
func IsChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto
}

// CutToken returns the token in the request target of an HTTP-01 challenge (RFC 8555,
// section 8.3), and whether it is one.
func CutToken(target string) (token string, ok bool) {
	return strings.CutPrefix(target, "/.well-known/acme-challenge/")
}

// Token returns the answer to the HTTP-01 challenge (RFC 8555, section 8.3) for name
// with that token, and reports whether there is such a challenge.
func (i *Issuer) Token(ctx context.Context, name, token string) (answer []byte, ok bool) {
	if i.lookup(name) == nil || !isToken(token) {
		return nil, false
	}
	answer, err := i.store.Get(ctx, token+acmecache.TokenSuffix)
	return answer, err == nil
}

// isToken reports whether s is valid as a token: base64url (RFC 8555, section 8.1).
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

// Close ends all attempts and renewals, and returns when no goroutine of the Issuer is
// left. An order that waits between two requests may delay that by a few seconds.
// Names still return their certificates.
func (i *Issuer) Close() {
	i.beginClosing()
	i.transport.close()
	i.running.Wait()
}

// Finish is Close, but lets attempts and renewals that are under way end by themselves.
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

// addRunning adds 1 to i.running, for which Close waits, or reports false if Close was
// called. The caller must call i.running.Done.
func (i *Issuer) addRunning() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.running.Add(1)
	return true
}

// lock keeps other processes that share the cache from ordering a certificate for
// name. If it fails, the order is made anyway: two certificates are better than none.
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
