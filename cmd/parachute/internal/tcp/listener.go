// Package tcp has a listener whose connections behave as those of package net,
// and cost a server of net/http less: in system calls, in work of the scheduler,
// and in deadlines that are set for every request and hardly ever pass.
package tcp

import (
	"net"
	"sync"
)

// Listen listens on a TCP address, as [net.Listen] does.
//
// What it accepts has, besides the methods of a [net.Conn], CloseWrite and
// SetLinger, and a ReadFrom that has the kernel move what an [io.LimitedReader]
// reads from a socket. It differs from a [net.TCPConn] in two ways, and in what
// [ConnContext] says. A write deadline that passes ends only what the client's
// side has taken nothing of for as long as that had given. To set a deadline of
// a connection that is closed may be no error.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, pipes: sync.Pool{New: newPipe}}, nil
}

type listener struct {
	net.Listener
	pipes sync.Pool // of *pipe, which its connections splice through; or of nil
}

func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp := accepted.(*net.TCPConn)
	sys, err := tcp.SyscallConn()
	if err != nil {
		return tcp, nil // whoever reads will see what is the matter
	}
	return newConn(tcp, sys, &l.pipes), nil
}
