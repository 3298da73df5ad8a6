// Package resolve finds the addresses of a host name and connects to them, even
// while the name server does not answer. It remembers the last addresses of the
// name, and so can tell which connections are to addresses that it had before.
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
	// Lookup returns the addresses of a host, the best first. If the host has
	// none, its error is a *net.DNSError with IsNotFound; any other error means
	// that the addresses could not be found out. Lookup must return soon when
	// ctx ends. If nil, net.DefaultResolver looks up.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	// Dial opens a connection to an address, "ip:port". If nil, a net.Dialer
	// dials.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Fall is how many probes of an address must fail in a row before Dial
	// stops using it while the name server does not answer. If 0, 1.
	Fall int

	// Logger is warned when the name server does not answer, and when it does
	// not know a name any more that had addresses: once a minute each, at most.
	// If nil, nothing is logged.
	Logger *slog.Logger
}

const (
	// lookupLimit bounds a look-up.
	lookupLimit = 2 * time.Second

	// patience bounds the wait for a look-up while earlier addresses are usable.
	// If the last look-up took longer, there is no wait.
	patience = 100 * time.Millisecond

	// unknownLimit is how long the last addresses are used after the name server
	// has said that there is no such name. It is short because a container's
	// address is soon given to another container.
	unknownLimit = 30 * time.Second

	// reportPause is the time between two reports of one kind.
	reportPause = time.Minute
)

// A Name is a host name with its last known addresses. Every Dial looks it up
// anew. If the look-up fails, Dial uses the addresses of the last answer, except
// those whose probes fail. It does so for as long as the name server does not
// answer, but only for half a minute once the name server has said that there is
// no such name.
//
// Its methods may be called from any goroutine. Whoever made it must call Close.
type Name struct {
	host    string
	o       Options
	running sync.WaitGroup // look-ups; grows only under mu, while closed is false

	current atomic.Pointer[addresses] // that Dial uses; never nil

	mu           sync.Mutex // guards what follows, and changes of current
	closed       bool
	lookup       *lookup            // that is under way, of this Name or one that it follows; nil: none
	answer       []netip.Addr       // of the last look-up that succeeded
	last         outcome            // of the last look-up
	unknownSince time.Time          // when a look-up after answer first said that there is no such name; zero: none did
	failed       map[netip.Addr]int // how many probes of each address of answer have failed in a row
	told         [2]time.Time       // the last reports: that there was no answer, and that the name is unknown
}

// An addresses value is never changed.
type addresses struct {
	list  []netip.Addr
	until time.Time // when list ceases to be usable; zero: never
}

// usable returns the addresses that may be used now.
func (a *addresses) usable() []netip.Addr {
	if !a.until.IsZero() && !time.Now().Before(a.until) {
		return nil
	}
	return a.list
}

// An outcome is the result of a look-up.
type outcome struct {
	began time.Time
	addrs []netip.Addr // in the order to try them in
	err   error
	slow  bool // it took longer than patience
}

// A lookup is one call of Options.Lookup, shared by everybody who needs its result.
type lookup struct {
	owner  *Name // that makes the call
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when owner and followers have the outcome

	followers []*Name     // that get the outcome, too; guarded by owner.mu
	over      atomic.Bool // it takes no more followers
}

// New returns a Name for a host. It has no addresses before the first look-up.
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

// Heir returns another Name of n's host. It knows the addresses that n knows, but
// not how probes have ended, and has no Logger. Closing n does not close it.
func (n *Name) Heir() *Name {
	o := n.o
	o.Logger = nil
	heir := New(n.host, o)
	heir.Follow(n)
	return heir
}

// Close ends all look-ups of n and waits for their end. Calls of Dial and LookUp
// that wait for one return an error, and so do all later calls.
func (n *Name) Close() {
	n.mu.Lock()
	n.closed = true
	if n.lookup != nil && n.lookup.owner == n {
		n.lookup.cancel()
	}
	n.mu.Unlock()
	n.running.Wait()
}

