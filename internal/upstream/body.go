package upstream

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"time"
)

// spliceMin is how much has to be left for a pipe and its system calls to cost
// less than copying.
const spliceMin = 32 << 10

// An ending is how the end of a body is told.
type ending uint8

const (
	atOnce ending = iota
	atLength
	atLastChunk
	atClose
)

// An answerBody is what follows the head of an answer. One goroutine reads it; any
// may close it.
type answerBody struct {
	x        *exchange
	conn     *targetConn
	ending   ending
	keep     bool             // the answer lets the connection be used again
	doubtful bool             // a head told of a body that must not be
	left     int64            // of a body that ends atLength
	chunks   io.Reader        // of one that ends atLastChunk
	piece    io.LimitedReader // of a splice
	waiter   waiter           // is told before Read waits; nil: nobody is
	to       downstream       // that a WriteTo writes to
	err      error            // what Read returns from now on
}

// answer completes the response once its head has been read.
func (x *exchange) answer(c *targetConn) *Error {
	switching := x.response.StatusCode == http.StatusSwitchingProtocols
	if switching && x.request.streamed {
		if err := x.finishSending(); err != nil {
			return err
		}
	}
	x.mu.Lock()
	x.answered = true
	x.mu.Unlock()
	c.reads.Set(time.Time{})
	c.room = math.MaxInt64
	c.patience.Store(0)

	b := &x.body
	b.x, b.conn = x, c
	switch {
	case switching:
		x.response.Body = &upgradeBody{b}
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
func (b *answerBody) reusable() bool {
	if !b.keep || b.conn.limit <= 0 || b.conn.err != nil || b.conn.spoke || b.conn.br.Buffered() > 0 {
		return false
	}
	if b.x.request.streamed {
		return b.x.sender != nil && b.x.sender.complete()
	}
	return true
}

// BecomeStream exempts the exchange from Exchanges.CutRequests.
func (b *answerBody) BecomeStream() { b.x.becomeStream() }

func (b *answerBody) Read(p []byte) (n int, err error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.x.cutFor() != 0 {
		return 0, b.fail(nil)
	}
	b.conn.waiter = b.waiter
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
	b.conn.waiter = nil
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		return n, b.finish()
	}
	return n, b.fail(err)
}

// finish lets go of the connection at the end of the body.
func (b *answerBody) finish() error {
	b.err = io.EOF
	b.x.end(b.reusable())
	return b.err
}

// fail says what Read returns from now on because of err.
func (b *answerBody) fail(err error) error {
	b.err = b.x.readFailure(b.conn, err)
	return b.err
}

// readTrailer reads what follows the last chunk, and returns io.EOF after it.
func (b *answerBody) readTrailer() error {
	if end, _ := b.conn.br.Peek(2); string(end) == "\r\n" {
		b.conn.br.Discard(2)
		return io.EOF
	}
	b.conn.room = maxHead
	h, err := b.conn.readFields(trailer)
	if b.conn.err == errHeadTooLarge {
		b.conn.err = nil
		return errTrailers
	}
	if err != nil {
		return err
	}
	b.conn.room = math.MaxInt64
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
func (b *answerBody) Close() error {
	if !b.x.isOver() {
		b.x.cut(Cut, http.ErrBodyReadAfterClose)
		b.x.end(false)
	}
	return nil
}

// BeforeWait has f called whenever a Read is about to wait for the target, by
// whoever reads: what was passed on so far must not wait as well. If f fails, so
// does the Read. WriteTo sees to that itself.
func (b *answerBody) BeforeWait(f func() error) { b.waiter = waiterFunc(f) }

// WriteTo passes the rest of the body on to w. An error of w is returned as it
// is, unless the Pool or the body was closed; any other is an [*Error].
//
// Where w is an [http.ResponseWriter], it is flushed before the target is waited
// for, so that nothing that has come waits for what comes later. Whenever its
// bytes wait for the client they do so for Options.WriteTimeout at most; the
// target may be silent as long as it likes. The write deadline is used for this,
// and cleared.
func (b *answerBody) WriteTo(w io.Writer) (n int64, err error) {
	if b.err == io.EOF {
		return 0, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	k := &b.to
	*k = downstream{f: &b.x.fate, w: w, limit: b.x.pool.o.WriteTimeout}
	if !k.open() {
		return 0, b.fail(nil)
	}
	defer k.close()
	if b.ending == atLength {
		n, err = b.writeBuffered(k)
		if err != nil || b.err != nil {
			return n, err
		}
		if to := b.spliceable(w); to != nil {
			m, err := b.splice(k, to)
			return n + m, err
		}
	}
	b.waiter = k
	m, err := k.copy(b, b.left)
	return n + m, err
}

// spliceable returns what can move the rest of the body by itself; nil: nothing,
// or it is not worth it. A server that speaks TLS would copy, and hold back what
// comes little by little.
func (b *answerBody) spliceable(w io.Writer) io.ReaderFrom {
	if !b.to.web || b.conn.secured || b.left <= spliceMin || b.x.secret {
		return nil
	}
	to, _ := w.(io.ReaderFrom)
	return to
}

// writeBuffered writes what has been read together with the head: often that
// is everything.
func (b *answerBody) writeBuffered(k *downstream) (n int64, err error) {
	p, _ := b.conn.br.Peek(int(min(b.left, int64(b.conn.br.Buffered()))))
	if len(p) == 0 {
		return 0, nil
	}
	m, err := k.write(p)
	if err != nil {
		return int64(m), b.x.writeError(err)
	}
	b.conn.br.Discard(m)
	if b.left -= int64(m); b.left != 0 {
		return int64(m), nil
	}
	b.finish()
	return int64(m), b.x.writeError(k.finish())
}

// splice hands the rest of the body to a server that, where both ends are
// sockets, has the kernel move it. Nothing tells beforehand which of the two a
// call will wait for, and a client must not pay for a slow target: so the
// target's deadline, which does no harm, comes long before the client's, which
// is set anew for each piece. When the target's passes, both are, and what was
// left of the piece goes on.
func (b *answerBody) splice(k *downstream, to io.ReaderFrom) (n int64, err error) {
	if err := k.flush(); err != nil {
		return 0, b.x.writeError(err)
	}
	c := b.conn
	var size int64 = answerSize
	for late := true; b.left > 0; {
		start := time.Now()
		k.until = time.Time{}
		k.arm()
		if late && k.limit > 0 {
			c.reads.SetNow(start.Add(k.limit / 2))
			late = false
		}
		piece := min(b.left, size)
		b.piece = io.LimitedReader{R: c.raw, N: piece}
		m, err := to.ReadFrom(&b.piece)
		n += m
		b.left -= m
		size = answerSize
		switch {
		case err == nil && m == piece:
			size = sizeAfter(time.Since(start), k.limit)
		case err == nil:
			c.err = io.EOF
			return n, b.fail(io.ErrUnexpectedEOF)
		case isTargetsDeadline(err, k.until) && b.x.cutFor() == 0:
			late = true
		default:
			return n, b.spliceFailed(err)
		}
	}
	c.reads.SetNow(time.Time{})
	b.finish()
	return n, nil
}

// isTargetsDeadline reports whether the error of a splice is the expiry of the
// target's deadline. Where it does not tell, the client's is later.
func isTargetsDeadline(err error, clients time.Time) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "read" || op.Op == "write") {
		return op.Op == "read"
	}
	return time.Now().Before(clients)
}

// spliceFailed finds out whose error err is. Where a splice does not tell, after
// an error of the target's nothing can be read from it any more.
func (b *answerBody) spliceFailed(err error) error {
	var op *net.OpError
	switch errors.As(err, &op); {
	case op == nil || op.Op == "write" || errors.Is(err, os.ErrDeadlineExceeded):
		return b.x.writeError(err)
	case op.Op != "read" && b.conn.isAlive():
		return b.x.writeError(err)
	}
	b.conn.err = err
	return b.fail(err)
}

// An upgradeBody is the body of a 101: the connection itself.
type upgradeBody struct{ body *answerBody }

// BecomeStream exempts the exchange from Exchanges.CutRequests.
func (t *upgradeBody) BecomeStream() { t.body.x.becomeStream() }

func (t *upgradeBody) Read(p []byte) (int, error) {
	n, err := t.body.conn.br.Read(p)
	if err != nil && err != io.EOF {
		err = t.body.x.readFailure(t.body.conn, err)
	}
	return n, err
}

// Write writes to the target. It may be called beside Read.
func (t *upgradeBody) Write(p []byte) (int, error) {
	n, err := t.body.conn.write(p)
	if err != nil {
		err = t.body.x.failure(Broken, err)
	}
	return n, err
}

// CloseWrite tells the target that nothing more will be written.
func (t *upgradeBody) CloseWrite() error {
	if err := t.body.conn.closeWrite(); err != nil {
		return t.body.x.failure(Broken, err)
	}
	return nil
}

func (t *upgradeBody) Close() error { return t.body.Close() }
