package forward

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/socket"
)

const (
	// clientTimeout is how long a client may send no byte of its body, or take no
	// byte of the answer.
	clientTimeout = 60 * time.Second

	// deadlineSlack is how much of clientTimeout may have passed before a deadline
	// is set anew, which costs as much as a small read.
	deadlineSlack = time.Second

	// lingerTimeout is how long a client may go on sending its body after it was
	// answered. Bytes that arrive at a closed connection reset it, and a reset
	// may destroy an answer that the client has not read yet (RFC 9112, section
	// 9.6).
	lingerTimeout = 500 * time.Millisecond
)

var (
	errBodyClosed   = errors.New("the client's body was closed")
	errBodyAnswered = errors.New("the client's body is not wanted: its request is answered")
)

// A requestBody is the client's body as an exchange reads it. The exchange may read
// it on another goroutine, and keep it after Forward has returned: once stop has
// returned, no method uses the request or the ResponseWriter.
type requestBody struct {
	src    io.ReadCloser
	w      http.ResponseWriter
	in     *http.Request // as the server made it, which fills its Trailer
	out    *http.Request // a copy of in with this body, for the exchange
	duplex bool          // w can be written while src is read
	isGRPC bool          // the request is a gRPC call: Reads have no deadline
	atHand bool          // src holds what was read from the client before: nothing of it is on w's connection

	// mu guards the fields below, and is held while a 1xx head is written to w,
	// as the first Read does if the client waits for a 100.
	mu             sync.Mutex
	awaitsContinue bool          // the client waits for a 100 before it sends its body
	n              int64         // bytes read
	begun          bool          // Read was called
	complete       bool          // all was read without an error
	readErr        error         // what later Reads return; nil: they read
	clientErr      error         // why the body could not be read to its end; nil: it could, or reading was stopped
	reading        bool          // a Read is running
	idle           chan struct{} // if not nil: is closed when readErr is set and no Read is running
	answered       bool          // the head of the final answer has arrived
	readDeadline   time.Time     // as set on w; zero: none
}

func newRequestBody(w http.ResponseWriter, r *http.Request, isGRPC, atHand bool) *requestBody {
	b := &requestBody{
		src:            r.Body,
		w:              w,
		in:             r,
		out:            r.WithContext(r.Context()),
		duplex:         r.ProtoMajor > 1 || http.NewResponseController(w).EnableFullDuplex() == nil,
		isGRPC:         isGRPC,
		atHand:         atHand,
		awaitsContinue: r.ProtoMajor == 1 && r.ProtoMinor > 0 && field.HasToken(r.Header["Expect"], "100-continue"),
	}
	b.out.Body = b
	b.out.Trailer = nil
	b.copyTrailer()
	return b
}

func (b *requestBody) Read(p []byte) (int, error) {
	if err := b.beginRead(); err != nil {
		return 0, err
	}
	n, err := b.src.Read(p)
	return n, b.endRead(n, err)
}

// ReadPipe is that of a [socket.PipeReader].
func (b *requestBody) ReadPipe(limit int) (*socket.Pipe, error) {
	src, ok := b.src.(socket.PipeReader)
	if !ok {
		return nil, nil
	}
	if err := b.beginRead(); err != nil {
		return nil, err
	}
	p, err := src.ReadPipe(limit)
	n := 0
	if p != nil {
		n = p.Len()
	}
	return p, b.endRead(n, err)
}

func (b *requestBody) beginRead() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readErr != nil {
		return b.readErr
	}
	if b.awaitsContinue {
		// net/http's server would write it on Read too, even while Forward's
		// goroutine is writing another head.
		b.awaitsContinue = false
		writeInterim(b.w, b.in, http.StatusContinue, nil)
	}
	// mu is held so that stop sets the last deadline.
	if now := time.Now(); !b.answered && !b.isGRPC && b.readDeadline.Sub(now) < clientTimeout-deadlineSlack {
		b.setReadDeadlineLocked(now.Add(clientTimeout))
	}
	b.begun, b.reading = true, true
	return nil
}

func (b *requestBody) endRead(n int, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.n += int64(n)
	counted := b.n == b.in.ContentLength
	switch {
	case counted && (err != nil || b.out.Trailer == nil):
		err = io.EOF
	case err == io.EOF && b.n < b.in.ContentLength:
		err = io.ErrUnexpectedEOF
	}
	switch {
	case err == io.EOF:
		b.complete = true
		b.copyTrailer()
	case err == nil && counted:
		b.complete = true // except for the trailers, for which another Read may wait
	case err != nil && !b.wasStoppedLocked(err):
		b.clientErr = err
	}
	// After the body, an HTTP/1 server goes on reading, to notice when the client
	// disconnects. On HTTP/2, a deadline ends the body even if nobody reads it.
	if b.complete || b.in.ProtoMajor > 1 {
		b.setReadDeadlineLocked(time.Time{})
	}
	b.failLocked(err)
	return err
}

// isComplete reports whether all of the body was read.
func (b *requestBody) isComplete() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.complete
}

// isUnreadLocked reports whether a part of the body may be left on the client's
// connection.
func (b *requestBody) isUnreadLocked() bool { return !b.complete && !b.atHand }

