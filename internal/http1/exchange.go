package http1

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// An exchange is one request of a connection and the response to it. It has all the memory
// that they need, and is lent to a connection from the first byte of a request to the
// last one of the response.
type exchange struct {
	in   input
	head head
	ctx  *requestContext
	slot requestSlot
	w    response
	body *body // nil: the request has none
}

var exchanges = sync.Pool{New: func() any {
	t := &exchange{in: input{buf: make([]byte, bufferSize)}}
	t.w.exchange = t
	t.renewContext()
	return t
}}

// renewContext gives the requests of t another context.
func (t *exchange) renewContext() {
	t.ctx = new(requestContext)
	t.slot.setContext(t.ctx)
}

var _ context.Context = (*requestContext)(nil)

// attach makes t one of c.
func (t *exchange) attach(c *conn) {
	t.in.src = c.nc
	t.w.conn, t.w.out.dst = c, c.nc
	t.ctx.setLocal(c.local)
	t.slot.setPeer(c.remote, c.tls)
}

// begin makes the request that has been parsed into t.head.
func (t *exchange) begin(c *conn) *http.Request {
	t.w.begin(&t.head)
	r := t.slot.fill(&t.head)
	t.body = nil
	if t.head.hasBody() {
		t.body = newBody(&t.in, &t.head.message, &r.Trailer)
		t.body.conn, t.body.w = c, &t.w
		r.Body = t.body
	}
	return r
}

// isAlone reports whether nothing is known to have arrived behind the request.
func (t *exchange) isAlone() bool {
	b := t.body
	if b == nil {
		return len(t.in.unread()) == 0
	}
	if !b.mu.TryLock() { // whoever reads may wait
		return false
	}
	defer b.mu.Unlock()
	return b.err == io.EOF && len(t.in.unread()) == 0
}

// end ends the context of the request.
func (t *exchange) end() {
	if !t.ctx.reset() {
		c := t.w.conn
		t.renewContext()
		t.attach(c)
	}
}

// giveBack gives t back. Nobody may use anything of it any more.
func (t *exchange) giveBack() {
	t.in.r, t.in.w = 0, 0
	if len(t.in.buf) > bufferSize {
		t.in.buf = make([]byte, bufferSize)
	}
	if t.w.conn != nil {
		t.in.src = nil
		t.w.conn, t.w.out.dst, t.body = nil, nil, nil
		t.w.header = t.w.own // it may have been the answer's of a target
		t.ctx.setLocal(nil)
		t.slot.setPeer("", nil)
	}
	exchanges.Put(t)
}
