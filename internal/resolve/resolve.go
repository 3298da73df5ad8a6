// Package resolve finds the addresses of a host name and connects to them, also
// while the name server is away. It knows what the name led to last, and so can
// tell which connections lead where it does not lead any more.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how a Name finds its addresses, and connects to them.
type Options struct {
	// Lookup returns the addresses of a host, the best first. Its error is a
	// *net.DNSError with IsNotFound where the host has none; any other one says
	// that nobody knows. It returns soon when ctx ends. If nil,
	// net.DefaultResolver does.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// Dial opens a connection to an address, "ip:port". If nil, a net.Dialer
	// does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Fall is how many probes of an address have to fail in a row for it to be
	// given up while the name server is away. If 0, 1.
	Fall int

	// Logger is told, once a minute each, that the name server is away and that
	// it does not know the name, where that had addresses before. If nil,
	// nothing is logged.
	Logger *slog.Logger
}

const (
	// lookupLimit is how long a look-up may take.
	lookupLimit = 2 * time.Second

	// patience is how long a look-up is waited for by who knows addresses from
	// before. A name server that took longer last time is not waited for at all.
	patience = 100 * time.Millisecond

	// unknownLimit is how long the addresses of a name outlive it. Where names
	// are given to containers, so are addresses, and soon to others.
	unknownLimit = 30 * time.Second

	// reportPause is the time between two reports of one kind.
	reportPause = time.Minute
)

// A Name is a host name, and what is known of it. Every Dial looks it up anew.
// While that gives no answer, what the last answer said is used: all the time
// that the name server is away, but only what probes do not speak against; and
// for half a minute after the name server has said that there is no such name.
//
// Its methods may be called from any goroutine. Whoever made it must call Close.
type Name struct {
	host    string
	o       Options
	running sync.WaitGroup // look-ups; grows only under mu, while closed is false

	current atomic.Pointer[addresses] // that are dialled; never nil

	mu           sync.Mutex // guards what follows, and changes of current
	closed       bool
	lookup       *lookup            // that is under way, if only for a Name that this one follows; nil: none
	answer       []netip.Addr       // the last one
	last         outcome            // of the last look-up
	unknownSince time.Time          // when the name had no addresses first, since answer; zero: it always had
	failed       map[netip.Addr]int // how many probes of those of answer have failed in a row
	told         [2]time.Time       // when it was reported last that it is away, and that it is unknown
}

// A set of addresses is never changed.
type addresses struct {
	list  []netip.Addr
	until time.Time // they may be used; zero: for ever
}

// usable returns those that may be used now.
func (a *addresses) usable() []netip.Addr {
	if !a.until.IsZero() && !time.Now().Before(a.until) {
		return nil
	}
	return a.list
}

// An outcome is what came of a look-up.
type outcome struct {
	began time.Time
	addrs []netip.Addr // in the order that they are to be tried in
	err   error
	slow  bool // it took longer than patience
}

// A lookup is one question to the name server, for all who want to know.
type lookup struct {
	of     *Name // that asks
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when all know what came of it

	followers []*Name     // who want to know, too; guarded by the mu of of
	over      atomic.Bool // they are being told
}

