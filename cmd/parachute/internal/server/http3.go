package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// altSvc is what tells clients of TLS that there is HTTP/3 (RFC 7838). They
// believe it for a day.
func altSvc(port int) []string {
	return []string{fmt.Sprintf(`h3=":%d"; ma=86400`, port)}
}

// A quicServer is a http3.Server that ends as an http.Server does: once nobody
// waits for an answer, and not only once every client has hung up.
type quicServer struct {
	server   *http3.Server
	handler  http.HandlerFunc
	handlers atomic.Int64 // that run

	served       chan struct{} // closed when serve has returned
	shutdownOnce sync.Once
	hangUp       context.CancelFunc // hangs up on whoever is left; set by leaving
	closed       chan struct{}      // closed when nobody is; only then, if leaving was begun

	mu    sync.Mutex // guards conns
	conns map[*quic.Conn]struct{}
}

// newQUICServer returns one with that handler, whose server is still to get its
// limits and its TLSConfig.
func newQUICServer(handler http.HandlerFunc) *quicServer {
	q := &quicServer{
		handler: handler,
		served:  make(chan struct{}),
		closed:  make(chan struct{}),
		conns:   make(map[*quic.Conn]struct{}),
	}
	q.server = &http3.Server{Handler: http.HandlerFunc(q.handle)}
	return q
}

func (q *quicServer) handle(w http.ResponseWriter, r *http.Request) {
	q.handlers.Add(1)
	defer q.handlers.Add(-1)
	q.handler(w, r)
}

// serve serves c until it is told to stop. It does not close c.
func (q *quicServer) serve(c net.PacketConn) error {
	defer close(q.served)
	l, err := quic.ListenEarly(c, http3.ConfigureTLSConfig(q.server.TLSConfig), q.server.QUICConfig)
	if err != nil {
		return err
	}
	defer l.Close()
	return q.server.ServeListener(&quicListener{l, q})
}

// A quicListener makes its connections known to the quicServer. The
// http3.Server itself loses one that it accepts as it is told to stop.
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

// track remembers c until it is closed.
func (q *quicServer) track(c *quic.Conn) {
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

// openConns returns the connections that are open.
func (q *quicServer) openConns() []*quic.Conn {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Keys(q.conns))
}

// partingTimeout is how long clients may take to hang up when they have been told that
// no request will be answered any more. What they were sent last is still on
// its way.
const partingTimeout = time.Second

// Shutdown lets no more requests come, tells the clients so, and returns when
// all of them have gone; those that stay although they have not been owed an
// answer for a while are hung up on. When ctx ends it returns its error and
// leaves things as they are: it may be called again.
func (q *quicServer) Shutdown(ctx context.Context) error {
	q.beginShutdown()
	look := time.NewTicker(pollInterval)
	defer look.Stop()
	idleSince := time.Now()
	for {
		select {
		case <-q.closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case now := <-look.C:
			if q.handlers.Load() > 0 {
				idleSince = now
			} else if now.Sub(idleSince) >= partingTimeout {
				q.hangUp()
			}
		}
	}
}

// Close hangs up on everybody. Handlers that run are waited for, but not long.
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

func (q *quicServer) beginShutdown() {
	q.shutdownOnce.Do(func() {
		var ctx context.Context
		ctx, q.hangUp = context.WithCancel(context.Background())
		go q.runShutdown(ctx)
	})
}

// runShutdown tells the clients, and waits for them until ctx ends.
func (q *quicServer) runShutdown(ctx context.Context) {
	defer close(q.closed)
	_ = q.server.Shutdown(ctx) // that it had to hang up is no news
	<-q.served
	for _, c := range q.openConns() {
		_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
}
