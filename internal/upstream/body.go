package upstream

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// spliceSize is how much is spliced under one deadline.
	spliceSize = 256 << 10

	// spliceMin is below what a pipe and its system calls are worth.
	spliceMin = 32 << 10
)

// An ending is how the end of a body is told.
type ending int

const (
	atOnce ending = iota
	atLength
	atLastChunk
	atClose
)

// A body is what follows the head of an answer. One goroutine reads it; any
// may close it.
type body struct {
	x      *exchange
	conn   *conn
	ending ending
	left   int64            // of a body that ends atLength
	chunks io.Reader        // of one that ends atLastChunk
	piece  io.LimitedReader // of a splice
	keep   bool             // the answer lets the connection be used again
	err    error            // what Read returns from now on
}

// answer completes the response once its head has been read.
func (x *exchange) answer(c *conn) *Error {
	x.mu.Lock()
	x.answered = true
	x.mu.Unlock()
	c.readBy(time.Time{})
	c.room = math.MaxInt64
	if c.limit = idleLimit; x.response.Header["Keep-Alive"] != nil {
		c.limit = keepAlive(x.response.Header["Keep-Alive"])
	}

	b := &x.body
	b.x, b.conn = x, c
	switch {
	case x.response.StatusCode == http.StatusSwitchingProtocols:
		if x.request.streamed && (x.sender == nil || !x.sender.complete()) {
			return x.failure(Malformed, errEarlyTurn)
		}
		x.response.Body = &tunnel{b}
	case b.ending == atOnce:
		x.response.Body = http.NoBody
		x.end(b.reusable())
	default:
		if b.ending == atLastChunk {
			b.chunks = httputil.NewChunkedReader(c.br)
		}
		x.response.Body = b
	}
	return nil
}

// reusable reports, at the end of b, whether its connection may serve another
// request: everything of this exchange has been sent and read, and nothing
// besides.
func (b *body) reusable() bool {
	if !b.keep || b.conn.limit <= 0 || b.conn.err != nil || b.conn.br.Buffered() > 0 {
		return false
	}
	if b.x.request.streamed {
		return b.x.sender != nil && b.x.sender.complete()
	}
	return true
}

func (b *body) Read(p []byte) (n int, err error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.x.isCut() {
		return 0, b.fail(nil)
	}
	switch b.ending {
	case atLength:
		n, err = b.conn.br.Read(p[:min(b.left, int64(len(p)))])
		b.left -= int64(n)
		if b.left == 0 {
			err = io.EOF
		} else {
			err = noEOF(err)
		}
	case atLastChunk:
		n, err = b.chunks.Read(p)
		if err == io.EOF {
			err = b.readTrailer()
		}
	default:
		n, err = b.conn.br.Read(p)
	}
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		return n, b.finish()
	}
	return n, b.fail(err)
}

// finish lets go of the connection at the end of the body.
func (b *body) finish() error {
	b.err = io.EOF
	b.x.end(b.reusable())
	return b.err
}

// fail says what Read returns from now on because of err.
func (b *body) fail(err error) error {
	b.err = b.x.readFailure(b.conn, err)
	return b.err
}

// readTrailer reads what follows the last chunk, and returns io.EOF after it.
func (b *body) readTrailer() error {
	br := b.conn.br
	if end, _ := br.Peek(2); string(end) == "\r\n" {
		br.Discard(2)
		return io.EOF
	}
	// Only trailers that fit the buffer are taken, and only with the end that
	// everybody else would see, too.
	for n := 4; ; n = br.Buffered() + 1 {
		_, err := br.Peek(n)
		p, _ := br.Peek(br.Buffered())
		if bytes.Contains(p, []byte("\r\n\r\n")) {
			break
		}
		if err != nil {
			return noEOF(err)
		}
	}
	h, err := b.conn.readFields()
	if err != nil {
		return err
	}
	r := &b.x.response
	if r.Trailer == nil {
		r.Trailer = make(http.Header, len(h))
	}
	for name, values := range h {
		r.Trailer[name] = values
	}
	return io.EOF
}

// Close ends the exchange. A connection whose answer was not read to its end
// is closed.
func (b *body) Close() error {
	b.x.cut(Cut, http.ErrBodyReadAfterClose)
	b.x.end(false)
	return nil
}

