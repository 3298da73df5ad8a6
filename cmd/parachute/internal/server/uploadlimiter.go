package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// An uploadLimiter limits the bytes of request bodies that clients of HTTP/2 and
// HTTP/3 have sent and nobody has read. Their servers keep these bytes in memory,
// up to a flow-control window for each request. While there are more than limit,
// of all clients together, it closes the connection that has the most.
//
// The servers do not tell how much they keep, so the limiter counts the most that
// they can keep: for each body a window, or the rest of its Content-Length if
// that is less, and for each connection at most a window of the connection. Over
// HTTP/2 bytes arrive in order, so a body has nothing unread while a Read waits
// for more. Over HTTP/3 such a body may have everything but its next byte.
type uploadLimiter struct {
	limit  int64
	logger *slog.Logger
	total  atomic.Int64 // sum of counted of all connections

	closing sync.Mutex // held while connections are closed

	mu         sync.Mutex // guards the fields below
	conns      map[*uploadConn]struct{}
	lastLogged time.Time // when a closed connection was last logged
}

func newUploadLimiter(limit int64, logger *slog.Logger) *uploadLimiter {
	return &uploadLimiter{limit: limit, logger: logger, conns: make(map[*uploadConn]struct{})}
}

// An uploadConn is a connection that may have unread bodies.
type uploadConn struct {
	limiter *uploadLimiter
	remote  net.Addr
	window  int64  // the flow-control window of the connection
	ordered bool   // bytes arrive in order, as over HTTP/2
	hangUp  func() // closes the connection

	counted atomic.Int64 // its part of limiter.total; written with mu held

	mu        sync.Mutex // guards the fields below; limiter.mu may be locked while it is held
	bodies    int        // number of tracked bodies; if it is not 0, limiter.conns has the connection
	maxUnread int64      // the most that can be unread of these bodies
	closed    bool       // the connection does not count any more
}

type uploadConnKey struct{}

// tcpContext is the ConnContext of an http.Server for HTTP/2.
func (u *uploadLimiter) tcpContext(ctx context.Context, conn net.Conn) context.Context {
	c := &uploadConn{limiter: u, remote: conn.RemoteAddr(), window: connWindow, ordered: true}
	c.hangUp = func() {
		if above, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = above.NetConn() // a TLS connection would wait to send close_notify
		}
		conn.Close()
	}
	return context.WithValue(ctx, uploadConnKey{}, c)
}

// quicContext returns the ConnContext of an http3.Server whose connections have
// that flow-control window.
func (u *uploadLimiter) quicContext(window int64) func(context.Context, *quic.Conn) context.Context {
	return func(ctx context.Context, conn *quic.Conn) context.Context {
		c := &uploadConn{limiter: u, remote: conn.RemoteAddr(), window: window}
		c.hangUp = func() {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "too much is unread")
		}
		return context.WithValue(ctx, uploadConnKey{}, c)
	}
}

// countBodies returns a handler that tracks the bodies of requests and calls
// next. It does not track bodies of HTTP/1, which its server does not keep in
// memory.
func (u *uploadLimiter) countBodies(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 || r.ContentLength == 0 {
			next(w, r)
			return
		}
		c, known := r.Context().Value(uploadConnKey{}).(*uploadConn)
		if !known {
			next(w, r)
			return
		}
		b := c.track(r.Body, r.ContentLength)
		defer b.release()
		r.Body = b
		next(w, r)
	}
}

// track returns body as one that is counted until release is called. length is
// its Content-Length, negative if that is not known.
func (c *uploadConn) track(body io.ReadCloser, length int64) *uploadBody {
	c.mu.Lock()
	if c.bodies++; c.bodies == 1 {
		c.limiter.mu.Lock()
		c.limiter.conns[c] = struct{}{}
		c.limiter.mu.Unlock()
	}
	c.mu.Unlock()
	b := &uploadBody{ReadCloser: body, conn: c, remaining: length}
	b.setUnread(b.window())
	return b
}