// New returns the Name of a host, of which nothing is known yet.
func New(host string, o Options) *Name {
	if o.Lookup == nil {
		o.Lookup = lookupNetIP
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	o.Fall = cmp.Or(o.Fall, 1)
	n := &Name{host: host, o: o, failed: make(map[netip.Addr]int)}
	n.current.Store(new(addresses))
	return n
}

func lookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// Heir returns another Name of n's host, which knows what n knows, but for how
// probes have ended, and tells no Logger. It does not end with n.
func (n *Name) Heir() *Name {
	o := n.o
	o.Logger = nil
	heir := New(n.host, o)
	heir.Follow(n)
	return heir
}

// Close ends all look-ups, and returns when none is left. Those who wait for one
// get an error, as everybody does from now on who wants to dial.
func (n *Name) Close() {
	n.mu.Lock()
	n.closed = true
	if n.lookup != nil && n.lookup.of == n {
		n.lookup.cancel()
	}
	n.mu.Unlock()
	n.running.Wait()
}

// Dial connects to the port of address, at an address of the name: at the first
// that can be connected to, as connect says. The host in address does not matter.
// Every error is a *net.OpError, with a *net.DNSError where there is no address, and
// in no other case.
func (n *Name) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	addrs, l, err := n.lookUp(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	conn, failed := n.connect(ctx, network, addrs, port)
	if failed == nil || l == nil {
		return conn, failed
	}
	// The name may lead elsewhere by now.
	if n.await(ctx, l, lookupLimit-time.Since(l.began)) {
		if latest := n.current.Load().usable(); len(latest) > 0 && !slices.Equal(latest, addrs) {
			return n.connect(ctx, network, latest, port)
		}
	}
	return nil, failed
}

// LookUp returns the addresses of the name as Dial would use them.
func (n *Name) LookUp(ctx context.Context) ([]netip.Addr, error) {
	addrs, _, err := n.lookUp(ctx)
	return addrs, err
}

// lookUp returns at least one address. A look-up that it did not wait for to the
// end, since there are some from before, is still under way; it is nil otherwise.
func (n *Name) lookUp(ctx context.Context) ([]netip.Addr, *lookup, error) {
	known := n.current.Load().usable()
	l, limit := n.begin()
	if l == nil {
		return nil, nil, net.ErrClosed
	}
	if len(known) == 0 {
		limit = lookupLimit
	}
	wait := limit - time.Since(l.began)
	if deadline, ok := ctx.Deadline(); ok && len(known) > 0 {
		wait = min(wait, time.Until(deadline)/4) // time is needed to connect, too
	}
	if !n.await(ctx, l, wait) {
		if err := ctx.Err(); err != nil {
			timeout := errors.Is(err, context.DeadlineExceeded)
			return nil, nil, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: n.host, IsTimeout: timeout, IsTemporary: timeout}
		}
		if known = n.current.Load().usable(); len(known) > 0 {
			return known, l, nil
		}
		<-l.done // its time is up
	}
	if known = n.current.Load().usable(); len(known) > 0 {
		return known, nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return nil, nil, cmp.Or(n.last.err, net.ErrClosed)
}

// begin returns the look-up that is under way, which it begins unless there is
// one, and how long it is waited for by who knows addresses. It returns nil if n
// is closed.
func (n *Name) begin() (*lookup, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, 0
	}
	if n.lookup == nil {
		ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
		n.lookup = &lookup{of: n, began: time.Now(), cancel: cancel, done: make(chan struct{})}
		n.running.Add(1)
		go n.ask(ctx, n.lookup)
	}
	if n.last.slow {
		return n.lookup, 0
	}
	return n.lookup, patience
}

// await waits for the end of a look-up, but no longer than limit or until ctx
// ends. It reports whether it has ended.
func (n *Name) await(ctx context.Context, l *lookup, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// ask is the goroutine of a look-up.
func (n *Name) ask(ctx context.Context, l *lookup) {
	defer n.running.Done()
	defer l.cancel()
	addrs, err := n.o.Lookup(ctx, n.host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no address", Name: n.host, IsNotFound: true}
	}
	n.learn(l, outcome{l.began, inOrder(addrs), err, time.Since(l.began) > patience})
	close(l.done)
}

// learn keeps what came of n's own look-up, and tells those who follow. An n that
// is closed has given it up, and then nothing came of it.
func (n *Name) learn(l *lookup, o outcome) {
	n.mu.Lock()
	n.lookup = nil
	isAnswer := !n.closed
	if isAnswer {
		n.learnLocked(o)
	}
	followers := l.followers
	n.mu.Unlock()
	l.over.Store(true)
	for _, f := range followers {
		f.hear(l, o, isAnswer)
	}
}

// hear is learn for one who follows.
func (n *Name) hear(l *lookup, o outcome, isAnswer bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lookup == l {
		n.lookup = nil
	}
	if isAnswer {
		n.learnLocked(o)
	}
}

// Follow has n know what came of the last look-up of another Name of the same host,
// and what will come of one that is under way, so that it need not ask, too. If n
// knows no address, it goes on with those that the other one has.
func (n *Name) Follow(other *Name) {
	other.mu.Lock()
	answer, unknownSince, last, l := other.answer, other.unknownSince, other.last, other.lookup
	if l != nil && l.of == other {
		l.followers = append(l.followers, n)
	} else {
		l = nil
	}
	other.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.answer) == 0 {
		n.answer, n.unknownSince = answer, unknownSince
	}
	if last.began.After(n.last.began) {
		n.learnLocked(last)
	}
	if n.lookup == nil && l != nil && !l.over.Load() {
		n.lookup = l
	}
}

