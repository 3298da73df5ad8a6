// Package upstream carries exchanges with one address: over HTTP/1 by a Pool, over
// HTTP/2 by an H2C, and over either, as the request wants, by a Secure. All three
// have the same methods.
//
// A Pool keeps connections and lends each to one exchange at a time. The
// request is written and the answer's head is read on the goroutine that asks,
// the answer's body on the one that reads it. Only a request body that is too
// large to be sent in one piece has a goroutine, for as long as it lasts.
//
// Who may end an exchange early (the client, the Pool, the one who reads the
// body) closes its connection: whatever blocks on it then returns, and the
// first reason given is the one reported.
package upstream

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// Options say where a Pool's target is and how long it is waited for.
type Options struct {
	// Network and Address are what Dial is called with: "tcp" and
	// "host:port", or "unix" and a path.
	Network, Address string

	// Dial opens a connection; nil: a net.Dialer. A connection that is not a
	// [syscall.Conn] takes a tenth of a millisecond longer to be used again.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Vital says that connections may be made of the file descriptors that are
	// kept in reserve. Else they are closed again, and the exchange fails with
	// the reason Shortage.
	Vital bool

	// IsCurrent reports whether a connection to addr may be used for one more
	// exchange; nil: every one may. It neither waits nor calls the Pool. Where
	// it does not, the connection is closed when nobody uses it, as CloseStale
	// says.
	IsCurrent func(addr netip.Addr) bool

	// MaxRequests is how many requests a connection may be used for; 0: any
	// number. Those count that were sent again on another connection, and one
	// that ends in an upgrade. If it is 1, requests say Connection: close.
	MaxRequests int

	// TLS is the configuration for a target that speaks it; nil: plain.
	// Where it has no ServerName, the host of Address is verified.
	TLS *tls.Config

	// DialTimeout bounds opening a connection, the TLS handshake included;
	// 0: 5 s, negative: none.
	DialTimeout time.Duration

	// ResponseTimeout runs from the last byte of the request written to the
	// head of the final answer; a 1xx starts it anew. Before that, it is how
	// long the target may take no byte of what it is sent, if its answer has
	// not begun. 0 or negative: none. A gRPC call over HTTP/2 has none: its head
	// may come with the first message that there is to tell, and grpc-timeout is
	// for the rest. Over HTTP/1 there are no such calls, whatever a client says.
	ResponseTimeout time.Duration

	// ReadBuffer is how many bytes of an answer are read at once, at least 16;
	// 0: 4 KiB. Heads may be longer. It is for a Pool alone.
	ReadBuffer int

	// WriteTimeout is how long a client may let an answer's bytes wait in the
	// WriteTo of a body; 0: 60 s, negative: none.
	WriteTimeout time.Duration
}

const (
	// defaultKeepAlive is how long a connection is kept for reuse where its target
	// does not say. It is below Node's five seconds.
	defaultKeepAlive = 4 * time.Second

	// freshLimit is how long a connection may have been idle for a request that
	// cannot be sent twice: that its target gives it up just when the request
	// arrives is noticed too late. It is half of the shortest idle limit.
	freshLimit = 500 * time.Millisecond

	// maxIdle bounds the connections kept for reuse. What is above it in a
	// busy hour would be closed within seconds anyway.
	maxIdle = 256
)

// A Pool exchanges requests for answers with one target. Its methods may be
// called from any goroutine.
type Pool struct {
	o Options

	// running counts the goroutines of the Pool: body senders, the sweep, the
	// look for exchanges that last, and those that notice the end of a
	// request's context. It grows only with mu held and closed false.
	running sync.WaitGroup

	mu     sync.Mutex    // guards the fields below, and links of exchanges
	closed bool          // for good
	active *exchange     // the newest of those that are between enter and leave
	idle   []*targetConn // the one used last at the end
	sweep  *time.Timer   // closes what is idle for too long; nil: not set

	look    *time.Timer // calls lookForLasting; nil: never set yet
	looking bool        // look is set
}

