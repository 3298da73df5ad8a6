package forward

import (
	"io"
	"net/http"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

// How long the first byte of a body of unknown length, or its end, is waited for
// before the head goes out. A client that has one sends it with the head, or
// right behind it. One that waits for the answer's head instead gets that later
// by so much, and no more.
const (
	bodylessTimeout  = time.Second            // where there is hardly ever a body
	firstByteTimeout = 100 * time.Millisecond // with any other method
)

// An lookAheadBody is a client's body whose first bytes are read before anybody asks
// for them, to see whether there are any. Over HTTP/2 and HTTP/3 the head may
// leave that open: a GET has a body of unknown length then until its stream
// ends, and would go on in chunks of which there are none.
type lookAheadBody struct {
	io.ReadCloser

	ready chan struct{} // closed when the fields below are set
	first []byte        // what is still to be given to a Read
	err   error         // what came with it
}

// lookAhead puts an ahead in the place of r's body if it is to be looked for, or
// http.NoBody if there is none. It returns when that is known, but does not
// wait for long. Called again, it goes on with the ahead that is there. call says
// that r is a gRPC call, whose client may wait for the answer before it sends
// anything.
func lookAhead(r *http.Request, call bool) {
	a, begun := r.Body.(*lookAheadBody)
	if !begun {
		if call || !mayBeEmpty(r) {
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

// mayBeEmpty reports whether only a look can tell if r has a body. Where the
// client waits for a 100 before it sends one there is nothing to be seen. And
// trailers need a body that they stand behind.
func mayBeEmpty(r *http.Request) bool {
	return r.ProtoMajor > 1 && r.ContentLength < 0 && len(r.Trailer) == 0 &&
		!field.HasToken(r.Header["Expect"], "100-continue")
}

// readFirst is the goroutine of a, which lasts until something has come.
func (a *lookAheadBody) readFirst() {
	defer close(a.ready)
	p := make([]byte, 512)
	n := 0
	for n == 0 && a.err == nil {
		n, a.err = a.ReadCloser.Read(p)
	}
	a.first = p[:n]
}

// wait reports whether something came in time.
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

// Read waits for what comes first, and reads on from there.
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
