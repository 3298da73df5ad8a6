package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/shahnk19/parachute/internal/socket"
)

// prefaceLine is the first line of the preface of HTTP/2 (RFC 9113, section 3.4).
const prefaceLine = "PRI * HTTP/2.0\r\n"

// errNoRequest says that there is no request, or none that is served.
var errNoRequest = errors.New("there is no request")

// readHead reads the head of the next request into c.exchange. The error is errNoRequest or
// errRests.
func (c *conn) readHead() error {
	if c.ahead = c.exchange != nil; !c.ahead {
		if !c.isResumed {
			c.idleSince = time.Now()
		}
		if err := c.awaitRequest(c.mayRest); err != nil {
			return err
		}
		c.isResumed = false
	}
	t, s := c.exchange, &c.server.limits
	var found search
	limited := false
	for {
		unread := t.in.unread()
		if c.requests == 0 && c.server.HTTP2 != nil && bytes.HasPrefix(unread, []byte(prefaceLine)) {
			c.exchange = nil
			c.serveHTTP2(&replayConn{Conn: c.nc, unread: bytes.Clone(unread)})
			t.giveBack()
			return errNoRequest
		}
		n, err := parseHead(unread, &found, s, &t.head)
		if err != nil {
			c.refuse(err.(*refusal))
			return errNoRequest
		}
		if n > 0 {
			t.in.discard(n)
			if c.limited {
				c.limitReads(time.Time{})
			}
			return nil
		}
		if string(unread) == "\r\n" && !found.passed {
			// Some clients send an empty line behind a body (RFC 9112, section 2.2).
			// It may be all that comes, so it begins no request.
			if err := c.awaitBehindEmptyLine(); err != nil {
				return err
			}
			t, found = c.exchange, search{passed: true}
			continue
		}
		if !limited {
			c.limitHead()
			limited = true
		}
		err = t.in.fill()
		switch {
		case err == nil:
		case isTimeout(err):
			c.refuse(errSlowHead)
			return errNoRequest
		default:
			return errNoRequest
		}
	}
}

// limitHead begins the time that a head may take.
func (c *conn) limitHead() {
	var until time.Time
	if limit := c.server.HeadTimeout; limit > 0 {
		until = time.Now().Add(limit)
	}
	c.limitReads(until)
}

// idleEnd returns until when the connection may be without a request, or no time if there
// is no limit.
func (c *conn) idleEnd() (until time.Time) {
	if limit := c.server.IdleTimeout; limit > 0 {
		until = c.idleSince.Add(limit)
	}
	return until
}

// awaitBehindEmptyLine is awaitRequest where nothing but an empty line has been read,
// which it drops. The time without a request goes on. The connection does not rest, for
// another empty line is not to be dropped.
func (c *conn) awaitBehindEmptyLine() error {
	t := c.exchange
	c.exchange = nil
	t.giveBack()
	if c.ahead { // the time begins here
		c.ahead, c.idleSince = false, time.Now()
	}
	return c.awaitRequest(false)
}

// awaitRequest waits for the first byte of a request, without an exchange as far as that is
// possible. The error is errNoRequest if none has come by the end of that time, or errRests
// if the connection may rest, and does. As long as it may, it is the server that looks after
// that time, and the wait needs no deadline.
func (c *conn) awaitRequest(mayRest bool) error {
	c.sock.SetReadPatience(0)
	for looked := c.isResumed; ; looked = true {
		switch {
		case looked || !mayRest:
			c.limitReads(c.idleEnd())
		case c.limited:
			c.limitReads(time.Time{})
		}
		if !c.beginIdle() {
			return c.awaitLast()
		}
		err := c.awaitFirst(mayRest)
		if err == errRests {
			return err
		}
		stops, mustRest := c.endIdle(err == nil)
		c.limited = c.limited || stops || mustRest // whoever wanted that has set one
		switch {
		case err == nil:
			return nil
		case err == errStays:
			mayRest, c.mayRest = false, false
		case !isTimeout(err):
			return errNoRequest
		case stops:
			return c.awaitLast()
		case !mustRest:
			return c.tryLast()
		}
	}
}

