package upstream

import (
	"errors"
	"io"
	"syscall"
	"time"
)

var errStale = errors.New("the target has closed the connection, or sent on it what nobody asked for")

// A turn is a Read of a socket, before which a whole request may be written. A
// Write and a Read would do for that, but a Read tries before it waits, too early
// as a rule. A turn waits once, between its two system calls.
//
// All of it happens within one RawConn.Read, for that begins by forgetting
// whether the socket was ready: whatever comes in afterwards ends the wait.
type turn struct {
	step   func(fd uintptr) bool
	asking bool   // wire is to be written before anything is read
	wire   []byte // what is still to be written
	into   []byte // what is read into
	n      int    // how much was read
	err    error  // why nothing was
}

// ask makes the next Read write wire before it waits for an answer, and look
// at a connection that was used before, even earlier: unless that is quiet, the
// Read fails with errStale. After any error of the Read, unsent tells whether
// it wrote nothing. c must be bare.
func (c *conn) ask(wire []byte) {
	c.unsent = true
	c.turn.asking, c.turn.wire = true, wire
}

// takeTurn is a Read. If a deadline ends it, the next goes on with it.
func (c *conn) takeTurn(p []byte) (int, error) {
	t := &c.turn
	t.into = p
	err := c.sys.Read(t.step)
	t.into = nil
	switch {
	case err != nil:
		return 0, c.socketError("read", err)
	case t.err == errStale:
		return 0, t.err
	case len(t.wire) > 0:
		return c.takeLongTurn(p)
	case t.err != nil:
		return 0, c.socketError("read", t.err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// stepTurn does what can be done now, and reports whether that ends the turn.
func (c *conn) stepTurn(fd uintptr) bool {
	t := &c.turn
	if !t.asking {
		t.n, t.err = uninterrupted(readNow, fd, t.into)
		return t.err != syscall.EAGAIN
	}
	t.asking = false
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
	start, wire := time.Now(), c.turn.wire
	c.turn.wire = nil
	n, err := c.write(wire)
	if c.unsent = c.unsent && n == 0; c.unsent {
		return 0, err
	}
	c.mu.Lock()
	if !c.due.IsZero() {
		c.due = c.due.Add(time.Since(start)) // the answer has as long as ever
	}
	c.mu.Unlock()
	return c.takeTurn(p)
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
