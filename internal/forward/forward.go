// Package forward passes a request on to a target, and the answer back to the
// client, by the rules for intermediaries (RFC 9110, RFC 9112). How the target
// is reached is somebody else's: Forward is handed an [Exchange].
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
)

// An Exchange sends a request to the target and returns the head of its final
// answer, or of 101, with the body behind it.
//
// Of r it reads Method, ContentLength, Body, Trailer, Host and the context;
// target and header are what else goes out. header lacks only Host,
// Content-Length and Transfer-Encoding. None of them is kept or changed after
// the Exchange has returned, except that one goroutine may still read r.Body:
// it is closed when nobody will, and gives nothing but errors once Forward has
// returned. An Exchange that fails after it has read the whole body may leave
// another in its place that reads the same, for the request to be sent again.
//
// interim is called for every 1xx answer but 101, on the Exchange's own
// goroutine. That they do not go on without end is the Exchange's business: it
// bounds them as it does a head, by their bytes. interim does not keep h.
//
// The Body may be closed by any goroutine and at any time, which makes it fail
// promptly. Where it has a WriteTo, all but event streams are passed on with
// that: it flushes w before it waits for the target, and sees to a client that
// takes nothing. Where it has a BeforeWait(f func() error), f is called when a
// Read is about to wait, which fails if f does; without one, every Read is taken
// for one that waits. A 101 is returned when the whole body of the request has
// been read; its Body is an io.ReadWriteCloser, and has a CloseWrite() error
// where it can be half-closed.
// Where the Body has a BecomeStream method, that is called before
// Options.Stream is.
type Exchange func(r *http.Request, target string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)

// Options are what Forward has to know beside the request.
type Options struct {
	RequestTarget string    // the request target to be written; see [Target]
	Prefix        string    // what was stripped from it, sent as X-Forwarded-Prefix; "": nothing
	Client        Client    // see [ClientOf]; without an Addr no X-Forwarded-For is sent
	RequestID     string    // sent as X-Request-ID; "": none is, whatever the client sent
	Hop           []string  // of one, sent as X-Parachute-Hop behind those that the client sent, and shared; nil: none is; see [HasPassed]
	Start         time.Time // sent as X-Request-Start: t=<ms since 1970>; zero: none is of ours
	GRPC          bool      // the target takes gRPC calls; if not, a request that says it is one is like any other

	// Request, if not nil, may change the header that goes out, but not the
	// slices of values in it, which are shared. Host and what frames the body
	// are not in it.
	Request func(header http.Header)

	// Answer, if not nil, may change the header of a final answer that is not
	// 101, without what was meant for the proxy, and put another Body in the
	// place of its own, which it then closes. It is called before anything is
	// passed on; an error keeps the answer from that, and is what Forward
	// returns.
	Answer func(answer *http.Response) error

	// Stream, if not nil, is called once, when the head of a 101 or of an event
	// stream has been passed on; for a gRPC call when that has shown to be none
	// of a single answer, perhaps on another goroutine, but not after Forward
	// has returned. Closing stream, from any goroutine and at any time, ends the
	// transfer; after that it does nothing. A message of gRPC that is on its way
	// then has half a second to be complete, and the ends of a WebSocket are told
	// before, which takes less than a second and is not waited for; see Mute.
	Stream func(stream io.Closer)

	// Mute, if not nil, is asked when the stream is closed: where it is true,
	// the ends of a WebSocket are not told, and it is cut at once.
	NoCloseFrames *atomic.Bool
}

// A Result is what became of a request.
type Result struct {
	Status    int         // of the final answer passed on; 0: none was, the caller may answer
	Header    http.Header // of the target's final answer, without what was meant for the proxy; valid until the request is done
	BytesIn   int64       // of the client's body, and from the client through a tunnel
	BytesOut  int64       // of the answer's body, or to the client through a tunnel
	FirstByte time.Time   // when the final answer's head had come; zero: it did not
	BodyRead  bool        // something of the client's body is gone, so the request cannot be sent again from here
	BodyErr   error       // why the client's body could not be read to its end; nil: it could, or nobody wanted it
	Open      bool        // the answer of a gRPC call broke off, but its trailer section can still be written
}

// What Forward itself finds wrong. Other errors are the Exchange's or its
// Body's, or come from the client; they are returned as they are.
var (
	ErrCut = errors.New("the stream was closed") // as it may be that Options.Stream was called with

	errStatus = errors.New("the target's answer has no valid status")
)

