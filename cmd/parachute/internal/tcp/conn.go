package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/socket"
)

// maxCallSize is how much one system call copies at most. During the call the
// garbage collector cannot stop its thread, and so has to wait.
const maxCallSize = 512 << 10

// A conn is an accepted connection. Only in and out read and write tcp, because
// its deadlines may be earlier than those that were set on the conn.
type conn struct {
	tcp      *net.TCPConn
	pipes    *pipes
	quota    *Quota // released when the conn is closed
	closed   atomic.Bool
	in, out  transfer
	detector hangupDetector
}

// A transfer is one direction of a conn.
type transfer struct {
	deadline socket.Deadline
	call     func(step func(fd uintptr) (done bool)) error // RawConn's Read or Write
	control  func(f func(fd uintptr)) error                // RawConn's Control

	mu      sync.Mutex // held during an operation; guards the fields below
	step    func(fd uintptr) (done bool)
	p       []byte    // the buffer to read into or to write
	n       int       // bytes read or written so far
	err     error     // an errno
	blocked bool      // the operation waits for room to write
	since   time.Time // when it began to wait, or last wrote something
}

// newConn returns a conn that splices through pipes. It releases quota, which
// the caller has acquired, when it is closed.
func newConn(tcp *net.TCPConn, sys syscall.RawConn, pipes *pipes, quota *Quota) *conn {
	c := &conn{tcp: tcp, pipes: pipes, quota: quota}
	c.in.step, c.out.step = c.read, c.write
	c.in.call, c.out.call = sys.Read, sys.Write
	c.in.control, c.out.control = sys.Control, sys.Control
	c.in.deadline.Apply, c.out.deadline.Apply = tcp.SetReadDeadline, tcp.SetWriteDeadline
	c.out.deadline.Extends = true
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 || c.replaceBackgroundRead(len(p)) {
		return 0, nil
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = p[:min(len(p), maxCallSize)]
	err := t.run(t.step)
	t.p = nil
	if err != nil {
		return 0, socket.Error("read", "read", c, err)
	}
	if t.n == 0 {
		return 0, io.EOF
	}
	return t.n, nil
}

// read reads without blocking, and reports whether the Read is done.
func (c *conn) read(fd uintptr) bool {
	t := &c.in
	t.n, t.err = socket.Read(fd, t.p)
	return t.err != syscall.EAGAIN
}

func (c *conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &c.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p, t.n = p, 0
	err := t.run(t.step)
	t.p = nil
	if err != nil {
		return t.n, socket.Error("write", "write", c, err)
	}
	return t.n, nil
}

// write writes without blocking, and reports whether the Write is done.
func (c *conn) write(fd uintptr) bool {
	t := &c.out
	start := t.n
	for t.err = nil; t.n < len(t.p) && t.err == nil; {
		var n int
		n, t.err = socket.Write(fd, t.p[t.n:min(t.n+maxCallSize, len(t.p))])
		t.n += n
	}
	return t.recordWrite(t.n > start)
}

// recordWrite is called after each attempt to write, with whether it wrote
// something. It records since when the client has taken nothing, and reports
// whether the operation is done.
func (t *transfer) recordWrite(something bool) (done bool) {
	done = t.err != syscall.EAGAIN
	if !done && (something || !t.blocked) {
		t.since = time.Now()
	}
	t.blocked = !done
	return done
}

// run calls step until it is done, and returns its error, or until the deadline
// has passed.
func (t *transfer) run(step func(fd uintptr) (done bool)) error {
	t.blocked = false
	for begun := false; ; begun = true {
		err := t.call(step)
		if err == nil {
			return t.err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !begun && !t.blocked {
			t.since = time.Now() // the deadline had passed before the first attempt
		}
		if t.blocked && t.tryNow(step) {
			return t.err
		}
		if _, again := t.deadline.Renew(t.since); !again {
			return err
		}
	}
}

// tryNow calls step although the poller has not reported room. The system
// reports it only when a third of the send buffer is free, and a slow client may
// take less than that before the deadline.
func (t *transfer) tryNow(step func(fd uintptr) bool) (done bool) {
	err := t.control(func(fd uintptr) { done = step(fd) })
	return err == nil && done
}

// A source is a connection that can be spliced from.
type source interface {
	net.Conn
	syscall.Conn
}

// errNoSplice says that splicing is not possible, and that nothing was moved.
var errNoSplice = errors.New("cannot be spliced")

// ReadFrom writes everything that it reads from r. If it splices, an error of
// reading is a [net.OpError] with Op "read".
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		switch src := limited.R.(type) {
		case *net.TCPConn, *net.UnixConn:
			if n, err := c.splice(src.(source), limited); err != errNoSplice {
				return n, err
			}
		}
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// Close also cancels the context of ConnContext.
func (c *conn) Close() error {
	err := c.tcp.Close()
	c.stopDetector()
	if c.detector.cancel != nil {
		c.detector.cancel()
	}
	if !c.closed.Swap(true) {
		c.quota.release()
	}
	return err
}

func (c *conn) LocalAddr() net.Addr  { return c.tcp.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.tcp.RemoteAddr() }

// CloseWrite tells the client that nothing more will come.
func (c *conn) CloseWrite() error { return c.tcp.CloseWrite() }

// SetLinger is [net.TCPConn.SetLinger].
func (c *conn) SetLinger(seconds int) error { return c.tcp.SetLinger(seconds) }

func (c *conn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.detector.deadlineCleared()
	}
	return c.in.deadline.Set(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.deadline.Set(t) }

// SetDeadline also stops the hangup detector, because a server calls it when a
// connection is hijacked.
func (c *conn) SetDeadline(t time.Time) error {
	c.stopDetector()
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
