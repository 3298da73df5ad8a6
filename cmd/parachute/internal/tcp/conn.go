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

	"github.com/shahnk19/parachute/internal/deadline"
	"github.com/shahnk19/parachute/internal/nowait"
)

// maxCallSize is how much one system call copies at most: while it does, nobody
// can stop its thread, as the garbage collector wants to from time to time.
const maxCallSize = 512 << 10

// A conn is a connection that was accepted. tcp is read and written only by in
// and out: the deadlines that it has itself are not the ones that were asked for.
type conn struct {
	tcp      *net.TCPConn
	pipes    *pipes
	quota    *Quota // which it leaves when it is closed
	closed   atomic.Bool
	in, out  transfer
	detector hangupDetector
}

// A transfer is one direction of a conn.
type transfer struct {
	deadline deadline.Lazy
	call     func(step func(fd uintptr) (done bool)) error // RawConn's Read or Write
	control  func(f func(fd uintptr)) error                // RawConn's Control

	mu      sync.Mutex // is held by the operation under way, and guards what follows
	step    func(fd uintptr) (done bool)
	p       []byte    // what is read into, or written
	n       int       // how much was
	err     error     // an errno
	blocked bool      // for room to write
	since   time.Time // when that began, or got on
}

// newConn returns a conn that splices through pipes, and leaves quota, which it has
// entered, when it is closed.
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
		return 0, nowait.Error("read", "read", c, err)
	}
	if t.n == 0 {
		return 0, io.EOF
	}
	return t.n, nil
}

// read does what can be done now, and reports whether that is all.
func (c *conn) read(fd uintptr) bool {
	t := &c.in
	t.n, t.err = nowait.Read(fd, t.p)
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
		return t.n, nowait.Error("write", "write", c, err)
	}
	return t.n, nil
}

// write does what can be done now, and reports whether that is all.
func (c *conn) write(fd uintptr) bool {
	t := &c.out
	start := t.n
	for t.err = nil; t.n < len(t.p) && t.err == nil; {
		var n int
		n, t.err = nowait.Write(fd, t.p[t.n:min(t.n+maxCallSize, len(t.p))])
		t.n += n
	}
	return t.recordWrite(t.n > start)
}

// recordWrite reports whether nothing is left to be waited for, where something was
// written or not, and notes since when the client has taken nothing.
func (t *transfer) recordWrite(something bool) (done bool) {
	done = t.err != syscall.EAGAIN
	if !done && (something || !t.blocked) {
		t.since = time.Now()
	}
	t.blocked = !done
	return done
}

// run takes steps until one is done, which says in err how, or the deadline has
// passed.
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
			t.since = time.Now() // when it had not been tried yet
		}
		if t.blocked && t.tryNow(step) {
			return t.err
		}
		if _, again := t.deadline.Renew(t.since); !again {
			return err
		}
	}
}

// tryNow takes a step though nobody was told that there is room: the system tells
// only of a third of its buffer, which may be more than a slow client takes in
// the time of a deadline.
func (t *transfer) tryNow(step func(fd uintptr) bool) (done bool) {
	err := t.control(func(fd uintptr) { done = step(fd) })
	return err == nil && done
}

// A socket is what can be spliced.
type socket interface {
	net.Conn
	syscall.Conn
}

// errNoSplice says that nothing can be spliced, and nothing was.
var errNoSplice = errors.New("cannot be spliced")

// ReadFrom writes what r holds. An error of a target whose answer is spliced
// is a [net.OpError] of reading.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		switch src := limited.R.(type) {
		case *net.TCPConn, *net.UnixConn:
			if n, err := c.splice(src.(socket), limited); err != errNoSplice {
				return n, err
			}
		}
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// Close ends the context of ConnContext as well.
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

// SetLinger says what Close does with what was not sent yet; 0: it resets.
func (c *conn) SetLinger(seconds int) error { return c.tcp.SetLinger(seconds) }

func (c *conn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.detector.deadlineCleared()
	}
	return c.in.deadline.Set(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.deadline.Set(t) }

// SetDeadline is called by a server when it hands the connection to somebody
// else, and ends the watch.
func (c *conn) SetDeadline(t time.Time) error {
	c.stopDetector()
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
