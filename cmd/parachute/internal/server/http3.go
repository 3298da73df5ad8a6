package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// altSvc returns the Alt-Svc header that tells clients of HTTPS about HTTP/3
// (RFC 7838). It is valid for a day.
func altSvc(port int) []string {
	return []string{fmt.Sprintf(`h3=":%d"; ma=86400`, port)}
}

// A quicServer is an http3.Server whose Shutdown behaves like that of an
// http.Server: it returns when no request is running, and does not wait until
// every client has hung up.
type quicServer struct {
	server   *http3.Server
	handler  http.HandlerFunc
	resetKey *quic.StatelessResetKey // nil: no connection is reset that is not known
	handlers atomic.Int64            // running handlers
	active   atomic.Int64            // when a handler last returned, or a client connected; in nanoseconds of Unix time

	served       chan struct{} // closed when serve has returned
	shutdownOnce sync.Once
	hangUp       context.CancelFunc // closes the remaining connections; set by shutdownOnce
	shuts        chan struct{}      // closed when the shutdown begins
	closed       chan struct{}      // closed when the shutdown is complete

	mu    sync.Mutex // guards conns
	conns map[*quic.Conn]struct{}
}

// newQUICServer returns a quicServer with that handler. The caller must set the
// limits and the TLSConfig of its server.
func newQUICServer(handler http.HandlerFunc) *quicServer {
	q := &quicServer{
		handler: handler,
		served:  make(chan struct{}),
		shuts:   make(chan struct{}),
		closed:  make(chan struct{}),
		conns:   make(map[*quic.Conn]struct{}),
	}
	q.server = &http3.Server{Handler: http.HandlerFunc(q.handle)}
	return q
}

func (q *quicServer) handle(w http.ResponseWriter, r *http.Request) {
	q.handlers.Add(1)
	defer q.leave()
	q.handler(w, r)
}

func (q *quicServer) leave() {
	q.active.Store(time.Now().UnixNano())
	q.handlers.Add(-1)
}

// newResetKey returns a key made of one that outlives this process. By that, whoever reads
// from the socket next tells clients that a connection is not there any more (RFC 9000,
// section 10.3), which they would send to in vain until it times out: because the process
// was killed, or what it sent last was lost. Nobody else may do that, as another machine
// with the same secret: an attacker could have it end connections that it has not.
func newResetKey(secret []byte) *quic.StatelessResetKey {
	if len(secret) == 0 {
		return nil
	}
	host, _ := os.Hostname()
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "stateless resets of %s", host)
	return (*quic.StatelessResetKey)(mac.Sum(nil))
}

// serve serves c, from when free is closed until the server is shut down. It does not
// close c.
func (q *quicServer) serve(c net.PacketConn, free <-chan struct{}) error {
	defer close(q.served)
	select {
	case <-free:
	case <-q.shuts:
		return http.ErrServerClosed
	}
	t := &quic.Transport{Conn: c, StatelessResetKey: q.resetKey} // ends when c is closed
	l, err := t.ListenEarly(http3.ConfigureTLSConfig(q.server.TLSConfig), q.server.QUICConfig)
	if err != nil {
		return err
	}
	defer l.Close()
	return q.server.ServeListener(&quicListener{l, q})
}

// A quicListener has the quicServer track its connections. The http3.Server
// itself loses a connection that it accepts while it is shut down.
type quicListener struct {
	*quic.EarlyListener
	server *quicServer
}

func (l *quicListener) Accept(ctx context.Context) (*quic.Conn, error) {
	c, err := l.EarlyListener.Accept(ctx)
	if err == nil {
		l.server.track(c)
	}
	return c, err
}

// track keeps c in conns until it is closed.
func (q *quicServer) track(c *quic.Conn) {
	q.active.Store(time.Now().UnixNano())
	q.mu.Lock()
	q.conns[c] = struct{}{}
	q.mu.Unlock()
	context.AfterFunc(c.Context(), func() { q.untrack(c) })
}

func (q *quicServer) untrack(c *quic.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.conns, c)
}

// openConns returns the open connections.
func (q *quicServer) openConns() []*quic.Conn {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Keys(q.conns))
}

const (
	// partingTimeout is how long clients may take to hang up after the last request
	// has ended. The last answers may still be on their way to them.
	partingTimeout = time.Second

	// noticeTimeout is how long they may take at least, once they were told that the
	// server is shutting down.
	noticeTimeout = 100 * time.Millisecond
)

// Shutdown accepts no more requests, tells the clients so, and waits until all
// of them have hung up. When no request has been running for partingTimeout, it
// closes the remaining connections, but not before noticeTimeout. If ctx ends
// before that, Shutdown returns its error, and may be called again.
func (q *quicServer) Shutdown(ctx context.Context) error {
	q.beginShutdown()
	look := time.NewTicker(pollInterval)
	defer look.Stop()
	told := time.Now()
	for {
		select {
		case <-q.closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case now := <-look.C:
			idle := q.handlers.Load() == 0 && now.Sub(time.Unix(0, q.active.Load())) >= partingTimeout
			if idle && now.Sub(told) >= noticeTimeout {
				q.hangUp()
			}
		}
	}
}

// Close closes all connections, and waits a short time for running handlers.
func (q *quicServer) Close() error {
	q.beginShutdown()
	q.hangUp()
	select {
	case <-q.closed:
		return nil
	case <-time.After(partingTimeout):
		return errors.New("some requests do not end")
	}
}

// Retire accepts no more requests, and tells the clients so. It does not wait.
func (q *quicServer) Retire() { q.beginShutdown() }

func (q *quicServer) beginShutdown() {
	q.shutdownOnce.Do(func() {
		close(q.shuts)
		var ctx context.Context
		ctx, q.hangUp = context.WithCancel(context.Background())
		go q.runShutdown(ctx)
	})
}

// runShutdown shuts the http3.Server down until ctx ends, and then closes the
// remaining connections.
func (q *quicServer) runShutdown(ctx context.Context) {
	defer close(q.closed)
	_ = q.server.Shutdown(ctx) // an error only says that connections remain
	<-q.served
	for _, c := range q.openConns() {
		_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
}
