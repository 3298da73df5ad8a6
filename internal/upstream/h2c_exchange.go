package upstream

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An h2cExchange is an exchange of an H2C, and the body of its answer.
type h2cExchange struct {
	pool     *H2C
	among    *Exchanges         // that it is one of; nil: none
	carrier  *carrier           // once it has begun
	call     bool               // of gRPC: its own client knows how long it may take
	cancel   context.CancelFunc // ends the round trip, and what follows it
	small    []byte             // the request's body, if that is small
	upload   *upload            // the request's body, if it is not; nil: it has none
	response *http.Response
	answer   io.ReadCloser // what the body of response is read from
	err      error         // what Read returns from now on

	lost        bool       // await has ended the round trip of a stream that was lost
	unprocessed bool       // the target has said that it has not begun with the request
	waiter      waiter     // is told before Read may wait; nil: nobody is
	to          downstream // that a WriteTo writes to

	targetsTurn atomic.Bool   // the target has to take what it is sent; else the client has to send
	dropped     atomic.Bool   // the transport has let go of upload while that was being read
	changed     chan struct{} // has room for one: targetsTurn or dropped was set
	connected   atomic.Bool   // it has got a connection
	written     atomic.Bool   // part of the request was sent
	heard       atomic.Bool   // part of an answer has come
	sent        chan struct{} // has room for one: all of the request was sent
	interims    *interims     // from the connection's goroutine
	result      chan error    // of the round trip

	fate                // its mu guards the fields below, too
	unwatch func() bool // stops watching the request's context
	ended   bool        // it has left the H2C
}

// gotConn makes it the target's turn: the head is written at once, or as soon as there is
// room for it.
func (x *h2cExchange) gotConn(httptrace.GotConnInfo) {
	x.connected.Store(true)
	if x.upload != nil {
		x.upload.reopen()
	}
	x.setTurn(true)
}

// wroteHeaders makes it the client's turn, if there is a body, which may have to wait for
// the client or for a 100.
func (x *h2cExchange) wroteHeaders() {
	x.written.Store(true)
	if x.upload != nil {
		x.setTurn(false)
	}
}

// setTurn says whether the target has to go on, or the client.
func (x *h2cExchange) setTurn(targets bool) {
	x.targetsTurn.Store(targets)
	x.notify()
}

