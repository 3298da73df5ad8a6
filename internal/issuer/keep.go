package issuer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/hostname"
)

// lockTimeout is how long to wait for another machine that orders the same certificate.
const lockTimeout = orderTimeout

var (
	errNoDNS   = errors.New("a certificate for a wildcard needs TXT records, and there is no way to set them")
	errDropped = errors.New("nobody wants it any more")
)

// keep obtains a certificate for n and renews it, until the Issuer is closed, or nobody
// wants n and it has none.
func (n *Name) keep() {
	defer n.issuer.running.Done()
	for n.awaitWork() {
		if n.isCurrent() {
			n.askWhenToRenew()
			continue
		}
		n.begin()
		err := n.attempt()
		switch {
		case n.issuer.isClosing():
			n.end(nil)
		case err == errDropped: // by now it may be wanted again, and then is pending still
		case err == nil:
			n.end(nil)
		default:
			if next := n.end(err); !n.isUnwanted() {
				n.issuer.o.Notify(n.name, withNext(err, "is", next))
			}
		}
	}
}

// awaitWork waits until there is something to do. It reports false if keep has to end.
func (n *Name) awaitWork() bool {
	for {
		if n.drop() {
			return false
		}
		timer := time.NewTimer(time.Until(n.nextWork()))
		select {
		case <-timer.C:
			return true
		case <-n.nudged:
		case <-n.issuer.closing:
			timer.Stop()
			n.end(nil)
			return false
		}
		timer.Stop()
	}
}

func (n *Name) nextWork() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.current.Load() != nil && n.failed.IsZero() {
		return n.plan.next()
	}
	return n.next
}

// begin records that an attempt begins.
func (n *Name) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending = true
}

// end records how an attempt ended, and returns when the next one begins if it failed.
func (n *Name) end(err error) (next time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending, n.doing, n.next = false, "", time.Time{}
	if err != nil {
		// Names that failed at the same time are not retried at the same time.
		n.next = time.Now().Add(max(n.pause, retryAfter(err)) + rand.N(n.pause/10))
		n.failed, n.err = time.Now(), err
		if !forbidsOrder(err) { // then the authority was not troubled
			n.pause = min(2*n.pause, lastPause)
		}
		if n.Certificate() != nil {
			n.pause = min(n.pause, lastRenewalPause)
		}
	}
	n.wakeWaitersLocked()
	return n.next
}

