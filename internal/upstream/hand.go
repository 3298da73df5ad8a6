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

// readAtHand comes before a Read of the socket: where somebody wants to know
// whether that will wait, it reads what is there. Otherwise, and when it has told
// that there was nothing, it returns errNothing.
func (c *targetConn) readAtHand(p []byte) (int, error) {
	if c.waiter == nil {
		return 0, errNothing
	}
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

// A ciphertext is what TLS is spoken over: raw, but for who waits for it, or for
// room in it.
type ciphertext struct {
	net.Conn
	c *targetConn
}

func (t *ciphertext) Read(p []byte) (int, error) {
	if n, err := t.c.readAtHand(p); err != errNothing {
		return n, err
	}
	return t.Conn.Read(p)
}

func (t *ciphertext) Write(p []byte) (int, error) { return t.c.writeRaw(p) }
