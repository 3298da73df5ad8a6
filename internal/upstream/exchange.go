package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// A Reason says what ended an exchange.
type Reason int

// The reasons and their names.
const (
	Dial       Reason = iota + 1 // "dial": no connection to the target
	Timeout                      // "timeout": Options.ResponseTimeout has passed
	Cut                          // "cut": the Pool or the answer's body was closed
	Gone                         // "gone": the request's context has ended
	ClientBody                   // "client": the client's body could not be read
	Broken                       // "broken": closed or reset before the answer was complete
	Malformed                    // "malformed": what the target answered is not HTTP/1
	Request                      // "request": this request cannot be written as HTTP/1
)

var reasonNames = [...]string{"unknown", "dial", "timeout", "cut", "gone", "client", "broken", "malformed", "request"}

// String returns the reason's name, for logs.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		r = 0
	}
	return reasonNames[r]
}

// An Error tells why an exchange failed.
type Error struct {
	Reason Reason

	// Repeatable says that the request may be sent again, here or to another
	// target: the client's body can still be read from its start, and either
	// not one byte of the request was written, or it is idempotent, has no
	// body, and its connection was lost before the first byte of an answer.
	Repeatable bool

	Err error // never nil
}

func (e *Error) Error() string { return e.Reason.String() + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

var (
	errPoolClosed = errors.New("the target's connections were closed")
	errInterims   = fmt.Errorf("more than %d interim answers", maxInterims)
	errEarlyTurn  = errors.New("switched protocols before the request was complete")
)

const (
	// maxInterims bounds the 1xx before a final answer.
	maxInterims = 8

	// continueLimit is how long a body that the client holds back waits for
	// the target's 100: RFC 9110, section 10.1.1 has nobody wait for ever.
	continueLimit = time.Second
)

// An exchange is one request on its way and its answer, up to the end of the
// answer's body. Who wants to end it before that calls cut.
type exchange struct {
	pool    *Pool
	request request
	sender  *sender // sends a body too large for request.wire; nil: not started
	fresh   bool    // a connection that was used before has failed this request

	response http.Response
	body     body // of response

	mu       sync.Mutex         // guards the fields below
	conn     *conn              // what cut closes; nil: none yet, or none any more
	dialing  context.CancelFunc // what cut calls; nil: nothing is being dialled
	client   http.ResponseController
	writing  bool        // a WriteTo is running, whose client cut is to stop
	unwatch  func() bool // stops watching the request's context
	reason   Reason      // why it was cut; 0: it was not
	cause    error       // belongs to reason
	sent     bool        // the whole request is written
	answered bool        // the final head has been read
	ended    bool        // it has left the Pool

	prev, next *exchange // guarded by the Pool's mu
}

// Exchange sends a request to the target and returns its final answer.
//
// Of r it uses Method, Host, Body, ContentLength, Trailer and the context,
// whose end ends the exchange. The target is written as it is. So is header,
// except for Content-Length, Transfer-Encoding and Trailer, which follow from
// r; a Host in it comes before r.Host. All of these are the caller's again
// when Exchange has returned, but for a body that is still being sent.
//
// A body of at most 16 KiB is read before a connection is taken. Any other is
// read on a goroutine once the head is written; with Expect: 100-continue, once
// the target's 100 has been passed on or a second has gone by. Whoever reads it
// closes it when nothing more will be read: before Exchange returns, or at any
// time later if the answer came early. Only after a Repeatable error it is
// open: r.Body then reads it from its start, and may be another than before.
//
// Each 1xx but 101 is given to interim, on this goroutine; there may be eight.
// Where a connection that was used before turns out to be lost, a Repeatable
// request is sent again on a new one.
//
// The answer's body must be closed; any goroutine may do so, and that ends its
// Read or WriteTo with the reason Cut. Its WriteTo is the cheapest way to pass
// it on. The body of a 101 is an [io.ReadWriteCloser] that has CloseWrite. The
// Header is as sent, less Transfer-Encoding and Trailer; Status is empty.
//
// Every error is an [*Error], those of the body as well.
func (p *Pool) Exchange(r *http.Request, target string, header http.Header, interim func(status int, h http.Header)) (*http.Response, error) {
	x := &exchange{pool: p}
	err := x.request.prepare(r, target, header)
	if err == nil {
		err = x.run(interim)
	}
	x.request.release(x.sender != nil, err)
	if err != nil {
		return nil, err
	}
	return &x.response, nil
}

// run carries the exchange as far as the head of the final answer.
func (x *exchange) run(interim func(int, http.Header)) *Error {
	if !x.begin() {
		return &Error{Reason: Cut, Repeatable: true, Err: errPoolClosed}
	}
	for {
		c, err := x.connect()
		if err == nil {
			if err = x.attempt(c, interim); err == nil {
				return nil
			}
			if err.Repeatable && c.reused && x.drop() {
				x.fresh = true
				continue
			}
		}
		x.end(false)
		return err
	}
}

// begin makes x known to the Pool and watches the request's context. It
// reports false if the Pool is closed.
func (x *exchange) begin() bool {
	ctx := x.request.r.Context()
	watched := ctx.Done() != nil
	if !x.pool.enter(x, watched) {
		return false
	}
	if watched {
		unwatch := context.AfterFunc(ctx, x.gone)
		x.mu.Lock()
		x.unwatch = unwatch
		x.mu.Unlock()
	}
	return true
}

func (x *exchange) gone() {
	defer x.pool.running.Done()
	x.cut(Gone, context.Cause(x.request.r.Context()))
}

// cut makes whatever the exchange waits for return, and what failed because of
// that be reported with this reason, unless there was one before.
func (x *exchange) cut(reason Reason, cause error) {
	x.mu.Lock()
	if x.reason == 0 {
		x.reason, x.cause = reason, cause
	}
	if x.conn != nil {
		x.conn.raw.Close()
	}
	if x.dialing != nil {
		x.dialing()
	}
	if x.writing {
		x.client.SetWriteDeadline(time.Unix(1, 0))
	}
	unwatch := x.unwatch
	x.mu.Unlock()
	x.stop(unwatch)
}

// end lets go of the connection, which is kept if it can be used again, and of
// the Pool. Only the first call does anything.
func (x *exchange) end(reusable bool) {
	x.mu.Lock()
	c, unwatch, ended := x.conn, x.unwatch, x.ended
	x.conn, x.ended = nil, true
	if x.reason != 0 {
		reusable = false
	}
	x.mu.Unlock()
	if ended {
		return
	}
	x.stop(unwatch)
	if c != nil && !reusable {
		c.raw.Close()
		c = nil
	}
	x.pool.leave(x, c)
}

func (x *exchange) stop(unwatch func() bool) {
	if unwatch != nil && unwatch() {
		x.pool.running.Done()
	}
}

// failure returns what is to be reported for err, which a cut may have caused.
func (x *exchange) failure(reason Reason, err error) *Error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.reason != 0 {
		reason, err = x.reason, x.cause
	}
	return &Error{Reason: reason, Err: err}
}

