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
	// idleLimit is how long a client may send no byte of a body that it owes,
	// or take no byte of an answer.
	idleLimit = 60 * time.Second

	// deadlineStep is how much of idleLimit may be spent before a deadline is
	// set anew: to set one costs as much as a small read.
	deadlineStep = time.Second

	// lingerLimit is how long a client that was answered early may go on
	// sending. What arrives at a closed connection resets it, and a reset may
	// destroy an answer that was not read yet (RFC 9112, section 9.6).
	lingerLimit = 500 * time.Millisecond
)

var (
	errBodyClosed   = errors.New("the client's body was closed")
	errBodyAnswered = errors.New("the client's body is not wanted: its request is answered")
)

// A body is the client's body as an exchange sees it, which may read it on
// another goroutine than Forward's and hold it for longer than Forward lasts:
// from stop on, nothing here touches the request or the ResponseWriter.
type body struct {
	src    io.ReadCloser
	w      http.ResponseWriter
	client *http.Request // whose Trailer the server fills
	sent   *http.Request // a copy with this body, for the exchange
	duplex bool          // w takes an answer while src is read
	call   bool          // of a gRPC call: nobody is owed the next message

	// mu guards what follows, and the writing of heads to w: the first Read
	// of a body that the client holds back writes a 100.
	mu      sync.Mutex
	held    bool          // the client waits for a 100 before it sends
	n       int64         // bytes read
	begun   bool          // a Read was begun
	whole   bool          // all was read, and nothing was wrong with it
	err     error         // what every Read returns from now on
	failed  error         // what was wrong with the client's body; nil: nothing that is known
	reading bool          // a Read is running
	settled chan struct{} // if not nil: closed once err is set and no Read is running
	given   bool          // the answer is there
	expires time.Time     // the client's read deadline; zero: none of ours
}

func newBody(w http.ResponseWriter, r *http.Request, call bool) *body {
	b := &body{
		src:    r.Body,
		w:      w,
		client: r,
		sent:   r.WithContext(r.Context()),
		duplex: r.ProtoMajor > 1 || http.NewResponseController(w).EnableFullDuplex() == nil,
		call:   call,
		held:   r.ProtoMajor == 1 && r.ProtoMinor > 0 && field.HasToken(r.Header["Expect"], "100-continue"),
	}
	b.sent.Body = b
	b.sent.Trailer = nil
	b.copyTrailer()
	return b
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.begin(); err != nil {
		return 0, err
	}
	n, err := b.src.Read(p)
	return n, b.done(n, err)
}

func (b *body) begin() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.held {
		// The server would do this itself, but without regard for a head that
		// Forward's goroutine is writing.
		b.held = false
		writeInterim(b.w, b.client, http.StatusContinue, nil)
	}
	// This is done under mu so that the deadline which stop sets is the last.
	if now := time.Now(); !b.given && !b.call && b.expires.Sub(now) < idleLimit-deadlineStep {
		b.expireLocked(now.Add(idleLimit))
	}
	b.begun, b.reading = true, true
	return nil
}

func (b *body) done(n int, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.n += int64(n)
	counted := b.n == b.client.ContentLength
	switch {
	case counted && (err != nil || b.sent.Trailer == nil):
		err = io.EOF
	case err == io.EOF && b.n < b.client.ContentLength:
		err = io.ErrUnexpectedEOF
	}
	switch {
	case err == io.EOF:
		b.whole = true
		b.copyTrailer()
	case err == nil && counted:
		b.whole = true // but for the trailers, which another Read may wait for
	case err != nil && !b.wasStoppedLocked(err):
		b.failed = err
	}
	// At the end of the body, an HTTP/1 server reads on to notice a client
	// that leaves. On HTTP/2, a deadline ends a body that nobody reads.
	if b.whole || b.client.ProtoMajor > 1 {
		b.expireLocked(time.Time{})
	}
	b.endLocked(err)
	return err
}

// isWhole reports whether all of the body was read.
func (b *body) isWhole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// answered reports whether the client is still sending now that there is an
// answer, which it may go on with, but does not owe any more. If it has waited
// for a 100 all the time it will not be asked.
func (b *body) answered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given = true
	if b.held {
		b.endLocked(errBodyAnswered)
	}
	b.expireLocked(time.Time{})
	return !b.whole
}

