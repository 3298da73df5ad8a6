package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/socket"
)

// maxHead bounds the head of an answer, together with those of the interim
// answers before it, and its trailers for themselves.
const maxHead = 256 << 10

var errHeadTooLarge = errors.New("head larger than 256 KiB, interim answers included")

// A targetConn is a connection to the target. It belongs to one exchange at a time,
// or to the Pool while it is idle.
type targetConn struct {
	raw net.Conn      // as it was dialled; closing it ends whatever goes on
	nc  net.Conn      // what is spoken on: raw, or TLS over it
	br  *bufio.Reader // reads through Read

	secured bool            // nc is TLS
	sys     syscall.RawConn // of raw; nil: it is no socket
	socket  bool            // raw is read and written through sys
	steps   steps           // within calls of sys, to ask and to read

	waiter waiter // is told before Read waits; nil: nobody is

	last lastHead

	room int64 // how many more bytes Read may return
	err  error // what ended reading

	limit  time.Duration // how long it may be idle
	since  time.Time     // when it became idle, or was last taken from the Pool
	reused bool          // it has served another exchange

	requests int        // that it was used for
	addr     netip.Addr // of the other end, where Options.IsCurrent is to judge it; invalid: it is no IP address
	spoke    bool       // the target has, before it was asked anything

	writing  writing
	patience atomic.Int64 // how many ns a write waits while no byte goes; not positive: for ever

	reads  socket.Deadline // of reads from raw
	writes socket.Deadline // of writes to raw, whatever goes
}

// newTargetConn returns a targetConn on raw, of which so many bytes are read at once.
func newTargetConn(raw net.Conn, buffer int) *targetConn {
	c := &targetConn{raw: raw, nc: raw, room: math.MaxInt64, limit: defaultKeepAlive}
	if s, ok := raw.(syscall.Conn); ok {
		c.sys, _ = s.SyscallConn()
	}
	switch raw.(type) {
	case *net.TCPConn, *net.UnixConn: // what only embeds one may have a Read and a Write of its own
		c.socket = c.sys != nil
	}
	c.reads.Apply, c.writes.Apply = raw.SetReadDeadline, raw.SetWriteDeadline
	c.steps.bind()
	c.writing.step = c.stepWrite
	c.br = bufio.NewReaderSize(c, buffer)
	return c
}

// secure has TLS spoken on c.
func (c *targetConn) secure(ctx context.Context, config *tls.Config) error {
	secured := tls.Client(&ciphertext{c.raw, c}, config)
	c.nc, c.secured = secured, true
	return secured.HandshakeContext(ctx)
}

// isBare reports whether what is spoken on is a socket.
func (c *targetConn) isBare() bool { return c.socket && !c.secured }

// Read is what br reads from.
func (c *targetConn) Read(p []byte) (int, error) {
	if c.room <= 0 {
		c.err = errHeadTooLarge
		return 0, c.err
	}
	p = p[:min(int64(len(p)), c.room)]
	for {
		n, err := c.read(p)
		if n == 0 && err != nil && !c.isDue(err) {
			continue
		}
		c.room -= int64(n)
		if err != nil {
			c.err = err
		}
		return n, err
	}
}

func (c *targetConn) read(p []byte) (int, error) {
	if c.waiter != nil && !c.secured {
		if n, err := c.readAtHand(p); err != errNothing {
			return n, err
		}
	}
	if !c.isBare() {
		return c.nc.Read(p)
	}
	n, err := c.steps.read(c.sys, c.steps.reader, p)
	if err != nil && err != io.EOF {
		err = c.socketError("read", err)
	}
	return n, err
}

// writeAndWait writes wire, or as much of it as there is room for at once. If all of
// it is written and wait is set, it returns when there is something to be read, or a
// Read would return an error.
//
// Nothing is written where that is of no use: to a connection that was used before
// and is not quiet, which is errStale, or to one that the target has closed. What a
// target says on a new one before it was asked is for a Read to return.
func (c *targetConn) writeAndWait(wire []byte, wait bool) (n int, err error) {
	if !c.isBare() {
		return c.write(wire)
	}
	a := &c.steps.ask
	*a = ask{wire: wire, reused: c.reused, wait: wait}
	err = c.sys.Read(c.steps.asker)
	for !a.tried && !c.isDue(err) { // it was a deadline that was left behind
		err = c.sys.Read(c.steps.asker)
	}
	a.wire = nil
	if !a.tried {
		return 0, c.socketError("write", err)
	}
	// What ended the wait, if not something to be read, a Read will find, too.
	c.spoke = a.found == nil
	switch a.failed {
	case nil, syscall.EAGAIN:
		return a.n, nil
	case io.EOF:
		return a.n, io.ErrUnexpectedEOF
	case errStale:
		return 0, errStale
	}
	return a.n, c.socketError("write", a.failed)
}

// hasSpoken reports whether there is something to be read, although nothing can
// be written any more: a target that hangs up may have said why.
func (c *targetConn) hasSpoken() bool {
	c.reads.SetNow(time.Now().Add(lastLimit))
	_, err := c.br.Peek(1)
	c.reads.SetNow(time.Time{})
	return err == nil
}

// isRemoteAlert reports whether err is an alert of TLS from the other end. A server that
// wants a certificate of its client says so when the client takes the handshake for
// done (RFC 8446, section 4.4.2.4).
func isRemoteAlert(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}

// socketError returns err as raw would.
func (c *targetConn) socketError(op string, err error) error { return socket.Error(op, op, c.raw, err) }

// isDue reports whether err ends a read. The expiry of a deadline that is earlier
// than the one wanted does not.
func (c *targetConn) isDue(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	_, again := c.reads.Renew(time.Time{})
	return !again
}

// peekTime is how long quiet looks at what is no socket: long enough to see
// what is there already.
const peekTime = 100 * time.Microsecond

// quiet reports whether the target neither closed the idle connection nor sent
// anything on it that nobody asked for.
func (c *targetConn) quiet() bool {
	if c.sys != nil && c.peek() != syscall.EAGAIN {
		return false
	}
	if c.sys != nil && !c.secured {
		return true
	}
	// A deadline in the past still shows what TLS has read ahead.
	until := time.Unix(1, 0)
	if c.sys == nil {
		until = time.Now().Add(peekTime)
	}
	c.reads.SetNow(until)
	_, err := c.nc.Read(c.steps.one[:])
	c.reads.SetNow(time.Time{})
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// isAlive reports whether more may be read, as far as can be told.
func (c *targetConn) isAlive() bool {
	if c.sys == nil {
		return true
	}
	found := c.peek()
	return found == nil || found == syscall.EAGAIN
}

// peek returns what a read would find now: nil (bytes), io.EOF, EAGAIN
// (nothing), or what broke the connection. c must have a sys.
func (c *targetConn) peek() error {
	err := c.sys.Read(c.steps.peeker)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.reads.SetNow(time.Time{})
		err = c.sys.Read(c.steps.peeker)
	}
	if err != nil {
		return err
	}
	return c.steps.found
}

// closeWrite tells the target that nothing more will come.
func (c *targetConn) closeWrite() error {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
