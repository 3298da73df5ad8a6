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

// unread counts what clients of HTTP/2 and HTTP/3 have sent of bodies, or may
// have sent, that nobody has read: their servers keep that in memory, up to a
// window for each request. When it is more than limit, of all clients together,
// the connection that has the most is ended, until it is less.
//
// No server tells what it keeps, so the most that it can be is counted: of each
// body a window, or what is missing from its Content-Length where that is less,
// and of each connection a window of its own at most. Bytes come in order over
// HTTP/2, so a body that somebody waits to read from there has nothing unread.
// Over HTTP/3 it may have all but its first byte.
type unread struct {
	limit  int64
	logger *slog.Logger
	total  atomic.Int64 // of what is counted of clients

	relieving sync.Mutex // held while connections are ended

	mu      sync.Mutex // guards what follows
	clients map[*client]struct{}
	told    time.Time // when the log was last told of one that was ended
}

func newUnread(limit int64, logger *slog.Logger) *unread {
	return &unread{limit: limit, logger: logger, clients: make(map[*client]struct{})}
}

// A client is a connection that may bring bodies.
type client struct {
	unread  *unread
	address net.Addr
	window  int64  // the most that can be unread of all of its bodies
	ordered bool   // what it sends comes in order
	end     func() // hangs up

	counted atomic.Int64 // its part of unread.total; written with mu held

	mu     sync.Mutex // guards what follows; unread.mu may be locked with it held
	bodies int        // that are open; if any, unread.clients has it
	most   int64      // that may be unread of them
	ended  bool       // it counts no more
}

type clientKey struct{}

// tcpContext is the ConnContext of an http.Server with TLS.
func (u *unread) tcpContext(ctx context.Context, conn net.Conn) context.Context {
	c := &client{unread: u, address: conn.RemoteAddr(), window: connWindow, ordered: true}
	c.end = func() {
		if secured, ok := conn.(*tls.Conn); ok {
			conn = secured.NetConn() // which does not wait to say goodbye
		}
		conn.Close()
	}
	return context.WithValue(ctx, clientKey{}, c)
}

// quicContext returns the ConnContext of an http3.Server of whose connections
// that much may be unread.
func (u *unread) quicContext(window int64) func(context.Context, *quic.Conn) context.Context {
	return func(ctx context.Context, conn *quic.Conn) context.Context {
		c := &client{unread: u, address: conn.RemoteAddr(), window: window}
		c.end = func() {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "too much is unread")
		}
		return context.WithValue(ctx, clientKey{}, c)
	}
}

// counting returns a handler that counts the bodies that next reads. Those of
// HTTP/1 are not kept by its server, and stay on their connection.
func (u *unread) counting(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, known := r.Context().Value(clientKey{}).(*client)
		if r.ProtoMajor < 2 || r.ContentLength == 0 || !known {
			next(w, r)
			return
		}
		b := c.open(r.Body, r.ContentLength)
		defer b.leave()
		r.Body = b
		next(w, r)
	}
}

// open returns body, of that length, negative: nobody knows, as one that is
// counted until leave is called.
func (c *client) open(body io.ReadCloser, length int64) *uploadBody {
	c.mu.Lock()
	if c.bodies++; c.bodies == 1 {
		c.unread.mu.Lock()
		c.unread.clients[c] = struct{}{}
		c.unread.mu.Unlock()
	}
	c.mu.Unlock()
	b := &uploadBody{ReadCloser: body, client: c, left: length}
	b.count(b.window())
	return b
}

// An uploadBody is a body that is counted.
type uploadBody struct {
	io.ReadCloser
	client *client
	left   int64 // of its Content-Length; negative: there is none; for who reads

	// Guarded by client.mu.
	most int64 // its part of client.most
	over bool  // it has no part any more
}

// window returns how much of b may be unread.
func (b *uploadBody) window() int64 {
	if b.left >= 0 {
		return min(b.left, streamWindow)
	}
	return streamWindow
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if b.client.ordered {
		b.count(0)
	}
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
	}
	if err == io.EOF {
		b.finish()
	} else {
		b.count(b.window())
	}
	return n, err
}

// Close has the server throw away what is unread.
func (b *uploadBody) Close() error {
	err := b.ReadCloser.Close()
	b.finish()
	return err
}

// count says how much of b may be unread.
func (b *uploadBody) count(most int64) {
	c := b.client
	c.mu.Lock()
	if b.over {
		most = 0
	}
	c.most += most - b.most
	b.most = most
	grown := c.recountLocked()
	c.mu.Unlock()
	if grown && c.unread.total.Load() > c.unread.limit {
		c.unread.relieve()
	}
}

// finish says that nothing of b is unread from now on.
func (b *uploadBody) finish() {
	b.client.mu.Lock()
	b.over = true
	b.client.mu.Unlock()
	b.count(0)
}

// leave is finish for a body whose request has ended: nobody reads it any more.
func (b *uploadBody) leave() {
	c := b.client
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
		c.unread.mu.Lock()
		delete(c.unread.clients, c)
		c.unread.mu.Unlock()
	}
}

// recountLocked brings what is counted of c up to date, and reports whether it
// is more than before.
func (c *client) recountLocked() bool {
	counted := min(c.most, c.window)
	if c.ended {
		counted = 0
	}
	more := counted - c.counted.Swap(counted)
	if more != 0 {
		c.unread.total.Add(more)
	}
	return more > 0
}

// relieve ends connections until no more is counted than may be.
func (u *unread) relieve() {
	u.relieving.Lock()
	defer u.relieving.Unlock()
	for u.total.Load() > u.limit {
		c := u.largest()
		if c == nil {
			return // they are just leaving
		}
		bytes := c.counted.Load()
		c.mu.Lock()
		c.ended = true
		c.recountLocked()
		c.mu.Unlock()
		c.end()
		u.tell(c, bytes)
	}
}

// largest returns the client of which the most is counted; nil: nothing is of
// any.
func (u *unread) largest() *client {
	u.mu.Lock()
	defer u.mu.Unlock()
	var largest *client
	var most int64
	for c := range u.clients {
		if n := c.counted.Load(); n > most {
			largest, most = c, n
		}
	}
	return largest
}

// tellInterval is the pause between two lines of the log about connections that
// are ended, for any client can bring them about.
const tellInterval = time.Minute

func (u *unread) tell(c *client, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if !u.told.IsZero() && now.Sub(u.told) < tellInterval {
		return
	}
	u.told = now
	u.logger.Warn("unread uploads take too much memory: the connection with the most was ended",
		"client", c.address.String(), "bytes", bytes, "limit", u.limit)
}