// Dial connects to the port of address at one of the name's addresses. It ignores
// the host in address. It tries the addresses in turn, and the next one in parallel
// if one does not answer soon (RFC 8305). Its errors are *net.OpErrors, as those of
// Options.Dial must be, and wrap a *net.DNSError only if no address was found.
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
	// addrs were from before the look-up, which may have found others by now.
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

// lookUp returns at least one address, or an error. If it returns earlier addresses
// before the look-up has ended, it also returns the look-up; otherwise that is nil.
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
		wait = min(wait, time.Until(deadline)/4) // most of the time is for connecting
	}
	if !n.await(ctx, l, wait) {
		if err := ctx.Err(); err != nil {
			timeout := errors.Is(err, context.DeadlineExceeded)
			return nil, nil, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: n.host, IsTimeout: timeout, IsTemporary: timeout}
		}
		if known = n.current.Load().usable(); len(known) > 0 {
			return known, l, nil
		}
		<-l.done // which lookupLimit bounds
	}
	if known = n.current.Load().usable(); len(known) > 0 {
		return known, nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return nil, nil, cmp.Or(n.last.err, net.ErrClosed)
}

// begin returns the look-up that is under way, or begins one. It also returns how
// long to wait for it if earlier addresses are usable. It returns nil if n is
// closed.
func (n *Name) begin() (*lookup, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, 0
	}
	if n.lookup == nil {
		ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
		n.lookup = &lookup{owner: n, began: time.Now(), cancel: cancel, done: make(chan struct{})}
		n.running.Add(1)
		go n.ask(ctx, n.lookup)
	}
	if n.last.slow {
		return n.lookup, 0
	}
	return n.lookup, patience
}

// await waits for the end of l, until limit has passed or ctx ends. It reports
// whether l has ended.
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

// ask makes the look-up l, in a goroutine of its own.
func (n *Name) ask(ctx context.Context, l *lookup) {
	defer n.running.Done()
	defer l.cancel()
	addrs, err := n.o.Lookup(ctx, n.host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no address", Name: n.host, IsNotFound: true}
	}
	n.finish(l, outcome{l.began, inOrder(addrs), err, time.Since(l.began) > patience})
	close(l.done)
}

// finish ends n's own look-up l: n and l's followers record the outcome. If n is
// closed, the look-up was cancelled, and nobody records anything.
func (n *Name) finish(l *lookup, o outcome) {
	n.mu.Lock()
	n.lookup = nil
	isAnswer := !n.closed
	if isAnswer {
		n.recordLocked(o)
	}
	followers := l.followers
	n.mu.Unlock()
	l.over.Store(true)
	for _, f := range followers {
		f.finishFollowed(l, o, isAnswer)
	}
}

// finishFollowed is like finish, for a look-up that another Name makes and n
// follows. isAnswer is false if that Name was closed.
func (n *Name) finishFollowed(l *lookup, o outcome, isAnswer bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lookup == l {
		n.lookup = nil
	}
	if isAnswer {
		n.recordLocked(o)
	}
}

// Follow gives n the outcome of the last look-up of another Name of the same host,
// and that of the look-up which is under way, so that n need not look up as well. If
// n has no addresses, it takes those of the other Name.
func (n *Name) Follow(other *Name) {
	other.mu.Lock()
	answer, unknownSince, last, l := other.answer, other.unknownSince, other.last, other.lookup
	if l != nil && l.owner == other {
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
		n.recordLocked(last)
	}
	if n.lookup == nil && l != nil && !l.over.Load() {
		n.lookup = l
	}
}

// recordLocked records the outcome of a look-up, unless that of a later one is
// known.
func (n *Name) recordLocked(o outcome) {
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

// updateLocked derives current from the fields below it.
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

// Judge notes whether a probe of addr has passed. The zero Addr stands for all
// addresses, as none could be connected to. While look-ups fail, an address whose
// probes fail is not used, for it may belong to somebody else by now.
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

// IsCurrent reports whether addr is a usable address of the name, as far as is
// known. If it is not, a connection to it must not be used for another request. It
// neither waits nor allocates.
func (n *Name) IsCurrent(addr netip.Addr) bool {
	return slices.Contains(n.current.Load().usable(), addr.Unmap())
}
