package http1

import (
	"time"
)

// A request ends when its client leaves. To find that out costs: so a request is
// looked after only once the server has seen it twice, half a second apart.
//
// A client that has closed its side of the connection cannot be told from one that
// has left until something is written to it. One that closes its side along with its
// request waits for the response, as programs do that send a file and read what comes
// back. One that does so while its request is served has left. Which of the two it is
// can be seen best when the request has been read; but that costs a system call, which
// only the first request of a connection pays, and one that was sent ahead. With others
// the system is asked, if it comes to that, when the last bytes and the end have arrived.

// A clientState is what is known about the client of a request.
type clientState struct {
	seen     uint // the phase that the server has seen
	complete bool // all of the request was read
	ended    bool // the client had closed its side by then, or by the end of an earlier request

	// What is not a socket can only be read to find out that the client has left.
	reading chan struct{} // closed when the read is over; nil: there is none
	one     [1]byte
	n       int // bytes in one
}

// enter begins a request.
func (c *conn) enter(t *exchange) {
	c.checksEnd = c.requests == 1 || c.ahead
	ended := c.hasEnded()
	c.mu.Lock()
	c.phase++
	c.ctx = t.ctx
	c.client.complete = t.body == nil
	c.client.ended = c.client.ended || ended
	c.mu.Unlock()
}

// leave ends a request. From then on nobody ends its context.
func (c *conn) leave() {
	c.mu.Lock()
	for c.client.reading != nil {
		c.mu.Unlock()
		c.stopReading()
		c.mu.Lock()
	}
	c.phase++
	c.ctx = nil
	c.mu.Unlock()
}

// bodyComplete is called when the body was read.
func (c *conn) bodyComplete() {
	ended := c.hasEnded()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client.complete = true
	c.client.ended = c.client.ended || ended
}

// hasEnded reports whether the client has closed its side, if the request is one for
// which that is found out at once.
func (c *conn) hasEnded() bool { return c.checksEnd && c.sock.HasEnded() }

// clientLost is called when the body cannot be read. It ends the context even if a
// deadline was why, as the server of net/http does.
func (c *conn) clientLost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelLocked()
}

func (c *conn) cancelLocked() {
	if c.ctx != nil {
		c.ctx.cancel()
	}
}

// beginIdle notes that the connection waits for a request. It reports false if it must
// not wait, because the server stops.
func (c *conn) beginIdle() (ok bool) {
	c.mu.Lock()
	ok = !c.stopping
	c.idle = ok
	c.mu.Unlock()
	return ok
}

// endIdle notes that the connection does not wait for a request any more, and whether there
// is one. It reports whether the connection has to stop, or to rest.
func (c *conn) endIdle(got bool) (stops, mustRest bool) {
	c.mu.Lock()
	stops, mustRest = c.stopping, c.mustRest
	c.isLively = got && !mustRest && (c.isLively && c.requests > 0 || c.isResumed && time.Since(c.idleSince) < livelyTime)
	c.idle, c.mustRest = false, false
	c.mu.Unlock()
	return stops, mustRest
}

func (c *conn) isBusy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase%2 == 1
}

func (c *conn) isStopping() bool {
	c.mu.Lock()
	stopping := c.stopping
	c.mu.Unlock()
	return stopping
}

// stop has the connection closed behind the request that it has, or at once if it has
// none. One that is new has a moment for its first request.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	switch {
	case c.rests:
		c.resumeLocked()
	case c.idle:
		c.sock.SetReadDeadline(time.Unix(1, 0))
	case c.handshaking:
		c.sock.SetDeadline(time.Now().Add(newTimeout))
	}
}

// cut closes the connection, and ends its request.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	c.cancelLocked()
	c.sock.Close()
	if c.rests {
		c.resumeLocked()
	}
}

// lookAfter ends the request if it has been seen before and its client has left.
func (c *conn) lookAfter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.client
	again := w.seen == c.phase
	w.seen = c.phase
	if c.phase%2 == 0 {
		c.lookAfterIdleLocked(again)
		return
	}
	if !again {
		return
	}
	if !c.sock.IsSocket() {
		c.readAheadLocked()
		return
	}
	ended, broken := c.sock.Hangup()
	w.ended = w.ended || ended && w.complete && !c.checksEnd && c.sock.EndedWithData()
	if broken || ended && w.complete && !w.ended {
		c.cancelLocked()
	}
}

// readAheadLocked begins to read beyond the request.
func (c *conn) readAheadLocked() {
	w := &c.client
	if w.reading != nil || !w.complete || w.n > 0 || c.ctx.Err() != nil || c.exchange == nil || len(c.exchange.in.unread()) > 0 {
		return
	}
	w.reading = make(chan struct{})
	c.sock.SetReadPatience(0)
	go c.readAhead(w.reading)
}

// readAhead reads a byte beyond the request. If there is none, the client has left.
func (c *conn) readAhead(done chan struct{}) {
	defer close(done)
	w := &c.client
	n, err := c.nc.Read(w.one[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	w.n = n
	if n == 0 && !isTimeout(err) {
		c.cancelLocked()
	}
}

// stopReading ends the read, and keeps what it has read.
func (c *conn) stopReading() {
	c.mu.Lock()
	reading := c.client.reading
	c.mu.Unlock()
	if reading == nil {
		return
	}
	c.sock.SetReadDeadline(time.Unix(1, 0))
	<-reading
	c.sock.SetReadDeadline(time.Time{})
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.client
	if w.n > 0 {
		c.exchange.in.unreadByte(w.one[0])
	}
	w.reading, w.n = nil, 0
}