// expireLocked sets the client's read deadline; the zero t stands for none.
func (b *body) expireLocked(t time.Time) {
	if t != b.expires {
		b.expires = t
		http.NewResponseController(b.w).SetReadDeadline(t)
	}
}

// Close makes later Reads fail. It does not wait for a running one, nor close
// the body of the request, which would be to read it to its end.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endLocked(errBodyClosed)
	return nil
}

// endLocked notes why no Read will follow, unless err is nil or that is known.
func (b *body) endLocked(err error) {
	if b.err == nil {
		b.err = err
	}
	if b.settled != nil && b.err != nil && !b.reading {
		close(b.settled)
		b.settled = nil
	}
}

// wait returns when no Read is running and none will follow.
func (b *body) wait() {
	b.mu.Lock()
	if b.err != nil && !b.reading {
		b.mu.Unlock()
		return
	}
	settled := make(chan struct{})
	b.settled = settled
	b.mu.Unlock()
	<-settled
}

// stop makes later Reads fail, gives a running one the time running, and
// returns when it is over. The server, which wants to read what is left of the
// body when the request is done, has the time after for that.
//
// Only where the ResponseWriter knows no deadlines does stop wait for as long
// as a running Read takes by itself.
func (b *body) stop(running, after time.Duration) {
	b.mu.Lock()
	b.endLocked(errBodyAnswered)
	if b.reading {
		b.limit(running)
		b.mu.Unlock()
		b.wait()
		b.mu.Lock()
	}
	if a, ok := b.src.(*ahead); ok && !a.wait(0, nil) {
		b.begun = true // nobody can tell any more what it has got
		b.limit(0)
		<-a.came
	}
	// HTTP/2 ends the stream without reading what is left.
	if !b.whole && b.client.ProtoMajor == 1 {
		b.limit(after)
	}
	b.mu.Unlock()
}

// settle gives a look ahead that nobody has come to read the time to end: the
// request can be sent again then.
func (b *body) settle() {
	b.mu.Lock()
	begun := b.begun
	b.mu.Unlock()
	if a, ok := b.src.(*ahead); ok && !begun {
		a.wait(emptyLimit, b.client.Context().Done())
	}
}

// wasStoppedLocked reports whether err, of a Read that was running when nobody
// wanted it any more, came of that: by itself it would have gone on.
func (b *body) wasStoppedLocked(err error) bool {
	return b.err != nil && errors.Is(err, os.ErrDeadlineExceeded) && (b.expires.IsZero() || time.Now().Before(b.expires))
}

// linger is how long a Read that runs when the client has its answer may take.
// To end it at once would spoil the framing of a chunked body, which the server
// is to read on.
func (b *body) linger() time.Duration {
	if b.client.ContentLength < 0 && b.client.ProtoMajor == 1 {
		return lingerLimit
	}
	return 0
}

// limit lets reading from the client go on for d.
func (b *body) limit(d time.Duration) {
	http.NewResponseController(b.w).SetReadDeadline(time.Now().Add(d))
}

// copyTrailer copies what may be sent of the client's trailer section: the
// announced names at first, the values at the end. What reads them may last
// longer than Forward.
func (b *body) copyTrailer() {
	for name, values := range b.client.Trailer {
		if isTrailer(name) {
			if b.sent.Trailer == nil {
				b.sent.Trailer = make(http.Header)
			}
			b.sent.Trailer[name] = slices.Clone(values)
		}
	}
}

// Patient returns a reader of the client's body that gives the client 60 s for
// each Read, as Forward does, for whoever reads it before. w is the request's.
func Patient(w http.ResponseWriter, body io.Reader) io.Reader {
	return &patient{http.NewResponseController(w), body}
}

type patient struct {
	rc   *http.ResponseController
	body io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	p.rc.SetReadDeadline(time.Now().Add(idleLimit))
	defer p.rc.SetReadDeadline(time.Time{})
	return p.body.Read(b)
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
