// Package forward passes a request on to a target, and the answer back to the
// client, by the rules for intermediaries (RFC 9110, RFC 9112). It does not
// connect to targets itself: the caller passes an [Exchange] that does.
package forward

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/location"
	"github.com/shahnk19/parachute/internal/reason"
)

// An Exchange sends a request to the target and returns the head of its final
// answer, or of 101, with the body behind it.
//
// The request consists of requestTarget, header, and the Method, ContentLength, Body, Trailer
// and Host of r; the Exchange reads nothing else of r but its context. header has every field
// except Host, Content-Length and Transfer-Encoding. The Exchange does not change any of
// these, and does not use them after it has returned, except that one of its goroutines
// may still read r.Body, which is a PipeReader of package socket. It closes r.Body when it
// will not read it again. Once Forward has returned, r.Body only returns errors. An
// Exchange that fails after it has read the whole body may replace r.Body by one that
// reads the same bytes, so that the request can be sent again.
//
// The Exchange calls interim for every 1xx answer but 101, on the goroutine that
// it was called on. It limits their total size, as it limits the size of a head.
// interim does not keep h.
//
// Any goroutine may close the Body of the answer at any time, which makes its
// methods fail promptly. These methods of the Body are used if it has them:
//
//   - WriteTo(w io.Writer) (int64, error) passes the body on, unless it is an
//     event stream. It flushes w before it waits for the target, and limits how
//     long the client may take nothing.
//   - BeforeWait(f func() error) sets a func that Read calls before it waits for
//     the target. If f returns an error, so does Read. Without this method every
//     Read is assumed to wait.
//   - BecomeStream() is called before that of Options.Stream.
//
// Nobody changes the Header of the answer, which may be shared with other answers.
//
// The Exchange returns a 101 when the whole body of the request has been read.
// The Body of a 101 is an io.ReadWriteCloser. It has a method CloseWrite() error
// if it can be half-closed.
type Exchange func(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)

// Options say how Forward passes a request on.
type Options struct {
	RequestTarget string          // what the request line says; see [RequestTarget]
	Prefix        string          // what was cut off the path, sent as X-Forwarded-Prefix; "": nothing
	Client        Client          // see [ClientOf]; without an Addr no X-Forwarded-For is sent
	RequestID     string          // sent as X-Request-ID in place of the client's; "": none is sent
	Hop           []string        // one element, which X-Parachute-Hop gets appended, and which must not change; nil: none; see [HasPassed]
	TargetHeader  string          // sent to the target, and with its answer to the client, with Target; "": it is not
	Target        []string        // one element, which must not change
	Start         time.Time       // sent as X-Request-Start: t=<ms since 1970>; zero: not sent
	Origin        location.Origin // of the target, whose URLs in answers are made the client's; zero: there are none
	RewritePaths  bool            // Prefix is put in front of the paths there as well; see [location.Rewrite]
	GRPC          bool            // whether requests that say so are treated as gRPC calls
	BodyAtHand    bool            // r.Body holds all that the client sent; else it is read from the client, who has a minute for each piece

	// Request, if not nil, is called with the header for the target, and may
	// change it, but not the slices of values in it, which are shared. The
	// header lacks Host, Content-Length and Transfer-Encoding.
	Request func(header http.Header)

	// Answer, if not nil, is called with a final answer other than 101 before
	// anything of it is passed on. Its hop-by-hop fields have been removed, and
	// what it says about where something is has been rewritten.
	// Answer may change the header, but not the slices of values in it, and
	// replace the Body; the new Body closes the old one. If it returns an
	// error, Forward passes nothing on and returns that error.
	Answer func(answer *http.Response) error

	// BecomeStream of Stream, if that is not nil, is called at most once: when
	// the head of a 101 or of an event stream has been passed on, or when a gRPC
	// call turns out to be a streaming one. The latter may happen on another
	// goroutine, but not after Forward has returned.
	//
	// Closing stream ends the transfer. Any goroutine may close it, at any time
	// and more than once. A gRPC message that is being transferred then has half
	// a second to be completed. Both ends of a WebSocket are sent a Close frame
	// first, unless NoCloseFrames says otherwise; Close does not wait for that,
	// which takes less than a second.
	Stream interface{ BecomeStream(stream io.Closer) }

	// NoCloseFrames, if not nil, is read when the stream is closed. If it is
	// true, a WebSocket is cut at once, without Close frames.
	NoCloseFrames *atomic.Bool
}

