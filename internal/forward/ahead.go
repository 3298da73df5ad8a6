package forward

import (
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

// How long to wait for the first byte or the end of a body of unknown length
// before the head is sent. A client that has a body usually sends it right behind
// the head. A client that waits for the head of the answer before it sends its
// body gets that head later by this time.
const (
	bodylessTimeout  = time.Second            // for methods that rarely have a body
	firstByteTimeout = 100 * time.Millisecond // for other methods

	// wholeTimeout is how long to wait, after the first bytes, for the end of a
	// body that may be small.
	wholeTimeout = 100 * time.Millisecond
)

// maxAhead is the longest body that is read in advance as a whole. One of that
// length is sent with the head, in one piece.
const maxAhead = 16 << 10

// A lookAheadBody is a request's body whose first bytes are read in advance, to
// see whether there are any, and how many. The head of a request over HTTP/2 and
// HTTP/3 may not tell: a GET whose stream has not ended yet has a body of unknown
// length, and would be sent to the target in chunks, of which there are none. And
// there are servers that take a body in chunks for an empty one, as those of WSGI
// and FastCGI do.
type lookAheadBody struct {
	io.ReadCloser

	ready chan struct{} // closed when no Read is running, and the fields below are set
	first []byte        // what Read has not returned yet
	err   error         // what Read returns after first
	begun bool          // Read has been called: first may lack some of the body
}

// lookAhead finds out whether r has a body, and how long it is if it is small,
// where the head does not tell. It replaces r.Body by a lookAheadBody, or by
// http.NoBody if there is no body. It returns when it knows, when the body is too
// long, or when the timeouts have passed; length is -1 if it is not known. If
// r.Body is a lookAheadBody already, lookAhead continues with that. It does nothing
// for a gRPC call, whose client may wait for the answer before it sends anything.
func lookAhead(r *http.Request, isGRPC bool) (length int64) {
	a, begun := r.Body.(*lookAheadBody)
	if !begun {
		if isGRPC || !mayBeEmpty(r) {
			return r.ContentLength
		}
		a = &lookAheadBody{ReadCloser: r.Body, ready: make(chan struct{})}
		r.Body = a
		go a.read(make([]byte, 0, 512))
	}
	limit := firstByteTimeout
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "DELETE":
		limit = bodylessTimeout
	}
	if !a.wait(limit, r.Context().Done()) {
		return -1
	}
	for deadline := time.Now().Add(wholeTimeout); a.err == nil && len(a.first) <= maxAhead && !a.begun; {
		p := a.first
		if len(p) == cap(p) {
			p = slices.Grow(p, min(3*len(p), maxAhead+1-len(p)))
		}
		a.ready = make(chan struct{})
		go a.read(p)
		if !a.wait(time.Until(deadline), r.Context().Done()) {
			return -1
		}
	}
	switch {
	case a.err != io.EOF || a.begun || len(a.first) > maxAhead || len(r.Trailer) > 0: // trailers follow chunks
		return -1
	case len(a.first) == 0:
		r.Body = http.NoBody
	}
	return int64(len(a.first))
}

// mayBeEmpty reports whether only reading can tell if r has a body. A client that
// expects a 100 has one, but will not send it before; one that announces trailers
// has one too.
func mayBeEmpty(r *http.Request) bool {
	return r.ProtoMajor > 1 && r.ContentLength < 0 && len(r.Trailer) == 0 &&
		!field.HasToken(r.Header["Expect"], "100-continue")
}

// read reads behind p, which has what was read before and has room, until there is
// a byte or an error. It runs on a goroutine of its own; whoever uses a must wait for
// ready.
func (a *lookAheadBody) read(p []byte) {
	defer close(a.ready)
	n := 0
	for n == 0 && a.err == nil {
		n, a.err = a.ReadCloser.Read(p[len(p):cap(p)])
	}
	a.first = p[:len(p)+n]
}

// wait waits until a is ready, or limit has passed, or done is closed, and reports
// whether a is ready.
func (a *lookAheadBody) wait(limit time.Duration, done <-chan struct{}) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-a.ready:
	case <-late.C:
	case <-done:
	}
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

// Read returns the bytes that were read in advance, and then the rest.
func (a *lookAheadBody) Read(p []byte) (n int, err error) {
	<-a.ready
	a.begun = true
	n = copy(p, a.first)
	a.first = a.first[n:]
	if len(a.first) > 0 || n > 0 && a.err == nil {
		return n, nil
	}
	if a.err != nil {
		return n, a.err
	}
	return a.ReadCloser.Read(p)
}
