//go:build amd64 || arm64

package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// An Accepted is a connection that a [Queue] has accepted. It behaves like a
// [net.TCPConn], but is cheaper where it never has to wait.
//
// The runtime's poller is told of the socket when something has to wait for the first
// time. Until then there is nothing to be told or taken back, and no system call of which
// the scheduler hears, not even the last one. A client whose request is there when it is
// read, and that leaves with the answer, has no more than that.
type Accepted struct {
	fd     int
	bound  *net.TCPAddr // what the Queue listens on
	remote net.TCPAddr
	ip     [16]byte // that remote.IP is of

	polled atomic.Bool // file and sys are there, and used instead of fd
	closed atomic.Bool

	using sync.RWMutex    // held for reading by whoever uses fd; guards the next two
	file  *os.File        // of fd
	sys   syscall.RawConn // of file

	mu     sync.Mutex // guards the fields below
	reads  time.Time  // the deadline of reads
	writes time.Time
	local  *net.TCPAddr // nil: nobody has asked for it
}

// rawAccepted has the methods of a [syscall.RawConn].
type rawAccepted Accepted

// SyscallConn gives access to the socket. It returns no error.
func (a *Accepted) SyscallConn() (syscall.RawConn, error) { return (*rawAccepted)(a), nil }

func (r *rawAccepted) Read(step func(fd uintptr) (done bool)) error {
	a := (*Accepted)(r)
	if done, err := a.try(&a.reads, step); done || err != nil {
		return err
	}
	return a.known(a.sys.Read(step))
}

func (r *rawAccepted) Write(step func(fd uintptr) (done bool)) error {
	a := (*Accepted)(r)
	if done, err := a.try(&a.writes, step); done || err != nil {
		return err
	}
	return a.known(a.sys.Write(step))
}

func (r *rawAccepted) Control(f func(fd uintptr)) error {
	a := (*Accepted)(r)
	if a.isDirect() {
		defer a.using.RUnlock()
		if a.closed.Load() {
			return net.ErrClosed
		}
		f(uintptr(a.fd))
		return nil
	}
	return a.known(a.sys.Control(f))
}

// try calls step, unless the deadline has passed. If that is not enough, it tells the
// poller of the socket, if it does not know it yet: sys is to be used then.
func (a *Accepted) try(deadline *time.Time, step func(fd uintptr) bool) (done bool, err error) {
	if !a.isDirect() {
		return false, nil
	}
	a.mu.Lock()
	until := *deadline
	a.mu.Unlock()
	switch {
	case a.closed.Load():
		err = net.ErrClosed
	case isPast(until):
		err = os.ErrDeadlineExceeded
	default:
		done = step(uintptr(a.fd))
	}
	a.using.RUnlock()
	if done || err != nil {
		return done, err
	}
	return false, a.poll()
}

// isDirect reports whether fd is to be used. If so, using is held for reading.
func (a *Accepted) isDirect() bool {
	if a.polled.Load() {
		return false
	}
	a.using.RLock()
	if a.polled.Load() {
		a.using.RUnlock()
		return false
	}
	return true
}

// poll tells the poller of the socket.
func (a *Accepted) poll() error {
	a.using.Lock()
	defer a.using.Unlock()
	if a.closed.Load() {
		return net.ErrClosed
	}
	if a.polled.Load() {
		return nil
	}
	file := os.NewFile(uintptr(a.fd), "tcp")
	sys, err := file.SyscallConn()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file, a.sys = file, sys
	a.polled.Store(true)
	if err == nil && !a.reads.IsZero() {
		err = file.SetReadDeadline(a.reads)
	}
	if err == nil && !a.writes.IsZero() {
		err = file.SetWriteDeadline(a.writes)
	}
	return err
}

