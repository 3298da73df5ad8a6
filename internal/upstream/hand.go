package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// errNothing says that nothing is at hand: whoever reads has to wait.
var errNothing = errors.New("nothing is at hand")

// A waiter is told that the target is to be waited for: whatever it holds back
// must not wait as well. It is called by whoever reads. If it fails, so does the
// Read.
type waiter interface{ beforeWait() error }

// A waiterFunc is a waiter.
type waiterFunc func() error

func (f waiterFunc) beforeWait() error { return f() }

// readAtHand is called before a Read that may wait, if there is a waiter. It reads what is
// there; if nothing is, it tells the waiter, and returns errNothing.
func (c *targetConn) readAtHand(p []byte) (int, error) {
	if c.socket {
		n, err := c.steps.read(c.sys, c.steps.taker, p)
		switch {
		case err == nil, err == io.EOF:
			return n, err
		case err == syscall.EAGAIN, errors.Is(err, os.ErrDeadlineExceeded): // which may be one that was left behind
		default:
			return 0, c.socketError("read", err)
		}
	}
	if err := c.waiter.beforeWait(); err != nil {
		return 0, err
	}
	return 0, errNothing
}

// A ciphertext is the connection below TLS. It is raw, except that whoever waits for bytes,
// or for room, waits as without TLS.
type ciphertext struct {
	net.Conn
	c *targetConn
}

func (t *ciphertext) Read(p []byte) (int, error) {
	if t.c.waiter != nil {
		if n, err := t.c.readAtHand(p); err != errNothing {
			return n, err
		}
	}
	return t.Conn.Read(p)
}

func (t *ciphertext) Write(p []byte) (int, error) { return t.c.writeRaw(p) }
