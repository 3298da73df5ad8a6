package proxytest

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// A Script is a server of exact bytes on a Net: a func that is given each
// connection and reads and writes what it likes.
type Script struct {
	address  string
	listener *listener
	play     func(conn net.Conn, n int)
	running  sync.WaitGroup // accept, and play of every connection
}

// Script starts a Script at address, on whose port 0 see [Net.Listen]. Where
// that is impossible it ends the test. Each connection is handed to play on a
// goroutine of its own and closed when play returns; n is 0 for the first one
// accepted, 1 for the next. When the test ends the Script is stopped.
func (n *Net) Script(t testing.TB, address string, play func(conn net.Conn, n int)) *Script {
	t.Helper()
	l, address := n.listenFor(t, address)
	s := &Script{address: address, listener: l, play: play}
	s.running.Go(s.accept)
	t.Cleanup(s.Stop)
	return s
}

// Addr returns the address to dial.
func (s *Script) Addr() string { return s.address }

// Stop closes the listener and all connections, and returns when every play
// has. It must not be called from play. Stopping what is stopped does nothing.
func (s *Script) Stop() {
	s.listener.kill()
	s.running.Wait()
}

func (s *Script) accept() {
	for n := 0; ; n++ {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() {
			defer conn.Close()
			s.play(conn, n)
		})
	}
}

// maxHead bounds what ReadHead takes for a head.
const maxHead = 512 << 10

// ReadHead reads the head of a request or response up to and including the
// blank line, and not a byte more, and returns it as it came. If it ends
// early, what was there is returned with the error: [io.EOF] for nothing at
// all, [io.ErrUnexpectedEOF] for a part. A head over 512 KiB is an error.
func ReadHead(conn net.Conn) (string, error) {
	var head strings.Builder
	for b := make([]byte, 1); head.Len() < maxHead; {
		if _, err := io.ReadFull(conn, b); err != nil {
			if err == io.EOF && head.Len() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return head.String(), err
		}
		head.Write(b)
		if s := head.String(); strings.HasSuffix(s, "\n\r\n") || strings.HasSuffix(s, "\n\n") {
			return s, nil
		}
	}
	return head.String(), errors.New("head over 512 KiB")
}
