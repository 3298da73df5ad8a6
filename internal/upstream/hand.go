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

// A hand reads from a socket what is there already.
type hand struct {
	step func(fd uintptr) bool // read, bound once
	into []byte
	n    int
	err  error
}

func (h *hand) read(fd uintptr) bool {
	h.n, h.err = uninterrupted(readNow, fd, h.into)
	return true
}

// readAtHand comes before a Read of the socket: where somebody wants to know
// whether that will wait, it reads what is there. Otherwise, and when it has told
// that there was nothing, it returns errNothing.
func (c *conn) readAtHand(p []byte) (int, error) {
	if c.waiter == nil {
		return 0, errNothing
	}
	if c.sys != nil {
		h := &c.hand
		h.into = p
		err := c.sys.Read(h.step)
		h.into = nil
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // which may be one that was left behind
		case err != nil:
			return 0, c.socketError("read", err)
		case h.err == syscall.EAGAIN:
		case h.err != nil:
			return 0, c.socketError("read", h.err)
		case h.n == 0:
			return 0, io.EOF
		default:
			return h.n, nil
		}
	}
	if err := c.waiter.beforeWait(); err != nil {
		return 0, err
	}
	return 0, errNothing
}

// A ciphertext is what TLS reads from.
type ciphertext struct {
	net.Conn
	c *conn
}

func (t *ciphertext) Read(p []byte) (int, error) {
	if n, err := t.c.readAtHand(p); err != errNothing {
		return n, err
	}
	return t.Conn.Read(p)
}
