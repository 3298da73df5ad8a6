package server

import (
	"context"
	"crypto/tls"
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

// uploadLimiter counts what clients of HTTP/2 and HTTP/3 have sent of bodies, or may
// have sent, that nobody has read: their servers keep that in memory, up to a
// window for each request. When it is more than limit, of all clients together,
// the connection that has the most is ended, until it is less.
//
// No server tells what it keeps, so the most that it can be is counted: of each
// body a window, or what is missing from its Content-Length where that is less,
// and of each connection a window of its own at most. Bytes come in order over
// HTTP/2, so a body that somebody waits to read from there has nothing unread.
// Over HTTP/3 it may have all but its first byte.
type uploadLimiter struct {
	limit  int64
	logger *slog.Logger
	total  atomic.Int64 // of what is counted of clients

	closing sync.Mutex // held while connections are ended

	mu         sync.Mutex // guards what follows
	conns      map[*uploadConn]struct{}
	lastLogged time.Time // when the log was last told of one that was ended
}

func newUploadLimiter(limit int64, logger *slog.Logger) *uploadLimiter {
	return &uploadLimiter{limit: limit, logger: logger, conns: make(map[*uploadConn]struct{})}
}

// An uploadConn is a connection that may bring bodies.
type uploadConn struct {
	limiter *uploadLimiter
	remote  net.Addr
	window  int64  // the most that can be unread of all of its bodies
	ordered bool   // what it sends comes in order
	hangUp  func() // hangs up

	counted atomic.Int64 // its part of unread.total; written with mu held

	mu        sync.Mutex // guards what follows; unread.mu may be locked with it held
	bodies    int        // that are open; if any, unread.clients has it
	maxUnread int64      // that may be unread of them
	closed    bool       // it counts no more
}

type uploadConnKey struct{}

// tcpContext is the ConnContext of an http.Server with TLS.
func (u *uploadLimiter) tcpContext(ctx context.Context, conn net.Conn) context.Context {
	c := &uploadConn{limiter: u, remote: conn.RemoteAddr(), window: connWindow, ordered: true}
	c.hangUp = func() {
		if secured, ok := conn.(*tls.Conn); ok {
			conn = secured.NetConn() // which does not wait to say goodbye
		}
		conn.Close()
	}
	return context.WithValue(ctx, uploadConnKey{}, c)
}

// quicContext returns the ConnContext of an http3.Server of whose connections
// that much may be unread.
func (u *uploadLimiter) quicContext(window int64) func(context.Context, *quic.Conn) context.Context {
	return func(ctx context.Context, conn *quic.Conn) context.Context {
		c := &uploadConn{limiter: u, remote: conn.RemoteAddr(), window: window}
		c.hangUp = func() {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "too much is unread")
		}
		return context.WithValue(ctx, uploadConnKey{}, c)
	}
}

// countBodies returns a handler that counts the bodies that next reads. Those of
// HTTP/1 are not kept by its server, and stay on their connection.
func (u *uploadLimiter) countBodies(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, known := r.Context().Value(uploadConnKey{}).(*uploadConn)
		if r.ProtoMajor < 2 || r.ContentLength == 0 || !known {
			next(w, r)
			return
		}
		b := c.track(r.Body, r.ContentLength)
		defer b.release()
		r.Body = b
		next(w, r)
	}
}

// track returns body, of that length, negative: nobody knows, as one that is
// counted until leave is called.
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

// An uploadBody is a body that is counted.
type uploadBody struct {
	io.ReadCloser
	conn      *uploadConn
	remaining int64 // of its Content-Length; negative: there is none; for who reads

	// Guarded by client.mu.
	maxUnread int64 // its part of client.most
	finished  bool  // it has no part any more
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

// Close has the server throw away what is unread.
func (b *uploadBody) Close() error {
	err := b.ReadCloser.Close()
	b.finish()
	return err
}

// setUnread says how much of b may be unread.
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

// finish says that nothing of b is unread from now on.
func (b *uploadBody) finish() {
	b.conn.mu.Lock()
	b.finished = true
	b.conn.mu.Unlock()
	b.setUnread(0)
}

// release is finish for a body whose request has ended: nobody reads it any more.
func (b *uploadBody) release() {
	c := b.conn
	if c.ordered {
		// The server of HTTP/2 keeps what is unread as long as it knows the stream.
		// Where the client has hung up that may last: what handlers asked of the
		// connection, as deadlines, stays in its queue, and the timer of
		// IdleTimeout, which the end of the last stream starts anew, keeps that. The
		// server of HTTP/3 throws it away by itself, and with a better code.
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

// recountLocked brings what is counted of c up to date, and reports whether it
// is more than before.
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

// closeLargest ends connections until no more is counted than may be.
func (u *uploadLimiter) closeLargest() {
	u.closing.Lock()
	defer u.closing.Unlock()
	for u.total.Load() > u.limit {
		c := u.largest()
		if c == nil {
			return // they are just leaving
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

// largest returns the client of which the most is counted; nil: nothing is of
// any.
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

// logInterval is the pause between two lines of the log about connections that
// are ended, for any client can bring them about.
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
