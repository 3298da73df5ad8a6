package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// A promptListener accepts connections that are read and written with system
// calls which the scheduler is not told of, where those are known (call_linux.go).
// They do not wait, for their sockets do not, and are over before another thread
// could have taken the place of this one, which is what telling is for: where
// that is tried, the scheduler's monitor wakes up and hands a processor on, and
// both cost more than the call.
type promptListener struct{ net.Listener }

func (l promptListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp := accepted.(*net.TCPConn)
	sys, err := tcp.SyscallConn()
	if err != nil {
		return tcp, nil // whoever reads will see what is the matter
	}
	c := &promptConn{TCPConn: tcp, sys: sys}
	c.in.step, c.out.step = c.read, c.write
	return c, nil
}

// A promptConn is a TCPConn. All that it does not have itself is that one's:
// ReadFrom and WriteTo, which splice, above all.
type promptConn struct {
	*net.TCPConn
	sys     syscall.RawConn
	in, out transfer
}

// A transfer is the Read, or the Write, that is under way.
type transfer struct {
	mu   sync.Mutex // is held for as long as it takes, and guards what follows
	step func(fd uintptr) (done bool)
	p    []byte
	n    int
	err  error
}

// promptMost is how much is copied at once without the scheduler being told.
const promptMost = 64 << 10

func (c *promptConn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > promptMost {
		return c.TCPConn.Read(p)
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = p
	err := c.sys.Read(t.step)
	t.p = nil
	switch {
	case err != nil:
		return 0, c.wrapped("read", err)
	case t.err != nil:
		return 0, c.wrapped("read", os.NewSyscallError("read", t.err))
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// read does what can be done now, and reports whether that is all.
func (c *promptConn) read(fd uintptr) bool {
	t := &c.in
	t.n, t.err = readNow(fd, t.p)
	for t.err == syscall.EINTR {
		t.n, t.err = readNow(fd, t.p)
	}
	return t.err != syscall.EAGAIN
}

func (c *promptConn) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > promptMost {
		return c.TCPConn.Write(p)
	}
	t := &c.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p, t.n = p, 0
	err := c.sys.Write(t.step)
	t.p = nil
	switch {
	case err != nil:
		return t.n, c.wrapped("write", err)
	case t.err != nil:
		return t.n, c.wrapped("write", os.NewSyscallError("write", t.err))
	}
	return t.n, nil
}

// write does what can be done now, and reports whether that is all.
func (c *promptConn) write(fd uintptr) bool {
	t := &c.out
	t.err = nil
	for t.n < len(t.p) {
		n, err := writeNow(fd, t.p[t.n:])
		switch err {
		case nil:
			t.n += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.err = err
			return true
		}
	}
	return true
}

// wrapped returns an error as a TCPConn returns it.
func (c *promptConn) wrapped(op string, err error) error {
	if raw := (*net.OpError)(nil); errors.As(err, &raw) {
		err = raw.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
