package server

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// An operatorServer serves those who look after the proxy: the control socket, the metrics
// port or the page. It ends without dropping a request. [http.Server.Shutdown] drops one that
// has arrived and that the server has not read yet.
type operatorServer struct {
	http       *http.Server
	listener   net.Listener
	endStreams func() // ends the answers that would go on; nil: there are none

	mu       sync.Mutex    // guards the fields below
	open     int           // serve, and the connections
	finished chan struct{} // is closed when none of these is left; nil: finish was not called
}

// newOperatorServer returns the server of what l accepts, as server describes it.
func newOperatorServer(server *http.Server, l net.Listener, endStreams func()) *operatorServer {
	s := &operatorServer{http: server, listener: l, endStreams: endStreams}
	server.ConnState = s.follow
	return s
}

func (s *operatorServer) follow(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.count(1)
	case http.StateClosed, http.StateHijacked:
		s.count(-1)
	}
}

func (s *operatorServer) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	if s.open == 0 && s.finished != nil {
		close(s.finished)
	}
}

// serve serves until the listener is closed, or fails.
func (s *operatorServer) serve() error {
	s.count(1)
	defer s.count(-1)
	return s.http.Serve(s.listener)
}

// leave closes the listener.
func (s *operatorServer) leave() { s.listener.Close() }

// finish closes the listener, and each connection behind the answer to its request, or when
// no request has come in the time for a head. It returns nil when all are closed, or ctx's
// error when ctx ends before. It is called once.
func (s *operatorServer) finish(ctx context.Context) error {
	s.leave()
	if s.endStreams != nil {
		s.endStreams()
	}
	s.http.SetKeepAlivesEnabled(false)
	finished := make(chan struct{})
	s.mu.Lock()
	s.finished = finished
	if s.open == 0 {
		close(finished)
	}
	s.mu.Unlock()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
