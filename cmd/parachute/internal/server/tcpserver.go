package server

import (
	"context"
	"errors"
	"net"

	"github.com/shahnk19/parachute/cmd/parachute/internal/http2"
	"github.com/shahnk19/parachute/internal/http1"
)

// A tcpServer serves clients over TCP. The server of HTTP/1 has the connections first, and
// hands over those whose client speaks HTTP/2: because that was negotiated with TLS, or,
// with prior knowledge, by its preface (RFC 9113, section 3.3).
type tcpServer struct {
	one *http1.Server // its HTTP2 is two.Serve
	two *http2.Server
}

func (s *tcpServer) serve(l net.Listener) error { return s.one.Serve(l) }

// Retire accepts no more connections, and leaves it to the clients when those that there
// are end: each is told with its next answer, or, over HTTP/2, at once.
func (s *tcpServer) Retire() {
	s.one.Retire()
	s.two.Retire()
}

// Shutdown accepts no more connections, and returns when there are none any more, or when
// ctx ends, with its error. It may be called again.
func (s *tcpServer) Shutdown(ctx context.Context) error {
	ended := make(chan error, 2)
	go shutdown(ctx, s.one.Shutdown, ended)
	go shutdown(ctx, s.two.Shutdown, ended)
	if err := errors.Join(<-ended, <-ended); err != nil {
		return err
	}
	if err := s.two.Shutdown(ctx); err != nil { // what was handed over since
		return err
	}
	return s.two.Close()
}

func (s *tcpServer) Close() error { return errors.Join(s.one.Close(), s.two.Close()) }
