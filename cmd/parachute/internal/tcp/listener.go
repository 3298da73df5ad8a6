// Package tcp has a listener whose connections behave as those of package net,
// and cost a server of net/http less: in system calls, in work of the scheduler,
// and in deadlines that are set for every request and hardly ever pass.
package tcp

import (
	"math"
	"net"
	"sync"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// Listen listens on a TCP address, as [net.Listen] does, within a Quota; nil: it
// accepts whoever comes.
//
// What it accepts has, besides the methods of a [net.Conn], CloseWrite and
// SetLinger, and a ReadFrom that has the kernel move what an [io.LimitedReader]
// reads from a socket. It differs from a [net.TCPConn] in two ways, and in what
// [ConnContext] says. A write deadline that passes ends only what the client's
// side has taken nothing of for as long as that had given. To set a deadline of
// a connection that is closed may be no error.
//
// The listener owns the pipes that its connections splice through: when it is
// closed, none is kept.
func Listen(address string, q *Quota) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if q == nil {
		q = NewQuota(math.MaxInt, nil)
	}
	bound := &listener{
		Listener: l,
		quota:    q,
		pipes:    pipes{most: pipesFor(descriptors.Limit())},
		closed:   make(chan struct{}),
	}
	bound.judge = func(fd uintptr) { bound.tight = descriptors.IsReserved(fd) }
	return bound, nil
}

// pipesFor returns how many pipes there may be at once where that is the limit of
// descriptors: an eighth of them are for pipes.
func pipesFor(limit int) int {
	if limit <= 0 {
		return pipesMost
	}
	return min(limit/16, pipesMost)
}

type listener struct {
	net.Listener
	quota *Quota
	pipes pipes

	tight bool             // the last connection took one of the descriptors in reserve; used by Accept alone
	judge func(fd uintptr) // sets it

	closing sync.Once
	closed  chan struct{}
}

// Accept is called by one goroutine at a time.
func (l *listener) Accept() (net.Conn, error) {
	if !l.quota.wait(l.isShort, l.closed) {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	accepted, err := l.Listener.Accept()
	if err != nil {
		l.quota.failed(err)
		return nil, err
	}
	tcp := accepted.(*net.TCPConn)
	sys, err := tcp.SyscallConn()
	if err != nil {
		return tcp, nil // whoever reads will see what is the matter
	}
	l.tight = sys.Control(l.judge) == nil && l.tight
	l.quota.enter()
	return newConn(tcp, sys, &l.pipes, l.quota), nil
}

// isShort reports whether another connection would take one of the descriptors in
// reserve. It looks only where the one before did.
func (l *listener) isShort() bool {
	l.tight = l.tight && descriptors.AreShort()
	return l.tight
}

func (l *listener) Close() error {
	l.closing.Do(func() {
		close(l.closed)
		l.pipes.close()
	})
	return l.Listener.Close()
}
