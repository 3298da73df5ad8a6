package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// maxCallSize is how much one system call copies at most. During the call the
// garbage collector cannot stop its thread, and so has to wait.
const maxCallSize = 512 << 10

// A Conn is a connection as a server has it. It behaves like the [net.Conn] that it
// is made of, but for this:
//
//   - A write fails with a deadline only if the peer has taken nothing for as long
//     as the deadline was ahead when it was set.
//   - Without a deadline, an operation fails as with one if no byte was moved for as
//     long as [Conn.SetReadPatience] or [Conn.SetWritePatience] was told; a write may
//     last a quarter of that longer.
//   - ReadFrom splices from a socket in an [io.LimitedReader].
//   - To set a deadline of a closed connection may succeed.
//
// If the connection is a [net.TCPConn], a [net.UnixConn] or an [Accepted], that is cheaper
// than it would be itself. It may be any other.
type Conn struct {
	nc      net.Conn
	sys     syscall.RawConn // of nc; nil: it is not a socket that can be called directly
	pipes   *Pipes          // to splice through; nil: there are none
	onClose func()          // is called once when the connection is closed; nil: nothing is
	closed  atomic.Bool
	in, out transfer

	lentStep  func(fd uintptr) (done bool)
	lender    Lender // while a ReadLent goes on
	awaitStep func(fd uintptr) (done bool)
	awaited   bool // awaitStep has been called
	trying    bool // see TryRead and TryReadLent
	endedStep func(fd uintptr)
	ended     bool // set by endedStep
	one       [1]byte
}

// accepted is what an Accepted is, on systems that have it.
type accepted interface {
	syscall.Conn
	poll() error
}

// NewConn returns a Conn that is made of nc, and splices through pipes unless that is
// nil. onClose, if not nil, is called once when it is closed.
//
// Only the Conn may read and write nc, and set its deadlines.
func NewConn(nc net.Conn, pipes *Pipes, onClose func()) *Conn {
	c := &Conn{nc: nc, pipes: pipes, onClose: onClose}
	switch s := nc.(type) {
	case *net.TCPConn:
		c.sys, _ = s.SyscallConn()
	case *net.UnixConn:
		c.sys, _ = s.SyscallConn()
	case accepted:
		c.sys, _ = s.SyscallConn()
	}
	if c.sys != nil {
		c.in.step, c.out.step = c.read, c.write
		c.out.unsent = Unsent
		c.lentStep, c.awaitStep = c.readLent, c.await
		c.endedStep = func(fd uintptr) { c.ended, _ = hangup(fd) }
		c.in.sys, c.out.sys = c.sys, c.sys
	}
	c.in.deadline.Apply, c.out.deadline.Apply = nc.SetReadDeadline, nc.SetWriteDeadline
	c.out.deadline.Extends = c.sys != nil
	return c
}

// IsSocket reports whether the connection is a socket that is called directly.
func (c *Conn) IsSocket() bool { return c.sys != nil }

// Control calls f with the descriptor of the socket. If the connection is not a socket that
// is called directly, the error is [errors.ErrUnsupported].
func (c *Conn) Control(f func(fd uintptr)) error {
	if c.sys == nil {
		return errors.ErrUnsupported
	}
	return c.sys.Control(f)
}

// SetReadPatience has a Read that has no deadline fail when nothing has come for d; a
// d that is not positive means never. It does not concern a Read that goes on.
func (c *Conn) SetReadPatience(d time.Duration) { c.in.patience.Store(int64(d)) }

// SetWritePatience has a write that has no deadline fail when the peer has taken
// nothing for d; a d that is not positive means never. It does not concern a write
// that goes on.
func (c *Conn) SetWritePatience(d time.Duration) { c.out.patience.Store(int64(d)) }

