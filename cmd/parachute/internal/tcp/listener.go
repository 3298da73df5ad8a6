// Package tcp has a listener of TCP connections that are not more than file descriptors
// are there for.
package tcp

import (
	"context"
	"math"
	"net"
	"sync"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/socket"
)

// Listen listens on a TCP address, as [net.Listen] does. It accepts no more
// connections than q allows; if q is nil, there is no limit. Its connections are
// [socket.Conn]s.
//
// The listener owns the pipes that its connections splice through. Close closes
// those that are idle.
func Listen(address string, q *Quota) (net.Listener, error) {
	config := net.ListenConfig{}
	inheritKeepAlive(&config)
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	if q == nil {
		q = NewQuota(math.MaxInt, nil)
	}
	bound := &listener{
		Listener: l,
		quota:    q,
		pipes:    socket.NewPipes(maxPipes(descriptors.Limit()), descriptors.IsReserved),
		closed:   make(chan struct{}),
	}
	bound.checkReserve = func(fd uintptr) { bound.onReserve = descriptors.IsReserved(fd) }
	return bound, nil
}

// maxPipes returns how many pipes there may be if limit is the limit of file
// descriptors. An eighth of the descriptors, two for each pipe, are for pipes.
func maxPipes(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return limit / 16
}

type listener struct {
	net.Listener
	quota *Quota
	pipes *socket.Pipes

	onReserve    bool             // the last connection got a reserved descriptor; used by Accept alone
	checkReserve func(fd uintptr) // sets onReserve

	closing sync.Once
	closed  chan struct{}
}

// Accept is called by one goroutine at a time.
func (l *listener) Accept() (net.Conn, error) {
	if !l.quota.wait(l.areShort, l.closed) {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	accepted, err := l.Listener.Accept()
	if err != nil {
		l.quota.reportShortage(err)
		return nil, err
	}
	tcp := accepted.(*net.TCPConn)
	sys, err := tcp.SyscallConn()
	if err != nil {
		return tcp, nil // the first Read will return the error
	}
	l.onReserve = sys.Control(l.checkReserve) == nil && l.onReserve
	l.quota.acquire()
	return socket.NewConn(tcp, l.pipes, l.quota.release), nil
}

// areShort reports whether another connection would get a reserved descriptor.
// It checks that only if the last connection got one.
func (l *listener) areShort() bool {
	l.onReserve = l.onReserve && descriptors.AreShort()
	return l.onReserve
}

func (l *listener) Close() error {
	l.closing.Do(func() {
		close(l.closed)
		l.pipes.Close()
	})
	return l.Listener.Close()
}
