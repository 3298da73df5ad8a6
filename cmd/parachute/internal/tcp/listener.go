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
		pipes:    pipes{max: maxPipes(descriptors.Limit())},
		closed:   make(chan struct{}),
	}
	bound.checkReserve = func(fd uintptr) { bound.onReserve = descriptors.IsReserved(fd) }
	return bound, nil
}

// maxPipes returns how many pipes there may be at once where that is the limit of
// descriptors: an eighth of them are for pipes.
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

	onReserve    bool             // the last connection took one of the descriptors in reserve; used by Accept alone
	checkReserve func(fd uintptr) // sets it

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
		return tcp, nil // whoever reads will see what is the matter
	}
	l.onReserve = sys.Control(l.checkReserve) == nil && l.onReserve
	l.quota.acquire()
	return newConn(tcp, sys, &l.pipes, l.quota), nil
}

// areShort reports whether another connection would take one of the descriptors in
// reserve. It looks only where the one before did.
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
