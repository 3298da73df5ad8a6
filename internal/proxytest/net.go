// Package proxytest holds what tests of a reverse proxy need to run in one
// process and in fake time: a network in memory, servers on it that behave
// well or byte for byte as told, a client, and a certificate authority. For
// tests that run a program beside them it builds that, and listens to it. Only
// tests import it.
//
// Everything here may be used inside a testing/synctest bubble: whatever
// waits is durably blocked. A Net belongs to the bubble it is used in and
// must not be shared with goroutines outside.
package proxytest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shahnk19/parachute/internal/pipe"
)

// A Net is a TCP network in memory. The zero Net is ready for use, and several
// may exist side by side without knowing of each other. All methods may be
// called from any goroutine; none starts one.
//
// Addresses are "host:port". A host is an IP address, "localhost" or empty
// (both mean 127.0.0.1), or a name: names need no registration and stand for
// addresses in 198.18.0.0/15, each for one of its own.
type Net struct {
	mu        sync.Mutex // guards all fields, and those of endpoints and listeners
	endpoints map[netip.AddrPort]*endpoint
	hosts     map[string]netip.Addr
	listened  int // ports given out by Listen
	dialed    int // ports given out by Dial
}

// An endpoint is what a Net knows of one address that was ever mentioned.
type endpoint struct {
	addr      netip.AddrPort
	listener  *listener // nil: nobody listens
	blackhole bool
	conns     int
	dials     int
}

// The ports that are given out are kept apart, so that a client's port is
// never mistaken for a server's.
const (
	firstServerPort = 30001
	firstClientPort = 40001
	portRange       = 9999
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Listen announces address. Port 0 stands for a free port, which the
// listener's Addr tells. An address in use is an error that wraps
// [syscall.EADDRINUSE]; it is free again when the listener is closed.
//
// Dialing does not wait for Accept. Closing the listener resets connections
// that were not accepted yet and leaves the others alone.
func (n *Net) Listen(address string) (net.Listener, error) {
	l, err := n.listen(address)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (n *Net) listen(address string) (*listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, err := n.endpointLocked(address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: err}
	}
	if e.addr.Port() == 0 {
		e = n.freeLocked(e.addr.Addr())
	}
	if e.listener != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: tcpAddr(e.addr),
			Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	e.listener = &listener{net: n, at: e, open: make(map[*pipe.Conn]struct{})}
	e.listener.changed.L = &n.mu
	return e.listener, nil
}

// Dial connects to address; it has the signature of [net.Dialer.DialContext].
// The client's address is 127.0.0.1 with a port from 40001 on. Every error is
// a [*net.OpError]: where nobody listens it wraps [syscall.ECONNREFUSED], and
// when ctx has ended it wraps ctx's error, a time-out if that was a deadline.
//
// The connection holds up to 64 KiB that were written and not yet read, each
// way, and behaves like a [*net.TCPConn] on Linux, CloseRead, CloseWrite and
// deadlines included; closing it with received data unread resets the other
// side. Two things differ: a write that follows the other side's Close always
// fails, where the system's first one would seem to succeed, and there is no
// file descriptor, hence no SyscallConn.
func (n *Net) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return n.dial(ctx, loopback, network, address)
}

// DialFrom is Dial over tcp for a client whose address is from.
func (n *Net) DialFrom(ctx context.Context, from netip.Addr, address string) (net.Conn, error) {
	return n.dial(ctx, from, "tcp", address)
}

func (n *Net) dial(ctx context.Context, from netip.Addr, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	e, err := n.endpointLocked(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	remote := tcpAddr(e.addr)
	if e.blackhole {
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
	}
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: err}
	}
	e.dials++
	if e.listener == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote,
			Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	e.conns++
	local := tcpAddr(netip.AddrPortFrom(from, uint16(firstClientPort+n.dialed%portRange)))
	n.dialed++
	client, server := pipe.New(local, remote)
	client.OnClose = func() { n.hungUp(e) }
	e.listener.backlog = append(e.listener.backlog, server)
	e.listener.changed.Signal()
	return client, nil
}

// Blackhole makes every later dial to address wait until its context ends,
// whether somebody listens there or not. It panics if address is malformed.
func (n *Net) Blackhole(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mentionLocked(address).blackhole = true
}

