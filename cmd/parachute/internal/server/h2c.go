package server

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
)

// An h2cListener is the listener of a server of HTTP/2 without TLS. Its connections are
// those on which a server of HTTP/1 has found that the client speaks HTTP/2, with
// prior knowledge (RFC 9113, section 3.3). So connections of HTTP/1, which are most,
// cost nothing more: net/http would read the first bytes of each by themselves, and
// answer a malformed request that is shorter than those only after ReadHeaderTimeout.
type h2cListener struct {
	addr   net.Addr
	conns  chan net.Conn
	close  sync.Once
	closed chan struct{}
}

func newH2CListener(addr net.Addr) *h2cListener {
	return &h2cListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *h2cListener) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: h.addr, Err: net.ErrClosed}
	}
}

func (h *h2cListener) Close() error {
	h.close.Do(func() { close(h.closed) })
	return nil
}

func (h *h2cListener) Addr() net.Addr { return h.addr }

// take returns the handler for a server of HTTP/1. It hands over connections of
// HTTP/2, and calls next for requests.
func (h *h2cListener) take(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || !isPreface(r) {
			next(w, r)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return // the server closes it
		}
		ahead, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
		h.hand(newPrefacedConn(conn, ahead))
	}
}

// hand hands over c, or closes it if the server of HTTP/2 is shut down.
func (h *h2cListener) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

// preface is the beginning of what every client of HTTP/2 sends first (RFC 9113,
// section 3.4). To a server of HTTP/1 it is the head of a request.
const preface = "PRI * HTTP/2.0\r\n\r\n"

// isPreface reports whether r, of which net/http says that it is of HTTP/2, is the
// preface and nothing more.
func isPreface(r *http.Request) bool {
	return r.Method == "PRI" && r.RequestURI == "*" && r.Host == "" && len(r.Header) == 0
}

// A prefacedConn is a connection from which the preface has been read already. It
// reads ahead, for the server of HTTP/2 reads the head and the rest of each frame by
// themselves.
type prefacedConn struct {
	net.Conn
	reader *bufio.Reader
}

// newPrefacedConn returns conn with the preface, and ahead, which follows it, to be
// read once more.
func newPrefacedConn(conn net.Conn, ahead []byte) *prefacedConn {
	again := bytes.NewReader(append([]byte(preface), ahead...))
	return &prefacedConn{conn, bufio.NewReader(io.MultiReader(again, conn))}
}

func (c *prefacedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }
