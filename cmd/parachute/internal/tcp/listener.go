// Package tcp has a listener of TCP connections that are not more than file descriptors
// are there for, and that can stop to accept them without a client noticing.
package tcp

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/socket"
)

// A Listener is a TCP socket that listens. Connections are accepted from it by its
// Acceptors. Its connections are [socket.Conn]s.
//
// The Listener owns the pipes that its connections splice through. Close and Finish
// close those that are idle.
type Listener struct {
	socket listening
	addr   net.Addr
	accept func() (accepted, error) // from socket
	quota  *Quota
	pipes  *socket.Pipes

	arriveTimeout time.Duration // see arriveTimeout

	checkReserve func(fd uintptr) // sets onReserve
	close        func() error     // closes socket and pipes, once

	accepting sync.Mutex // held by Accept; guards the next two
	reserve   descriptors.Reserve
	onReserve bool // the last connection got a reserved descriptor

	mu          sync.Mutex // guards the fields below
	acceptor    *Acceptor  // the newest
	isFinishing bool       // Finish was called: the acceptor ends when the queue is empty
	finishBy    time.Time  // when it ends all the same; zero: never
	arriveBy    time.Time  // until when it waits for clients that are connecting
	isClosed    bool
	admit       func() error // undoes Suspend; nil: there is none to undo
}

// listening is a socket that listens.
type listening interface {
	syscall.Conn
	SetDeadline(t time.Time) error
	Close() error
}

// accepted is a connection that was accepted.
type accepted interface {
	net.Conn
	syscall.Conn
}

// acceptFrom returns how package net accepts from l.
func acceptFrom(l *net.TCPListener) func() (accepted, error) {
	return func() (accepted, error) { return l.AcceptTCP() }
}

// Listen listens on a TCP address, as [net.Listen] does. No more connections are
// accepted than q allows; if q is nil, there is no limit.
func Listen(address string, q *Quota) (*Listener, error) {
	config := net.ListenConfig{}
	config.SetMultipathTCP(false) // it takes no filter, see ignoreNewcomers
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return NewListener(l.(*net.TCPListener), q), nil
}

// NewListener returns a Listener of a socket that listens already, as Listen does. The
// socket is the Listener's from then on.
func NewListener(l *net.TCPListener, q *Quota) *Listener {
	if q == nil {
		q = NewQuota(math.MaxInt, nil)
	}
	inheritOptions(l)
	bound := &Listener{
		addr:          l.Addr(),
		arriveTimeout: arriveTimeout,
		quota:         q,
		pipes:         socket.NewPipes(maxPipes(descriptors.Limit()), descriptors.IsReserved),
	}
	bound.socket, bound.accept = openQueue(l)
	deferAccept(bound.socket, true)
	bound.close = sync.OnceValue(func() error {
		bound.pipes.Close()
		return bound.socket.Close()
	})
	bound.checkReserve = func(fd uintptr) { bound.onReserve = bound.reserve.Has(fd) }
	return bound
}

// maxPipes returns how many pipes there may be if limit is the limit of file
// descriptors. An eighth of the descriptors, two for each pipe, are for pipes.
func maxPipes(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return limit / 16
}

// Addr returns the address that l listens on.
func (l *Listener) Addr() net.Addr { return l.addr }

// SyscallConn gives access to the socket.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }

// Close closes the socket. The system resets the connections that nobody has accepted.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.isClosed = true
	if a := l.acceptor; a != nil {
		a.stop()
	}
	l.mu.Unlock()
	return l.close()
}

// Finish closes the socket when all connections were accepted that clients have opened,
// whatever the quota, and returns then. It waits for clients that have opened one and sent
// nothing yet, or are about to open it, but no longer than arriveTimeout. From the beginning
// of Finish on, clients that begin to connect get no reply, as far as the system can do that:
// they ask again a second later, and reach whoever listens on the address by then. Where it
// cannot, as many are accepted as come within finishTimeout. If nobody accepts connections,
// Finish closes the socket at once.
func (l *Listener) Finish() error {
	l.acceptRest()
	return l.Close()
}

// Suspend is Finish, but for that it leaves the socket open: clients are refused until
// Resume. No other process may have the socket. An error says that the system cannot do
// that; clients wait then for the next Acceptor.
func (l *Listener) Suspend() error {
	l.acceptRest()
	admit, err := refuse(l.socket)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit = admit
	return nil
}

// Resume undoes Suspend, unless somebody else listens at the address by now. Connections
// are accepted by the next Acceptor.
func (l *Listener) Resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admit == nil {
		return nil
	}
	admit := l.admit
	l.isFinishing, l.admit = false, nil
	deferAccept(l.socket, true)
	return admit()
}

// Leave closes l, and leaves those who wait in the queue to others that have the socket. It
// returns when whoever calls Accept has dealt with the last connection that they got, and
// has asked for the next.
func (l *Listener) Leave() error {
	l.endAccept(false, time.Time{})
	return l.Close()
}

// acceptRest returns when all connections were accepted that clients have opened, and the
// Acceptor has stopped.
func (l *Listener) acceptRest() {
	var by time.Time // the queue becomes no longer, so that it has an end
	if !ignoreNewcomers(l.socket) {
		by = time.Now().Add(finishTimeout)
	}
	deferAccept(l.socket, false)
	l.endAccept(true, by)
}