// Forward passes r on with exchange, and the answer back to w. It returns when
// the answer is complete or broken; from then on nothing touches r or w.
//
// An error with Result.Status 0 means that nothing final was written. The
// caller answers, or calls Forward again, which is of use if not
// Result.BodyRead; r.Body may then be what the exchange left in its place. Part
// of the client's body may be left in the connection, which therefore must be
// closed: w.Header() then says so, and is to be left so.
//
// Where the head of a request over HTTP/2 or HTTP/3 leaves open whether it has a
// body, its first byte or its end is waited for, though not for long: r.Body is
// http.NoBody afterwards, or another that reads the same.
//
// Where a running read of the client's body had to be ended, net/http's server
// takes that for the end of the client, and cancels r's context.
//
// An error with another Status means that the answer broke off. The caller
// must abort the connection: panic(http.ErrAbortHandler). Only if Result.Open
// may it say so in the trailer section, by names with [http.TrailerPrefix].
//
// While the client owes something, w's deadlines are Forward's: a client that
// sends no byte of its body, or takes none of the answer, for 60 s makes it
// fail. There is no limit in event streams, tunnels and gRPC calls, or while the
// target thinks.
//
// An answer that comes before all of the client's body was read is passed on
// at once, and says Connection: close. Only where w refuses full duplex, it
// waits until exchange is done with the body.
//
// The values in r.Header and in the answer's header are shared with what goes
// out; nobody may change them before the request is done.
func Forward(w http.ResponseWriter, r *http.Request, exchange Exchange, o Options) (result Result, err error) {
	y := relays.Get().(*relay)
	y.w, y.rc, y.r, y.o = w, *http.NewResponseController(w), r, o
	defer func() { result = y.end() }()
	return Result{}, y.run(exchange)
}

// A relay is one call of Forward.
type relay struct {
	w              http.ResponseWriter
	rc             http.ResponseController // of w
	r              *http.Request
	o              Options
	header         outgoingHeader
	body           *requestBody // nil: the request has none
	interim        func(status int, h http.Header)
	beforeWaitFunc func() error // beforeWait
	isStream       bool         // the head of a stream has been passed on: nobody is timed
	waited         bool         // the target was waited for
	flushErr       error        // of a flush, before that
	writeDeadline  time.Time    // the client's write deadline; zero: none of ours
	resBody        io.Closer    // the exchange's Body
	answered       bool         // the answer was passed on to its end
	result         Result
}

var relays = sync.Pool{New: func() any {
	y := new(relay)
	// Bound here once, and not for each request.
	y.interim, y.beforeWaitFunc = y.passInterim, func() error { return y.beforeWait(time.Now()) }
	y.header.reset()
	return y
}}

func (y *relay) run(exchange Exchange) error {
	sent := y.r
	if r := y.r; r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		unmarkClose(y.w)
		if lookAhead(r, y.isCall()); r.Body != http.NoBody {
			y.body = newBody(y.w, r, y.isCall())
			sent = y.body.out
		}
	}
	upgrade := requestedProtocols(y.r)
	y.header.fill(y.r, &y.o, y.body != nil, upgrade)
	if y.o.Request != nil {
		y.o.Request(y.header.header)
	}
	res, err := exchange(sent, y.o.RequestTarget, field.ViewOf(y.header.header), y.interim)
	if err != nil {
		return err
	}
	defer func() { res.Body.Close() }() // which may be another by then
	y.resBody = res.Body
	y.result.FirstByte = time.Now()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return y.switchProtocols(res, upgrade)
	}
	return y.passAnswer(res)
}

// isCall reports whether the request is a gRPC call.
func (y *relay) isCall() bool { return y.o.GRPC && field.IsCall(y.r) }

// end lets go of the client's body and of everything else.
func (y *relay) end() Result {
	if b := y.body; b != nil {
		switch {
		case y.answered:
			b.stop(b.lingerTime(), lingerTimeout)
		case y.result.Status == 0:
			b.awaitLookAhead()
			b.stop(0, lingerTimeout)
			if !b.complete {
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
	result := y.result
	y.header.reset()
	*y = relay{header: y.header, interim: y.interim, beforeWaitFunc: y.beforeWaitFunc}
	relays.Put(y)
	return result
}

// becomeStream says that what follows the head, which has been passed on, is a
// stream that ends when s is closed.
func (y *relay) becomeStream(s io.Closer) {
	if y.o.Stream == nil {
		return
	}
	if b, ok := y.resBody.(interface{ BecomeStream() }); ok {
		b.BecomeStream()
	}
	y.o.Stream(s)
}

func (y *relay) passInterim(status int, h http.Header) {
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols ||
		!y.r.ProtoAtLeast(1, 1) { // which knows no 1xx (RFC 9110, section 15.2)
		return
	}
	if b := y.body; b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if status == http.StatusContinue {
			if b.begun {
				return // it has been told, or does not ask
			}
			b.awaitsContinue = false
		}
	}
	writeInterim(y.w, y.r, status, h)
}

// writeInterim writes a 1xx head to r's client, with h alone: what w.Header()
// holds is for the final answer.
func writeInterim(w http.ResponseWriter, r *http.Request, status int, h http.Header) {
	head := w.Header()
	final := maps.Clone(head)
	clear(head)
	maps.Copy(head, h)
	removeHopByHop(head)
	delete(head, "Content-Length") // RFC 9110, section 8.6
	if r.ProtoMajor == 2 {
		// When the client resets its stream, net/http's server returns while a
		// goroutine of its own still reads the map. Where it has a length to
		// leave out, that reads a copy.
		head["Content-Length"] = nil
	}
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(clientTimeout))
	w.WriteHeader(status)
	rc.SetWriteDeadline(time.Time{})
	clear(head)
	maps.Copy(head, final)
}

// closeValue is the value of a Connection header. It is known again by its
// address, so that Forward can take back what an earlier attempt said.
var closeValue = []string{"close"}

// markClose makes the server close an HTTP/1 connection after the answer. On
// HTTP/2 the mark would end the connection for other requests as well.
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