// markAnswered notes that the head of the final answer has arrived: Reads have no
// deadline any more, and a client that still waits for a 100 gets none. It reports
// whether part of the body has not been read from the client.
func (b *requestBody) markAnswered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = true
	if b.awaitsContinue {
		b.failLocked(errBodyAnswered)
	}
	b.setReadDeadlineLocked(time.Time{})
	return b.isUnreadLocked()
}

// setReadDeadlineLocked sets the read deadline of w; the zero t means none. It sets
// none for a body at hand: a server of HTTP/1 reads on behind that, and takes a
// deadline that passes for the client's leave.
func (b *requestBody) setReadDeadlineLocked(t time.Time) {
	if t != b.readDeadline && !b.atHand {
		b.readDeadline = t
		http.NewResponseController(b.w).SetReadDeadline(t)
	}
}

// Close makes later Reads fail. It does not wait for one that is running. It does
// not close the body of the request: the server would then read it to its end.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failLocked(errBodyClosed)
	return nil
}

// failLocked makes err what later Reads return, unless it is nil or they fail
// already.
func (b *requestBody) failLocked(err error) {
	if b.readErr == nil {
		b.readErr = err
	}
	if b.idle != nil && b.readErr != nil && !b.reading {
		close(b.idle)
		b.idle = nil
	}
}

// awaitIdle returns when no Read is running and none will follow.
func (b *requestBody) awaitIdle() {
	b.mu.Lock()
	if b.readErr != nil && !b.reading {
		b.mu.Unlock()
		return
	}
	settled := make(chan struct{})
	b.idle = settled
	b.mu.Unlock()
	<-settled
}

// stop makes later Reads fail, interrupts a running one once the time running has
// passed, and returns when it has returned. When the request is done, net/http's
// server reads the rest of the body over HTTP/1; stop gives it the time after for
// that.
//
// If the ResponseWriter does not support deadlines, stop waits until a running
// Read returns by itself.
func (b *requestBody) stop(running, after time.Duration) {
	b.mu.Lock()
	b.failLocked(errBodyAnswered)
	if b.reading {
		b.readFor(running)
		b.mu.Unlock()
		b.awaitIdle()
		b.mu.Lock()
	}
	if a, ok := b.src.(*lookAheadBody); ok && !a.wait(0, nil) {
		b.begun = true // the bytes that it may have read are lost
		b.readFor(0)
		<-a.ready
	}
	// Over HTTP/2 the server resets the stream and reads nothing more.
	if !b.complete && b.in.ProtoMajor == 1 {
		b.readFor(after)
	}
	b.mu.Unlock()
}

// awaitLookAhead waits a short time for the first byte of the body, if nobody has
// called Read: once it is there, the request can be sent again.
func (b *requestBody) awaitLookAhead() {
	b.mu.Lock()
	begun := b.begun
	b.mu.Unlock()
	if a, ok := b.src.(*lookAheadBody); ok && !begun {
		a.wait(bodylessTimeout, b.in.Context().Done())
	}
}

// wasStoppedLocked reports whether err comes from a Read that was interrupted by
// stop, and not from the client.
func (b *requestBody) wasStoppedLocked(err error) bool {
	return b.readErr != nil && errors.Is(err, os.ErrDeadlineExceeded) && (b.readDeadline.IsZero() || time.Now().Before(b.readDeadline))
}

// lingerTime returns how long a Read may go on when the answer is complete. To
// interrupt the Read of a chunked body at once would lose the place in its framing,
// and the server could not read the rest.
func (b *requestBody) lingerTime() time.Duration {
	if b.in.ContentLength < 0 && b.in.ProtoMajor == 1 {
		return lingerTimeout
	}
	return 0
}

// readFor gives the client d from now to send more. What is at hand takes no time.
func (b *requestBody) readFor(d time.Duration) {
	if !b.atHand {
		http.NewResponseController(b.w).SetReadDeadline(time.Now().Add(d))
	}
}

// copyTrailer copies the client's trailer fields that may be forwarded: their
// announced names at first, their values at the end of the body. They are copied
// because the exchange may read them after Forward has returned.
func (b *requestBody) copyTrailer() {
	for name, values := range b.in.Trailer {
		if isTrailer(name) {
			if b.out.Trailer == nil {
				b.out.Trailer = make(http.Header)
			}
			b.out.Trailer[name] = slices.Clone(values)
		}
	}
}

// NewTimeoutReader returns a reader of body, the body of the request that w
// answers. Each Read fails if the client sends nothing for 60 s, as in Forward. It
// is for code that reads the body before Forward does.
func NewTimeoutReader(w http.ResponseWriter, body io.Reader) io.Reader {
	return &timeoutReader{http.NewResponseController(w), body}
}

type timeoutReader struct {
	rc *http.ResponseController
	r  io.Reader
}

func (p *timeoutReader) Read(b []byte) (int, error) {
	p.rc.SetReadDeadline(time.Now().Add(clientTimeout))
	defer p.rc.SetReadDeadline(time.Time{})
	return p.r.Read(b)
}
