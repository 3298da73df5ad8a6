package http1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A response is the [http.ResponseWriter] of a request. It also is what
// [http.ResponseController] looks for. It is used again for the next request, so it
// must not be used after the handler has returned.
type response struct {
	conn     *conn
	exchange *exchange
	header   http.Header
	own      http.Header // what header is at first, from request to request
	out      output

	status   int // of the final head; 0: there is none yet
	framing  framing
	opened   bool  // the framing has been put behind the fields of the head
	length   int64 // Content-Length; negative: there is none
	written  int64 // bytes of the body
	isHead   bool  // the request is one for a head alone
	close    bool  // the connection is closed behind the response
	trailers bool  // there will be trailer fields
	returned bool  // the handler has
	overrun  bool  // the handler wanted to write more than length
	hijacked bool
	timed    atomic.Bool // the handler has set a deadline

	expects bool // the client waited for a 100 when the request began

	// mu guards waits, and is held while a 1xx head is written: the first Read of a
	// body, which may be on another goroutine, writes one.
	mu    sync.Mutex
	waits bool // the client waits for a 100
	asked bool // it was sent one, or did not wait
}

// begin readies w for the request of h.
func (w *response) begin(h *head) {
	if w.own == nil || len(w.own) > maxKeptFields {
		w.own = make(http.Header)
	}
	if len(w.own) > 0 {
		clear(w.own)
	}
	w.header = w.own
	w.out.reset()
	w.status, w.framing, w.opened, w.length, w.written = 0, undecided, false, -1, 0
	w.isHead = h.method == http.MethodHead
	w.close = h.closes()
	w.trailers, w.returned, w.overrun, w.hijacked = false, false, false, false
	if w.timed.Load() {
		w.timed.Store(false)
	}
	w.expects = h.expect100 && h.minor > 0 && h.hasBody()
	w.waits, w.asked = w.expects, !w.expects
}

func (w *response) Header() http.Header { return w.header }

// AdoptHeader makes h the header, in place of the one that Header has returned before.
// The response does not change h, and does not use it when the handler has returned.
func (w *response) AdoptHeader(h http.Header) { w.header = h }

// ByteTimeout returns how long the client may take nothing of what is written, unless
// SetWriteDeadline is called, and how long once the handler has returned.
func (w *response) ByteTimeout() time.Duration { return w.conn.server.ByteTimeout }

// WriteHeader begins the response, or writes the whole head of a 1xx other than 101.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	switch {
	case w.hijacked || w.status != 0:
		w.conn.server.logf("http1: a second WriteHeader, with status %d", status)
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.writeInterim(status)
	default:
		w.writeHead(status)
	}
}

func (w *response) Write(p []byte) (int, error) {
	if err := w.beginWrite(int64(len(p))); err != nil {
		return 0, err
	} else if w.isHead {
		return len(p), nil
	}
	if w.out.err != nil {
		return 0, w.out.err
	}
	o := &w.out
	o.openGap()
	if o.hasRoom(len(p)) {
		o.buf = append(o.buf, p...)
		return len(p), nil
	}
	if err := w.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString is Write.
func (w *response) WriteString(s string) (int, error) {
	if len(s) <= bufferSize {
		if err := w.beginWrite(int64(len(s))); err != nil {
			return 0, err
		} else if w.isHead {
			return len(s), nil
		}
		if o := &w.out; o.err == nil {
			if o.openGap(); o.hasRoom(len(s)) {
				o.buf = append(o.buf, s...)
				return len(s), nil
			}
		}
		w.written -= int64(len(s)) // Write counts them
	}
	return w.Write([]byte(s))
}

// beginWrite counts n bytes of the body, if they may be written.
func (w *response) beginWrite(n int64) error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.writeHead(http.StatusOK)
	}
	switch {
	case n == 0:
		return nil
	case w.framing == bodyless && (!w.isHead || hasNoBody(w.status)):
		return http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+n > w.length:
		w.overrun = true
		return http.ErrContentLength
	}
	w.written += n
	return nil
}

// send writes what is held back, and p.
func (w *response) send(p []byte) error {
	if w.framing == undecided {
		w.frameUnknown()
	}
	var front [maxGap]byte
	b := front[:0]
	if !w.opened {
		b = w.appendLateClose(b)
		if w.framing == chunked {
			b = append(b, "Transfer-Encoding: chunked\r\n"...)
		}
		b = append(b, "\r\n"...)
		w.opened = true
	}
	if w.framing != chunked {
		return w.transmit(b, p)
	}
	n := len(w.out.data()) + len(p)
	if n == 0 {
		return w.transmit(b, nil)
	}
	b = appendChunkSize(b, n)
	if len(p) == 0 {
		w.out.buf = append(w.out.buf, "\r\n"...)
		return w.transmit(b, nil)
	}
	err := w.transmit(b, p)
	w.out.appendLead("\r\n") // leaves with what comes next
	return err
}

// transmit sends what is held back, see output. If that fails, the client has left.
func (w *response) transmit(front, rest []byte) error {
	failed := w.out.err != nil
	err := w.out.send(front, rest)
	if err != nil && !failed {
		w.conn.clientLost()
	}
	return err
}

// Flush sends what was written so far.
func (w *response) Flush() { w.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.writeHead(http.StatusOK)
	}
	if w.out.isEmpty() {
		return w.out.err
	}
	return w.send(nil)
}

// ReadFrom writes what it reads from src. A body with a Content-Length that comes
// from a socket is spliced to the client.
func (w *response) ReadFrom(src io.Reader) (n int64, err error) {
	limited, ok := src.(*io.LimitedReader)
	if ok && w.canSplice(limited) {
		if err := w.FlushError(); err != nil {
			return 0, err
		}
		n, err = w.conn.sock.ReadFrom(limited)
		w.written += n
		return n, err // which may be the source's
	}
	b := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(b)
	return io.CopyBuffer(struct{ io.Writer }{w}, src, b[:])
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (w *response) canSplice(src *io.LimitedReader) bool {
	if w.hijacked || !w.conn.isBare() || !w.conn.sock.CanSplice(src) {
		return false
	}
	if w.status == 0 {
		w.writeHead(http.StatusOK)
	}
	return w.framing == counted && src.N <= w.length-w.written
}

// Hijack hands the connection to the handler.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	if w.status != 0 {
		w.FlushError()
	}
	w.hijacked = true
	w.conn.stopReading()
	w.conn.release()
	nc, unread := w.conn.nc, w.exchange.in.unread()
	var src io.Reader = nc
	if len(unread) > 0 {
		src = io.MultiReader(strings.NewReader(string(unread)), nc)
	}
	br := bufio.NewReader(src)
	br.Peek(len(unread))
	return nc, bufio.NewReadWriter(br, bufio.NewWriter(nc)), nil
}

// SetReadDeadline sets the deadline of reads of the body. From then on the handler
// sees to it that a client which sends nothing is not waited for.
func (w *response) SetReadDeadline(t time.Time) error {
	w.timed.Store(true)
	w.conn.sock.SetReadPatience(0)
	return w.conn.sock.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of writes. From then on the handler sees to it
// that a client which takes nothing is not waited for, until it returns.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.timed.Store(true)
	w.conn.sock.SetWritePatience(0)
	return w.conn.sock.SetWriteDeadline(t)
}

// EnableFullDuplex does nothing: the body can always be read beside and after writes.
func (w *response) EnableFullDuplex() error { return nil }