// A Result says how a request ended.
type Result struct {
	Status    int         // of the final answer passed on; 0: none was, and the caller may answer
	Header    http.Header // of the target's final answer, without hop-by-hop fields; valid until the request is done
	BytesIn   int64       // of the request's body, and from the client through a tunnel
	BytesOut  int64       // of the answer's body, or to the client through a tunnel
	FirstByte time.Time   // when the head of the final answer arrived; zero: it did not
	BodyRead  bool        // the request cannot be sent again, for reading its body has begun
	BodyErr   error       // why the request's body could not be read to its end; nil: it could, or nobody wanted it
	Open      bool        // the answer to a gRPC call broke off, but its trailer section can still be written

	// Reason is what an error of Forward means. It is that which the error tells
	// (see [reason.Of]), unless more is known: what was wrong with the request's
	// body, or that it was a stream that was cut. Without an error it is None.
	Reason reason.Reason
}

// Errors of the Exchange, of the answer's Body and of the client's connection are
// returned as they are.
var (
	// ErrCut is returned when the stream that Options.Stream was called with has
	// been closed.
	ErrCut = errors.New("the stream was closed")

	errStatus = errors.New("the target's answer has no valid status")
)

// Forward sends r to a target with exchange and copies the answer to w. It
// returns when the answer is complete or has broken off. After that nothing
// started by Forward uses r or w.
//
// An error with Result.Status 0 means that no final answer was written. The
// caller may answer, or, if Result.BodyRead is false, call Forward again; r.Body
// may have been replaced by one that reads the same. Unread bytes of the body
// may be left on the connection, so Forward sets Connection: close in
// w.Header() where needed, which the caller must keep.
//
// An error with another Status means that the answer broke off. The caller must
// abort the connection with panic(http.ErrAbortHandler). Only if Result.Open is
// true may it report the error in trailers instead, with [http.TrailerPrefix].
//
// The head of a request over HTTP/2 or HTTP/3 may not tell whether there is a
// body. Forward then waits for the first byte or the end of the body, for at
// most a second, and sets r.Body to http.NoBody or to one that reads the same. A
// body of at most 16 KiB that is there a tenth of a second after its first byte
// gets a length in what exchange is handed.
//
// If Forward has to interrupt a read of r.Body, net/http's server assumes that
// the client has gone, and cancels r's context.
//
// Forward sets the deadlines of w. It fails if the client sends no byte of its
// body for 60 s, or takes no byte of the answer for as long; if w has a method
// ByteTimeout() time.Duration, its server has a limit for the latter. There is no such
// limit for event streams, tunnels and gRPC calls, nor while only the target is
// waited for.
//
// An answer that arrives before all of the request's body was read is passed on
// at once, with Connection: close. Only if w does not support full duplex does
// Forward first wait until exchange has stopped reading the body.
//
// What is sent shares the values in r.Header, which nobody may change before the request
// is done. Those in w.Header() are w's own, unless w has a method AdoptHeader(http.Header),
// which takes the answer's header over as it is and does not change it: then nobody changes
// the values there either.
func Forward(w http.ResponseWriter, r *http.Request, exchange Exchange, o *Options) (result Result, err error) {
	y := relays.Get().(*relay)
	y.w, y.rc, y.r, y.o = w, *http.NewResponseController(w), r, *o
	_, y.patient = w.(byteTimeouter)
	defer func() { y.end(&result, err) }()
	err = y.run(exchange)
	return
}

// A byteTimeouter is a ResponseWriter of a server that does not wait for a client which
// takes nothing.
type byteTimeouter interface{ ByteTimeout() time.Duration }

// A relay carries out one call of Forward after the other.
type relay struct {
	call
	header         outgoingHeader
	interim        func(status int, h http.Header)
	beforeWaitFunc func() error // calls beforeWait
}

// A call is what a relay knows of one call.
type call struct {
	w             http.ResponseWriter
	rc            http.ResponseController // of w
	r             *http.Request
	o             Options
	body          *requestBody // nil if there is none
	patient       bool         // the server itself limits how long the client may take nothing
	isStream      bool         // the head of an event stream was passed on: there are no deadlines any more
	becameStream  bool         // Options.Stream was called
	waited        bool         // beforeWait was called since the last write
	answered      bool         // the whole answer was passed on
	flushErr      error        // of beforeWait
	writeDeadline time.Time    // as set on rc; zero: none
	resBody       io.Closer    // of what exchange returned
	result        Result
}

var relays = sync.Pool{New: func() any {
	y := new(relay)
	// A method value is allocated: once for each relay, not for each request.
	y.interim, y.beforeWaitFunc = y.passInterim, func() error { return y.beforeWait(time.Now()) }
	y.header.reset()
	return y
}}