func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.sys == nil {
		return c.readPlain(p)
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = p[:min(len(p), maxCallSize)]
	err := t.run(t.step)
	t.p = nil
	switch {
	case err == errNothing:
		return 0, err
	case err != nil:
		return 0, Error("read", "read", c, err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// read reads without waiting, and reports whether the Read is done.
func (c *Conn) read(fd uintptr) bool {
	t := &c.in
	t.n, t.err = Read(fd, t.p)
	if t.err == syscall.EAGAIN && c.trying {
		t.err = errNothing
		return true
	}
	return t.record(fd, false)
}

// errNothing is what a Read returns that would have to wait and may not. To
// crypto/tls it is an error that may be over the next time.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "there is nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// IsNothing reports whether err says that a Read would have had to wait. See
// [Conn.TryRead] and [Conn.TryReadLent].
func IsNothing(err error) bool { return errors.Is(err, errNothing) }

// TryRead calls read, and has each Read of c fail that would have to wait, with an
// error that IsNothing knows. read reads from c, or from what reads from that. If
// the connection is not a socket, the Reads wait all the same.
func (c *Conn) TryRead(read func(p []byte) (int, error), p []byte) (int, error) {
	c.trying = true
	defer func() { c.trying = false }()
	return read(p)
}

// Await returns when there is something to read, or the end of it, or else the error
// of a deadline or of the connection. Patience does not end it. If the connection is
// not a socket it returns at once.
//
// It is not called beside a Read.
func (c *Conn) Await() error {
	if c.sys == nil {
		return nil
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := c.nc.(accepted); ok { // the poller ends the wait, so it has to know nc
		if err := a.poll(); err != nil {
			return Error("read", "read", c, err)
		}
	}
	return c.waitFor(c.awaitStep)
}

// waitFor calls step when there may be something to read, until it is done or the deadline
// has passed. in.mu must be held.
func (c *Conn) waitFor(step func(fd uintptr) (done bool)) error {
	for {
		c.awaited = false
		err := c.in.call(step)
		if err == nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if _, again := c.in.deadline.Renew(time.Time{}); again {
				continue
			}
		}
		return Error("read", "read", c, err)
	}
}

// A Lender lends a buffer to read into.
type Lender interface {
	Lend() []byte
	// TakeBack is called if nothing was read into the buffer.
	TakeBack()
}

// ReadLent is Read for who may have to wait for long: it borrows the buffer when there may
// be something to read, and gives it back before it waits, and with an error. As with
// Await, patience does not end it. If the connection is not a socket, it is Read.
func (c *Conn) ReadLent(from Lender) (n int, err error) { return c.readLentOr(from, false) }

// TryReadLent is ReadLent, but fails where that would have to wait, with an error that
// IsNothing knows. If the connection is not a socket, it waits all the same.
func (c *Conn) TryReadLent(from Lender) (n int, err error) { return c.readLentOr(from, true) }

// readLentOr is TryReadLent or ReadLent.
func (c *Conn) readLentOr(from Lender, trying bool) (n int, err error) {
	if c.sys == nil {
		if n, err = c.Read(from.Lend()); n == 0 {
			from.TakeBack()
		}
		return n, err
	}
	t := &c.in
	t.mu.Lock()
	c.lender, c.trying, t.n, t.err = from, trying, 0, nil
	if err = c.waitFor(c.lentStep); err == nil {
		n, err = t.n, t.err
	}
	c.lender, c.trying = nil, false
	t.mu.Unlock()
	switch {
	case n > 0:
		return n, nil
	case err == nil:
		return 0, io.EOF
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = Error("read", "read", c, errno)
	}
	return 0, err
}

// readLent reads without waiting, and reports whether the ReadLent is done.
func (c *Conn) readLent(fd uintptr) bool {
	t := &c.in
	t.n, t.err = Read(fd, c.lender.Lend())
	if t.n == 0 {
		c.lender.TakeBack()
	}
	if t.err == syscall.EAGAIN && c.trying {
		t.err = errNothing
	}
	return t.err != syscall.EAGAIN
}

// await reports whether there is something to read. What ends the wait for it need
// not be looked at: a Read will find out.
func (c *Conn) await(fd uintptr) bool {
	if c.awaited {
		return true
	}
	c.awaited = true
	_, err := Peek(fd, c.one[:])
	return err != syscall.EAGAIN
}

func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.sys == nil {
		return c.writePlain(p)
	}
	t := &c.out
	t.mu.Lock()
	t.p, t.n = p, 0
	err := t.run(t.step)
	n := t.n
	t.p = nil
	t.mu.Unlock()
	if err != nil {
		return n, Error("write", "write", c, err)
	}
	return n, nil
}

// write writes without waiting, and reports whether the Write is done.
func (c *Conn) write(fd uintptr) bool {
	t := &c.out
	start := t.n
	for t.err = nil; t.n < len(t.p) && t.err == nil; {
		var n int
		n, t.err = Write(fd, t.p[t.n:min(t.n+maxCallSize, len(t.p))])
		t.n += n
	}
	return t.record(fd, t.n > start)
}

// A socket is a connection that can be spliced from.
type socket interface {
	net.Conn
	syscall.Conn
}

// errNoSplice says that splicing is not possible, and that nothing was moved.
var errNoSplice = errors.New("cannot be spliced")

// ReadFrom writes everything that it reads from r. If it splices, an error of
// reading is a [net.OpError] with Op "read".
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok && c.CanSplice(limited) {
		if n, err := c.splice(limited.R.(socket), limited); err != errNoSplice {
			return n, err
		}
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// CanSplice reports whether ReadFrom would try to splice from r.
func (c *Conn) CanSplice(r *io.LimitedReader) bool {
	if c.sys == nil || c.pipes == nil {
		return false
	}
	switch r.R.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

func (c *Conn) Close() error {
	err := c.nc.Close()
	if !c.closed.Swap(true) && c.onClose != nil {
		c.onClose()
	}
	return err
}

func (c *Conn) LocalAddr() net.Addr  { return c.nc.LocalAddr() }
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// CloseWrite tells the peer that nothing more will come, or returns
// [errors.ErrUnsupported].
func (c *Conn) CloseWrite() error {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// SetLinger is [net.TCPConn.SetLinger]. It does nothing on other connections.
func (c *Conn) SetLinger(seconds int) error {
	if tcp, ok := c.nc.(interface{ SetLinger(int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.sys == nil {
		return c.in.deadline.SetNow(t)
	}
	return c.in.deadline.Set(t)
}

func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.sys == nil {
		return c.out.deadline.SetNow(t)
	}
	return c.out.deadline.Set(t)
}

func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// HasEnded reports whether the peer has closed the connection or its side of it, as far
// as that can be seen without reading. It is called by whoever reads. If the connection
// is not a socket it reports false.
func (c *Conn) HasEnded() bool {
	if c.sys == nil {
		return false
	}
	err := c.sys.Control(c.endedStep)
	return err == nil && c.ended
}

// Hangup is HasEnded, but may be called beside a Read, and also reports whether the
// connection is broken.
func (c *Conn) Hangup() (ended, broken bool) {
	if c.sys == nil {
		return false, false
	}
	err := c.sys.Control(func(fd uintptr) { ended, broken = hangup(fd) })
	return ended, broken || err != nil
}

// EndedWithData reports whether the peer, which has closed its side, did so along with
// the last bytes that it has sent, as far as that is known.
func (c *Conn) EndedWithData() (along bool) {
	if c.sys == nil {
		return false
	}
	err := c.sys.Control(func(fd uintptr) { along = endedWithData(fd) })
	return err == nil && along
}
