package issuer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// lockTimeout is how long to wait for another machine that orders the same certificate.
const lockTimeout = 5 * time.Minute

// ErrClosed is returned for a Name without a certificate whose Issuer is closed.
var ErrClosed = errors.New("closed")

var errStale = errors.New("its certificate has expired, and no new one could be obtained")

// A Name is a host name for which an Issuer obtains a certificate.
type Name struct {
	issuer  *Issuer
	name    string
	current atomic.Pointer[tls.Certificate]

	users     int           // guarded by the issuer's mu
	abandoned chan struct{} // likewise; closing it ends the goroutine of obtain; nil: there is none

	mu         sync.Mutex    // guards what follows
	pending    bool          // an attempt is running, or waits for a slot
	attempting bool          // autocert.Manager.GetCertificate is running
	failed     time.Time     // when the last attempt failed; zero: it did not
	next       time.Time     // when the next attempt begins, if not pending
	err        error         // of the last attempt, renewal or write to the cache
	changed    chan struct{} // closed when a field above or the certificate changes; nil: nobody waits
}

// Status is the state of a Name.
type Status struct {
	Certificate *tls.Certificate // with its Leaf set; nil: there is none
	Next        time.Time        // about when it is renewed, or the next attempt begins; zero: now
	Err         error            // of the last attempt or renewal
}

// Certificate returns the certificate, or nil while there is none that is
// valid. Its Leaf is set.
func (n *Name) Certificate() *tls.Certificate {
	c := n.current.Load()
	if c == nil || time.Now().After(c.Leaf.NotAfter) {
		return nil
	}
	return c
}

// Status returns the state of n.
func (n *Name) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := Status{Certificate: n.Certificate(), Err: n.err}
	switch {
	case s.Certificate != nil:
		leaf := s.Certificate.Leaf
		s.Next = leaf.NotAfter.Add(-min(leaf.NotAfter.Sub(leaf.NotBefore)/3, 30*24*time.Hour))
	case !n.pending:
		s.Next = n.next
	}
	return s
}

// Release undoes one call of Want. After the last one no new attempt is made.
func (n *Name) Release() {
	n.issuer.mu.Lock()
	defer n.issuer.mu.Unlock()
	if n.users--; n.users == 0 {
		n.abandonLocked()
	}
}

func (n *Name) abandonLocked() {
	if n.abandoned != nil {
		close(n.abandoned)
		n.abandoned = nil
	}
}

// wantLocked counts a call of Want, and starts obtain if there is no certificate. The
// pauses between attempts start again with the shortest.
func (n *Name) wantLocked() {
	n.users++
	if n.issuer.closed || n.Certificate() != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending && n.abandoned != nil {
		return
	}
	n.abandonLocked()
	n.abandoned = make(chan struct{})
	n.next = time.Now()
	if !n.failed.IsZero() {
		n.next = n.failed.Add(firstPause)
	}
	n.pending = !n.next.After(time.Now())
	n.issuer.running.Add(1)
	go n.obtain(n.abandoned, n.next)
}

// obtain attempts to get a certificate at the time at, and after each failure again,
// until it has one, nobody wants it, or the Issuer is closed.
func (n *Name) obtain(dropped <-chan struct{}, at time.Time) {
	defer n.issuer.running.Done()
	for pause := firstPause; n.sleep(dropped, time.Until(at)); pause = min(2*pause, lastPause) {
		err := n.attempt(dropped)
		// Names that failed at the same time are not retried at the same time.
		at = time.Now().Add(max(pause, retryAfter(err)) + rand.N(pause/10))
		n.recordAttempt(dropped, err, at)
		if err == nil || !n.isWanted(dropped) {
			return
		}
		n.issuer.o.Notify(n.name, withNext(err, "is", at))
	}
}

// withNext returns err with about how long it is until the next attempt. The verb is
// "is", or "would be" for who stops to want the certificate now.
func withNext(err error, verb string, next time.Time) error {
	left := max(time.Until(next), 0)
	if left < time.Minute {
		return fmt.Errorf("%w; the next attempt %s in %v", err, verb, left.Round(time.Second))
	}
	return fmt.Errorf("%w; the next attempt %s in %s", err, verb, strings.TrimSuffix(left.Round(time.Minute).String(), "0s"))
}

// sleep waits for d. It reports false if obtain has to end.
func (n *Name) sleep(dropped <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		n.mu.Lock()
		n.pending = true
		n.mu.Unlock()
		return true
	case <-dropped:
	case <-n.issuer.closing:
	}
	return false
}

func (n *Name) isWanted(dropped <-chan struct{}) bool {
	select {
	case <-dropped:
		return false
	case <-n.issuer.closing:
		return false
	default:
		return true
	}
}

