// Package http2 serves HTTP/2 by the server of golang.org/x/net, and ends its connections
// in good order: that server alone would close each a second after it has told the client,
// and would not serve what the client has sent before it knew.
//
//lint:file-ignore SA1019 that of net/http takes no connection that is accepted already
package http2

//lint:file-ignore SA1019 net/http takes a connection over TLS only as a tls.Conn, whose frames nobody can follow.

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// A Server serves connections of HTTP/2 that others have accepted. No field may be changed
// once it serves.
type Server struct {
	// New returns the handler, and the settings, as those of an http.Server.
	New func() *http.Server

	mu       sync.Mutex // guards the fields below
	main     *cohort    // of all connections from before Shutdown; nil: there were none
	conns    map[*conn]struct{}
	tasks    sync.WaitGroup // Adds while isClosed is false
	stopping bool
	patience time.Duration // with clients that are to know that it stops, then
	isClosed bool
	empty    chan struct{} // closed when there are no conns; nil: nobody waits for that
}

// Serve serves c, whose client sends the preface of HTTP/2 next, until it is closed, and
// returns before. After Shutdown has begun, it serves the requests that the client has
// sent already; after Close, it closes c.
func (s *Server) Serve(c net.Conn) {
	followed := newConn(c, s.untrack)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed {
		c.Close()
		return
	}
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[followed] = struct{}{}
	if s.stopping {
		late := newCohort(s.New())
		s.tasks.Go(func() { late.serve(followed) })
		s.tasks.Go(func() { late.leave([]*conn{followed}, s.patience) })
		return
	}
	if s.main == nil {
		s.main = newCohort(s.New())
	}
	main := s.main
	s.tasks.Go(func() { main.serve(followed) })
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Retire has each connection end when the client knows of that, and when what it has sent
// until then is answered. It does not wait for that. The clients have longer to know of it
// than with Shutdown.
func (s *Server) Retire() { s.stop(retiredPatience) }

// Shutdown is Retire, and returns when there are no connections, or when ctx ends, with
// its error. It may be called again, as for connections that Serve got since.
func (s *Server) Shutdown(ctx context.Context) error {
	empty := s.stop(partingPatience)
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop has the connections leave, and returns what is closed when there are none any more.
// The first call decides about the patience with clients.
func (s *Server) stop(patience time.Duration) (empty <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping, s.patience = true, patience
		if s.main != nil {
			leaving := s.connsLocked()
			s.tasks.Go(func() { s.main.leave(leaving, patience) })
		}
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty = s.empty
	if len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
	return empty
}

// connsLocked returns all connections.
func (s *Server) connsLocked() []*conn { return slices.Collect(maps.Keys(s.conns)) }

// Close closes all connections. It does not wait for handlers.
func (s *Server) Close() error {
	s.mu.Lock()
	s.isClosed = true
	open := s.connsLocked()
	s.mu.Unlock()
	for _, c := range open {
		c.NetConn().Close() // a TLS connection would wait to send close_notify
		c.Close()
	}
	s.tasks.Wait()
	return nil
}

// A cohort is connections that the server of golang.org/x/net ends at the same time.
type cohort struct {
	base   *http.Server // has its settings, and tells it of the end
	server *http2.Server
}

func newCohort(base *http.Server) *cohort {
	g := &cohort{base, new(http2.Server)}
	if err := http2.ConfigureServer(base, g.server); err != nil {
		panic(err) // only for settings of TLS, of which there are none
	}
	return g
}

// serve serves c until it is closed.
func (g *cohort) serve(c *conn) {
	defer c.Close()
	var spoken net.Conn = c
	if secured, ok := c.Conn.(*tls.Conn); ok {
		spoken = &secureConn{c, secured}
	}
	ctx := context.Background()
	if g.base.ConnContext != nil {
		ctx = g.base.ConnContext(ctx, spoken)
	}
	g.server.ServeConn(spoken, &http2.ServeConnOpts{Context: ctx, BaseConfig: g.base, Handler: g.base.Handler})
}

// leave tells the clients that their connections end, waits until they know, and has the
// server end the connections behind what it has read by then.
func (g *cohort) leave(conns []*conn, patience time.Duration) {
	var parting sync.WaitGroup
	for _, c := range conns {
		parting.Go(func() { c.part(patience) })
	}
	parting.Wait()
	ended, end := context.WithCancel(context.Background())
	end()
	_ = g.base.Shutdown(ended) // it has no connections of its own, so nothing to wait for
}