// learnLocked keeps what came of a look-up, unless a later one is known.
func (n *Name) learnLocked(o outcome) {
	if n.closed || o.began.Before(n.last.began) {
		return
	}
	n.last = o
	if o.err == nil {
		n.answer, n.unknownSince = o.addrs, time.Time{}
		for addr := range n.failed {
			if !slices.Contains(n.answer, addr) {
				delete(n.failed, addr)
			}
		}
	} else if isUnknown(o.err) && n.unknownSince.IsZero() && len(n.answer) > 0 {
		n.unknownSince = time.Now()
	}
	n.updateLocked()
	n.reportLocked()
}

// isUnknown reports whether err says that there is no such name.
func isUnknown(err error) bool {
	failure, ok := errors.AsType[*net.DNSError](err)
	return ok && failure.IsNotFound
}

// updateLocked makes current what follows from the rest.
func (n *Name) updateLocked() {
	next := &addresses{list: n.answer}
	if n.last.err != nil {
		next.list = slices.DeleteFunc(slices.Clone(n.answer), n.isGivenUpLocked)
	}
	if !n.unknownSince.IsZero() {
		next.until = n.unknownSince.Add(unknownLimit)
	}
	n.current.Store(next)
}

func (n *Name) isGivenUpLocked(addr netip.Addr) bool { return n.failed[addr] >= n.o.Fall }

func (n *Name) reportLocked() {
	if n.last.err == nil || len(n.answer) == 0 || n.o.Logger == nil {
		return
	}
	told, message, limit := &n.told[0], "the name server gives no answer for the name of a target", ""
	if isUnknown(n.last.err) {
		told, message, limit = &n.told[1], "the name server does not know the name of a target any more", " for a moment"
	}
	now := time.Now()
	if !told.IsZero() && now.Sub(*told) < reportPause {
		return
	}
	*told = now
	usable := n.current.Load().usable()
	if len(usable) > 0 {
		message += ": its last addresses are used" + limit
	} else {
		message += ", nor is any of its last addresses of use"
	}
	n.o.Logger.Warn(message, "addresses", usable, "error", n.last.err)
}

// Judge says how a probe ended that went to addr; the zero Addr: that could not
// be connected to any. While the name server is away, an address is not used any
// more whose probes fail: it may be somebody else's by now.
func (n *Name) Judge(addr netip.Addr, passed bool) {
	addr = addr.Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, known := range n.answer {
		switch {
		case addr.IsValid() && known != addr:
		case passed:
			delete(n.failed, known)
		default:
			n.failed[known]++
		}
	}
	if n.last.err != nil {
		n.updateLocked()
	}
}

// IsCurrent reports whether the name leads to addr, as far as is known: a
// connection to another address may be finished with, but not be used again. It
// neither waits nor allocates.
func (n *Name) IsCurrent(addr netip.Addr) bool {
	return slices.Contains(n.current.Load().usable(), addr.Unmap())
}