// readFailure is failure for an error of reading from c.
func (x *exchange) readFailure(c *conn, err error) *Error {
	switch {
	case c.err == nil || c.err == errHeadTooLarge:
		return x.failure(Malformed, cmp.Or(c.err, err))
	case errors.Is(c.err, os.ErrDeadlineExceeded):
		return x.failure(Timeout, c.err)
	}
	return x.failure(Broken, noEOF(c.err))
}

// untouched is failure before a byte of the request was written. It is of no
// use to repeat it for a client that is gone.
func (x *exchange) untouched(reason Reason, err error) *Error {
	e := x.failure(reason, err)
	e.Repeatable = e.Reason != Gone
	return e
}

// connect gets x a connection: from the Pool, or a new one.
func (x *exchange) connect() (*conn, *Error) {
	if !x.fresh {
		if c := x.pool.take(x.request.repeatable); c != nil {
			return c, x.adopt(c)
		}
	}
	ctx, cancel := x.pool.dialContext(x.request.r.Context())
	defer cancel()
	x.mu.Lock()
	x.dialing = cancel
	cut := x.reason != 0
	x.mu.Unlock()
	if cut {
		return nil, x.untouched(Cut, nil)
	}
	c, err := x.pool.dial(ctx)
	if client := x.request.r.Context(); err != nil && client.Err() != nil {
		return nil, x.untouched(Gone, context.Cause(client))
	}
	if err != nil {
		return nil, x.untouched(Dial, err)
	}
	return c, x.adopt(c)
}

// adopt hands c to x; the error tells that x was cut in the meantime.
func (x *exchange) adopt(c *conn) *Error {
	x.mu.Lock()
	x.conn, x.dialing = c, nil
	cut := x.reason != 0
	x.mu.Unlock()
	if cut {
		return x.untouched(Cut, nil)
	}
	return nil
}

// drop closes the connection of a failed attempt. It reports whether x may
// have another.
func (x *exchange) drop() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn.raw.Close()
	x.conn = nil
	return x.reason == 0
}

// attempt writes the request to c and reads heads up to the final one.
func (x *exchange) attempt(c *conn, interim func(int, http.Header)) *Error {
	n, err := c.nc.Write(x.request.wire)
	if err != nil && n == 0 {
		return x.untouched(Broken, err)
	}
	// Where only a part was written there may be an answer that tells why.
	holding := false
	switch {
	case !x.request.streamed:
		x.wasSent(c)
	case x.request.held:
		holding = true
		c.readBy(time.Now().Add(continueLimit))
	default:
		if err := x.send(c); err != nil {
			return err
		}
	}
	for interims := 0; ; {
		err := c.await()
		if err != nil && !(holding && c.timedOut()) {
			e := x.readFailure(c, err)
			e.Repeatable = e.Reason == Broken && x.request.repeatable
			return e
		}
		status := 0
		if err == nil {
			if err := c.readHead(x.request.r.Method, &x.response, &x.body); err != nil {
				return x.readFailure(c, err)
			}
			status = x.response.StatusCode
			if status/100 != 1 || status == http.StatusSwitchingProtocols {
				return x.answer(c)
			}
			if interims++; interims > maxInterims {
				return x.failure(Malformed, errInterims)
			}
			interim(status, x.response.Header)
			x.wasHeard(c)
		}
		if holding && (err != nil || status == http.StatusContinue) {
			holding = false
			if err := x.send(c); err != nil {
				return err
			}
		}
	}
}

// wasSent starts the time that the target has for its answer.
func (x *exchange) wasSent(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent = true
	x.expectLocked(c)
}

// wasHeard starts it anew.
func (x *exchange) wasHeard(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.expectLocked(c)
}

func (x *exchange) expectLocked(c *conn) {
	if limit := x.pool.o.ResponseTimeout; limit > 0 && x.sent && !x.answered {
		c.readBy(time.Now().Add(limit))
	}
}
