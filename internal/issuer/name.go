package issuer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// ErrClosed is returned for a Name without a certificate whose Issuer is closed.
var ErrClosed = errors.New("closed")

var errStale = errors.New("its certificate has expired, and no new one could be obtained")

// A Name is a host name, or a wildcard, for which an Issuer obtains a certificate.
type Name struct {
	issuer  *Issuer
	name    string
	pair    *pair
	current atomic.Pointer[tls.Certificate]
	nudged  chan struct{} // has room for one: what keep waits for has changed

	users  int  // guarded by the issuer's mu
	isKept bool // likewise: the goroutine of keep runs

	mu      sync.Mutex    // guards what follows
	pending bool          // an attempt is running, or waits for its turn
	failed  time.Time     // when the last attempt failed; zero: it did not
	next    time.Time     // when the next attempt begins, if not pending and the last one failed, or there was none
	pause   time.Duration // after the next failure
	plan    plan          // for the current certificate
	err     error         // of the last attempt or write to the cache
	doing   string        // what the attempt waits for
	changed chan struct{} // closed when a field above or the certificate changes; nil: nobody waits
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
	case s.Certificate != nil && n.failed.IsZero():
		s.Next = n.plan.due
	case !n.pending:
		s.Next = n.next
	}
	return s
}

// Release undoes one call of Want. After the last one no new attempt is made, unless to
// renew a certificate.
func (n *Name) Release() {
	n.issuer.mu.Lock()
	defer n.issuer.mu.Unlock()
	if n.users--; n.users == 0 {
		n.nudge()
	}
}

// wantLocked counts a call of Want, and has the Name kept. If there is no certificate, the
// pauses between attempts start again with the shortest.
func (n *Name) wantLocked() {
	n.users++
	if n.issuer.closed {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Certificate() == nil && !n.pending {
		n.pause, n.next = firstPause, time.Now()
		if !n.failed.IsZero() {
			n.next = n.failed.Add(firstPause)
		}
		n.pending = !n.next.After(time.Now())
		n.nudge()
	}
	if !n.isKept {
		n.isKept = true
		n.issuer.running.Add(1)
		go n.keep()
	}
}

// nudge has keep look again at what it waits for.
func (n *Name) nudge() {
	select {
	case n.nudged <- struct{}{}:
	default:
	}
}

// isUnwanted reports whether n is of no use to anybody: it has no certificate, and is not
// wanted.
func (n *Name) isUnwanted() bool {
	n.issuer.mu.Lock()
	defer n.issuer.mu.Unlock()
	return n.users == 0 && n.Certificate() == nil
}

// drop has keep end if n is of no use to anybody, and reports whether it has to. Another
// call of Want keeps n again.
func (n *Name) drop() bool {
	n.issuer.mu.Lock()
	defer n.issuer.mu.Unlock()
	if n.users > 0 || n.Certificate() != nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isKept, n.pending = false, false
	return true
}

// setCertificate makes cert the current certificate, unless it is already. One that was
// not just issued must not be older than the current one.
func (n *Name) setCertificate(cert *tls.Certificate, isNew bool) {
	n.mu.Lock()
	old := n.current.Load()
	if old != nil && (bytes.Equal(old.Certificate[0], cert.Certificate[0]) || !isNew && old.Leaf.NotBefore.After(cert.Leaf.NotBefore)) {
		n.mu.Unlock()
		return
	}
	pause := firstQuestion + spread(firstQuestion)
	if isNew && old != nil && n.plan.window != (window{}) {
		pause = questionPause // one who suggests to renew at once, again and again, is not asked as often
	}
	n.plan = planFor(cert.Leaf, time.Now(), pause)
	if earliest := time.Now().Add(time.Until(cert.Leaf.NotAfter) / 10); isNew && earliest.After(n.plan.wake) {
		n.plan.wake = earliest // it is issued with little left of its lifetime, and the next would be so, too
	}
	n.failed, n.pause = time.Time{}, firstPause
	n.current.Store(cert)
	n.mu.Unlock()
	n.report(nil)
	n.nudge() // where it came with an order of another name
}

// isCurrent reports whether n has a certificate that need not be renewed yet.
func (n *Name) isCurrent() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Certificate() != nil && n.plan.wake.After(time.Now())
}

// report records a new certificate, if err is nil, or what is the matter with one, and
// calls Notify.
func (n *Name) report(err error) {
	n.mu.Lock()
	n.err = err
	n.wakeWaitersLocked()
	n.mu.Unlock()
	n.issuer.o.Notify(n.name, err)
}

// note records what an attempt waits for; "": for nothing more.
func (n *Name) note(doing string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doing = doing
}

// wakeWaitersLocked wakes all callers of Await.
func (n *Name) wakeWaitersLocked() {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

// Await returns the certificate as soon as there is one. It returns an error when ctx
// ends, when an attempt has failed and no other begins before ctx's deadline, or when the
// Issuer is closed. What is under way when it is finished is waited for.
func (n *Name) Await(ctx context.Context) (*tls.Certificate, error) {
	for {
		cert, changed, err := n.certificateOrChange(ctx)
		switch {
		case cert != nil:
			return cert, nil
		case err != nil && n.issuer.isClosing():
			return nil, ErrClosed
		case err != nil:
			return nil, err
		}
		select {
		case <-changed: // keep sees to that, at its end as well
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
	case n.doing != "":
		return fmt.Errorf("the authority is not asked for it yet: %s", n.doing)
	}
	return fmt.Errorf("the authority has not issued it yet: %w", context.Cause(ctx))
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

// retryAfter returns how long to wait by the Retry-After of an error of the authority.
func retryAfter(err error) time.Duration {
	var problem *acme.Error
	if !errors.As(err, &problem) {
		return 0
	}
	after, _ := parseRetryAfter(problem.Header.Get("Retry-After"))
	return min(after, lastPause)
}

// parseRetryAfter returns what a Retry-After says (RFC 9110, section 10.2.3), and reports
// whether it says anything.
func parseRetryAfter(value string) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(seconds, int(24*time.Hour/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(value)
	return time.Until(at), err == nil
}
