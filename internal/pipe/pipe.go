// Package pipe makes connections in memory that behave as those of TCP do: they
// hold some of what was written and not yet read, may be closed one way, and have
// deadlines.
package pipe

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferSize is how much a connection holds each way. It is not zero, as
// net.Pipe's is, because two ends that both write (an early answer to a
// running upload) must not lock each other up; and it is bounded, as memory is.
const bufferSize = 64 << 10

// A Conn is one end of a connection: it reads from in and writes to out, which the
// other end has the other way round. Its methods are those of a [*net.TCPConn] and
// may be called from any goroutine.
type Conn struct {
	// OnClose, if not nil, is called once when this end is closed. It must be set
	// before anybody else has the Conn.
	OnClose func()

	mu            *sync.Mutex // guards in and out; shared by both ends
	in, out       *flow
	local, remote net.Addr
}

// A flow is one direction of a connection. It is guarded by the mu of its ends.
type flow struct {
	changed  sync.Cond // anything below
	buf      bytes.Buffer
	readErr  error // what a read finds once buf is empty; nil: it waits
	writeErr error // what a write finds; nil: it may write
	writing  bool  // a Write that is not done yet keeps others from mixing with it
	readBy   *deadline
	writeBy  *deadline
}

// A deadline that is changed is replaced, so that a timer which goes off just
// then ends nobody's wait. A nil deadline never expires.
type deadline struct {
	timer   *time.Timer
	expired bool // guarded as its flow is
}

// New returns the two ends of a connection between these addresses.
func New(clientAddr, serverAddr net.Addr) (client, server *Conn) {
	mu := new(sync.Mutex)
	up, down := new(flow), new(flow)
	up.changed.L, down.changed.L = mu, mu
	client = &Conn{mu: mu, in: down, out: up, local: clientAddr, remote: serverAddr}
	server = &Conn{mu: mu, in: up, out: down, local: serverAddr, remote: clientAddr}
	return client, server
}

func (c *Conn) LocalAddr() net.Addr  { return c.local }
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.in.readLocked(b)
	return n, c.error("read", err)
}

func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.out.writeLocked(b)
	return n, c.error("write", err)
}

func (c *Conn) Close() error { return c.shut(false) }

// Reset closes this end, and the other one finds the connection reset.
func (c *Conn) Reset() error { return c.shut(true) }

// shut closes this end. The other one is reset if told so or if something was
// left unread, as RFC 2525, section 2.17 asks of a TCP; else it finds the end
// of what was written.
func (c *Conn) shut(reset bool) error {
	c.mu.Lock()
	if c.closedLocked() {
		c.mu.Unlock()
		return c.error("close", net.ErrClosed)
	}
	if reset || c.in.buf.Len() > 0 {
		c.in.endLocked(net.ErrClosed, syscall.ECONNRESET)
		c.out.endLocked(syscall.ECONNRESET, net.ErrClosed)
	} else {
		c.in.endLocked(net.ErrClosed, syscall.EPIPE)
		c.out.endLocked(io.EOF, net.ErrClosed)
	}
	c.in.readBy.stopLocked()
	c.out.writeBy.stopLocked()
	c.mu.Unlock()
	if c.OnClose != nil {
		c.OnClose()
	}
	return nil
}

// CloseWrite ends what is written; reading goes on.
func (c *Conn) CloseWrite() error {
	return c.half(c.out, io.EOF, syscall.EPIPE)
}

// CloseRead makes reads find the end once nothing is buffered. The other side
// is not told: as with the system's, what it writes is taken until the buffer
// is full.
func (c *Conn) CloseRead() error {
	return c.half(c.in, io.EOF, nil)
}

func (c *Conn) half(f *flow, readErr, writeErr error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closedLocked() {
		return c.error("close", net.ErrClosed)
	}
	f.endLocked(readErr, writeErr)
	return nil
}

func (c *Conn) SetDeadline(t time.Time) error      { return c.setDeadline(t, true, true) }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.setDeadline(t, true, false) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, false, true) }

func (c *Conn) setDeadline(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closedLocked() {
		return c.error("set", net.ErrClosed)
	}
	if read {
		c.in.readBy.stopLocked()
		c.in.readBy = c.in.deadlineLocked(t)
	}
	if write {
		c.out.writeBy.stopLocked()
		c.out.writeBy = c.out.deadlineLocked(t)
	}
	return nil
}

func (c *Conn) closedLocked() bool { return c.in.readErr == net.ErrClosed }

// error gives err the form in which the net package returns it.
func (c *Conn) error(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

func (f *flow) readLocked(b []byte) (int, error) {
	for {
		switch {
		case f.readErr == net.ErrClosed:
			return 0, f.readErr
		case f.readBy.expiredLocked():
			return 0, os.ErrDeadlineExceeded
		case f.buf.Len() > 0:
			f.changed.Broadcast()
			return f.buf.Read(b)
		case f.readErr != nil:
			return 0, f.readErr
		}
		f.changed.Wait()
	}
}

func (f *flow) writeLocked(b []byte) (n int, err error) {
	for f.writing {
		if err := f.refusalLocked(); err != nil {
			return 0, err
		}
		f.changed.Wait()
	}
	f.writing = true
	for err = f.refusalLocked(); err == nil; err = f.refusalLocked() {
		piece := min(len(b)-n, bufferSize-f.buf.Len())
		f.buf.Write(b[n : n+piece])
		n += piece
		f.changed.Broadcast()
		if n == len(b) {
			break
		}
		f.changed.Wait()
	}
	f.writing = false
	f.changed.Broadcast()
	return n, err
}

// refusalLocked returns why nothing can be written now, or nil.
func (f *flow) refusalLocked() error {
	if f.writeErr != net.ErrClosed && f.writeBy.expiredLocked() {
		return os.ErrDeadlineExceeded
	}
	return f.writeErr
}

// endLocked says what reads and writes find from now on. What ended a side
// first stays its reason, but its own Close is stronger than all.
func (f *flow) endLocked(readErr, writeErr error) {
	if f.readErr == nil || readErr == net.ErrClosed {
		f.readErr = readErr
	}
	if f.writeErr == nil || writeErr == net.ErrClosed {
		f.writeErr = writeErr
	}
	f.changed.Broadcast()
}

// deadlineLocked returns a deadline for t, which ends waits on f; the zero t
// stands for none.
func (f *flow) deadlineLocked(t time.Time) *deadline {
	f.changed.Broadcast()
	if t.IsZero() {
		return nil
	}
	wait := time.Until(t)
	if wait <= 0 {
		return &deadline{expired: true}
	}
	d := new(deadline)
	d.timer = time.AfterFunc(wait, func() { f.expire(d) })
	return d
}

func (f *flow) expire(d *deadline) {
	f.changed.L.Lock()
	defer f.changed.L.Unlock()
	d.expired = true
	f.changed.Broadcast()
}

func (d *deadline) expiredLocked() bool { return d != nil && d.expired }

func (d *deadline) stopLocked() {
	if d != nil && d.timer != nil {
		d.timer.Stop()
	}
}