// WriteTo passes the rest of the body on to w. An error of w is returned as it
// is, any other is an [*Error].
//
// Where w is an [http.ResponseWriter], a body whose end the target does not
// tell beforehand, and any event stream, is flushed as it comes in. Whenever
// its bytes wait for the client they do so for Options.WriteTimeout at most;
// the target may be silent as long as it likes. The write deadline is used for
// this, and cleared.
func (b *body) WriteTo(w io.Writer) (n int64, err error) {
	if b.err == io.EOF {
		return 0, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	k := client{x: b.x, w: w, limit: b.x.pool.o.WriteTimeout}
	if !k.open() {
		return 0, b.fail(nil)
	}
	defer k.close()
	if b.ending == atLength {
		n, err = b.writeBuffered(&k)
		if err != nil || b.err != nil {
			return n, err
		}
		if from, ok := w.(io.ReaderFrom); ok && k.web && b.conn.src != nil && b.left > spliceMin {
			m, err := b.splice(&k, from)
			return n + m, err
		}
	}
	m, err := b.copy(&k)
	return n + m, err
}

// writeBuffered writes what has been read together with the head: often that
// is everything.
func (b *body) writeBuffered(k *client) (n int64, err error) {
	p, _ := b.conn.br.Peek(int(min(b.left, int64(b.conn.br.Buffered()))))
	if len(p) == 0 {
		return 0, nil
	}
	m, err := k.write(p)
	if err != nil {
		return int64(m), b.writeFailed(err)
	}
	b.conn.br.Discard(m)
	if b.left -= int64(m); b.left > 0 {
		return int64(m), nil
	}
	b.finish()
	return int64(m), b.writeFailed(k.finish())
}

// copy reads and writes by turns.
func (b *body) copy(k *client) (n int64, err error) {
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	eager := b.ending != atLength || strings.HasPrefix(b.x.response.Header.Get("Content-Type"), "text/event-stream")
	for {
		if b.conn.br.Buffered() == 0 {
			// Only now a read may have to wait.
			if eager {
				if err := k.flush(); err != nil {
					return n, b.writeFailed(err)
				}
			}
			k.rest()
		}
		m, readErr := b.Read(buf[:])
		if m > 0 {
			m, err := k.write(buf[:m])
			n += int64(m)
			if err != nil {
				return n, b.writeFailed(err)
			}
		}
		if readErr == io.EOF {
			return n, b.writeFailed(k.finish())
		}
		if readErr != nil {
			return n, readErr
		}
	}
}

// splice has the kernel move the rest of the body between the sockets. Nothing
// tells beforehand how long a call that does this waits for which of the two,
// and a client must not pay for a slow target: so the target's deadline, which
// does no harm, comes first, and the next piece begins with new ones.
func (b *body) splice(k *client, to io.ReaderFrom) (n int64, err error) {
	if err := k.flush(); err != nil {
		return 0, b.writeFailed(err)
	}
	c := b.conn
	for b.left > 0 {
		k.until = time.Time{}
		k.arm()
		if k.limit > 0 {
			c.readNowBy(time.Now().Add(k.limit / 2))
		}
		piece := min(b.left, spliceSize)
		b.piece = io.LimitedReader{R: c.src, N: piece}
		m, err := to.ReadFrom(&b.piece)
		n += m
		b.left -= m
		switch {
		case err == nil && m == piece:
		case err == nil:
			c.err = io.EOF
			return n, b.fail(io.ErrUnexpectedEOF)
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(k.until) && !b.x.isCut():
			// It was the target's.
		default:
			return n, b.spliceFailed(err)
		}
	}
	c.readNowBy(time.Time{})
	b.finish()
	return n, nil
}

// spliceFailed finds out whose error err is.
func (b *body) spliceFailed(err error) error {
	if b.x.isCut() || errors.Is(err, os.ErrDeadlineExceeded) {
		return b.writeFailed(err)
	}
	if found := b.conn.look(); found == nil || found == syscall.EAGAIN {
		return b.writeFailed(err)
	}
	b.conn.err = err
	return b.fail(err)
}

// writeFailed returns err, which is the writer's unless a cut has caused it.
func (b *body) writeFailed(err error) error {
	if err != nil && b.x.isCut() {
		return b.fail(err)
	}
	return err
}

func (x *exchange) isCut() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reason != 0
}

// A tunnel is the body of a 101: the connection itself.
type tunnel struct{ body *body }

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.body.conn.br.Read(p)
	if err != nil && err != io.EOF {
		err = t.body.x.readFailure(t.body.conn, err)
	}
	return n, err
}

// Write writes to the target. It may be called beside Read.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.body.conn.nc.Write(p)
	if err != nil {
		err = t.body.x.failure(Broken, err)
	}
	return n, err
}

// CloseWrite tells the target that nothing more will be written.
func (t *tunnel) CloseWrite() error {
	if err := t.body.conn.closeWrite(); err != nil {
		return t.body.x.failure(Broken, err)
	}
	return nil
}

func (t *tunnel) Close() error { return t.body.Close() }