// Conns tells how many connections to address are open now: those that were
// dialed and that the dialing side has not closed, whatever the other side
// did. It panics if address is malformed.
func (n *Net) Conns(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mentionLocked(address).conns
}

// Dials tells how many connections to address were ever made or refused.
// Dials that ended with their context do not count. It panics if address is
// malformed.
func (n *Net) Dials(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mentionLocked(address).dials
}

func (n *Net) hungUp(e *endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e.conns--
}

func (n *Net) mentionLocked(address string) *endpoint {
	e, err := n.endpointLocked(address)
	if err != nil {
		panic(fmt.Sprintf("proxytest: %v", err))
	}
	return e
}

func (n *Net) endpointLocked(address string) (*endpoint, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "invalid port", Addr: address}
	}
	return n.atLocked(netip.AddrPortFrom(n.resolveLocked(host), uint16(port))), nil
}

func (n *Net) resolveLocked(host string) netip.Addr {
	if host == "" || host == "localhost" {
		return loopback
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip
	}
	host = strings.ToLower(host)
	ip, known := n.hosts[host]
	if !known {
		if n.hosts == nil {
			n.hosts = make(map[string]netip.Addr)
		}
		i := len(n.hosts) + 1
		ip = netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)})
		n.hosts[host] = ip
	}
	return ip
}

func (n *Net) atLocked(addr netip.AddrPort) *endpoint {
	e := n.endpoints[addr]
	if e == nil {
		if n.endpoints == nil {
			n.endpoints = make(map[netip.AddrPort]*endpoint)
		}
		e = &endpoint{addr: addr}
		n.endpoints[addr] = e
	}
	return e
}

// freeLocked returns an endpoint of ip where nobody listens or, when there is
// none left, the last one it looked at.
func (n *Net) freeLocked(ip netip.Addr) *endpoint {
	var e *endpoint
	for range portRange {
		e = n.atLocked(netip.AddrPortFrom(ip, uint16(firstServerPort+n.listened%portRange)))
		n.listened++
		if e.listener == nil {
			break
		}
	}
	return e
}

func tcpAddr(a netip.AddrPort) *net.TCPAddr { return net.TCPAddrFromAddrPort(a) }

// A listener is what Listen returns. Its fields are guarded by its Net's mu.
type listener struct {
	net     *Net
	at      *endpoint
	changed sync.Cond // backlog or closed
	backlog []*pipe.Conn
	open    map[*pipe.Conn]struct{} // accepted and not closed by the one who did
	closed  bool
}

func (l *listener) Accept() (net.Conn, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for len(l.backlog) == 0 && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return nil, l.error("accept", net.ErrClosed)
	}
	c := l.backlog[0]
	l.backlog = l.backlog[1:]
	l.open[c] = struct{}{}
	c.OnClose = func() { l.left(c) }
	return c, nil
}

func (l *listener) left(c *pipe.Conn) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	delete(l.open, c)
}

func (l *listener) Close() error {
	l.net.mu.Lock()
	if l.closed {
		l.net.mu.Unlock()
		return l.error("close", net.ErrClosed)
	}
	l.closed = true
	l.at.listener = nil
	l.changed.Broadcast()
	unaccepted := l.backlog
	l.net.mu.Unlock()
	for _, c := range unaccepted {
		c.Reset()
	}
	return nil
}

// kill closes l and all that it accepted, as the system does for a process
// that is killed. It may be called more than once.
func (l *listener) kill() {
	l.Close()
	l.net.mu.Lock()
	accepted := slices.Collect(maps.Keys(l.open))
	l.net.mu.Unlock()
	for _, c := range accepted {
		c.Close()
	}
}

func (l *listener) Addr() net.Addr { return tcpAddr(l.at.addr) }

func (l *listener) error(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: l.Addr(), Err: err}
}

// listenFor is listen for a test, which ends here if that is impossible. It
// also returns the address to dial: the host as given, and the port.
func (n *Net) listenFor(t testing.TB, address string) (*listener, string) {
	t.Helper()
	l, err := n.listen(address)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := net.SplitHostPort(address)
	return l, net.JoinHostPort(host, strconv.Itoa(int(l.at.addr.Port())))
}
