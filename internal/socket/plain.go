package socket

import "time"

// What is not a socket gets its deadlines as they are wanted: some connections, such
// as those of TLS, cannot be written to any more when a deadline has passed.

func (c *Conn) readPlain(p []byte) (n int, err error) {
	c.in.limitPlain()
	return c.nc.Read(p)
}

func (c *Conn) writePlain(p []byte) (n int, err error) {
	c.out.limitPlain()
	return c.nc.Write(p)
}

// limitPlain bounds the next operation by patience, if it has no deadline.
func (t *transfer) limitPlain() {
	if patience := time.Duration(t.patience.Load()); patience > 0 {
		t.deadline.setUnlessSet(time.Now().Add(patience))
	}
}
