package upstream

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

var (
	errPoolClosed = errors.New("the target's connections were closed")
	errTooLate    = errors.New("the request was given up: it took too long")
	errEarlyTurn  = errors.New("switched protocols before it asked for the body that waits for its 100")
)

// continueLimit is how long a body that the client holds back waits for the
// target's 100: RFC 9110, section 10.1.1 has nobody wait for ever.
const continueLimit = time.Second

// An exchange is one request on its way and its answer, up to the end of the
// answer's body. It has 512 bytes: with more, each request would cost a larger
// object. Call cut to end it before.
type exchange struct {
	pool    *Pool
	among   *Exchanges      // that it is one of; nil: none
	ctx     context.Context // of the request
	request request
	sender  *sender // sends a body too large for request.wire; nil: not started

	response http.Response
	body     answerBody // of response

	fate                        // its mu guards the fields below, too
	conn     *targetConn        // what a cut closes; nil: none yet, or none any more
	wake     context.CancelFunc // what a cut calls; nil: nobody waits for it
	unwatch  func() bool        // stops watching the request's context
	sent     bool               // the whole request is written
	answered bool               // the final head has been read
	ended    bool               // it has left the Pool

	fresh  bool // a connection that was used before has failed this request
	secret bool // the request came over TLS

	// Guarded by the Pool's mu.
	seen       uint8 // in how many looks for exchanges that last
	prev, next *exchange
}

// Exchange sends a request to the target and returns its final answer.
//
// Of r it uses Method, Host, Body, ContentLength, Trailer, what [field.IsCall] wants
// to know, and the context, whose end ends the exchange: at once, or within 20 ms
// where it is younger than that. requestTarget is written as it is. So is header, except
// for Content-Length, Transfer-Encoding and Trailer, which follow from r; a Host in it
// comes before r.Host. All of these are the caller's again when Exchange has returned,
// but for a body that is still being sent.
//
// A body of at most 16 KiB is read before a connection is taken. Any other is read on a
// goroutine once the head is written; with Expect: 100-continue, once the target's 100 has
// been passed on or a second has gone by. It is spliced if its length is known, it is a
// PipeReader of package socket, and the target is reached by a socket without TLS. Whoever
// reads it closes it when nothing more will be read: before Exchange returns, or at any
// time later if the answer came early. Only after a Repeatable error it is open: r.Body
// then reads it from its start, and may be another than before.
//
// Each 1xx but 101 is given to interim (nil: nobody wants it), on this
// goroutine. There may be as many as fit into the 256 KiB that they and the
// final head have together.
// Where a connection that was used before turns out to be lost, a Repeatable
// request is sent again on a new one.
//
// The answer's body must be closed; any goroutine may do so, and that ends its
// Read or WriteTo with the reason Cut. Its WriteTo is the cheapest way to pass
// it on. The body of a 101 is an [io.ReadWriteCloser] that has CloseWrite. The
// Header is as sent, less Transfer-Encoding and Trailer; other answers may share it, so
// nobody may change it. Status is empty.
//
// Every error is an [*Error], those of the body as well.
func (p *Pool) Exchange(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	return p.exchange(nil, r, requestTarget, header, interim)
}

func (p *Pool) exchange(g *Exchanges, r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	x := &exchange{pool: p, among: g, ctx: r.Context(), secret: r.TLS != nil}
	err := x.request.prepare(r, requestTarget, header, p.o.MaxRequests == 1)
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
	if x.ctx.Err() != nil {
		return &Error{Reason: Gone, Err: context.Cause(x.ctx)}
	}
	if !x.pool.enter(x) {
		return &Error{Reason: Cut, Repeatable: true, Err: errPoolClosed}
	}
	for {
		c, err := x.connect()
		if err == nil {
			if err = x.attempt(c, interim); err == nil {
				return nil
			}
			if err.Repeatable && c.reused && x.drop() {
				x.fresh = err.Err != errStale
				continue
			}
		}
		x.end(false)
		return err
	}
}

// connect gets x a connection: from the Pool, or a new one.
func (x *exchange) connect() (*targetConn, *Error) {
	if !x.fresh {
		if c := x.pool.take(&x.request); c != nil {
			return c, x.adopt(c)
		}
	}
	ctx, cancel := withTimeout(x.ctx, x.pool.o.DialTimeout)
	defer cancel()
	if !x.wakeBy(cancel) {
		return nil, x.untouched(Cut, nil)
	}
	c, err := x.pool.dial(ctx)
	if err != nil && x.ctx.Err() != nil {
		return nil, x.untouched(Gone, context.Cause(x.ctx))
	}
	if err != nil {
		return nil, x.untouched(dialReason(err), err)
	}
	return c, x.adopt(c)
}

// adopt hands c to x; the error tells that x was cut in the meantime.
func (x *exchange) adopt(c *targetConn) *Error {
	x.mu.Lock()
	x.conn, x.wake = c, nil
	c.requests++
	cut := x.reason != 0
	x.mu.Unlock()
	if cut {
		return x.untouched(Cut, nil)
	}
	return nil
}

