package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

var errStale = errors.New("the target has closed the connection, or sent on it what nobody asked for")

// A turn is a whole request on its way to a socket, and the first bytes that
// come back. A Write and a Read would do, but a Read tries before it waits, too
// early as a rule. A turn waits once, between its two system calls.
//
// All of it happens within one RawConn.Read, for that begins by forgetting
// whether the socket was ready: whatever comes in afterwards ends the wait.
type turn struct {
	step  func(fd uintptr) bool
	on    bool   // the next Read of the conn is part of it
	wire  []byte // what is still to be written
	asked bool   // it was tried to write that
	into  []byte // what is read into
	n     int    // how much was read
	err   error  // why nothing was
}

// takesTurns reports whether ask may be called. What only embeds a socket may
// have a Read and a Write of its own.
func (c *conn) takesTurns() bool {
	switch c.nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		return c.sys != nil
	}
	return false
}

// ask makes the next Read write wire before it waits for an answer, and look
// at a connection that was used before, even earlier: unless that is quiet, the
// Read fails with errStale. After any error of the Read, unsent tells whether
// it wrote nothing.
func (c *conn) ask(wire []byte) {
	c.unsent = true
	c.turn = turn{step: c.turn.step, on: true, wire: wire}
}

// takeTurn is a Read after ask. If a deadline ends it, the next goes on with it.
func (c *conn) takeTurn(p []byte) (int, error) {
	t := &c.turn
	t.into = p
	if err := c.sys.Read(t.step); err != nil {
		return 0, err
	}
	t.on = false
	switch {
	case t.err == errStale:
		return 0, t.err
	case len(t.wire) > 0:
		return c.takeLongTurn(p)
	case t.err != nil:
		return 0, c.readError(t.err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// stepTurn does what can be done now, and reports whether that ends the turn.
func (c *conn) stepTurn(fd uintptr) bool {
	t := &c.turn
	if t.asked {
		t.n, t.err = uninterrupted(readNow, fd, t.into)
		return t.err != syscall.EAGAIN
	}
	t.asked = true
	if c.reused && c.peek(fd) && c.peeked != syscall.EAGAIN {
		t.err = errStale
		return true
	}
	n, _ := uninterrupted(writeNow, fd, t.wire)
	c.unsent = n == 0
	t.wire = t.wire[n:]
	return len(t.wire) > 0
}

// takeLongTurn goes on where not all of the request was written at once. Where
// only a part can be, there may be an answer that tells why.
func (c *conn) takeLongTurn(p []byte) (int, error) {
	start := time.Now()
	n, err := c.nc.Write(c.turn.wire)
	if c.unsent = c.unsent && n == 0; c.unsent {
		return 0, err
	}
	c.mu.Lock()
	if !c.due.IsZero() {
		c.due = c.due.Add(time.Since(start)) // the answer has as long as ever
	}
	c.mu.Unlock()
	return c.nc.Read(p)
}

// uninterrupted makes a system call that no signal ends.
func uninterrupted(call func(fd uintptr, p []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := call(fd, p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// readError returns what c.nc.Read would for an error of the system's.
func (c *conn) readError(err error) error {
	local := c.raw.LocalAddr()
	return &net.OpError{Op: "read", Net: local.Network(), Source: local, Addr: c.raw.RemoteAddr(), Err: os.NewSyscallError("read", err)}
}
