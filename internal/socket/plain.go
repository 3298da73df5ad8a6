package socket

import (
	"errors"
	"os"
	"time"
)

// What is not a socket gets its deadlines as they are wanted: some connections, such
// as those of TLS, cannot be written to any more when a deadline has passed.

func (c *Conn) readPlain(p []byte) (n int, err error) {
	c.in.limitPlain()
	return c.nc.Read(p)
}

func (c *Conn) writePlain(p []byte) (n int, err error) {
	for n < len(p) {
		c.out.limitPlain()
		var m int
		m, err = c.nc.Write(p[n:])
		n += m
		if err == nil || m == 0 || c.out.deadline.isSet() || !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return n, err
}

// limitPlain bounds the next operation by patience, if it has no deadline.
func (t *transfer) limitPlain() {
	if patience := time.Duration(t.patience.Load()); patience > 0 {
		t.deadline.setUnlessSet(time.Now().Add(patience))
	}
}
