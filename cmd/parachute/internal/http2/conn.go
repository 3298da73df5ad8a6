package http2

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A conn is a connection whose frames are followed, so that it can be ended when that
// cuts nothing off.
type conn struct {
	net.Conn // what is spoken on
	began    time.Time
	onClose  func(*conn)

	writing sync.Mutex // held while something is written; guards out
	out     frames

	in frames // used by Read alone

	first  chan struct{} // closed when the client has sent a request
	parted chan struct{} // closed when the client knows that the connection is about to end
	closed chan struct{}
	tasks  sync.WaitGroup // goroutines that end when the connection is closed

	mu        sync.Mutex // guards the fields below
	begun     bool       // a frame has come
	open      []uint32   // streams whose answer is not complete
	newest    uint32     // the newest stream of the client; 0: there was none
	ended     time.Time  // when an answer was last complete
	parting   bool       // goodbye is to be said as soon as no frame is being written
	last      uint32     // the last stream that is served, if gone
	gone      bool       // the server has said so
	leaving   bool       // all is written; the rest is the client's
	isClosed  bool
	hasParted bool // parted is closed
}

func newConn(nc net.Conn, onClose func(*conn)) *conn {
	c := &conn{
		Conn: nc, began: time.Now(), onClose: onClose,
		first: make(chan struct{}), parted: make(chan struct{}), closed: make(chan struct{}),
	}
	c.in.skip = clientPreface
	return c
}

// A secureConn is a conn over TLS. The server asks it for its state, which handlers find in
// the request.
type secureConn struct {
	*conn
	tls *tls.Conn
}

func (c *secureConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// NetConn returns what is below c. To close that closes the connection without a word.
func (c *conn) NetConn() net.Conn {
	if below, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return below.NetConn()
	}
	return c.Conn
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for rest, complete := c.in.next(p[:n]); ; rest, complete = c.in.next(rest) {
		if complete {
			c.received()
		}
		if len(rest) == 0 {
			break
		}
	}
	if err != nil && c.isLeaving() {
		err = io.EOF // the server has nothing left to wait for
	}
	return n, err
}

// received is called with each frame of the client.
func (c *conn) received() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = true
	switch id := c.in.stream(); c.in.kind() {
	case frameHeaders:
		if id <= c.newest {
			return // trailers
		}
		if c.newest == 0 {
			close(c.first)
		}
		c.newest = id
		if !c.gone {
			c.open = append(c.open, id)
		}
	case frameRSTStream:
		c.endLocked(id)
	case framePing:
		if c.in.has(flagAck) && string(c.in.payload()) == pingOfGoodbye {
			c.partLocked()
		}
	}
}

func (c *conn) partLocked() {
	if !c.hasParted {
		c.hasParted = true
		close(c.parted)
	}
}

func (c *conn) Write(p []byte) (written int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isLeaving() {
		return len(p), nil // nobody reads it
	}
	for len(p) > written && err == nil {
		if err = c.sayGoodbye(); err != nil {
			break
		}
		piece := p[written:]
		if c.isParting() && c.out.started {
			piece = piece[:max(c.out.unfinished(piece), 1)] // goodbye is said as soon as may be
		}
		var n int
		n, err = c.Conn.Write(piece)
		written += n
		c.wrote(piece[:n])
	}
	if err == nil {
		err = c.sayGoodbye()
	}
	return written, err
}

// wrote is called with what was written.
func (c *conn) wrote(p []byte) {
	for len(p) > 0 {
		var complete bool
		if p, complete = c.out.next(p); complete {
			c.sent()
		}
	}
}

// sent is called with each frame of the server.
func (c *conn) sent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch id := c.out.stream(); c.out.kind() {
	case frameData, frameHeaders:
		if c.out.has(flagEndStream) {
			c.endLocked(id)
		}
	case frameRSTStream:
		c.endLocked(id)
	case frameGoAway:
		last, code, ok := c.out.goAway()
		if !ok || code != 0 {
			return // the server hangs up
		}
		c.gone, c.last = true, last
		c.open = slices.DeleteFunc(c.open, func(id uint32) bool { return id > last })
		c.leaveLocked()
	}
}