// askWhenToRenew asks the authority when to renew n's certificate, if it is time to.
func (n *Name) askWhenToRenew() {
	n.mu.Lock()
	cert, p := n.current.Load(), n.plan
	n.mu.Unlock()
	if p.question.After(time.Now()) {
		return
	}
	p.question = time.Now().Add(questionPause)
	if n.issuer.isHeld() {
		p.question = time.Now().Add(minQuestionPause)
	} else {
		_ = n.issuer.within(responseTimeout, func(ctx context.Context) error {
			s, err := n.issuer.suggest(ctx, cert)
			if err == nil && s != nil {
				p = s.obey(p, cert.Leaf, time.Now())
			}
			return err // it is nothing that a certificate depends on
		})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.current.Load() == cert {
		n.plan = p
	}
}

// attempt obtains a certificate from the cache or the authority.
func (n *Name) attempt() error {
	i := n.issuer
	if _ = n.load(); n.isCurrent() { // an error is told when the cache is read again
		return nil
	}
	if _, isWildcard := hostname.CutWildcard(n.name); isWildcard && i.o.DNS.Present == nil {
		return errNoDNS
	}
	if i.o.Hold != nil {
		if err := n.receive(i.o.Hold); err != nil {
			return err
		}
	}
	before := n.pair.orders.Load()
	if err := n.receive(n.pair.turn); err != nil {
		return err
	}
	defer func() { n.pair.turn <- struct{}{} }()
	together := n.together()
	slots := i.slots
	if len(together) > 0 {
		slots = i.dnsSlots
	}
	if err := n.receive(slots); err != nil {
		return err
	}
	defer func() { slots <- struct{}{} }()
	unlock, err := i.lock(n.pair.name)
	if err != nil {
		return err
	}
	defer unlock()
	err = n.load() // another machine may have been faster
	switch {
	case n.isCurrent():
		return nil
	case forbidsOrder(err):
		return err
	case err != nil && err != ErrClosed:
		n.report(err)
	}
	return n.order(together, before)
}

// receive takes what ch has. It returns an error if ch has nothing before the Issuer is
// closed, or n is of no use to anybody.
func (n *Name) receive(ch <-chan struct{}) error {
	for {
		select {
		case <-ch:
			return nil
		case <-n.nudged:
			if n.isUnwanted() {
				return errDropped
			}
		case <-n.issuer.closing:
			return ErrClosed
		}
	}
}

// load makes what the cache has the current certificate, if it is one.
func (n *Name) load() error {
	return n.issuer.within(cacheTimeout, func(ctx context.Context) error {
		cert, err := n.issuer.store.certificate(ctx, n.name)
		if cert != nil {
			n.setCertificate(cert, false)
		}
		return err
	})
}

// order orders a certificate. If together has names, which DNS-01 is to prove, it
// orders one for all of these. If it has none, or if that order fails and n can be
// proven otherwise, it orders one for n alone. before is how many orders its pair had
// when n began to wait for its turn.
func (n *Name) order(together []*Name, before int64) error {
	alone := []*Name{n}
	if len(together) == 0 {
		return n.issuer.obtain(alone, []string{tlsALPN01, http01})
	}
	p := n.pair
	isDone := p.orders.Load() != before && slices.Contains(p.last, n) && p.err != nil
	if !isDone {
		p.last, p.err = together, n.issuer.obtain(together, []string{dns01})
		p.orders.Add(1)
	}
	var byDNS, otherwise unproven
	_, isWildcard := hostname.CutWildcard(n.name)
	if isWildcard || n.issuer.o.DNS.Always || !errors.As(p.err, &byDNS) {
		return p.err
	}
	err := n.issuer.obtain(alone, []string{tlsALPN01, http01})
	if errors.As(err, &otherwise) {
		return slices.Concat(byDNS, otherwise)
	}
	return err
}

// obtain orders one certificate for names, and makes it the current one of each.
func (i *Issuer) obtain(names []*Name, kinds []string) error {
	hosts, replaces := make([]string, len(names)), ""
	for k, n := range names {
		hosts[k] = n.name
		if cert := n.Certificate(); cert != nil && replaces == "" {
			replaces = certificateID(cert.Leaf)
		}
	}
	note := func(what string) {
		for _, n := range names {
			n.note(what)
		}
	}
	return i.within(orderTimeout, func(ctx context.Context) error {
		cert, err := i.order(ctx, hosts, kinds, replaces, note)
		if err != nil {
			return err
		}
		for _, n := range names {
			n.setCertificate(cert, true)
			if err := i.store.putCertificate(context.WithoutCancel(ctx), n.name, cert); err != nil {
				n.report(notKept(err))
			}
		}
		return nil
	})
}

// A pair is a name and its wildcard. While both are kept, and DNS-01 is to prove one of
// them, they are ordered together.
type pair struct {
	name   string        // without "*."
	turn   chan struct{} // has one element, for who orders
	orders atomic.Int64  // by DNS-01

	// Of the last order by DNS-01; for who has the turn.
	last []*Name
	err  error
}

// pairLocked returns the pair that name belongs to.
func (i *Issuer) pairLocked(name string) *pair {
	name, _ = hostname.CutWildcard(name)
	p := i.pairs[name]
	if p == nil {
		p = &pair{name: name, turn: newSlots(1)}
		i.pairs[name] = p
	}
	return p
}

// newSlots returns a channel with n elements.
func newSlots(n int) chan struct{} {
	slots := make(chan struct{}, n)
	for range n {
		slots <- struct{}{}
	}
	return slots
}

// together returns the names that are ordered with n, and n, if DNS-01 is to prove them;
// otherwise none.
func (n *Name) together() []*Name {
	i := n.issuer
	if i.o.DNS.Present == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []*Name
	for _, name := range []string{n.pair.name, "*." + n.pair.name} {
		if other := i.names[name]; other != nil && (other == n || other.isKept) {
			all = append(all, other)
		}
	}
	if len(all) == 1 && n.name == n.pair.name && !i.o.DNS.Always {
		return nil
	}
	return all
}