// An uploadBody is a tracked body.
type uploadBody struct {
	io.ReadCloser
	conn      *uploadConn
	remaining int64 // rest of its Content-Length, negative if that is not known; used by Read alone

	// These are guarded by conn.mu.
	maxUnread int64 // its part of conn.maxUnread
	finished  bool  // it does not count any more
}

// window returns how much of b may be unread.
func (b *uploadBody) window() int64 {
	if b.remaining >= 0 {
		return min(b.remaining, streamWindow)
	}
	return streamWindow
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if b.conn.ordered {
		b.setUnread(0)
	}
	n, err := b.ReadCloser.Read(p)
	if b.remaining >= 0 {
		b.remaining -= int64(n)
	}
	if err == io.EOF {
		b.finish()
	} else {
		b.setUnread(b.window())
	}
	return n, err
}

// Close has the server discard the unread bytes.
func (b *uploadBody) Close() error {
	err := b.ReadCloser.Close()
	b.finish()
	return err
}

// setUnread sets how much of b can be unread at most.
func (b *uploadBody) setUnread(most int64) {
	c := b.conn
	c.mu.Lock()
	if b.finished {
		most = 0
	}
	c.maxUnread += most - b.maxUnread
	b.maxUnread = most
	grown := c.recountLocked()
	c.mu.Unlock()
	if grown && c.limiter.total.Load() > c.limiter.limit {
		c.limiter.closeLargest()
	}
}

// finish stops counting b.
func (b *uploadBody) finish() {
	b.conn.mu.Lock()
	b.finished = true
	b.conn.mu.Unlock()
	b.setUnread(0)
}

// release ends the tracking of a body whose request has ended.
func (b *uploadBody) release() {
	c := b.conn
	if c.ordered {
		// The server of HTTP/2 keeps unread bytes as long as it has the stream. After
		// the client has hung up that can take long: messages of handlers to the
		// connection, such as deadlines, stay in its queue, and the timer of
		// IdleTimeout, which starts anew with the end of the last stream, refers to
		// it. The server of HTTP/3 discards the bytes itself, with a better error
		// code.
		b.ReadCloser.Close()
	}
	b.finish()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bodies--; c.bodies == 0 {
		c.limiter.mu.Lock()
		delete(c.limiter.conns, c)
		c.limiter.mu.Unlock()
	}
}

// recountLocked updates counted, and reports whether it has grown.
func (c *uploadConn) recountLocked() bool {
	counted := min(c.maxUnread, c.window)
	if c.closed {
		counted = 0
	}
	more := counted - c.counted.Swap(counted)
	if more != 0 {
		c.limiter.total.Add(more)
	}
	return more > 0
}

// closeLargest closes the connections with the most unread bytes until the total
// is within the limit.
func (u *uploadLimiter) closeLargest() {
	u.closing.Lock()
	defer u.closing.Unlock()
	for u.total.Load() > u.limit {
		c := u.largest()
		if c == nil {
			return // the remaining bodies are just being released
		}
		bytes := c.counted.Load()
		c.mu.Lock()
		c.closed = true
		c.recountLocked()
		c.mu.Unlock()
		c.hangUp()
		u.logClosed(c, bytes)
	}
}

// largest returns the connection with the most unread bytes, or nil if there are
// none.
func (u *uploadLimiter) largest() *uploadConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	var largest *uploadConn
	var most int64
	for c := range u.conns {
		if n := c.counted.Load(); n > most {
			largest, most = c, n
		}
	}
	return largest
}

// logInterval is how often a closed connection is logged at most, because any
// client can cause that.
const logInterval = time.Minute

func (u *uploadLimiter) logClosed(c *uploadConn, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if !u.lastLogged.IsZero() && now.Sub(u.lastLogged) < logInterval {
		return
	}
	u.lastLogged = now
	u.logger.Warn("unread uploads take too much memory: the connection with the most was ended",
		"client", c.remote.String(), "bytes", bytes, "limit", u.limit)
}