// endLocked notes that the answer of a stream is complete, or wanted by nobody.
func (c *conn) endLocked(id uint32) {
	if i := slices.Index(c.open, id); i >= 0 {
		c.open = slices.Delete(c.open, i, i+1)
		c.ended = time.Now()
		c.leaveLocked()
	}
}

const (
	// firstPatience is how long a client that has just connected may take to send
	// its first request.
	firstPatience = 500 * time.Millisecond

	// partingPatience is how long a client may take to say that it knows of the end.
	partingPatience = 250 * time.Millisecond

	// retiredPatience is that where nobody waits for the end. What a client sends that
	// does not know yet, is answered only until then.
	retiredPatience = 2 * time.Second

	// hangUpPatience is how long a client may take to hang up that has been sent
	// everything, and answeredPatience, if part of that was sent only just now.
	// Bytes that arrive at a closed connection reset it, and a reset may destroy an
	// answer that the client has not read yet.
	hangUpPatience   = 100 * time.Millisecond
	answeredPatience = 500 * time.Millisecond
)

// leaveLocked ends the connection if the server has said that it is the end, and has
// answered everything.
func (c *conn) leaveLocked() {
	if !c.gone || len(c.open) > 0 || c.leaving || c.isClosed {
		return
	}
	c.leaving = true
	patience := hangUpPatience
	if time.Since(c.ended) < answeredPatience {
		patience = answeredPatience
	}
	c.tasks.Go(func() { c.hangUp(patience) })
}

// hangUp closes the sending side, and bounds how long Read goes on. It ends soon: what it
// writes has a deadline.
func (c *conn) hangUp(patience time.Duration) {
	until := time.Now().Add(patience)
	c.Conn.SetWriteDeadline(until)
	c.writing.Lock() // what Write is about has been written
	defer c.writing.Unlock()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // over TLS, only an alert
	}
	if half, ok := c.NetConn().(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	c.Conn.SetReadDeadline(until)
}

func (c *conn) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

func (c *conn) hasBegun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

func (c *conn) isParting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parting
}

// part tells the client that the connection is about to end, and returns when it knows, or
// has had patience. A client that has just connected may send its first request
// before. What it sends until it knows is served.
func (c *conn) part(patience time.Duration) {
	early := time.NewTimer(time.Until(c.began.Add(firstPatience)))
	defer early.Stop()
	select {
	case <-c.first:
	case <-early.C:
		if !c.hasBegun() { // the server knows it only from its first frame on
			c.NetConn().Close()
		}
	case <-c.closed:
		return
	}
	if !c.beginParting() {
		return
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-c.parted:
	case <-late.C:
	case <-c.closed:
	}
}

// beginParting has goodbye said, unless the connection is closed.
func (c *conn) beginParting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return false
	}
	c.parting = true
	c.tasks.Go(c.flushGoodbye)
	return true
}

// flushGoodbye says goodbye unless somebody writes, who will do it. It ends when the
// connection takes it, or is closed.
func (c *conn) flushGoodbye() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.sayGoodbye()
}

// sayGoodbye writes goodbye if that is to be said and can be. writing must be held.
func (c *conn) sayGoodbye() error {
	c.mu.Lock()
	now := c.parting && c.out.isBetween() && !c.gone
	if now {
		c.parting = false
	}
	c.mu.Unlock()
	if !now {
		return nil
	}
	_, err := c.Conn.Write(goodbye)
	return err
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	was := c.isClosed
	c.isClosed = true
	c.mu.Unlock()
	if !was {
		close(c.closed)
		c.tasks.Wait()
		c.onClose(c)
	}
	return err
}