// wakeBy has a cut call wake from now on; nil: nothing. It reports false if x was
// cut before.
func (x *exchange) wakeBy(wake context.CancelFunc) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wake = wake
	return x.reason == 0
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
func (x *exchange) attempt(c *targetConn, interim func(int, http.Header)) *Error {
	c.room = maxHead // for all heads together
	x.body.doubtful = false
	if err := x.writeWire(c); err != nil {
		return err
	}
	holding := x.request.held
	switch {
	case holding:
		c.reads.Set(time.Now().Add(continueLimit))
	case x.request.streamed:
		if err := x.send(c); err != nil {
			return err
		}
	}
	for heard := false; ; {
		if err := c.await(); err != nil && holding && c.timedOut() {
			holding = false
			if err := x.send(c); err != nil {
				return err
			}
			continue
		} else if err != nil {
			e := x.readFailure(c, err)
			e.Repeatable = e.Reason == Broken && x.request.repeatable && !heard
			return e
		}
		if err := c.readHead(x.request.r.Method, &x.response, &x.body); err != nil {
			e := x.readFailure(c, err)
			// This may be what is left of an answer to somebody else.
			e.Repeatable = (e.Reason == Malformed || e.Reason == Broken) && x.request.repeatable &&
				!heard && c.reused && errors.Is(err, errStatusLine)
			return e
		}
		status := x.response.StatusCode
		if status/100 != 1 || status == http.StatusSwitchingProtocols {
			return x.answer(c)
		}
		heard = true
		if interim != nil {
			interim(status, x.response.Header)
		}
		x.restartTimeout(c)
		if holding && status == http.StatusContinue {
			holding = false
			if err := x.send(c); err != nil {
				return err
			}
		}
	}
}

// writeWire writes request.wire. The answer may be there when it returns, even if the
// target has not read all of that.
func (x *exchange) writeWire(c *targetConn) *Error {
	wire, streamed := x.request.wire, x.request.streamed
	c.patience.Store(int64(x.pool.o.ResponseTimeout))
	wait := !streamed && c.isBare()
	if wait { // as a rule all of it is sent at once
		now := c.since // when it was taken from the Pool, just now
		if !c.reused {
			now = time.Now()
		}
		x.requestSent(c, now)
	}
	n, err := c.writeAndWait(wire, wait)
	if err == nil && n < len(wire) {
		var m int
		m, err = c.write(wire[n:])
		n, wait = n+m, false
	}
	if err != nil {
		stalled := errors.Is(err, errStalled)
		switch {
		case n > 0 && !stalled: // of what was written in part, the answer tells why
		case (n > 0 || !c.reused) && c.hasSpoken():
			wait = false
		case stalled:
			e := x.failure(Timeout, err)
			e.Repeatable = n == 0 && e.Reason != Gone
			return e
		case c.secured && isRemoteAlert(c.err): // which says why the target hung up
			return x.untouched(Broken, c.err)
		default:
			return x.untouched(Broken, err)
		}
	}
	if !streamed && !wait {
		x.requestSent(c, time.Now())
	}
	return nil
}

// requestSent notes that the whole request is sent, and starts the ResponseTimeout.
func (x *exchange) requestSent(c *targetConn, now time.Time) {
	x.mu.Lock()
	x.sent = true
	x.startTimeoutLocked(c, now)
	x.mu.Unlock()
}

// restartTimeout starts the ResponseTimeout anew after a 1xx, if it has begun.
func (x *exchange) restartTimeout(c *targetConn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.startTimeoutLocked(c, time.Now())
}

func (x *exchange) startTimeoutLocked(c *targetConn, now time.Time) {
	if limit := x.pool.o.ResponseTimeout; limit > 0 && x.sent && !x.answered {
		c.reads.Set(now.Add(limit))
	}
}

// cut makes whatever the exchange waits for return, and what failed because of
// that be reported with this reason, unless there was one before. It reports
// whether that ended an exchange of which the target may have got something.
func (x *exchange) cut(reason Reason, cause error) (lost bool) {
	x.mu.Lock()
	lost = x.reason == 0 && x.conn != nil
	x.cutLocked(reason, cause)
	if x.conn != nil {
		x.conn.raw.Close()
	}
	if x.wake != nil {
		x.wake()
	}
	unwatch := x.unwatch
	x.mu.Unlock()
	x.stop(unwatch)
	return lost
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

// isOver reports whether x has ended, and nothing of its answer is being written to the
// client any more.
func (x *exchange) isOver() bool {
	x.mu.Lock()
	isOver := x.ended && !x.writing
	x.mu.Unlock()
	return isOver
}

// readFailure is failure for an error of reading from c.
func (x *exchange) readFailure(c *targetConn, err error) *Error {
	switch {
	case c.err == nil || c.err == errHeadTooLarge:
		return x.failure(Malformed, cmp.Or(c.err, err))
	case err == ErrTLS:
		return x.failure(Malformed, err) // whatever came behind it
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
