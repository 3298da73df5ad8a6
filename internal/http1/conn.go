package http1

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/socket"
)

// A conn is a connection. Its goroutine runs serve. While it rests it has none.
type conn struct {
	server *Server
	id     uint64       // the server's, of no other connection
	nc     net.Conn     // what is spoken on: sock, or TLS over it
	sock   *socket.Conn // below, or beside nc where that hides it
	tls    *tls.ConnectionState
	remote string
	local  net.Addr

	requests  int       // how many were read
	ahead     bool      // the request was sent before the response to the one before it
	checksEnd bool      // hasEnded asks the system
	exchange  *exchange // has something that was read; nil: nothing was
	kept      *exchange // of the request before, for the first attempt to read the next; nil: there is none
	released  bool      // the connection is somebody else's: hijacked, or HTTP2's
	last      bool      // the response that is being made is the last one
	retired   bool      // likewise, because the server was retired
	began     time.Time // when it could have sent its first request

	limited   bool      // there may be a deadline of reads
	mayRest   bool      // its goroutine may leave it, as far as is known
	isLively  bool      // see rest.go; it is written with mu held
	isResumed bool      // it has rested, and waits for the same request still
	idleSince time.Time // when it began to wait for a request; while it does

	mu          sync.Mutex // guards the fields below
	handshaking bool       // TLS is being negotiated
	phase       uint       // counts the beginnings and ends of requests: odd while there is one
	ctx         *requestContext
	idle        bool // it waits for a request
	rests       bool // and has no goroutine: whoever sets this to false has the connection served
	mustRest    bool // and is lively no more
	stopping    bool
	client      clientState
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, nc: nc, local: nc.LocalAddr(), remote: nc.RemoteAddr().String(), began: time.Now()}
	switch known := nc.(type) {
	case *socket.Conn:
		c.sock = known
	case *tls.Conn:
		if below, ok := known.NetConn().(*socket.Conn); ok {
			c.sock = below
		}
	}
	if c.sock == nil {
		c.sock = socket.NewConn(nc, s.pipes, nil)
		if _, isTLS := nc.(*tls.Conn); !isTLS {
			c.nc = c.sock
		}
	}
	c.sock.SetWritePatience(s.ByteTimeout)
	return c
}

// serve serves the connection until it is closed, rests, or is somebody else's. For a
// connection that has rested, it is called again.
func (c *conn) serve() {
	rests := false
	defer func() {
		if !rests { // otherwise somebody else may be serving it by now
			c.end()
		}
	}()
	if !c.isResumed && !c.secure() {
		return
	}
	for {
		err := c.readHead()
		rests = err == errRests
		if err != nil || !c.serveRequest() {
			return
		}
	}
}

// end closes the connection, unless it is somebody else's.
func (c *conn) end() {
	if !c.released {
		for _, t := range []*exchange{c.exchange, c.kept} {
			if t != nil {
				t.giveBack()
			}
		}
		c.exchange, c.kept = nil, nil
		c.nc.Close()
	}
	c.server.untrack(c)
}

// secure has TLS spoken, if the server does that, and reports whether there is still
// something to be served.
func (c *conn) secure() bool {
	config := c.server.TLSConfig
	secured, isTLS := c.nc.(*tls.Conn)
	if config != nil && !isTLS {
		secured, isTLS = tls.Server(c.nc, config), true
		c.nc = secured
	}
	if !isTLS {
		return true
	}
	c.beginHandshake()
	if err := secured.Handshake(); err != nil {
		c.handshakeFailed(err)
		return false
	}
	c.endHandshake()
	state := secured.ConnectionState()
	c.tls = &state
	if state.NegotiatedProtocol == "h2" && c.server.HTTP2 != nil {
		c.serveHTTP2(secured)
		return false
	}
	return true
}

// beginHandshake bounds how long the handshake may take.
func (c *conn) beginHandshake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch limit := c.server.HeadTimeout; {
	case c.stopping:
		c.sock.SetDeadline(time.Now().Add(newTimeout))
	case limit > 0:
		c.sock.SetDeadline(c.began.Add(limit))
	}
	c.handshaking = true
}

// endHandshake is called when the client may send its first request.
func (c *conn) endHandshake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshaking = false
	c.sock.SetDeadline(time.Time{})
	c.began = time.Now()
}

// handshakeFailed tells a client that speaks HTTP without TLS what is wrong.
func (c *conn) handshakeFailed(err error) {
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
	c.server.logf("http1: TLS handshake error from %s: %v", c.remote, err)
}

func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "CONNE":
		return true
	}
	return false
}

// serveHTTP2 gives the connection to the server of HTTP/2. A Shutdown waits until it has it.
func (c *conn) serveHTTP2(nc net.Conn) {
	c.free()
	c.server.HTTP2(nc)
}

