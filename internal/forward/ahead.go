package forward

import (
	"io"
	"net/http"
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
)

// An lookAheadBody is a request's body whose first bytes are read in advance, to
// see whether there are any. The head of a request over HTTP/2 and HTTP/3 may not
// tell: a GET whose stream has not ended yet has a body of unknown length, and
// would be sent to the target in chunks, of which there are none.
type lookAheadBody struct {
	io.ReadCloser

	ready chan struct{} // closed when the fields below are set
	first []byte        // what Read has not returned yet
	err   error         // what Read returns after first
}

// lookAhead finds out whether r has a body if its head does not tell. It replaces
// r.Body by a lookAheadBody, or by http.NoBody if there is no body, and returns
// when the first byte has arrived or the timeout has passed. If r.Body is a
// lookAheadBody already, it continues with that. It does nothing for a gRPC call,
// whose client may wait for the answer before it sends anything.
func lookAhead(r *http.Request, isGRPC bool) {
	a, begun := r.Body.(*lookAheadBody)
	if !begun {
		if isGRPC || !mayBeEmpty(r) {
			return
		}
		a = &lookAheadBody{ReadCloser: r.Body, ready: make(chan struct{})}
		r.Body = a
		go a.readFirst()
	}
	limit := firstByteTimeout
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "DELETE":
		limit = bodylessTimeout
	}
	if a.wait(limit, r.Context().Done()) && len(a.first) == 0 && a.err == io.EOF {
		r.Body = http.NoBody
	}
}

// mayBeEmpty reports whether only reading can tell if r has a body. A client that
// expects a 100 has one, but will not send it before; one that announces trailers
// has one too.
func mayBeEmpty(r *http.Request) bool {
	return r.ProtoMajor > 1 && r.ContentLength < 0 && len(r.Trailer) == 0 &&
		!field.HasToken(r.Header["Expect"], "100-continue")
}

// readFirst reads until there is a byte or an error. It runs on a goroutine of
// its own; whoever uses a must wait for ready.
func (a *lookAheadBody) readFirst() {
	defer close(a.ready)
	p := make([]byte, 512)
	n := 0
	for n == 0 && a.err == nil {
		n, a.err = a.ReadCloser.Read(p)
	}
	a.first = p[:n]
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

// Read returns the bytes that readFirst has read, and then the rest.
func (a *lookAheadBody) Read(p []byte) (n int, err error) {
	<-a.ready
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