// New returns a Pool for the target that o describes. Nothing is dialled yet.
func New(o Options) *Pool {
	o.setDefaults()
	o.setServerName()
	return &Pool{o: o}
}

// setServerName makes TLS, if there is any, a copy that verifies somebody.
func (o *Options) setServerName() {
	if o.TLS == nil {
		return
	}
	o.TLS = o.TLS.Clone()
	if o.TLS.ServerName == "" {
		host, _, err := net.SplitHostPort(o.Address)
		if err != nil {
			host = o.Address
		}
		o.TLS.ServerName = host
	}
}

func (o *Options) setDefaults() {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = 4 << 10
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = time.Minute
	}
}

// dial opens a connection that has to be closed by the caller.
func (o *Options) dial(ctx context.Context) (net.Conn, error) {
	if !o.Vital && descriptors.AreShort() {
		return nil, descriptors.ErrReserved // or the reserve would be gone while many wait to be connected
	}
	raw, err := o.Dial(ctx, o.Network, o.Address)
	if err == nil && !o.Vital && descriptors.TakesReserve(raw) {
		raw.Close()
		return nil, descriptors.ErrReserved
	}
	return raw, err
}

// addrOf returns the IP address at the other end of raw, where IsCurrent is to
// judge it; invalid: there is none.
func (o *Options) addrOf(raw net.Conn) netip.Addr {
	if o.IsCurrent == nil {
		return netip.Addr{}
	}
	remote, _ := raw.RemoteAddr().(*net.TCPAddr)
	return remote.AddrPort().Addr().Unmap() // nil is no address
}

// CloseIdle closes the connections that nobody uses. Exchanges go on.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	closeAll(idle)
}

// CloseStale closes the connections that nobody uses and that are not current
// any more, as Options.IsCurrent has it. Those in use are closed afterwards.
func (p *Pool) CloseStale() {
	var stale []*targetConn
	p.mu.Lock()
	kept := p.idle[:0]
	for _, c := range p.idle {
		if p.isCurrent(c) {
			kept = append(kept, c)
		} else {
			stale = append(stale, c)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	closeAll(stale)
}

// isSpent reports whether a connection that was used for so many requests may not be
// used for another.
func (o *Options) isSpent(requests int) bool { return o.MaxRequests > 0 && requests >= o.MaxRequests }

// isCurrent reports whether c may be used for one more exchange.
func (p *Pool) isCurrent(c *targetConn) bool {
	return p.o.IsCurrent == nil || p.o.IsCurrent(c.addr)
}

// Close ends every exchange with the reason Cut, also while its request waits
// for a connection or its answer for the client, and returns when no goroutine
// of the Pool is left. Of those, only one that sends a request body can keep
// it waiting: until that body's Read returns. Later exchanges fail with the
// reason Cut. It may be called more than once.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	if p.sweep != nil && p.sweep.Stop() {
		p.running.Done()
	}
	p.sweep = nil
	if p.looking && p.look.Stop() {
		p.running.Done()
	}
	p.looking = false
	active := p.activeLocked()
	p.mu.Unlock()

	closeAll(idle)
	for _, x := range active {
		x.cut(Cut, errPoolClosed)
	}
	p.running.Wait()
}

func (p *Pool) cutRequests(g *Exchanges) (cut int64) {
	p.mu.Lock()
	g.cut = true
	active := p.activeLocked()
	p.mu.Unlock()
	for _, x := range active {
		if x.among == g && !x.isStream() && x.cut(Cut, errTooLate) {
			cut++
		}
	}
	return cut
}

func (p *Pool) activeLocked() []*exchange {
	var active []*exchange
	for x := p.active; x != nil; x = x.next {
		active = append(active, x)
	}
	return active
}

