// Package tcp has a listener whose connections behave as those of package net
// do, but are cheaper for a server of net/http: they need fewer system calls,
// less work of the scheduler, and set fewer deadlines.
package tcp

import (
	"context"
	"math"
	"net"
	"sync"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// Listen listens on a TCP address, as [net.Listen] does. It accepts no more
// connections than q allows; if q is nil, there is no limit.
//
// Besides the methods of a [net.Conn], its connections have CloseWrite,
// SetLinger, and a ReadFrom that splices from a socket in an [io.LimitedReader].
// They differ from a [net.TCPConn] as [ConnContext] describes, and in two more
// ways. When a write deadline passes, a write fails only if the client has taken
// nothing for as long as the deadline was ahead when it was set. Setting a
// deadline on a closed connection may succeed.
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
		pipes:    pipes{max: maxPipes(descriptors.Limit())},
		closed:   make(chan struct{}),
	}
	bound.checkReserve = func(fd uintptr) { bound.onReserve = descriptors.IsReserved(fd) }
	return bound, nil
}

// maxPipes returns how many pipes there may be if limit is the limit of file
// descriptors. An eighth of the descriptors, two for each pipe, are for pipes.
func maxPipes(limit int) int {
	if limit <= 0 {
		return pipesPerUser
	}
	return min(limit/16, pipesPerUser)
}

type listener struct {
	net.Listener
	quota *Quota
	pipes pipes

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
	return newConn(tcp, sys, &l.pipes, l.quota), nil
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
		l.pipes.close()
	})
	return l.Listener.Close()
}