// attempt obtains a certificate from the cache or the authority.
func (n *Name) attempt(dropped <-chan struct{}) error {
	i := n.issuer
	if !n.awaitHold(dropped) {
		return ErrClosed
	}
	select {
	case i.slots <- struct{}{}:
	case <-dropped:
		return nil
	case <-i.closing:
		return ErrClosed
	}
	defer func() { <-i.slots }()
	unlock := n.lock()
	defer unlock()
	n.setAttempting(true)
	defer n.setAttempting(false)
	i.transport.forgetErrors(n.name)
	cert, err := i.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName: n.name,
		// Without it the certificate would have an RSA key.
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	if err != nil {
		return i.transport.explain(n.name, err)
	}
	if n.setCertificate(cert); n.Certificate() == nil {
		return errStale // autocert goes on trying by itself
	}
	return nil
}

// awaitHold waits until the authority may be asked, and reports false if that does not
// matter any more. What the cache has is served meanwhile.
func (n *Name) awaitHold(dropped <-chan struct{}) bool {
	hold := n.issuer.o.Hold
	if hold == nil {
		return true
	}
	select {
	case <-hold:
		return true
	default:
	}
	n.issuer.store.load(n)
	select {
	case <-hold:
		return true
	case <-dropped:
	case <-n.issuer.closing:
	}
	return false
}

func (n *Name) setAttempting(attempting bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attempting = attempting
}

// isAttempting reports whether an attempt is running. If not, autocert reads the cache
// in order to renew a certificate.
func (n *Name) isAttempting() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attempting
}

// lock calls Issuer.lock, for at most lockTimeout, and until the Issuer is closed.
func (n *Name) lock() (unlock func()) {
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	forget, open := n.issuer.transport.onClose(cancel)
	if !open {
		return func() {}
	}
	defer forget()
	return n.issuer.lock(ctx, n.name)
}

// setCertificate makes cert the current certificate, unless it is already, or the current
// one expires later.
func (n *Name) setCertificate(cert *tls.Certificate) {
	for {
		old := n.current.Load()
		if old != nil && (bytes.Equal(old.Certificate[0], cert.Certificate[0]) || old.Leaf.NotAfter.After(cert.Leaf.NotAfter)) {
			return
		}
		if n.current.CompareAndSwap(old, cert) {
			n.report(nil)
			return
		}
	}
}

// recordAttempt records how an attempt ended, and when the next one begins if it failed.
// If n was abandoned since, it leaves pending and next alone, for another goroutine may
// be running obtain by now.
func (n *Name) recordAttempt(dropped <-chan struct{}, err error, next time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed = (time.Time{}); err != nil {
		n.failed, n.err = time.Now(), err
	} else {
		next = time.Time{}
	}
	if n.isWanted(dropped) {
		n.pending, n.next = false, next
		n.wakeWaitersLocked()
	}
}

// report records a new certificate, if err is nil, or a failure, and calls Notify.
func (n *Name) report(err error) {
	n.mu.Lock()
	n.err = err
	n.wakeWaitersLocked()
	n.mu.Unlock()
	n.issuer.o.Notify(n.name, err)
}

// wakeWaitersLocked wakes all callers of Await.
func (n *Name) wakeWaitersLocked() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// Await returns the certificate as soon as there is one. It returns an error when ctx
// ends, or when an attempt has failed and no other begins before ctx's deadline.
func (n *Name) Await(ctx context.Context) (*tls.Certificate, error) {
	for {
		cert, changed, err := n.certificateOrChange(ctx)
		if cert != nil || err != nil {
			return cert, err
		}
		select {
		case <-changed:
		case <-n.issuer.closing:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, n.timeoutError(ctx)
		}
	}
}

// certificateOrChange returns the certificate, or an error if there is no use in waiting for
// one, or else a channel that is closed when n has changed.
func (n *Name) certificateOrChange(ctx context.Context) (cert *tls.Certificate, changed <-chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cert := n.Certificate(); cert != nil {
		return cert, nil, nil
	}
	deadline, limited := ctx.Deadline()
	switch {
	case n.pending:
	case n.next.IsZero():
		return nil, nil, cmp.Or(n.err, errStale)
	case limited && n.next.After(deadline):
		return nil, nil, withNext(cmp.Or(n.err, errStale), "would be", n.next)
	}
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return nil, n.changed, nil
}

// timeoutError returns the error for when ctx has ended.
func (n *Name) timeoutError(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.err != nil && !n.pending && !n.next.IsZero():
		return withNext(n.err, "would be", n.next)
	case n.err != nil:
		return n.err
	}
	return fmt.Errorf("the authority has not issued it yet: %w", context.Cause(ctx))
}

// retryAfter returns how long to wait by the Retry-After of an error of the authority.
func retryAfter(err error) time.Duration {
	var problem *acme.Error
	if !errors.As(err, &problem) {
		return 0
	}
	value := problem.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(seconds, int(lastPause/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(time.Until(at), lastPause)
}
