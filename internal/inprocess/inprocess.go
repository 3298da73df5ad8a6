// Package inprocess serves an http.Handler to who is in the same process. What goes
// between the two is HTTP over connections in memory, and the handler is called by
// an http.Server: so everything is to it as it would be over a socket.
package inprocess

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/shahnk19/parachute/internal/pipe"
)

// A Server serves one handler. Nothing runs until the first Dial.
type Server struct {
	server  http.Server
	conns   chan net.Conn // from Dial to Accept
	closing chan struct{}
	begin   sync.Once

	// running counts the goroutine that accepts, connections, and calls of the
	// handler, which may go on when their connection is hijacked.
	running sync.WaitGroup

	mu     sync.Mutex // guards closed; running grows from 0 only with it held
	closed bool
}

// New returns a Server of handler. The Server logs to l what an http.Server does,
// such as panics.
func New(handler http.Handler, l *log.Logger) *Server {
	s := &Server{conns: make(chan net.Conn), closing: make(chan struct{})}
	s.server = http.Server{
		ErrorLog: l,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.running.Add(1) // for the connection may be hijacked, and count no more
			defer s.running.Done()
			handler.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				s.running.Done()
			}
		},
	}
	return s
}

// NewAll returns a Server for each of the handlers, which log to logger; nil: nothing
// is logged. It passes over a nil handler, which would be [http.DefaultServeMux].
func NewAll(handlers map[string]http.Handler, logger *slog.Logger) map[string]*Server {
	l := log.New(io.Discard, "", 0)
	if logger != nil {
		l = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	}
	servers := make(map[string]*Server, len(handlers))
	for name, handler := range handlers {
		if handler != nil {
			servers[name] = New(handler, l)
		}
	}
	return servers
}

// Dial connects to the Server. It has the signature of [net.Dialer.DialContext] and
// looks at ctx alone.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, net.ErrClosed
	}
	s.running.Add(1)
	s.mu.Unlock()
	s.begin.Do(func() { s.running.Go(s.accept) })
	client, server := pipe.New(loopback(), loopback())
	select {
	case s.conns <- server:
		return client, nil // ConnState tells when it is over
	case <-s.closing:
		s.running.Done()
		return nil, net.ErrClosed
	case <-ctx.Done():
		s.running.Done()
		return nil, ctx.Err()
	}
}

// loopback is the address of either end: of nobody in particular on this machine.
func loopback() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (s *Server) accept() { _ = s.server.Serve(listener{s}) }

// Close ends every connection but those that were hijacked, and returns when the
// handler is not called any more and every call of it has returned. Those who have
// dialled must close their ends, so that a handler hears of it. It may be called
// more than once, but not from within the handler.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	_ = s.server.Close()
	s.running.Wait()
}

// A listener hands the http.Server its connections.
type listener struct{ *Server }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closing:
		return nil, net.ErrClosed
	}
}

func (l listener) Addr() net.Addr { return loopback() }

// Close does nothing: accepting ends with the Server.
func (l listener) Close() error { return nil }