func (x *h2cExchange) notify() {
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

func (x *h2cExchange) wroteRequest(info httptrace.WroteRequestInfo) {
	if info.Err != nil {
		return
	}
	select {
	case x.sent <- struct{}{}:
	default: // once more, on another connection
	}
}

// got1xx hands an interim answer to Exchange. It does not wait for that, for
// other exchanges of the connection would wait, too.
func (x *h2cExchange) got1xx(status int, header textproto.MIMEHeader) error {
	if status == http.StatusContinue && x.upload != nil {
		x.upload.asked.Store(true)
	}
	return x.interims.put(interimHead{status, http.Header(header)})
}

// run carries the exchange as far as the head of the final answer.
func (x *h2cExchange) run(ctx context.Context, r, out *http.Request, interim func(int, http.Header)) *Error {
	if !x.pool.begin(x) {
		x.cancel()
		return &Error{Reason: Cut, Repeatable: true, Err: errPoolClosed}
	}
	client := r.Context()
	unwatch := context.AfterFunc(client, func() { x.gone(client) })
	x.mu.Lock()
	x.unwatch = unwatch
	x.mu.Unlock()
	go x.roundTrip(out)
	if err := x.await(interim); err != nil {
		x.end()
		e := x.failed(err)
		unread := x.upload == nil || x.upload.stop()
		failed := e.Reason == Broken || e.Reason == Dial || e.Reason == Shortage // the latter in the transport's own next attempt
		lost := failed && x.upload == nil && len(x.small) == 0 && isIdempotent(r.Method) && !x.heard.Load()
		x.unprocessed = e.Reason == Broken && isUnprocessed(err)
		// A head that is being written may still arrive once nobody waits for it,
		// unless it is its connection that failed.
		unsent := !x.connected.Load() || !x.written.Load() && e.Reason == Broken
		e.Repeatable = e.Reason != Gone && unread && (lost || x.unprocessed || unsent)
		return e
	}
	x.answer = x.response.Body
	length, err := takeLength(x.response.Header)
	if err != nil {
		x.end()
		return x.failure(Malformed, err)
	}
	if x.response.ContentLength < 0 {
		x.response.ContentLength = length // the transport makes nothing of one that is repeated
	}
	if isOver(x.response, r.Method) {
		x.end()
		x.response.Body = http.NoBody
		return nil
	}
	x.response.Body = x
	return nil
}

// isUnprocessed reports whether err, of a round trip, says that the target has
// not begun with the request: it has refused the stream, or gone away before
// that (RFC 9113, section 8.7). The transport says so in words alone where it has
// lost the request's body with it. They are looked for where they begin: what
// stands behind may be a target's own, as the text of its GOAWAY is.
func isUnprocessed(err error) bool {
	words := strings.TrimPrefix(err.Error(), "http2: Transport: cannot retry err [")
	if strings.HasPrefix(words, "http2: Transport received Server's graceful shutdown GOAWAY") ||
		strings.HasPrefix(words, "http2: Transport received GOAWAY from server ErrCode:") {
		return true
	}
	stream, rest, _ := strings.Cut(words, "; ")
	return strings.HasPrefix(stream, "stream error: stream ID ") && strings.HasPrefix(rest, "REFUSED_STREAM;")
}

// settle says how Exchange ends: with err, or with an answer.
func (x *h2cExchange) settle(err *Error) {
	if x.upload != nil {
		x.upload.settle(err)
	}
}

// isOver reports whether the answer to a request with that method has ended with
// its head. The transport does not say so, but tells a length where the target
// has told none only then.
func isOver(r *http.Response, method string) bool {
	_, counted := r.Header["Content-Length"]
	return method == http.MethodHead || r.ContentLength == 0 && !counted
}

// roundTrip is the goroutine of x up to the head of the final answer.
func (x *h2cExchange) roundTrip(out *http.Request) {
	defer x.pool.running.Done()
	var err error
	x.response, err = x.carrier.transport.RoundTrip(out)
	x.result <- err
}

var errStreamLost = errors.New("the target ended the stream without an answer")

// headTime is how long a head that has arrived may take to end the round trip.
const headTime = time.Second

// await waits for the end of the round trip. What comes before it is passed on,
// and timed.
//
// The transport lets go of a body that is being read when it has the head of an
// answer that is no success, and returns that, or when it has lost the stream. Then it
// waits until the body's Read returns, and the client of that may wait for an answer:
// so await ends the round trip. Its error still tells how the stream was lost, or is
// that of its context.
func (x *h2cExchange) await(interim func(int, http.Header)) error {
	limit := x.pool.o.ResponseTimeout
	if x.call {
		limit = 0
	}
	changed := x.changed
	late := time.NewTimer(math.MaxInt64) // it is set below
	defer late.Stop()
	timed, dropped := false, false
	cause := errStalled
	for {
		select {
		case <-changed:
			if dropped = x.dropped.Load(); dropped {
				changed, timed = nil, false
				late.Reset(x.dropTime())
			} else if timed = limit > 0 && x.targetsTurn.Load(); !timed {
				late.Stop() // the client has to go on
			}
		case <-x.sent:
			timed = limit > 0
			changed, cause = nil, os.ErrDeadlineExceeded
		case <-x.interims.told:
			x.pass(interim)
		case <-late.C:
			if dropped {
				x.lost = true
				x.cancel()
				continue
			}
			if !x.written.Load() { // not even the head could be, for want of room
				x.pool.giveUp(x.carrier)
			}
			x.cut(Timeout, cause)
			timed = false
		case err := <-x.result:
			x.pass(interim)
			return err
		}
		if timed {
			late.Reset(limit)
		}
	}
}

// dropTime returns how long a final head may still take that may have arrived when
// the transport let go of the request's body. An interim head is not told from it.
func (x *h2cExchange) dropTime() time.Duration {
	if x.heard.Load() {
		return headTime
	}
	return 0
}

// pass hands over the interim answers that have come.
func (x *h2cExchange) pass(interim func(int, http.Header)) {
	for _, head := range x.interims.take() {
		if interim != nil {
			interim(head.status, head.header)
		}
		if head.status == http.StatusContinue && x.upload != nil {
			x.upload.pass()
		}
	}
}

func (x *h2cExchange) gone(client context.Context) {
	defer x.pool.running.Done()
	x.cut(Gone, context.Cause(client))
}

// cut is the cut of an exchange.
func (x *h2cExchange) cut(reason Reason, cause error) (lost bool) {
	x.mu.Lock()
	lost = x.reason == 0 && !x.ended && x.written.Load()
	x.cutLocked(reason, cause)
	unwatch := x.unwatch
	x.mu.Unlock()
	x.cancel()
	x.stop(unwatch)
	return lost
}

// end lets go of the stream and of the H2C. Only the first call does anything.
func (x *h2cExchange) end() {
	x.mu.Lock()
	unwatch, ended := x.unwatch, x.ended
	x.ended = true
	x.mu.Unlock()
	if ended {
		return
	}
	x.stop(unwatch)
	x.cancel()
	if x.answer != nil {
		x.answer.Close()
	}
	x.pool.leave(x)
}

func (x *h2cExchange) stop(unwatch func() bool) {
	if unwatch != nil && unwatch() {
		x.pool.running.Done()
	}
}

// failed returns what is to be reported for an error of the transport.
func (x *h2cExchange) failed(err error) *Error {
	var dial dialError
	switch {
	case errors.As(err, &dial):
		return x.failure(dialReason(dial.error), dial.error)
	case x.interims.tooLarge():
		return x.failure(Malformed, errHeadTooLarge)
	case x.upload != nil && x.upload.failure() != nil:
		return x.failure(ClientBody, x.upload.failure())
	case x.lost && errors.Is(err, context.Canceled):
		return x.failure(Broken, errStreamLost)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return x.failure(Gone, err)
	}
	return x.failure(Broken, err)
}

// BecomeStream exempts the exchange from Exchanges.CutRequests.
func (x *h2cExchange) BecomeStream() { x.becomeStream() }

func (x *h2cExchange) Read(p []byte) (n int, err error) {
	if x.err != nil {
		return 0, x.err
	}
	if x.waiter != nil {
		if err := x.waiter.beforeWait(); err != nil {
			return 0, err
		}
	}
	n, err = x.answer.Read(p)
	switch err {
	case nil:
	case io.EOF:
		x.err = err
		x.end()
	default:
		x.err = x.failed(err)
	}
	return n, x.err
}

// BeforeWait is the BeforeWait of an answerBody. Nobody knows whether a Read will wait,
// so that f is called before each.
func (x *h2cExchange) BeforeWait(f func() error) { x.waiter = waiterFunc(f) }

// WriteTo is the WriteTo of an answerBody.
func (x *h2cExchange) WriteTo(w io.Writer) (int64, error) {
	if x.err == io.EOF {
		return 0, nil
	}
	if x.err != nil {
		return 0, x.err
	}
	k := &x.to
	*k = downstream{f: &x.fate, w: w, limit: x.pool.o.WriteTimeout}
	if !k.open() {
		return 0, x.failure(Cut, nil)
	}
	defer k.close()
	if x.response.ContentLength != 0 { // else nothing follows, which the transport does not say
		x.waiter = k
	}
	return k.copy(x, x.response.ContentLength)
}

// Close ends the exchange, and its upload if there is one.
func (x *h2cExchange) Close() error {
	x.cut(Cut, http.ErrBodyReadAfterClose)
	x.end()
	return nil
}

// uploadStep is how much of a body is read at once: what a target has to take in
// the time that it has, lest it counts as one that takes nothing.
const uploadStep = 64 << 10

// An upload is a request's body as the transport gets it. The transport closes
// it in any case; but it has to stay open, and unread, for another attempt.
type upload struct {
	x      *h2cExchange
	body   io.ReadCloser
	asked  atomic.Bool     // a 100 has come
	passed chan struct{}   // closed when that was passed on
	once   sync.Once       // closes passed
	ended  <-chan struct{} // closed when the exchange has ended

	mu      sync.Mutex // guards the fields below
	read    bool       // Read has been called
	reading bool       // a Read is running
	stopped bool       // nothing more is to be read
	settled bool       // it is known whether there is another attempt
	closed  bool       // by the transport, which has not opened another stream since
	err     error      // of body
}

// Read waits for the passing on of a 100, for a server sends one by itself
// when its request's body is read.
func (u *upload) Read(p []byte) (int, error) {
	if u.asked.Load() {
		select {
		case <-u.passed:
		case <-u.ended:
		}
	}
	if !u.start() {
		return 0, http.ErrBodyReadAfterClose
	}
	defer u.x.pool.running.Done()
	u.x.setTurn(false)
	n, err := u.body.Read(p[:min(len(p), uploadStep)])
	u.x.setTurn(n != 0)
	u.mu.Lock()
	u.reading = false
	if err != nil && err != io.EOF {
		u.err = err
	}
	u.mu.Unlock()
	return n, err
}

func (u *upload) start() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped || u.closed || !u.x.pool.enter() {
		return false
	}
	u.read, u.reading = true, true
	return true
}

// reopen is for when the transport has a connection for the request. It may have had
// another one before, which took no more streams, and have closed the body with that.
func (u *upload) reopen() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = false
}

func (u *upload) pass() { u.once.Do(func() { close(u.passed) }) }

func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// stop ends the reading. It reports whether nothing was read.
func (u *upload) stop() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	return !u.read
}

// settle says how Exchange ends: with err, or with an answer.
func (u *upload) settle(err *Error) {
	u.mu.Lock()
	u.settled = true
	u.stopped = u.stopped || err != nil
	again := err != nil && err.Repeatable
	late := !u.read && (u.closed || err != nil)
	u.mu.Unlock()
	if late && !again {
		u.body.Close()
	}
}

func (u *upload) Close() error {
	u.mu.Lock()
	u.closed = true
	now := u.read || u.settled && !u.stopped
	dropped := u.reading
	u.mu.Unlock()
	if dropped {
		u.x.dropped.Store(true)
		u.x.notify()
	}
	if now {
		return u.body.Close()
	}
	return nil
}
