package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"time"
)

// A wire is a client of HTTP/1.1 with a connection at most. Unlike the client of
// net/http it never sends a request again, so that nothing is hidden. It is an
// http.RoundTripper for one request at a time.
type wire struct {
	address string
	tls     *tls.Config // nil: without TLS
	once    bool        // a connection for each request

	conn net.Conn // nil: there is none
	in   *bufio.Reader
}

// A dialError says that there was no connection.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// open makes a connection if there is none, or if the proxy has closed it meanwhile.
func (w *wire) open() error {
	if w.conn != nil && w.isClosed() {
		w.close()
	}
	if w.conn == nil {
		conn, err := net.DialTimeout("tcp", w.address, patience)
		if err != nil {
			return dialError{err}
		}
		w.conn = conn
		if w.tls != nil {
			secure := tls.Client(conn, w.tls)
			conn.SetDeadline(time.Now().Add(patience))
			if err := secure.Handshake(); err != nil {
				w.close()
				return fmt.Errorf("TLS: %w", err)
			}
			w.conn = secure
		}
		w.in = bufio.NewReader(w.conn)
	}
	return w.conn.SetDeadline(time.Now().Add(patience))
}

// isClosed reports whether the proxy has closed the connection. The kernel is asked, not the
// poller: of a deadline that has passed before its read, that would tell nothing else.
func (w *wire) isClosed() bool {
	conn := w.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var there error
	if err := raw.Control(func(fd uintptr) {
		n, _, there = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); err != nil || there == nil && n == 0 {
		return true
	}
	if there != nil {
		return there != syscall.EAGAIN
	}
	// Over TLS this may be a ticket, or that the proxy is about to close the connection.
	w.conn.SetReadDeadline(time.Now().Add(crossing))
	_, err = w.in.Peek(1)
	var timeout net.Error
	return !(errors.As(err, &timeout) && timeout.Timeout())
}

func (w *wire) close() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// RoundTrip sends r, and returns the head of the answer. The connection is used again
// when its body has been read.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.open(); err != nil {
		return nil, err
	}
	if w.once {
		r.Close = true
	}
	sent := r.Write(w.conn) // an answer may come before all has been sent
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: sent})
	}
	resp, err := http.ReadResponse(w.in, r)
	if err != nil {
		w.close()
		if sent != nil {
			err = fmt.Errorf("%w (sending: %w)", err, sent)
		}
		return nil, err
	}
	resp.Body = &wireBody{resp.Body, w, resp.Close || sent != nil}
	return resp, nil
}

// A wireBody closes the connection of its wire unless that can be used again.
type wireBody struct {
	io.ReadCloser
	wire *wire
	last bool // the connection ends with this body
}

func (b *wireBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && (err != io.EOF || b.last) {
		b.wire.close()
	}
	return n, err
}

// Close closes the connection as well, if the body was not read to its end.
func (b *wireBody) Close() error {
	if _, err := b.ReadCloser.Read(make([]byte, 1)); err != io.EOF {
		b.wire.close()
	}
	return nil
}
