package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/socket"
)

// lastLimit is how long the end of a request may still be on its way when the
// answer is complete. A target that has answered because it has got everything
// makes nobody wait.
const lastLimit = 100 * time.Millisecond

// A sender passes the client's body on to the target, on a goroutine that
// lasts until then.
type sender struct {
	x       *exchange
	conn    *targetConn
	r       *http.Request // whose Body it is, and whose Trailer follows
	left    int64         // of a counted body; negative: it goes out in chunks
	last    atomic.Bool   // the end of the body is being written
	done    chan struct{} // closed when nothing more will be written
	err     error         // why the body is incomplete; valid once done is closed
	refused bool          // err is the target's
}

// send starts the sender of x.
func (x *exchange) send(c *targetConn) *Error {
	r := x.request.r
	s := &sender{x: x, conn: c, r: r, left: bodyLength(r), done: make(chan struct{})}
	c.reads.Set(time.Time{})
	if !x.pool.run(s.run) {
		return x.failure(Cut, errPoolClosed)
	}
	x.sender = s
	return nil
}

func (s *sender) run() {
	body := s.r.Body
	defer body.Close()
	defer close(s.done)
	piece := borrowPiece(s.left, uploadPieces)
	if s.left < 0 {
		s.err = s.sendChunks(body, &piece)
	} else {
		s.err = s.sendCounted(body, &piece)
	}
	piece.giveBack()
	if errors.Is(s.err, errStalled) {
		s.x.stalled()
		return
	}
	if s.err == nil || s.refused {
		// A target that refuses more of the body has answered or will not.
		s.x.requestSent(s.conn, time.Now())
		return
	}
	s.x.bodyFailed(s.conn, s.err)
}

func (s *sender) sendCounted(body io.Reader, piece *piece) error {
	for s.left > 0 {
		if moved, err := s.splice(body); err != nil {
			return err
		} else if moved {
			continue
		}
		buf := piece.bytes()
		n, err := readSome(body, buf[:min(s.left, int64(len(buf)))])
		s.left -= int64(n)
		if n != 0 {
			if err := s.write(buf[:n], s.left == 0); err != nil {
				return err
			}
		}
		if err != nil && s.left > 0 {
			return noEOF(err)
		}
		piece.fit(n)
	}
	return nil
}

// splice has the kernel move some of what is left, where both ends are sockets. It
// reports whether anything was moved.
func (s *sender) splice(body io.Reader) (moved bool, err error) {
	from, ok := body.(socket.PipeReader)
	if !ok || s.left <= spliceMin || !s.conn.isBare() {
		return false, nil
	}
	p, err := from.ReadPipe(int(min(s.left, uploadSize)))
	if p == nil {
		return false, noEOF(err)
	}
	defer p.Release()
	s.left -= int64(p.Len())
	if s.left == 0 {
		s.last.Store(true)
	}
	if writeErr := s.conn.writePipe(p); writeErr != nil {
		s.refused = true
		return false, writeErr
	}
	if s.left == 0 {
		err = nil
	}
	return true, noEOF(err)
}

// What is around the data of a chunk, and of the last one.
const (
	chunkLead     = len("1ffff\r\n")
	chunkTail     = len("\r\n0\r\n\r\n")
	chunkOverhead = chunkLead + chunkTail
)

// sendChunks makes a chunk of whatever one Read returns, so that a body that
// is made little by little arrives so.
func (s *sender) sendChunks(body io.Reader, piece *piece) error {
	for {
		buf := piece.bytes()
		n, err := readSome(body, buf[chunkLead:len(buf)-chunkTail])
		if err != nil && err != io.EOF {
			return err
		}
		chunk := buf[:0]
		if n > 0 {
			chunk = frameChunk(buf, n)
		}
		last := err == io.EOF
		if last {
			if chunk, err = appendTrailer(chunk, s.r.Trailer); err != nil {
				return err
			}
		}
		if err := s.write(chunk, last); err != nil || last {
			return err
		}
		piece.fit(n)
	}
}

// frameChunk returns the n bytes behind chunkLead in buf as a chunk.
func frameChunk(buf []byte, n int) []byte {
	var digits [8]byte
	size := append(strconv.AppendInt(digits[:0], int64(n), 16), "\r\n"...)
	start := chunkLead - len(size)
	copy(buf[start:], size)
	return append(buf[start:chunkLead+n], "\r\n"...)
}

func (s *sender) write(p []byte, last bool) error {
	if last {
		s.last.Store(true)
	}
	_, err := s.conn.write(p)
	s.refused = err != nil
	return err
}

// complete reports whether the body has been sent whole. It is called when the
// answer is complete.
func (s *sender) complete() bool {
	select {
	case <-s.done:
	default:
		if !s.last.Load() {
			return false
		}
		s.conn.writes.Set(time.Now().Add(lastLimit))
		<-s.done
		s.conn.writes.Set(time.Time{})
	}
	return s.err == nil
}

// finishSending returns when the body has been sent whole. A target may switch
// protocols as soon as it knows enough, but what comes from the client is of the
// body up to its end (RFC 9110, section 7.8).
func (x *exchange) finishSending() *Error {
	if x.sender == nil { // the client still waits for a 100
		return x.failure(Malformed, errEarlyTurn)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !x.wakeBy(cancel) {
		return x.failure(Cut, nil)
	}
	defer x.wakeBy(nil)
	select {
	case <-x.sender.done:
	case <-ctx.Done():
		return x.failure(Cut, nil)
	}
	if x.sender.err != nil {
		return x.failure(Broken, x.sender.err)
	}
	return nil
}

// stalled ends x, whose target takes nothing more, unless it has answered.
func (x *exchange) stalled() {
	x.mu.Lock()
	answered := x.answered
	x.mu.Unlock()
	if !answered {
		x.cut(Timeout, errStalled)
	}
}

// bodyFailed makes sure that the target never takes for complete what the
// client did not complete. An answer that is coming already goes on.
func (x *exchange) bodyFailed(c *targetConn, err error) {
	x.mu.Lock()
	answered := x.answered
	x.mu.Unlock()
	if answered {
		c.closeWrite()
		return
	}
	x.cut(ClientBody, err)
}

// readSome reads until there is something, or an error.
func readSome(r io.Reader, p []byte) (n int, err error) {
	for range 100 {
		if n, err = r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// appendTrailer appends the last chunk and what follows it.
func appendTrailer(b []byte, trailer http.Header) ([]byte, error) {
	b = append(b, "0\r\n"...)
	for name, values := range trailer {
		if isDerived(name) {
			continue
		}
		for _, value := range values {
			if !field.IsToken(name) || !isLine(value) {
				return b, fmt.Errorf("cannot be sent: trailer %q: %q", name, value)
			}
			b = appendLine(b, name, value)
		}
	}
	return append(b, "\r\n"...), nil
}