// enter makes x one of the active exchanges. It reports false if the Pool is
// closed, or the Exchanges that x is of cut.
func (p *Pool) enter(x *exchange) bool {
	p.mu.Lock()
	isOpen := !p.closed && x.among.isOpen()
	if isOpen {
		p.scheduleLookLocked()
		if p.active != nil {
			p.active.prev = x
		}
		x.next = p.active
		p.active = x
	}
	p.mu.Unlock()
	return isOpen
}

// leave undoes enter and, unless the Pool is closed, keeps c for reuse if it is
// current. A nil c is one that cannot be used again.
func (p *Pool) leave(x *exchange, c *targetConn) {
	p.mu.Lock()
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		p.active = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	}
	x.prev, x.next = nil, nil
	if c != nil && !p.closed && len(p.idle) < maxIdle && p.isCurrent(c) && !p.o.isSpent(c.requests) {
		p.keepLocked(c)
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.raw.Close()
	}
}

func (p *Pool) keepLocked(c *targetConn) {
	c.since = time.Now()
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.running.Add(1)
		p.sweep = time.AfterFunc(c.limit, p.closeExpired)
	}
}

// run starts f as a goroutine of the Pool. It reports false if the Pool is
// closed; f is then not called.
func (p *Pool) run(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.running.Go(f)
	return true
}

// closeExpired closes what has been idle for too long, and sets the timer
// that called it for the next time something will be.
func (p *Pool) closeExpired() {
	defer p.running.Done()
	var expired []*targetConn
	p.mu.Lock()
	if !p.closed {
		now, next := time.Now(), time.Duration(math.MaxInt64)
		kept := p.idle[:0]
		for _, c := range p.idle {
			left := c.limit - now.Sub(c.since)
			if left <= 0 {
				expired = append(expired, c)
				continue
			}
			kept = append(kept, c)
			next = min(next, left)
		}
		clear(p.idle[len(kept):])
		p.idle = kept
		p.sweep = nil
		if len(kept) != 0 {
			p.running.Add(1)
			p.sweep = time.AfterFunc(next, p.closeExpired)
		}
	}
	p.mu.Unlock()
	closeAll(expired)
}

// take returns a connection that was used before and seems to be alive, or
// nil; a bare one is looked at when it is asked. If it turns out to be lost, a
// repeatable request needs another attempt, but any other is lost, too, and so
// gets none that is not fresh.
func (p *Pool) take(q *request) *targetConn {
	for {
		c, usable := p.pop(q.repeatable)
		if c == nil {
			return nil
		}
		if usable && (c.isBare() || c.quiet()) {
			c.reused = true
			return c
		}
		c.raw.Close()
	}
}

// pop removes the newest idle connection, unless there is none or it is too
// old for what cannot be repeated; the others are older still.
func (p *Pool) pop(repeatable bool) (c *targetConn, usable bool) {
	p.mu.Lock()
	if last := len(p.idle) - 1; last >= 0 {
		now := time.Now()
		idle := now.Sub(p.idle[last].since)
		if repeatable || idle <= freshLimit {
			c = p.idle[last]
			c.since = now
			p.idle[last] = nil
			p.idle = p.idle[:last]
			usable = idle < c.limit && p.isCurrent(c)
		}
	}
	p.mu.Unlock()
	return c, usable
}

// dial opens a connection.
func (p *Pool) dial(ctx context.Context) (*targetConn, error) {
	raw, err := p.o.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newTargetConn(raw, p.o.ReadBuffer)
	c.addr = p.o.addrOf(raw)
	if p.o.TLS == nil {
		return c, nil
	}
	if err := c.secure(ctx, p.o.TLS); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// withTimeout is [context.WithTimeout] where there is a limit.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit > 0 {
		return context.WithTimeout(ctx, limit)
	}
	return context.WithCancel(ctx)
}

func closeAll(conns []*targetConn) {
	for _, c := range conns {
		c.raw.Close()
	}
}
