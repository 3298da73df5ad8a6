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
)

const (
	// clientTimeout is how long a client may send no byte of a body that it owes,
	// or take no byte of an answer.
	clientTimeout = 60 * time.Second

	// deadlineSlack is how much of idleLimit may be spent before a deadline is
	// set anew: to set one costs as much as a small read.
	deadlineSlack = time.Second

	// lingerTimeout is how long a client that was answered early may go on
	// sending. What arrives at a closed connection resets it, and a reset may
	// destroy an answer that was not read yet (RFC 9112, section 9.6).
	lingerTimeout = 500 * time.Millisecond
)

var (
	errBodyClosed   = errors.New("the client's body was closed")
	errBodyAnswered = errors.New("the client's body is not wanted: its request is answered")
)

// A requestBody is the client's body as an exchange sees it, which may read it on
// another goroutine than Forward's and hold it for longer than Forward lasts:
// from stop on, nothing here touches the request or the ResponseWriter.
type requestBody struct {
	src    io.ReadCloser
	w      http.ResponseWriter
	in     *http.Request // whose Trailer the server fills
	out    *http.Request // a copy with this body, for the exchange
	duplex bool          // w takes an answer while src is read
	isGRPC bool          // of a gRPC call: nobody is owed the next message

	// mu guards what follows, and the writing of heads to w: the first Read
	// of a body that the client holds back writes a 100.
	mu             sync.Mutex
	awaitsContinue bool          // the client waits for a 100 before it sends
	n              int64         // bytes read
	begun          bool          // a Read was begun
	complete       bool          // all was read, and nothing was wrong with it
	readErr        error         // what every Read returns from now on
	clientErr      error         // what was wrong with the client's body; nil: nothing that is known
	reading        bool          // a Read is running
	idle           chan struct{} // if not nil: closed once err is set and no Read is running
	answered       bool          // the answer is there
	readDeadline   time.Time     // the client's read deadline; zero: none of ours
}

func newBody(w http.ResponseWriter, r *http.Request, call bool) *requestBody {
	b := &requestBody{
		src:            r.Body,
		w:              w,
		in:             r,
		out:            r.WithContext(r.Context()),
		duplex:         r.ProtoMajor > 1 || http.NewResponseController(w).EnableFullDuplex() == nil,
		isGRPC:         call,
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

func (b *requestBody) beginRead() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readErr != nil {
		return b.readErr
	}
	if b.awaitsContinue {
		// The server would do this itself, but without regard for a head that
		// Forward's goroutine is writing.
		b.awaitsContinue = false
		writeInterim(b.w, b.in, http.StatusContinue, nil)
	}
	// This is done under mu so that the deadline which stop sets is the last.
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
		b.complete = true // but for the trailers, which another Read may wait for
	case err != nil && !b.wasStoppedLocked(err):
		b.clientErr = err
	}
	// At the end of the body, an HTTP/1 server reads on to notice a client
	// that leaves. On HTTP/2, a deadline ends a body that nobody reads.
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

// markAnswered reports whether the client is still sending now that there is an
// answer, which it may go on with, but does not owe any more. If it has waited
// for a 100 all the time it will not be asked.
func (b *requestBody) markAnswered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered = true
	if b.awaitsContinue {
		b.failLocked(errBodyAnswered)
	}
	b.setReadDeadlineLocked(time.Time{})
	return !b.complete
}

// setReadDeadlineLocked sets the client's read deadline; the zero t stands for none.
func (b *requestBody) setReadDeadlineLocked(t time.Time) {
	if t != b.readDeadline {
		b.readDeadline = t
		http.NewResponseController(b.w).SetReadDeadline(t)
	}
}

// Close makes later Reads fail. It does not wait for a running one, nor close
// the body of the request, which would be to read it to its end.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failLocked(errBodyClosed)
	return nil
}

// failLocked notes why no Read will follow, unless err is nil or that is known.
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

// stop makes later Reads fail, gives a running one the time running, and
// returns when it is over. The server, which wants to read what is left of the
// body when the request is done, has the time after for that.
//
// Only where the ResponseWriter knows no deadlines does stop wait for as long
// as a running Read takes by itself.
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
		b.begun = true // nobody can tell any more what it has got
		b.readFor(0)
		<-a.ready
	}
	// HTTP/2 ends the stream without reading what is left.
	if !b.complete && b.in.ProtoMajor == 1 {
		b.readFor(after)
	}
	b.mu.Unlock()
}

// awaitLookAhead gives a look ahead that nobody has come to read the time to end: the
// request can be sent again then.
func (b *requestBody) awaitLookAhead() {
	b.mu.Lock()
	begun := b.begun
	b.mu.Unlock()
	if a, ok := b.src.(*lookAheadBody); ok && !begun {
		a.wait(bodylessTimeout, b.in.Context().Done())
	}
}

// wasStoppedLocked reports whether err, of a Read that was running when nobody
// wanted it any more, came of that: by itself it would have gone on.
func (b *requestBody) wasStoppedLocked(err error) bool {
	return b.readErr != nil && errors.Is(err, os.ErrDeadlineExceeded) && (b.readDeadline.IsZero() || time.Now().Before(b.readDeadline))
}

// lingerTime is how long a Read that runs when the client has its answer may take.
// To end it at once would spoil the framing of a chunked body, which the server
// is to read on.
func (b *requestBody) lingerTime() time.Duration {
	if b.in.ContentLength < 0 && b.in.ProtoMajor == 1 {
		return lingerTimeout
	}
	return 0
}

// readFor lets reading from the client go on for d.
func (b *requestBody) readFor(d time.Duration) {
	http.NewResponseController(b.w).SetReadDeadline(time.Now().Add(d))
}

// copyTrailer copies what may be sent of the client's trailer section: the
// announced names at first, the values at the end. What reads them may last
// longer than Forward.
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

// NewTimeoutReader returns a reader of the client's body that gives the client 60 s for
// each Read, as Forward does, for whoever reads it before. w is the request's.
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

// HasLeft reports whether the client is gone whose body could not be read. By
// then a server of HTTP/1 has canceled the request's context. Those of HTTP/2 and
// HTTP/3 do so a moment later, which HasLeft waits for, or not at all where the
// client has reset only its body and still waits for an answer.
func HasLeft(r *http.Request) bool {
	ctx := r.Context()
	if r.ProtoMajor > 1 {
		moment := time.NewTimer(10 * time.Millisecond)
		defer moment.Stop()
		select {
		case <-ctx.Done():
		case <-moment.C:
		}
	}
	return ctx.Err() != nil
}
