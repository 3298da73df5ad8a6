//go:build amd64 || arm64

package tcp

import (
	"errors"
	"net"
	"os"

	"github.com/shahnk19/parachute/internal/socket"
)

// openQueue returns the socket of l in a form that it can be accepted from at less cost,
// and how. l is closed then. If that is not possible, it is l itself.
func openQueue(l *net.TCPListener) (listening, func() (accepted, error)) {
	bound, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return l, acceptFrom(l)
	}
	file, err := l.File()
	if err != nil {
		return l, acceptFrom(l)
	}
	sys, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return l, acceptFrom(l)
	}
	l.Close()
	queue := socket.NewQueue(sys, bound)
	return file, func() (accepted, error) {
		a, err := queue.Accept()
		if err == nil {
			return a, nil
		}
		if _, isCall := errors.AsType[*os.SyscallError](err); !isCall && !errors.Is(err, os.ErrDeadlineExceeded) {
			err = net.ErrClosed // there is no other reason
		}
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: bound, Err: err}
	}
}