// awaitFirst waits for the first byte of a request. If the connection may rest, it returns
// errRests if it does, and errStays if it cannot.
func (c *conn) awaitFirst(mayRest bool) error {
	if mayRest && !c.isLively {
		if err := c.tryFirst(); !socket.IsNothing(err) {
			return err
		}
		if c.rest() {
			return errRests
		}
		return errStays
	}
	if c.tls == nil {
		n, err := c.sock.ReadLent(c)
		return c.beginExchange(n, err)
	}
	for { // TLS may have read it already
		if err := c.tryFirst(); !socket.IsNothing(err) {
			return err
		}
		if err := c.sock.Await(); err != nil {
			return err
		}
	}
}

// tryFirst reads into a new exchange what is there.
func (c *conn) tryFirst() error {
	if c.tls == nil {
		n, err := c.sock.TryReadLent(c)
		return c.beginExchange(n, err)
	}
	n, err := c.sock.TryRead(c.nc.Read, c.Lend())
	if n == 0 {
		c.TakeBack()
	}
	return c.beginExchange(n, err)
}

// Lend lends the buffer of the exchange before, or of a new one.
func (c *conn) Lend() []byte {
	t := c.kept
	if t == nil {
		t = exchanges.Get().(*exchange)
	}
	c.exchange, c.kept = t, nil
	return t.in.buf
}

// TakeBack ends the exchange, for nothing was read into its buffer.
func (c *conn) TakeBack() {
	c.exchange.giveBack()
	c.exchange = nil
}

// beginExchange is called when n bytes were read into the buffer of the exchange. If there are
// none, there is no exchange.
func (c *conn) beginExchange(n int, err error) error {
	switch {
	case n > 0:
		t := c.exchange
		t.in.r, t.in.w = 0, n
		if t.w.conn == nil {
			t.attach(c)
		}
		return nil
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// newTimeout is how long a client that has just connected may take to send its first
// request once the server stops, and before that for what is left of a TLS handshake. A
// client that means to send one does so at once.
const newTimeout = 500 * time.Millisecond

// awaitLast is awaitRequest when the server stops: what has arrived is served. A client
// that has connected only just now has some time to send its request.
func (c *conn) awaitLast() error {
	if c.tryLast() == nil {
		return nil
	}
	if c.requests > 0 {
		return errNoRequest
	}
	c.limitReads(c.began.Add(newTimeout))
	if c.awaitFirst(false) != nil {
		return errNoRequest
	}
	return nil
}

// tryLast is awaitRequest when the time for a request is over: what has arrived is served,
// although the connection may have been told of that only later.
func (c *conn) tryLast() error {
	if !c.sock.IsSocket() {
		return errNoRequest
	}
	c.limitReads(time.Time{})
	if c.tryFirst() != nil {
		return errNoRequest
	}
	return nil
}

// refuse answers a request that is not served, and drops what comes behind it.
func (c *conn) refuse(r *refusal) {
	c.server.logf("http1: refused a request from %s: %s", c.remote, r.why)
	text := strconv.Itoa(r.status) + " " + http.StatusText(r.status) + ": " + r.why + "\n"
	b := append(make([]byte, 0, 512), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(r.status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, c.server.clock.date(time.Now())...)
	b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, "\r\n\r\n"...)
	if !isHead(c.exchange.in.unread()) {
		b = append(b, text...)
	}
	if _, err := c.nc.Write(b); err == nil {
		c.linger()
	}
}

// isHead reports whether a request that begins with b, and is refused, is one for a head
// alone. No answer to that has a body (RFC 9110, section 9.3.2).
func isHead(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(b, []byte("\r\n")), []byte("HEAD "))
}

// A replayConn is a connection of which something was read: it is read once more.
type replayConn struct {
	net.Conn
	unread []byte
}

func (r *replayConn) Read(p []byte) (int, error) {
	if len(r.unread) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// CloseWrite closes the sending side.
func (r *replayConn) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
