package server

import (
	"net"
	"sync"
)

// An http2Listener is the listener of a server of HTTP/2. Its connections are those on
// which the server of HTTP/1, which accepts all, has found that the client speaks
// HTTP/2: because that was negotiated with TLS, or, with prior knowledge, by its preface
// (RFC 9113, section 3.3).
type http2Listener struct {
	addr   net.Addr
	conns  chan net.Conn
	close  sync.Once
	closed chan struct{}
}

func newHTTP2Listener(addr net.Addr) *http2Listener {
	return &http2Listener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *http2Listener) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: h.addr, Err: net.ErrClosed}
	}
}

func (h *http2Listener) Close() error {
	h.close.Do(func() { close(h.closed) })
	return nil
}

func (h *http2Listener) Addr() net.Addr { return h.addr }

// hand hands over c, or closes it if the server of HTTP/2 is shut down.
func (h *http2Listener) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}