// known returns err of file as package net would.
func (a *Accepted) known(err error) error {
	if err != nil && a.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// Close closes the connection. What goes on ends with [net.ErrClosed].
func (a *Accepted) Close() error {
	a.using.Lock()
	defer a.using.Unlock()
	if a.closed.Swap(true) {
		return a.opError("close", net.ErrClosed)
	}
	if a.polled.Load() {
		return a.file.Close()
	}
	return a.opError("close", closeNow(a.fd))
}

func (a *Accepted) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	failed := (*rawAccepted)(a).Read(func(fd uintptr) bool {
		n, err = Read(fd, p)
		return err != syscall.EAGAIN
	})
	if failed != nil {
		err = failed
	}
	switch {
	case err != nil:
		return 0, Error("read", "read", a, err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (a *Accepted) Write(p []byte) (n int, err error) {
	failed := (*rawAccepted)(a).Write(func(fd uintptr) bool {
		for err = nil; n < len(p) && err == nil; {
			var m int
			m, err = Write(fd, p[n:])
			n += m
		}
		return err != syscall.EAGAIN
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return n, Error("write", "write", a, err)
	}
	return n, nil
}

// LocalAddr returns the address that the client has connected to. If the Queue listens on
// all addresses of the machine, it is a [LocalAddr].
func (a *Accepted) LocalAddr() net.Addr {
	if len(a.bound.IP) > 0 && !a.bound.IP.IsUnspecified() {
		return a.bound
	}
	return (*LocalAddr)(a)
}

// A LocalAddr is our address of a connection, which the system is asked for when somebody
// wants to know more than the port.
type LocalAddr Accepted

// Network returns "tcp".
func (l *LocalAddr) Network() string { return l.bound.Network() }

// Port returns the port.
func (l *LocalAddr) Port() int { return l.bound.Port }

// String returns the address or, if nobody has asked before the connection was closed, the
// one that is listened on.
func (l *LocalAddr) String() string { return l.tcp().String() }

// tcp returns the address.
func (l *LocalAddr) tcp() net.Addr {
	a := (*Accepted)(l)
	a.mu.Lock()
	local := a.local
	a.mu.Unlock()
	if local == nil {
		local = a.askLocal()
		a.mu.Lock()
		a.local = local
		a.mu.Unlock()
	}
	return local
}

func (a *Accepted) RemoteAddr() net.Addr { return &a.remote }

func (a *Accepted) SetDeadline(t time.Time) error {
	if err := a.SetReadDeadline(t); err != nil {
		return err
	}
	return a.SetWriteDeadline(t)
}

func (a *Accepted) SetReadDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reads = t
	if a.file == nil {
		return nil
	}
	return a.known(a.file.SetReadDeadline(t))
}

func (a *Accepted) SetWriteDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes = t
	if a.file == nil {
		return nil
	}
	return a.known(a.file.SetWriteDeadline(t))
}

// CloseWrite tells the client that nothing more will come.
func (a *Accepted) CloseWrite() error {
	return a.set("shutdown", func(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) })
}

// SetLinger is [net.TCPConn.SetLinger].
func (a *Accepted) SetLinger(seconds int) error {
	if seconds > 0 { // Close may wait then, and the scheduler has to know
		if err := a.poll(); err != nil {
			return a.opError("set", err)
		}
	}
	linger := syscall.Linger{Linger: int32(max(seconds, 0))}
	if seconds >= 0 {
		linger.Onoff = 1
	}
	return a.set("setsockopt", func(fd int) error {
		return syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &linger)
	})
}

// set calls f, and returns its error as package net returns one of that system call.
func (a *Accepted) set(call string, f func(fd int) error) error {
	var err error
	failed := (*rawAccepted)(a).Control(func(fd uintptr) { err = f(int(fd)) })
	if failed == nil && err != nil {
		failed = os.NewSyscallError(call, err)
	}
	return a.opError("set", failed)
}

// opError returns err, if it is one, as an operation of package net does.
func (a *Accepted) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: "tcp", Source: a.bound, Addr: &a.remote, Err: err}
}