// release makes the connection somebody else's.
func (c *conn) release() {
	c.free()
	c.server.untrack(c)
}

// free is release, but for that the server still waits for the connection.
func (c *conn) free() {
	c.released = true
	c.sock.SetDeadline(time.Time{})
	c.sock.SetReadPatience(0)
	c.sock.SetWritePatience(0)
}

// serveRequest serves the request that was read. It reports whether there may be
// another one.
func (c *conn) serveRequest() (again bool) {
	t := c.exchange
	c.requests++
	c.last = c.server.MaxRequests > 0 && c.requests >= c.server.MaxRequests
	r := t.begin(c)
	c.sock.SetReadPatience(c.server.ByteTimeout)
	c.enter(t)
	served := c.handle(t, r)
	if t.w.hijacked {
		c.leave()
		t.end()
		c.exchange = nil // the handler's may use the connection still
		return false
	}
	if !served {
		c.leave()
		t.ctx.cancel()
		c.exchange = nil // whoever panicked may have left behind who uses it
		return false
	}
	if t.w.timed.Load() {
		c.limited = true
		c.sock.SetWritePatience(c.server.ByteTimeout)
		c.sock.SetWriteDeadline(time.Time{})
	}
	err := t.w.finish()
	again = err == nil && !t.w.close
	whole := c.endBody(t, again)
	c.leave()
	t.end()
	switch {
	case err == errHandlerLength:
		c.server.logf("%v", err)
	case err == nil && (!whole || !again && (c.retired || len(t.in.unread()) > 0)):
		c.linger()
	}
	if !again || !whole {
		return false
	}
	if len(t.in.unread()) == 0 {
		c.exchange = nil
		if c.sock.IsSocket() { // others wait with it
			c.kept = t
		} else {
			t.giveBack()
		}
	}
	return true
}

// handle calls the handler, and reports whether it returned. If it panics, what it has
// written so far must not look complete.
func (c *conn) handle(t *exchange, r *http.Request) (returned bool) {
	defer func() {
		if returned {
			return
		}
		err := recover()
		if err != nil && err != http.ErrAbortHandler {
			stack := make([]byte, 64<<10)
			stack = stack[:runtime.Stack(stack, false)]
			c.server.logf("http1: panic serving %s: %v\n%s", c.remote, err, stack)
		}
		if !t.w.hijacked && t.w.framing == untilEnd {
			c.sock.SetLinger(0)
			c.sock.Close()
		}
	}()
	c.server.Handler.ServeHTTP(&t.w, r)
	return true
}

const (
	// maxDiscarded is how much may be left of a body that the handler did not want if
	// the connection is to be kept. Where that was not known when the response began, so
	// that the client was not told of the end, there is no limit but lingerTimeout: the
	// client may have sent its next request already.
	maxDiscarded = 256 << 10

	// lingerTimeout is how long a client may go on sending after it was answered.
	// Bytes that arrive at a closed connection reset it, and a reset may destroy an
	// answer that the client has not read yet (RFC 9112, section 9.6).
	lingerTimeout = 500 * time.Millisecond
)

// endBody takes the body from the handler, and reports whether it was read to its end.
// If there may be another request, it reads what is left.
func (c *conn) endBody(t *exchange, again bool) (whole bool) {
	if t.body == nil {
		return true
	}
	if t.body.isBeingRead() {
		c.limitReads(time.Now().Add(lingerTimeout))
	}
	if again && !t.body.isComplete() {
		c.limitReads(time.Now().Add(lingerTimeout))
	}
	return t.body.discard(again && t.w.asked)
}

// limitReads sets the deadline of reads. It is called by who serves the connection.
func (c *conn) limitReads(until time.Time) {
	c.limited = !until.IsZero()
	c.sock.SetReadDeadline(until)
}

// linger closes the sending side, and reads and drops what the client still sends.
func (c *conn) linger() {
	if secured, ok := c.nc.(*tls.Conn); ok {
		secured.CloseWrite()
	}
	c.sock.CloseWrite()
	until := time.Now().Add(lingerTimeout)
	c.sock.SetReadDeadline(until)
	var b [512]byte
	for time.Now().Before(until) {
		if _, err := c.sock.Read(b[:]); err != nil {
			return
		}
	}
}

// isBare reports whether what is spoken on is sock itself.
func (c *conn) isBare() bool { return c.nc == net.Conn(c.sock) }

// isLast reports whether the response that is being made is the last one on the
// connection, for the server's sake.
func (c *conn) isLast() bool {
	c.retired = c.server.retired.Load() && c.exchange.isAlone()
	return c.last || c.retired || c.isStopping()
}