// endAccept returns when Accept has said that there are no connections any more: with rest,
// after those in the queue, or after by, unless that is zero.
func (l *Listener) endAccept(rest bool, by time.Time) {
	l.mu.Lock()
	a := l.acceptor
	if l.isClosed || a == nil || a.isStopped() {
		l.mu.Unlock()
		return
	}
	l.isFinishing, l.finishBy, l.arriveBy = rest, by, time.Now().Add(l.arriveTimeout)
	a.wake()
	l.mu.Unlock()
	<-a.stopped
}

// An Acceptor accepts the connections of a Listener. Close leaves the socket of the
// Listener open: clients wait in its queue for the next Acceptor, or for another process
// that has the same socket.
type Acceptor struct {
	listener *Listener
	woken    chan struct{} // closed when Accept is to look what it shall do
	waking   sync.Once
	stopped  chan struct{} // closed when nothing is to be accepted any more
	stopping sync.Once
}

// NewAcceptor closes the Acceptor that there was, and returns another one.
func (l *Listener) NewAcceptor() *Acceptor {
	a := &Acceptor{listener: l, woken: make(chan struct{}), stopped: make(chan struct{})}
	l.mu.Lock()
	if l.acceptor != nil {
		l.acceptor.stop()
	}
	l.mu.Unlock()
	l.accepting.Lock() // the other's Accept has returned
	defer l.accepting.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acceptor = a
	if l.isClosed {
		a.stop()
	}
	l.socket.SetDeadline(time.Time{})
	return a
}

// Addr returns the address of the Listener.
func (a *Acceptor) Addr() net.Addr { return a.listener.Addr() }

// Close ends Accept. It does not close the socket.
func (a *Acceptor) Close() error {
	a.listener.mu.Lock()
	defer a.listener.mu.Unlock()
	a.stop()
	return nil
}

// stop is called with listener.mu held.
func (a *Acceptor) stop() {
	a.stopping.Do(func() { close(a.stopped) })
	a.wake()
}

// wake is called with listener.mu held. It ends waits of Accept.
func (a *Acceptor) wake() {
	a.waking.Do(func() { close(a.woken) })
	if a.listener.acceptor == a {
		a.listener.socket.SetDeadline(time.Unix(1, 0))
	}
}

func (a *Acceptor) isStopped() bool { return isDone(a.stopped) }
func (a *Acceptor) isWoken() bool   { return isDone(a.woken) }

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Accept returns the next connection. It is called by one goroutine at a time. When the
// Acceptor was closed, or the Listener closed or finished, the error is [net.ErrClosed].
func (a *Acceptor) Accept() (net.Conn, error) {
	l := a.listener
	l.accepting.Lock()
	defer l.accepting.Unlock()
	settled := false // nobody was connecting before the last look into the queue
	for {
		mayWait := !a.isWoken() && l.quota.wait(l.areShort, a.woken)
		if !mayWait && !a.mayFinish() {
			return nil, a.end()
		}
		accepted, err := l.accept()
		switch {
		case err == nil:
			return l.wrap(accepted), nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			switch {
			case mayWait:
			case !settled: // who is connecting may be in the queue the next moment
				settled = !l.mayArrive()
			case !isWaiting(l.socket):
				return nil, a.end()
			}
			continue
		case !mayWait:
			a.end() // others want the address, so nobody waits until it may succeed
		}
		l.quota.reportShortage(err)
		return nil, err
	}
}

const (
	// settleTime is how often a Listener that finishes looks whether connections are being
	// opened still.
	settleTime = 5 * time.Millisecond

	// finishTimeout bounds how long connections are accepted when the Listener finishes
	// and cannot have newcomers ignored.
	finishTimeout = 500 * time.Millisecond

	// arriveTimeout bounds how long clients may take that are connecting, or have connected
	// and sent nothing, when the Listener finishes. A server that stops gives a client as
	// long to send its first request.
	arriveTimeout = 500 * time.Millisecond
)

// mayFinish reports whether a, which was woken, is still to accept what is there. If so, it
// bounds how long the next connection may take.
func (a *Acceptor) mayFinish() bool {
	l := a.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	isLate := !l.finishBy.IsZero() && time.Now().After(l.finishBy)
	if !l.isFinishing || a.isStopped() || isLate {
		return false
	}
	l.socket.SetDeadline(time.Now().Add(settleTime))
	return true
}

// mayArrive reports whether l, which finishes, is to wait for another client.
func (l *Listener) mayArrive() bool {
	l.mu.Lock()
	by := l.arriveBy
	l.mu.Unlock()
	return time.Now().Before(by) && isConnecting(l.addr)
}

// end accepts nothing any more, and has Finish return, if that waits.
func (a *Acceptor) end() error {
	a.Close()
	return &net.OpError{Op: "accept", Net: "tcp", Addr: a.Addr(), Err: net.ErrClosed}
}

// wrap returns an accepted connection as one that counts. accepting must be held.
func (l *Listener) wrap(c accepted) net.Conn {
	sys, err := c.SyscallConn()
	if err != nil {
		return c // the first Read will return the error
	}
	l.onReserve = sys.Control(l.checkReserve) == nil && l.onReserve
	l.quota.acquire()
	return socket.NewConn(c, l.pipes, l.quota.release)
}

// areShort reports whether another connection would get a reserved descriptor.
// It checks that only if the last connection got one.
func (l *Listener) areShort() bool {
	l.onReserve = l.onReserve && descriptors.AreShort()
	return l.onReserve
}
