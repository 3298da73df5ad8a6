package http1

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/shahnk19/parachute/internal/socket"
)

// A body is the body of a request. A new one is made for each request that has
// one: whoever keeps it gets errors once the request is done, and not the bytes of
// the next request.
type body struct {
	broken atomic.Bool // the end of the body will not be found
	closed atomic.Bool // Close was called

	mu      sync.Mutex // held while reading; guards the fields below
	conn    *conn      // is told how reading ends
	w       *response  // asks the client for the body
	in      *input
	left    int64  // of a body with Content-Length, or of a chunk
	chunks  chunks // of a body without
	begun   bool
	trailer *http.Header // gets the trailer fields at the end; of the request
	err     error        // what Read returns from now on
}

func newBody(in *input, m *message, trailer *http.Header) *body {
	b := &body{in: in, left: m.length, trailer: trailer}
	if m.coded {
		b.left = 0
		b.chunks.state = chunkSize
	}
	return b
}

func (b *body) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.beginLocked(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	return b.readLocked(p)
}

// beginLocked is called before n bytes are read. It asks for the body if the client
// waits for that.
func (b *body) beginLocked(n int) error {
	switch {
	case b.err != nil:
		return b.err
	case b.closed.Load():
		return http.ErrBodyReadAfterClose
	case n > 0 && !b.begun:
		b.begun = true
		if b.w != nil {
			b.w.askForBody()
		}
	}
	return nil
}

// ReadPipe is that of a [socket.PipeReader], for a body with a Content-Length whose
// bytes are those of a socket.
func (b *body) ReadPipe(limit int) (*socket.Pipe, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.beginLocked(limit); err != nil {
		return nil, err
	}
	if b.chunks.state != notChunked || b.conn == nil || !b.conn.isBare() || len(b.in.unread()) > 0 {
		return nil, nil
	}
	p, err := b.conn.sock.ReadPipe(int(min(int64(limit), b.left)))
	if p == nil && err == nil {
		return nil, nil
	}
	if p != nil {
		b.left -= int64(p.Len())
	}
	return p, b.endLocked(b.connError(err))
}

func (b *body) readLocked(p []byte) (n int, err error) {
	if b.chunks.state != notChunked {
		n, err = b.readChunks(p)
	} else {
		n, err = b.readData(p)
	}
	return n, b.endLocked(err)
}

// endLocked is called after a read, which has returned err. It returns the error of the
// Read.
func (b *body) endLocked(err error) error {
	if b.chunks.state == notChunked && b.left == 0 {
		err = io.EOF
	}
	if err != nil && !isTimeout(err) {
		b.err = err
		b.broken.Store(err != io.EOF)
	}
	if err == io.EOF && b.conn != nil {
		b.conn.bodyComplete()
	}
	return err
}

// readData reads from what is left of the body or of the chunk.
func (b *body) readData(p []byte) (int, error) {
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, b.connError(err)
}

func (b *body) fill() error { return b.connError(b.in.fill()) }

// connError returns the error of reading from the connection as one of the body.
func (b *body) connError(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if b.conn != nil {
		b.conn.clientLost()
	}
	return err
}

// Close makes later Reads fail, and does not wait for one that goes on. The server
// reads the rest when the request is done.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// isBroken reports whether the end of b, which may be nil, will not be found.
func (b *body) isBroken() bool { return b != nil && b.broken.Load() }

// isComplete reports whether all of the body was read.
func (b *body) isComplete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == io.EOF
}

// isBeingRead reports whether a Read goes on.
func (b *body) isBeingRead() bool {
	if !b.mu.TryLock() {
		return true
	}
	b.mu.Unlock()
	return false
}

// hasMore reports whether more than n bytes are known to be left of the body, or of
// the chunk that is being read.
func (b *body) hasMore(n int64) bool {
	if b == nil || !b.mu.TryLock() { // whoever reads may wait
		return false
	}
	defer b.mu.Unlock()
	return b.left > n
}

// errUnwanted says that the rest of a body is of no use.
var errUnwanted = errors.New("the rest of the body was not read")

// discard makes Read fail for good. It reports whether the next request begins behind
// what was read. If keep is true, it reads the rest of the body before, until the read
// deadline of the connection. A client that was not asked for its body may send it or
// not, so there the next request begins nowhere.
func (b *body) discard(keep bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.releaseLocked()
	if b.err == nil && !keep {
		b.err = errUnwanted
	}
	var scratch []byte
	for b.err == nil {
		if scratch == nil {
			scratch = make([]byte, 4<<10)
		}
		if _, err := b.readLocked(scratch); err != nil && err != io.EOF {
			return false
		}
	}
	return b.err == io.EOF
}

// releaseLocked takes away what belongs to the server.
func (b *body) releaseLocked() {
	b.in, b.trailer, b.conn, b.w = nil, nil, nil, nil
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
}

// isTimeout reports whether err is that a deadline has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