func (y *relay) run(exchange Exchange) error {
	sent := y.r
	if r := y.r; r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		unmarkClose(y.w)
		if length := lookAhead(r, y.isCall()); r.Body != http.NoBody {
			y.body = newRequestBody(y.w, r, y.isCall(), y.o.BodyAtHand)
			y.body.out.ContentLength = length
			sent = y.body.out
		}
	}
	upgrade := y.header.fill(y.r, &y.o, y.body != nil)
	if y.o.Request != nil {
		y.o.Request(y.header.header)
	}
	res, err := exchange(sent, y.o.RequestTarget, field.ViewOf(y.header.header), y.interim)
	if err != nil {
		return err
	}
	defer func() { res.Body.Close() }() // Options.Answer may replace it
	y.resBody = res.Body
	y.result.FirstByte = time.Now()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return y.switchProtocols(res, upgrade)
	}
	return y.passAnswer(res)
}

// isCall reports whether the request is a gRPC call.
func (y *relay) isCall() bool { return y.o.GRPC && field.IsCall(y.r) }

// end stops all use of the request's body, sets the Result of a call that returns err,
// and puts y back into the pool.
func (y *relay) end(result *Result, err error) {
	if b := y.body; b != nil {
		switch {
		case y.answered:
			b.stop(b.lingerTime(), lingerTimeout)
		case y.result.Status == 0:
			b.awaitLookAhead()
			b.stop(0, lingerTimeout)
			if b.isUnreadLocked() { // which nobody else can change any more
				markClose(y.w, y.r)
			}
		default:
			b.stop(0, 0)
		}
		y.result.BytesIn += b.n
		y.result.BodyRead, y.result.BodyErr = b.begun, b.clientErr
		if b.out.Body != b && b.complete && y.result.Status == 0 {
			y.r.Body, y.result.BodyRead = b.out.Body, false
		}
	}
	if err != nil {
		y.result.Reason = y.reasonFor(err)
	}
	*result = y.result
	y.header.reset()
	y.call = call{}
	relays.Put(y)
}

// becomeStream calls Options.Stream with s, which ends the transfer when it is
// closed. The head has been passed on.
func (y *relay) becomeStream(s io.Closer) {
	if y.o.Stream == nil {
		return
	}
	if b, ok := y.resBody.(interface{ BecomeStream() }); ok {
		b.BecomeStream()
	}
	y.becameStream = true
	y.o.Stream.BecomeStream(s)
}

// passInterim writes a 1xx head to the client, unless it is a 101, a 100 that the
// client does not wait for, or the client speaks HTTP/1.0, which has no 1xx (RFC
// 9110, section 15.2).
func (y *relay) passInterim(status int, h http.Header) {
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols || !y.r.ProtoAtLeast(1, 1) {
		return
	}
	if b := y.body; b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if status == http.StatusContinue {
			if b.begun {
				return // the client was sent one, or did not ask for it
			}
			b.awaitsContinue = false
		}
	}
	writeInterim(y.w, y.r, status, h)
}

// writeInterim writes a 1xx head with the fields of h to r's client. It leaves
// out the fields of w.Header(), which are for the final answer, and keeps them.
func writeInterim(w http.ResponseWriter, r *http.Request, status int, h http.Header) {
	head := w.Header()
	final := maps.Clone(head)
	clear(head)
	passed := make(http.Header, len(h))
	copyEndToEnd(passed, h)
	addFields(head, passed)
	delete(head, "Content-Length") // RFC 9110, section 8.6
	if r.ProtoMajor == 2 {
		// When the client resets its stream, WriteHeader returns while a
		// goroutine of net/http's server still reads the map. If there is a
		// Content-Length to leave out, the server makes a copy first.
		head["Content-Length"] = nil
	}
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(clientTimeout))
	w.WriteHeader(status)
	rc.SetWriteDeadline(time.Time{})
	clear(head)
	maps.Copy(head, final)
}

// closeValue is the value of the Connection header that markClose sets. unmarkClose
// recognizes it by its address, so that Forward can take back the mark of an
// earlier attempt.
var closeValue = []string{"close"}

// markClose makes the server close an HTTP/1 connection after the answer. It does
// nothing for HTTP/2, where that would end the connection for other requests too.
func markClose(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header()["Connection"] = closeValue
	}
}

func unmarkClose(w http.ResponseWriter) {
	if h := w.Header(); len(h["Connection"]) > 0 && &h["Connection"][0] == &closeValue[0] {
		delete(h, "Connection")
	}
}
